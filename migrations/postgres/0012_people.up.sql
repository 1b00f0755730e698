-- People: users who sign in with a password, and their sessions. Of a password its argon2id hash is
-- stored, of a session the SHA-256 of its token.
--
-- What takes or gives a right is logged as `all` of the table of clients: programs that know clients and
-- no people forget clients then, and all others read it as a change of everything. What failed logins
-- write is not logged, or whoever guesses passwords could keep every program busy.

create table {schema}.trunkline_users (
    id uuid primary key default gen_random_uuid(),
    name text not null unique check (length(name) between 1 and 100 and name = lower(name)),
    role text not null,
    -- As a PHC string. Null: nobody signs in by a password.
    password_hash text check (password_hash like '$argon2id$%'),
    -- Of a link that signs in once.
    link_hash text unique check (link_hash ~ '^[0-9a-f]{64}$'),
    link_expires_at timestamptz,
    disabled_at timestamptz,
    -- Failed logins in a row.
    failures bigint not null default 0,
    locked_until timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    last_login_at timestamptz
);

create table {schema}.trunkline_sessions (
    token_hash text primary key check (token_hash ~ '^[0-9a-f]{64}$'),
    user_id uuid not null references {schema}.trunkline_users (id) on delete cascade,
    created_at timestamptz not null default clock_timestamp(),
    -- When the password was given last.
    confirmed_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    address text not null,
    agent text not null
);
create index trunkline_sessions_user_id on {schema}.trunkline_sessions (user_id);
create index trunkline_sessions_expires_at on {schema}.trunkline_sessions (expires_at);

-- Default privileges may have given others what nobody is to have.
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
            and relname in ('trunkline_users', 'trunkline_sessions') and grantee <> relowner
        group by 1, 2
    loop
        execute format('revoke all on %s from %s', given.place, given.role);
    end loop;
end
$do$;

-- Row by row, so that a statement that touches none logs nothing.
create trigger trunkline_log_users after insert or delete on {schema}.trunkline_users
for each row execute function {schema}.trunkline_log_clients();
create trigger trunkline_log_user_edits after update on {schema}.trunkline_users
for each row when ((old.id, old.name, old.role, old.password_hash, old.disabled_at)
    is distinct from (new.id, new.name, new.role, new.password_hash, new.disabled_at))
execute function {schema}.trunkline_log_clients();
create trigger trunkline_log_users_truncate after truncate on {schema}.trunkline_users
for each statement execute function {schema}.trunkline_log_clients();
create trigger trunkline_log_sessions after insert or update or delete on {schema}.trunkline_sessions
for each row execute function {schema}.trunkline_log_clients();
create trigger trunkline_log_sessions_truncate after truncate on {schema}.trunkline_sessions
for each statement execute function {schema}.trunkline_log_clients();

-- Users are audited as configs, numbers and clients are, and never a hash of theirs.
create function {schema}.trunkline_audit_users() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set jit = off as $function$
declare
    claimed json;
    was json;
    becomes json;
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
            message = 'trunkline_audit_users serves the table of its own schema and owner only';
    end if;
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
    if tg_op in ('UPDATE', 'DELETE') then
        was := json_build_object('name', old.name, 'role', left(old.role, 255),
            'disabled_at', old.disabled_at,
            'password_hash', case when old.password_hash is not null then 'set' end,
            'link_hash', case when old.link_hash is not null then 'set' end);
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        becomes := json_build_object('name', new.name, 'role', left(new.role, 255),
            'disabled_at', new.disabled_at,
            'password_hash', case when new.password_hash is not null then
                case when tg_op = 'UPDATE' and new.password_hash is distinct from old.password_hash
                    then 'changed' else 'set' end end,
            'link_hash', case when new.link_hash is not null then
                case when tg_op = 'UPDATE' and new.link_hash is distinct from old.link_hash
                    then 'changed' else 'set' end end);
    end if;
    execute format(
        'insert into %I.trunkline_audit (at, entity, operation, address, claimed, row_id, before, after)
         values (clock_timestamp(), ''user'', $1, $2, $3, $4, $5, $6)', tg_table_schema
    ) using lower(tg_op), host(inet_client_addr()), claimed,
        case when tg_op in ('INSERT', 'UPDATE') then cast(new.id as text)
            when tg_op = 'DELETE' then cast(old.id as text) end,
        was, becomes;
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_audit_users() from public;

create trigger trunkline_audit_insert after insert on {schema}.trunkline_users
for each row execute function {schema}.trunkline_audit_users();
create trigger trunkline_audit_update after update on {schema}.trunkline_users
for each row when ((old.id, old.name, old.role, old.disabled_at, old.password_hash, old.link_hash)
    is distinct from (new.id, new.name, new.role, new.disabled_at, new.password_hash, new.link_hash))
execute function {schema}.trunkline_audit_users();
create trigger trunkline_audit_delete after delete on {schema}.trunkline_users
for each row execute function {schema}.trunkline_audit_users();
create trigger trunkline_audit_truncate after truncate on {schema}.trunkline_users
for each statement execute function {schema}.trunkline_audit_users();
