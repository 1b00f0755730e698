-- Data keys go, and with them whatever only they open. So there may be none.

create table trunkline_no_data_key_is_left (
    key_id text,
    constraint "there are data keys, and without them what they sealed opens no more: retire each first"
        check (key_id is null)
) strict;
insert into trunkline_no_data_key_is_left (key_id) select key_id from trunkline_keys;
drop table trunkline_no_data_key_is_left;

drop trigger trunkline_audit_known_key_insert;
drop trigger trunkline_audit_known_key_update;
drop trigger trunkline_audit_known_key_delete;
drop table trunkline_keys;
drop table trunkline_key_rotation;
