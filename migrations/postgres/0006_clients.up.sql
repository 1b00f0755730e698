-- Clients: programs that ask a daemon over HTTP. Of a token only its SHA-256 is stored.
--
-- An edit is logged as `all` of this table, which programs that know no clients read as a change of
-- everything. So an edit costs them a few loads, and no check of the change log has to be altered under
-- programs that run.

create table {schema}.trunkline_clients (
    id uuid primary key default gen_random_uuid(),
    name text not null unique check (length(name) between 1 and 255),
    token_hash text not null unique check (token_hash ~ '^[0-9a-f]{64}$'),
    -- What it may ask, and the limits of that. Programs refuse a client whose limits they cannot read.
    scopes jsonb not null,
    grants jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz
);

create function {schema}.trunkline_log_clients() returns trigger
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
            message = 'trunkline_log_clients serves the table of its own schema and owner only';
    end if;
    execute format(
        'insert into %I.voice_agent_changes (entity, operation, fields)
         values (''all'', $1, ''trunkline_clients'')', tg_table_schema
    ) using lower(tg_op);
    -- As the other triggers, it may be told not to ring.
    if tg_nargs = 0 then
        perform pg_notify('trunkline_' || md5(tg_table_schema), '');
    end if;
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_log_clients() from public;

create trigger trunkline_log_clients
after insert or update or delete or truncate on {schema}.trunkline_clients
for each statement execute function {schema}.trunkline_log_clients();
