-- The encryption keys by their ids: which one seals, and what becomes of the others. No key is here, and
-- nothing that reveals one. Without an operator who stages a key the first key of each ring seals, as before.
--
-- Whoever writes a secret holds the row of the state until his transaction ends, and promoting a key takes
-- that row for itself: so no secret is written under a key that no longer seals.

create table {schema}.trunkline_key_state (
    id smallint primary key default 1 check (id = 1),
    -- Counts how often another key began to seal.
    epoch bigint not null default 0,
    -- The id of the key that seals. Null: the first key of each ring.
    sealing text check (sealing ~ '^[0-9a-f]{8}$'),
    -- Since when somebody has said that no reader is left that has no row among the nodes and one key only.
    readers_confirmed_at timestamptz,
    changed_at timestamptz not null default clock_timestamp()
);
insert into {schema}.trunkline_key_state default values;

create table {schema}.trunkline_known_keys (
    key_id text primary key check (key_id ~ '^[0-9a-f]{8}$'),
    state text not null check (state in ('staged', 'sealing', 'old', 'refused', 'retired')),
    added_at timestamptz not null default clock_timestamp(),
    -- Since when it is in this state.
    since timestamptz not null default clock_timestamp(),
    -- Since when no pass over all secrets has found one under it. Null: the last one did, or none was made.
    clean_since timestamptz,
    compromised_at timestamptz
);

-- Default privileges may have given others what nobody is to have. Reading tells no secret.
do $do$
declare
    given record;
begin
    for given in
        select cast(pg_class.oid as regclass) as place,
            case when grantee = 0 then 'public' else quote_ident(rolname) end as role
        from pg_class
        cross join lateral aclexplode(relacl)
        left join pg_roles on pg_roles.oid = grantee
        where relnamespace = to_regnamespace(format('%I', {schema_text}))
            and relname in ('trunkline_key_state', 'trunkline_known_keys') and grantee <> relowner
        group by 1, 2
    loop
        execute format('revoke all on %s from %s', given.place, given.role);
    end loop;
end
$do$;
grant select on {schema}.trunkline_key_state, {schema}.trunkline_known_keys to public;

-- Holds the state until the end of the transaction, and tells its epoch. To lock a row takes the right to
-- update it, which nobody who writes secrets is to have. The schema is an argument since a schema may be
-- renamed; it must be one of the function's owner.
create function {schema}.trunkline_hold_key_state(place text) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    held bigint;
begin
    if not coalesce((
        select pg_has_role(relowner, 'usage') from pg_class
        where oid = to_regclass(format('%I.trunkline_key_state', place))
    ), false) then
        raise insufficient_privilege using
            message = 'trunkline_hold_key_state serves the keys of its own owner only';
    end if;
    execute format('select epoch from %I.trunkline_key_state for share', place) into held;
    return held;
end
$function$;

-- A change of the state is logged as `all` of its table, which programs that know no such state read as a
-- change of everything.
create function {schema}.trunkline_log_keys() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
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
            message = 'trunkline_log_keys serves the table of its own schema and owner only';
    end if;
    execute format(
        'insert into %I.voice_agent_changes (entity, operation, fields)
         values (''all'', $1, ''trunkline_key_state'')', tg_table_schema
    ) using lower(tg_op);
    perform pg_notify('trunkline_' || md5(tg_table_schema), '');
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_log_keys() from public;

create trigger trunkline_log_keys
after insert or update or delete or truncate on {schema}.trunkline_key_state
for each statement execute function {schema}.trunkline_log_keys();

-- A secret that is sealed again under another key is the same secret: its config was not updated. Whoever may
-- say so may write `updated_at` as well.
create or replace function {schema}.trunkline_touch_updated_at() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $function$
begin
    if (old.name, old.description, old.livekit_url, old.livekit_api_key,
            old.trunk_id, old.worker_name, old.trunkline_disabled_at)
        is distinct from
        (new.name, new.description, new.livekit_url, new.livekit_api_key,
            new.trunk_id, new.worker_name, new.trunkline_disabled_at)
        or old.livekit_api_secret is distinct from new.livekit_api_secret
            and coalesce(current_setting('trunkline.resealing', true), '') <> 'on'
    then
        new.updated_at := clock_timestamp();
    end if;
    return new;
end
$function$;
