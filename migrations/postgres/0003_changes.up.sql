-- The change log and its doorbell. Every statement that changes what a resolution depends on writes
-- a row here in its own transaction, whoever makes it, psql included. NOTIFY then rings on the channel
-- `trunkline_<md5 of the schema>` when that transaction commits, once and without a word, since
-- anyone who may connect may listen: what there is to know stands in the log.
--
-- Triggers are per statement: a column that does not matter (updated_at, description) writes
-- nothing, and a statement that touches more than 16 keys becomes one row that says `all`. They run
-- as their owner, so that a role that may write numbers needs no right on the log.

create table {schema}.voice_agent_changes (
    seq bigint generated always as identity primary key,
    -- Catching up goes by transaction, because sequence order is not commit order.
    xact xid8 not null default pg_current_xact_id(),
    changed_at timestamptz not null default clock_timestamp(),
    actor text not null
        default coalesce(nullif(current_setting('trunkline.actor', true), ''), session_user),
    entity text not null check (entity in ('config', 'number', 'all')),
    operation text not null,
    -- The names of the columns that changed, never their values.
    fields text not null default '',
    config_id uuid,
    tenant_id uuid,
    digits text
);
create index voice_agent_changes_changed_at on {schema}.voice_agent_changes (changed_at);
-- What is new is looked for several times a second on every node: what its last snapshot did not see.
create index voice_agent_changes_xact on {schema}.voice_agent_changes (xact);

create function {schema}.trunkline_log_changes() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    found {schema}.voice_agent_changes[];
begin
    if tg_op = 'TRUNCATE' then
        found := array[null];
    elsif tg_table_name = 'voice_agent_livekit' and tg_op = 'INSERT' then
        select array_agg(row(null, null, null, null, 'config', 'insert', '', id, null, null)::{schema}.voice_agent_changes)
        into found from (select id from new_rows limit 17) as new_rows;
    elsif tg_table_name = 'voice_agent_livekit' and tg_op = 'DELETE' then
        select array_agg(row(null, null, null, null, 'config', 'delete', '', id, null, null)::{schema}.voice_agent_changes)
        into found from (select id from old_rows limit 17) as old_rows;
    elsif tg_table_name = 'voice_agent_livekit' then
        select array_agg(row(null, null, null, null, 'config', 'update', fields, id, null, null)::{schema}.voice_agent_changes)
        into found from (
            select coalesce(n.id, o.id) as id, concat_ws(',',
                case when o.id is distinct from n.id then 'id' end,
                case when o.name is distinct from n.name then 'name' end,
                case when o.livekit_url is distinct from n.livekit_url then 'livekit_url' end,
                case when o.livekit_api_key is distinct from n.livekit_api_key then 'livekit_api_key' end,
                case when o.livekit_api_secret is distinct from n.livekit_api_secret then 'livekit_api_secret' end,
                case when o.trunk_id is distinct from n.trunk_id then 'trunk_id' end,
                case when o.worker_name is distinct from n.worker_name then 'worker_name' end
            ) as fields
            from old_rows as o full join new_rows as n on n.id = o.id
            where (o.id, o.name, o.livekit_url, o.livekit_api_key, o.livekit_api_secret, o.trunk_id, o.worker_name)
                is distinct from
                (n.id, n.name, n.livekit_url, n.livekit_api_key, n.livekit_api_secret, n.trunk_id, n.worker_name)
            limit 17
        ) as changed;
    elsif tg_op = 'INSERT' then
        select array_agg(row(null, null, null, null, 'number', 'insert', '', null, tenant_id, digits)::{schema}.voice_agent_changes)
        into found from (
            select tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits
            from new_rows limit 17
        ) as new_rows;
    elsif tg_op = 'DELETE' then
        select array_agg(row(null, null, null, null, 'number', 'delete', '', null, tenant_id, digits)::{schema}.voice_agent_changes)
        into found from (
            select tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits
            from old_rows limit 17
        ) as old_rows;
    else
        -- A number that moves has two keys: the one it had and the one it has.
        select array_agg(row(null, null, null, null, 'number', 'update', fields, null, tenant_id, digits)::{schema}.voice_agent_changes)
        into found from (
            select distinct key.tenant_id, key.digits, changed.fields
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
                        case when o.rules is distinct from n.rules then 'rules' end
                    ) as fields
                from old_rows as o full join new_rows as n on n.id = o.id
                where (o.id, o.tenant_id, o.country_code, o.base_number, o.provider, o.rules)
                    is distinct from
                    (n.id, n.tenant_id, n.country_code, n.base_number, n.provider, n.rules)
                limit 17
            ) as changed,
            lateral (values (old_tenant, old_digits), (new_tenant, new_digits)) as key (tenant_id, digits)
            where key.tenant_id is not null
        ) as keys;
    end if;

    if found is null then
        return null;
    end if;
    if tg_op = 'TRUNCATE' or cardinality(found) > 16 then
        found := array[row(
            null, null, null, null, 'all', lower(tg_op), tg_table_name, null, null, null
        )::{schema}.voice_agent_changes];
    end if;
    insert into {schema}.voice_agent_changes (entity, operation, fields, config_id, tenant_id, digits)
    select entity, operation, fields, config_id, tenant_id, digits from unnest(found);
    perform pg_notify('trunkline_' || md5(tg_table_schema), '');
    return null;
end
$function$;

do $do$
declare
    watched text;
begin
    foreach watched in array array['voice_agent_livekit', 'voice_agent_numbers'] loop
        execute format(
            'create trigger trunkline_log_insert after insert on %I.%I
             referencing new table as new_rows
             for each statement execute function %1$I.trunkline_log_changes()', {schema_text}, watched);
        execute format(
            'create trigger trunkline_log_update after update on %I.%I
             referencing old table as old_rows new table as new_rows
             for each statement execute function %1$I.trunkline_log_changes()', {schema_text}, watched);
        execute format(
            'create trigger trunkline_log_delete after delete on %I.%I
             referencing old table as old_rows
             for each statement execute function %1$I.trunkline_log_changes()', {schema_text}, watched);
        execute format(
            'create trigger trunkline_log_truncate after truncate on %I.%I
             for each statement execute function %1$I.trunkline_log_changes()', {schema_text}, watched);
    end loop;
end
$do$;

-- The log begins. This row is from before every transaction, so whoever finds it knows that nothing
-- has been pruned yet, for however long other transactions have been open.
insert into {schema}.voice_agent_changes (xact, entity, operation) values ('1', 'all', 'begin');
