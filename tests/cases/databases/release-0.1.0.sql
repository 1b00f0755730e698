-- What `trunkline db migrate` of release 0.1.0 left in the schema public: its three steps as they were,
-- and its book of them. Upgrades are tried on this.
set search_path = public, pg_temp;
create table trunkline_migrations (
    version bigint primary key,
    description text not null,
    installed_on timestamptz not null default now(),
    success boolean not null,
    checksum bytea not null,
    execution_time bigint not null
);


-- 0001_livekit_configs
-- The LiveKit servers. A deployment that has this table already keeps it, rows and all: what is
-- missing is added and marked, so that the way down takes away what this way brought and no more.
-- Everything lives in the first schema of the search path, which is the one DB_SCHEMA names.

do $$
declare
    wanted record;
begin
    if to_regclass(format('%I.voice_agent_livekit', current_schema())) is null then
        create table voice_agent_livekit (
            id uuid primary key default gen_random_uuid(),
            name varchar(255) not null unique,
            description text,
            livekit_url varchar(500) not null,
            livekit_api_key varchar(255) not null,
            livekit_api_secret text not null,
            trunk_id varchar(255),
            worker_name varchar(255),
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now()
        );
        comment on table voice_agent_livekit is 'made by trunkline';
    end if;

    for wanted in
        select * from (values
            ('description', 'text'),
            ('trunk_id', 'varchar(255)'),
            ('worker_name', 'varchar(255)'),
            ('created_at', 'timestamptz not null default now()'),
            ('updated_at', 'timestamptz not null default now()')
        ) as columns (name, type)
        where not exists (
            select from pg_attribute
            where attrelid = 'voice_agent_livekit'::regclass and attname = columns.name
                and not attisdropped
        )
    loop
        execute format('alter table voice_agent_livekit add column %I %s', wanted.name, wanted.type);
        execute format(
            'comment on column voice_agent_livekit.%I is %L', wanted.name, 'made by trunkline'
        );
    end loop;

    -- Ids come from the database, also where an application used to bring them.
    if not exists (
        select from pg_attrdef join pg_attribute on adrelid = attrelid and adnum = attnum
        where attrelid = 'voice_agent_livekit'::regclass and attname = 'id'
    ) then
        alter table voice_agent_livekit alter column id set default gen_random_uuid();
        comment on column voice_agent_livekit.id is 'default made by trunkline';
    end if;

    -- An adopted table may lack the promise that a name is unique.
    if not exists (
        select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
        where indrelid = 'voice_agent_livekit'::regclass and indisunique and indnatts = 1
            and indpred is null and attname = 'name'
    ) then
        create unique index trunkline_livekit_name on voice_agent_livekit (name);
    end if;
end
$$;

-- The columns are compared in the function and by name: an adopted table may have others, of types
-- that cannot be compared, and a `when` would keep its owner from altering those that it names.
create function trunkline_touch_updated_at() returns trigger
language plpgsql as $$
begin
    if (old.name, old.description, old.livekit_url, old.livekit_api_key, old.livekit_api_secret,
            old.trunk_id, old.worker_name)
        is distinct from
        (new.name, new.description, new.livekit_url, new.livekit_api_key, new.livekit_api_secret,
            new.trunk_id, new.worker_name)
    then
        new.updated_at := clock_timestamp();
    end if;
    return new;
end
$$;

create trigger trunkline_touch_updated_at
before update on voice_agent_livekit
for each row execute function trunkline_touch_updated_at();

insert into trunkline_migrations values (1, 'livekit configs', now(), true, '\xa4b047e206feb3abcff3c8328462df08b174efd9ec8489f3c26f419c731cdfcc8edfda4e9b5dcaf32c3025d891ca377c', 1);


-- 0002_numbers
-- The caller numbers of the tenants, adopted like the configs. A number is looked up by its digits,
-- country code and all, which no column holds: the index below holds them.

do $$
begin
    if to_regclass(format('%I.voice_agent_numbers', current_schema())) is null then
        create table voice_agent_numbers (
            id uuid primary key default gen_random_uuid(),
            tenant_id uuid not null,
            country_code text not null default '+971',
            base_number bigint not null,
            provider text,
            rules jsonb not null default '{}'
        );
        comment on table voice_agent_numbers is 'made by trunkline';
    end if;

    if not exists (
        select from pg_attrdef join pg_attribute on adrelid = attrelid and adnum = attnum
        where attrelid = 'voice_agent_numbers'::regclass and attname = 'id'
    ) then
        alter table voice_agent_numbers alter column id set default gen_random_uuid();
        comment on column voice_agent_numbers.id is 'default made by trunkline';
    end if;

    -- A tenant has a number once. An adopted table may say otherwise, now or later, and is not
    -- narrowed: there the row with the lowest id answers, and `trunkline doctor` counts the doubles.
    if obj_description('voice_agent_numbers'::regclass) = 'made by trunkline' then
        create unique index trunkline_numbers_digits on voice_agent_numbers (
            (ltrim(country_code, '+0 ') || cast(base_number as text)), tenant_id
        );
    else
        create index trunkline_numbers_digits on voice_agent_numbers (
            (ltrim(country_code, '+0 ') || cast(base_number as text)), tenant_id
        );
    end if;

    -- "Which numbers use this config" is asked before a config is removed.
    -- However the rules spell its id.
    create index trunkline_numbers_config on voice_agent_numbers (
        replace(lower(trim(rules ->> 'livekit_config', '{}')), '-', '')
    );
end
$$;

insert into trunkline_migrations values (2, 'numbers', now(), true, '\xa9a70e0dca1bddb1889c81304ea6bf5b7a3f9e5d90e6573d8ba946878d4b8c485ec511e79a4d2920b68508c41488ad81', 1);


-- 0003_changes
-- The change log and its doorbell. Every statement that changes what a resolution depends on writes
-- a row here in its own transaction, whoever makes it, psql included. NOTIFY then rings on the channel
-- `trunkline_<md5 of the schema>` when that transaction commits, once and without a word, since
-- anyone who may connect may listen: what there is to know stands in the log.
--
-- Triggers are per statement: a column that does not matter (updated_at, description) writes
-- nothing, and a statement that touches more than 16 keys becomes one row that says `all`. They run
-- as their owner, so that a role that may write numbers needs no right on the log.

create table voice_agent_changes (
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
create index voice_agent_changes_changed_at on voice_agent_changes (changed_at);
-- What is new is looked for several times a second on every node: what its last snapshot did not see.
create index voice_agent_changes_xact on voice_agent_changes (xact);

create function trunkline_log_changes() returns trigger
language plpgsql security definer set search_path from current as $$
declare
    found voice_agent_changes[];
begin
    if tg_op = 'TRUNCATE' then
        found := array[null];
    elsif tg_table_name = 'voice_agent_livekit' and tg_op = 'INSERT' then
        select array_agg(row(null, null, null, null, 'config', 'insert', '', id, null, null)::voice_agent_changes)
        into found from (select id from new_rows limit 17) as new_rows;
    elsif tg_table_name = 'voice_agent_livekit' and tg_op = 'DELETE' then
        select array_agg(row(null, null, null, null, 'config', 'delete', '', id, null, null)::voice_agent_changes)
        into found from (select id from old_rows limit 17) as old_rows;
    elsif tg_table_name = 'voice_agent_livekit' then
        select array_agg(row(null, null, null, null, 'config', 'update', fields, id, null, null)::voice_agent_changes)
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
        select array_agg(row(null, null, null, null, 'number', 'insert', '', null, tenant_id, digits)::voice_agent_changes)
        into found from (
            select tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits
            from new_rows limit 17
        ) as new_rows;
    elsif tg_op = 'DELETE' then
        select array_agg(row(null, null, null, null, 'number', 'delete', '', null, tenant_id, digits)::voice_agent_changes)
        into found from (
            select tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits
            from old_rows limit 17
        ) as old_rows;
    else
        -- A number that moves has two keys: the one it had and the one it has.
        select array_agg(row(null, null, null, null, 'number', 'update', fields, null, tenant_id, digits)::voice_agent_changes)
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
        )::voice_agent_changes];
    end if;
    insert into voice_agent_changes (entity, operation, fields, config_id, tenant_id, digits)
    select entity, operation, fields, config_id, tenant_id, digits from unnest(found);
    perform pg_notify('trunkline_' || md5(tg_table_schema), '');
    return null;
end
$$;

do $$
declare
    watched text;
begin
    foreach watched in array array['voice_agent_livekit', 'voice_agent_numbers'] loop
        execute format(
            'create trigger trunkline_log_insert after insert on %I
             referencing new table as new_rows
             for each statement execute function trunkline_log_changes()', watched);
        execute format(
            'create trigger trunkline_log_update after update on %I
             referencing old table as old_rows new table as new_rows
             for each statement execute function trunkline_log_changes()', watched);
        execute format(
            'create trigger trunkline_log_delete after delete on %I
             referencing old table as old_rows
             for each statement execute function trunkline_log_changes()', watched);
        execute format(
            'create trigger trunkline_log_truncate after truncate on %I
             for each statement execute function trunkline_log_changes()', watched);
    end loop;
end
$$;

-- The log begins. This row is from before every transaction, so whoever finds it knows that nothing
-- has been pruned yet, for however long other transactions have been open.
insert into voice_agent_changes (xact, entity, operation) values ('1', 'all', 'begin');

insert into trunkline_migrations values (3, 'changes', now(), true, '\xc5e7ec67499bbc6d105aed5750bc89401d9b6305e8a0ad6ee0e65e80675a34f2a4f434bd6f0e9c14a1b7db4b8540efa4', 1);
