-- Data keys: encryption keys that live in the database, each sealed by a root key, which is in the ring of every
-- process and never here. And what becomes of any key is audited.
--
-- A data key is in the rings of those whose root key opens it. So a new one takes no change of a machine. Whoever
-- may read the secrets of configs may read the sealed data keys; whoever could turn keys before may make them.

create table {schema}.trunkline_keys (
    key_id text primary key check (key_id ~ '^[0-9a-f]{8}$'),
    -- The id of the key that seals it.
    root_id text not null check (root_id ~ '^[0-9a-f]{8}$'),
    -- A token of a form of its own, which no reader takes for the secret of a config.
    sealed text not null check (length(sealed) between 1 and 1024),
    added_at timestamptz not null default clock_timestamp(),
    -- Since when it is sealed by this root key.
    wrapped_at timestamptz not null default clock_timestamp()
);

-- Who turns the keys by schedule, and what keeps him from it. Nobody is told when this changes.
create table {schema}.trunkline_key_rotation (
    id smallint primary key default 1 check (id = 1),
    -- The process that may turn them at present, and until when.
    holder text,
    held_until timestamptz not null default clock_timestamp(),
    -- The last step that was taken, and when.
    step text,
    step_at timestamptz,
    -- What the next step waits for that should not be, and since when.
    blocked_by text,
    blocked_since timestamptz
);
insert into {schema}.trunkline_key_rotation default values;

-- Default privileges may have given others what nobody is to have; and whoever opens or seals secrets must know
-- the data keys, or he would be left without what seals.
do $do$
declare
    given record;
begin
    for given in
        select distinct cast(pg_class.oid as regclass) as place,
            case when grantee = 0 then 'public' else quote_ident(rolname) end as role
        from pg_class
        cross join lateral aclexplode(relacl)
        left join pg_roles on pg_roles.oid = grantee
        where relnamespace = to_regnamespace(format('%I', {schema_text}))
            and relname in ('trunkline_keys', 'trunkline_key_rotation') and grantee <> relowner
    loop
        execute format('revoke all on %s from %s', given.place, given.role);
    end loop;
    for given in
        select distinct case when grantee = 0 then 'public' else quote_ident(rolname) end as role
        from pg_class
        cross join lateral aclexplode(relacl)
        left join pg_roles on pg_roles.oid = grantee
        where pg_class.oid = to_regclass(format('%I.voice_agent_livekit', {schema_text}))
            and privilege_type = 'SELECT' and grantee <> relowner
        union
        select case when grantee = 0 then 'public' else quote_ident(rolname) end
        from pg_attribute
        cross join lateral aclexplode(attacl)
        left join pg_roles on pg_roles.oid = grantee
        where attrelid = to_regclass(format('%I.voice_agent_livekit', {schema_text}))
            and attname = 'livekit_api_secret' and privilege_type = 'SELECT'
    loop
        execute format('grant select on %I.trunkline_keys to %s', {schema_text}, given.role);
    end loop;
    for given in
        select distinct case when grantee = 0 then 'public' else quote_ident(rolname) end as role
        from pg_class
        cross join lateral aclexplode(relacl)
        left join pg_roles on pg_roles.oid = grantee
        where pg_class.oid = to_regclass(format('%I.trunkline_key_state', {schema_text}))
            and privilege_type = 'UPDATE' and grantee <> relowner
    loop
        execute format('grant select, insert, update, delete on %I.trunkline_keys to %s',
            {schema_text}, given.role);
        execute format('grant update on %I.trunkline_key_rotation to %s', {schema_text}, given.role);
    end loop;
end
$do$;
grant select on {schema}.trunkline_key_rotation to public;

-- What becomes of a key, and by which root key a data key is sealed. Never the key. An edit of data keys by hand
-- is a change of the keys as well; the steps ring by the state that they change with them.
create function {schema}.trunkline_audit_keys() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $function$
declare
    about text;
    was json;
    now_is json;
    claimed json;
begin
    -- Whoever makes a table of this name elsewhere, or a temporary one, has no say here.
    if not exists (
        select from pg_trigger as fired
        join pg_proc as called on called.oid = fired.tgfoid
        join pg_class as edited on edited.oid = fired.tgrelid
        where fired.tgrelid = tg_relid and fired.tgname = tg_name
            and edited.relnamespace = called.pronamespace
            and pg_has_role(edited.relowner, 'usage')
    ) then
        raise insufficient_privilege using
            message = 'trunkline_audit_keys serves the tables of its own schema and owner only';
    end if;
    if tg_op in ('UPDATE', 'DELETE') then
        about := old.key_id;
        if tg_table_name = 'trunkline_keys' then
            was := json_build_object('data_key', 'set', 'root', old.root_id);
        else
            was := json_build_object('state', old.state, 'compromised_at', old.compromised_at);
        end if;
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        about := new.key_id;
        if tg_table_name = 'trunkline_keys' then
            now_is := json_build_object('data_key', 'set', 'root', new.root_id);
        else
            now_is := json_build_object('state', new.state, 'compromised_at', new.compromised_at);
        end if;
    end if;
    if tg_table_name = 'trunkline_keys' then
        if tg_op = 'UPDATE' and old.sealed <> new.sealed then
            now_is := json_build_object('data_key', 'changed', 'root', new.root_id);
        end if;
        execute format(
            'insert into %I.voice_agent_changes (entity, operation, fields)
             values (''all'', $1, ''trunkline_key_state'')', tg_table_schema) using lower(tg_op);
    end if;
    -- Control characters would let a claim pass for two lines of an audit.
    select json_object_agg(name, left(regexp_replace(said, '[[:cntrl:]]', '?', 'g'), 255))
    into claimed
    from (values
        ('actor', current_setting('trunkline.actor', true)),
        ('client', current_setting('trunkline.client', true)),
        ('client_name', current_setting('trunkline.client_name', true)),
        ('request', current_setting('trunkline.request', true)),
        ('from', current_setting('trunkline.from', true)),
        ('application', current_setting('application_name', true))
    ) as claims (name, said)
    where said <> '';
    execute format(
        'insert into %I.trunkline_audit (at, entity, operation, row_id, before, after, address, claimed)
         values (clock_timestamp(), ''key'', $1, $2, $3, $4, $5, $6)', tg_table_schema
    ) using lower(tg_op), about, was, now_is, host(inet_client_addr()), claimed;
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_audit_keys() from public;

create trigger trunkline_audit_insert_delete after insert or delete on {schema}.trunkline_known_keys
for each row execute function {schema}.trunkline_audit_keys();

-- That no secret was found under it any more is no edit of anybody.
create trigger trunkline_audit_update after update on {schema}.trunkline_known_keys
for each row when ((old.key_id, old.state, old.compromised_at)
    is distinct from (new.key_id, new.state, new.compromised_at))
execute function {schema}.trunkline_audit_keys();

create trigger trunkline_audit_truncate after truncate on {schema}.trunkline_known_keys
for each statement execute function {schema}.trunkline_audit_keys();

create trigger trunkline_audit_rows after insert or update or delete on {schema}.trunkline_keys
for each row execute function {schema}.trunkline_audit_keys();

create trigger trunkline_audit_truncate after truncate on {schema}.trunkline_keys
for each statement execute function {schema}.trunkline_audit_keys();
