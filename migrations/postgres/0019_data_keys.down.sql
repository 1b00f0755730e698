-- Data keys go, and with them whatever only they open. So there may be none.

do $do$
begin
    if exists (select from {schema}.trunkline_keys) then
        raise exception using
            errcode = 'object_in_use',
            message = 'there are data keys, and without them what they sealed opens no more',
            hint = 'Have a key of the settings seal again with `trunkline key rotate`, and retire each data key.';
    end if;
end
$do$;
drop trigger trunkline_audit_insert_delete on {schema}.trunkline_known_keys;
drop trigger trunkline_audit_update on {schema}.trunkline_known_keys;
drop trigger trunkline_audit_truncate on {schema}.trunkline_known_keys;
drop table {schema}.trunkline_keys;
drop table {schema}.trunkline_key_rotation;
drop function {schema}.trunkline_audit_keys();
