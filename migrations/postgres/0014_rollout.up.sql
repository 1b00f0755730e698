-- The rollout: one row that says whom the database answers. Without it, everybody.
--
-- An edit is logged as `all` of this table, which programs that know no rollout read as a change of
-- everything; and it is audited. One trigger does both, since there is one row and nothing to look up.

create table {schema}.trunkline_rollout (
    -- There is one row.
    id smallint primary key default 1 check (id = 1),
    stage text not null check (stage in ('off', 'shadow', 'percent', 'live', 'complete')),
    -- The share that is inside, in thousandths of a per cent.
    percent integer not null default 0 check (percent between 0 and 100000),
    unit text not null default 'tenant' check (unit in ('tenant', 'number')),
    salt text not null check (length(salt) between 1 and 64),
    -- Tenants that are inside, and those that are outside, whatever their share.
    allow jsonb not null default '[]',
    deny jsonb not null default '[]',
    version bigint not null default 1,
    changed_at timestamptz not null default clock_timestamp()
);

-- Whoever resolves must know the rollout. Without this, a service that could read the configs yesterday
-- would answer nobody today.
do $do$
declare
    granted record;
begin
    for granted in
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
            and privilege_type = 'SELECT'
    loop
        execute format('grant select on %I.trunkline_rollout to %s', {schema_text}, granted.role);
    end loop;
end
$do$;

create function {schema}.trunkline_log_rollout() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $function$
declare
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
            message = 'trunkline_log_rollout serves the table of its own schema and owner only';
    end if;
    if tg_op in ('UPDATE', 'DELETE') then
        was := json_build_object('stage', old.stage, 'percent', old.percent, 'unit', old.unit,
            'salt', old.salt, 'allow', old.allow, 'deny', old.deny, 'version', old.version);
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        now_is := json_build_object('stage', new.stage, 'percent', new.percent, 'unit', new.unit,
            'salt', new.salt, 'allow', new.allow, 'deny', new.deny, 'version', new.version);
    end if;
    execute format(
        'insert into %I.voice_agent_changes (entity, operation, fields)
         values (''all'', $1, ''trunkline_rollout'')', tg_table_schema
    ) using lower(tg_op);
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
         values (clock_timestamp(), ''rollout'', $1, ''1'', $2, $3, $4, $5)', tg_table_schema
    ) using lower(tg_op), was, now_is, host(inet_client_addr()), claimed;
    -- As the other triggers, it may be told not to ring.
    if tg_nargs = 0 then
        perform pg_notify('trunkline_' || md5(tg_table_schema), '');
    end if;
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_log_rollout() from public;

create trigger trunkline_log_rollout
after insert or update or delete on {schema}.trunkline_rollout
for each row execute function {schema}.trunkline_log_rollout();

create trigger trunkline_log_rollout_truncate
after truncate on {schema}.trunkline_rollout
for each statement execute function {schema}.trunkline_log_rollout();
