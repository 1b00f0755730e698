-- Key pairs of LiveKit configs that are about to be the current one, or were until lately. The current one
-- stays where every reader looks for it, in `voice_agent_livekit`; here is only since when it is that.
--
-- A pair that is pending or previous is read by whoever may read the secrets of configs. Its changes are
-- changes of its config, and are audited without the secret.

create table {schema}.trunkline_pairs (
    config_id uuid not null,
    phase text not null check (phase in ('pending', 'current', 'previous')),
    -- The server that it is for: where that is not the config's any more, it is for nothing.
    livekit_url text,
    api_key text not null,
    -- Sealed. The current one is with its config.
    api_secret text,
    -- When it came to be known.
    added_at timestamptz not null default clock_timestamp(),
    -- When its server accepted it last, as far as that was asked.
    checked_at timestamptz,
    -- Since when it is in this phase.
    since timestamptz not null default clock_timestamp(),
    -- Since when it is known that others may have it.
    compromised_at timestamptz,
    primary key (config_id, phase),
    check ((phase = 'current') = (api_secret is null)),
    check (api_secret like 'dev-s-t-%')
);

-- Nobody knows how old the pairs are that are there: as old as their configs, at the most.
insert into {schema}.trunkline_pairs (config_id, phase, api_key, since)
select id, 'current', coalesce(cast(livekit_api_key as text), ''),
    case when created_at between '1970-01-01' and '9999-01-01' then created_at else clock_timestamp() end
from {schema}.voice_agent_livekit;

-- Default privileges may have given others what nobody is to have; and whoever may do something with the
-- configs may do it here, or a service that resolved yesterday would not know of a pair tomorrow.
do $do$
declare
    given record;
begin
    for given in
        select distinct case when grantee = 0 then 'public' else quote_ident(rolname) end as role
        from pg_class
        cross join lateral aclexplode(relacl)
        left join pg_roles on pg_roles.oid = grantee
        where pg_class.oid = to_regclass(format('%I.trunkline_pairs', {schema_text})) and grantee <> relowner
    loop
        execute format('revoke all on %I.trunkline_pairs from %s', {schema_text}, given.role);
    end loop;
    for given in
        select distinct case when grantee = 0 then 'public' else quote_ident(rolname) end as role,
            lower(privilege_type) as privilege
        from pg_class
        cross join lateral aclexplode(relacl)
        left join pg_roles on pg_roles.oid = grantee
        where pg_class.oid = to_regclass(format('%I.voice_agent_livekit', {schema_text}))
            and privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE') and grantee <> relowner
        union
        select case when grantee = 0 then 'public' else quote_ident(rolname) end, 'select'
        from pg_attribute
        cross join lateral aclexplode(attacl)
        left join pg_roles on pg_roles.oid = grantee
        where attrelid = to_regclass(format('%I.voice_agent_livekit', {schema_text}))
            and attname = 'livekit_api_secret' and privilege_type = 'SELECT'
    loop
        execute format('grant %s on %I.trunkline_pairs to %s', given.privilege, {schema_text}, given.role);
    end loop;
end
$do$;

-- The pairs of a config go with it, and a key that was edited is a new pair.
create function {schema}.trunkline_follow_configs() returns trigger
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
            message = 'trunkline_follow_configs serves the table of its own schema and owner only',
            hint = 'A table that moved: drop its triggers trunkline_pairs_..., or move their function along.';
    end if;
    if tg_op = 'TRUNCATE' then
        execute format('delete from %I.trunkline_pairs', tg_table_schema);
    elsif tg_op = 'DELETE' then
        execute format('delete from %I.trunkline_pairs where config_id = $1', tg_table_schema) using old.id;
    else
        execute format(
            'insert into %I.trunkline_pairs as p (config_id, phase, api_key) values ($1, ''current'', $2)
             on conflict (config_id, phase) do update
             set api_key = excluded.api_key, since = excluded.since, added_at = excluded.added_at
             where p.api_key <> excluded.api_key', tg_table_schema
        ) using new.id, coalesce(cast(new.livekit_api_key as text), '');
    end if;
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_follow_configs() from public;

create trigger trunkline_pairs_insert after insert on {schema}.voice_agent_livekit
for each row execute function {schema}.trunkline_follow_configs();

create trigger trunkline_pairs_update after update on {schema}.voice_agent_livekit
for each row when (cast(old.livekit_api_key as text) is distinct from cast(new.livekit_api_key as text))
execute function {schema}.trunkline_follow_configs();

create trigger trunkline_pairs_delete after delete on {schema}.voice_agent_livekit
for each row execute function {schema}.trunkline_follow_configs();

create trigger trunkline_pairs_truncate after truncate on {schema}.voice_agent_livekit
for each statement execute function {schema}.trunkline_follow_configs();

-- What becomes of a pair is a change of its config. It does not ring: an edit of a config that nobody may
-- ring for (two-phase commit) changes pairs, too, and a look finds it soon.
create function {schema}.trunkline_log_pairs() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $function$
declare
    config uuid;
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
            message = 'trunkline_log_pairs serves the table of its own schema and owner only';
    end if;
    if tg_op = 'TRUNCATE' then
        execute format(
            'insert into %I.voice_agent_changes (entity, operation, fields)
             values (''all'', ''truncate'', ''trunkline_pairs'')', tg_table_schema);
        return null;
    end if;
    if tg_op in ('UPDATE', 'DELETE') then
        config := old.config_id;
        was := json_build_object('phase', old.phase, 'livekit_url', left(old.livekit_url, 4096),
            'livekit_api_key', left(old.api_key, 4096), 'livekit_api_secret', 'set',
            'checked_at', old.checked_at, 'compromised_at', old.compromised_at);
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        config := new.config_id;
        now_is := json_build_object('phase', new.phase, 'livekit_url', left(new.livekit_url, 4096),
            'livekit_api_key', left(new.api_key, 4096), 'livekit_api_secret', 'set',
            'checked_at', new.checked_at, 'compromised_at', new.compromised_at);
    end if;
    if tg_op = 'UPDATE' and old.api_secret <> new.api_secret then
        now_is := cast(jsonb_set(cast(now_is as jsonb), '{livekit_api_secret}', '"changed"') as json);
    end if;
    execute format(
        'insert into %I.voice_agent_changes (entity, operation, fields, config_id)
         values (''config'', ''update'', ''trunkline_pairs'', $1)', tg_table_schema) using config;
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
         values (clock_timestamp(), ''pair'', $1, $2, $3, $4, $5, $6)', tg_table_schema
    ) using lower(tg_op), cast(config as text), was, now_is, host(inet_client_addr()), claimed;
    return null;
end
$function$;
revoke execute on function {schema}.trunkline_log_pairs() from public;

create trigger trunkline_log_pairs_insert after insert on {schema}.trunkline_pairs
for each row when (new.phase <> 'current') execute function {schema}.trunkline_log_pairs();

create trigger trunkline_log_pairs_update after update on {schema}.trunkline_pairs
for each row when (new.phase <> 'current' or old.phase <> 'current')
execute function {schema}.trunkline_log_pairs();

create trigger trunkline_log_pairs_delete after delete on {schema}.trunkline_pairs
for each row when (old.phase <> 'current') execute function {schema}.trunkline_log_pairs();

create trigger trunkline_log_pairs_truncate after truncate on {schema}.trunkline_pairs
for each statement execute function {schema}.trunkline_log_pairs();
