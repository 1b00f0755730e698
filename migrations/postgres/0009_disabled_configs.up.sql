-- A config can be disabled: its numbers fall back, and it stays as it is. The column is ours in adopted
-- tables, too, so its name is one that no application has. Whoever may read or edit the other columns
-- one by one may do so with this one.
--
-- The functions are those of step 4, and look at the column, too. Programs that do not know it read its
-- change as one of the config.

alter table {schema}.voice_agent_livekit add column trunkline_disabled_at timestamptz;
comment on column {schema}.voice_agent_livekit.trunkline_disabled_at is 'made by trunkline';

do $do$
declare
    configs regclass := to_regclass(format('%I.voice_agent_livekit', {schema_text}));
    granted record;
begin
    for granted in
        select privilege_type as privilege,
            case when grantee = 0 then 'public' else quote_ident(rolname) end as role
        from pg_attribute
        cross join lateral aclexplode(attacl)
        left join pg_roles on pg_roles.oid = grantee
        where attrelid = configs and attname = 'worker_name'
    loop
        execute format('grant %s (trunkline_disabled_at) on %s to %s',
            granted.privilege, configs, granted.role);
    end loop;
end
$do$;

create or replace function {schema}.trunkline_touch_updated_at() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $function$
begin
    if (old.name, old.description, old.livekit_url, old.livekit_api_key, old.livekit_api_secret,
            old.trunk_id, old.worker_name, old.trunkline_disabled_at)
        is distinct from
        (new.name, new.description, new.livekit_url, new.livekit_api_key, new.livekit_api_secret,
            new.trunk_id, new.worker_name, new.trunkline_disabled_at)
    then
        new.updated_at := clock_timestamp();
    end if;
    return new;
end
$function$;

create or replace function {schema}.trunkline_log_changes() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    -- The keys that changed, a place each, and the columns of each.
    configs uuid[];
    tenants uuid[];
    numbers text[];
    changed text[];
    many integer;
begin
    -- Whoever makes a table of these names elsewhere, or a temporary one, has no say here.
    if not exists (
        select from pg_trigger as fired
        join pg_proc as called on called.oid = fired.tgfoid
        join pg_class as edited on edited.oid = fired.tgrelid
        where fired.tgrelid = tg_relid and fired.tgname = tg_name
            and edited.relnamespace = called.pronamespace
            and pg_has_role(edited.relowner, 'usage')
    ) then
        raise insufficient_privilege using
            message = 'trunkline_log_changes serves the tables of its own schema and owner only',
            hint = 'A table that moved: drop its triggers trunkline_log_..., or move their function along.';
    end if;

    if tg_op = 'TRUNCATE' then
        many := 17;
    elsif tg_table_name = 'voice_agent_livekit' then
        if tg_op = 'INSERT' then
            select array_agg(id) into configs from (select id from new_rows limit 17) as touched;
        elsif tg_op = 'DELETE' then
            select array_agg(id) into configs from (select id from old_rows limit 17) as touched;
        else
            select array_agg(id), array_agg(fields) into configs, changed from (
                select coalesce(n.id, o.id) as id, concat_ws(',',
                    case when o.id is distinct from n.id then 'id' end,
                    case when o.name is distinct from n.name then 'name' end,
                    case when o.livekit_url is distinct from n.livekit_url then 'livekit_url' end,
                    case when o.livekit_api_key is distinct from n.livekit_api_key then 'livekit_api_key' end,
                    case when o.livekit_api_secret is distinct from n.livekit_api_secret then 'livekit_api_secret' end,
                    case when o.trunk_id is distinct from n.trunk_id then 'trunk_id' end,
                    case when o.worker_name is distinct from n.worker_name then 'worker_name' end,
                    case when o.trunkline_disabled_at is distinct from n.trunkline_disabled_at
                        then 'trunkline_disabled_at' end
                ) as fields
                from old_rows as o full join new_rows as n on n.id = o.id
                where (o.id, o.name, o.livekit_url, o.livekit_api_key, o.livekit_api_secret, o.trunk_id, o.worker_name,
                        o.trunkline_disabled_at)
                    is distinct from
                    (n.id, n.name, n.livekit_url, n.livekit_api_key, n.livekit_api_secret, n.trunk_id, n.worker_name,
                        n.trunkline_disabled_at)
                limit 17
            ) as touched;
        end if;
        many := cardinality(configs);
    else
        if tg_op = 'INSERT' then
            select array_agg(tenant_id), array_agg(digits) into tenants, numbers from (
                select tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits
                from new_rows limit 17
            ) as touched;
        elsif tg_op = 'DELETE' then
            select array_agg(tenant_id), array_agg(digits) into tenants, numbers from (
                select tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits
                from old_rows limit 17
            ) as touched;
        else
            -- A number that moves has two keys: the one it had and the one it has. Rules are compared
            -- as text, since a column of the type json has no other way.
            select array_agg(tenant_id), array_agg(digits), array_agg(fields)
            into tenants, numbers, changed
            from (
                select distinct key.tenant_id, key.digits, touched.fields
                from (
                    select
                        o.tenant_id as old_tenant,
                        ltrim(o.country_code, '+0 ') || cast(o.base_number as text) as old_digits,
                        n.tenant_id as new_tenant,
                        ltrim(n.country_code, '+0 ') || cast(n.base_number as text) as new_digits,
                        concat_ws(',',
                            case when o.id is distinct from n.id then 'id' end,
                            case when o.tenant_id is distinct from n.tenant_id then 'tenant_id' end,
                            case when o.country_code is distinct from n.country_code then 'country_code' end,
                            case when o.base_number is distinct from n.base_number then 'base_number' end,
                            case when o.provider is distinct from n.provider then 'provider' end,
                            case when cast(o.rules as text) is distinct from cast(n.rules as text) then 'rules' end
                        ) as fields
                    from old_rows as o full join new_rows as n on n.id = o.id
                    where (o.id, o.tenant_id, o.country_code, o.base_number, o.provider, cast(o.rules as text))
                        is distinct from
                        (n.id, n.tenant_id, n.country_code, n.base_number, n.provider, cast(n.rules as text))
                    limit 17
                ) as touched,
                lateral (values (old_tenant, old_digits), (new_tenant, new_digits)) as key (tenant_id, digits)
                where key.tenant_id is not null
            ) as keys;
        end if;
        many := cardinality(tenants);
    end if;

    if many is null then
        return null;
    elsif many > 16 then
        execute format(
            'insert into %I.voice_agent_changes (entity, operation, fields) values (''all'', $1, $2)',
            tg_table_schema
        ) using lower(tg_op), tg_table_name;
    else
        execute format(
            'insert into %I.voice_agent_changes
                (entity, operation, fields, config_id, tenant_id, digits)
             select $1, $2, coalesce(fields, ''''), config_id, tenant_id, digits
             from unnest($3, $4, $5, $6) as changed (fields, config_id, tenant_id, digits)',
            tg_table_schema
        ) using case when configs is null then 'number' else 'config' end, lower(tg_op),
            changed, configs, tenants, numbers;
    end if;
    -- A transaction that notifies cannot be prepared for a commit in two phases, so a trigger may be told
    -- not to.
    if tg_nargs = 0 then
        perform pg_notify('trunkline_' || md5(tg_table_schema), '');
    end if;
    return null;
end
$function$;
