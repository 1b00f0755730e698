-- The LiveKit servers. A deployment that has this table already keeps it, rows and all: what is
-- missing is added and marked, so that the way down takes away what this way brought and no more.
-- Everything lives in the schema that DB_SCHEMA names, and each name says so: the search path has
-- nothing in which others may create.

do $do$
declare
    configs regclass := to_regclass(format('%I.voice_agent_livekit', {schema_text}));
    wanted record;
begin
    if configs is null then
        create table {schema}.voice_agent_livekit (
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
        comment on table {schema}.voice_agent_livekit is 'made by trunkline';
        configs := to_regclass(format('%I.voice_agent_livekit', {schema_text}));
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
            where attrelid = configs and attname = columns.name
                and not attisdropped
        )
    loop
        execute format('alter table %s add column %I %s', configs, wanted.name, wanted.type);
        execute format(
            'comment on column %s.%I is %L', configs, wanted.name, 'made by trunkline'
        );
    end loop;

    -- Ids come from the database, also where an application used to bring them.
    if not exists (
        select from pg_attrdef join pg_attribute on adrelid = attrelid and adnum = attnum
        where attrelid = configs and attname = 'id'
    ) then
        alter table {schema}.voice_agent_livekit alter column id set default gen_random_uuid();
        comment on column {schema}.voice_agent_livekit.id is 'default made by trunkline';
    end if;

    -- An adopted table may lack the promise that a name is unique.
    if not exists (
        select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
        where indrelid = configs and indisunique and indnatts = 1
            and indpred is null and attname = 'name'
    ) then
        create unique index trunkline_livekit_name on {schema}.voice_agent_livekit (name);
    end if;
end
$do$;

-- The columns are compared in the function and by name: an adopted table may have others, of types
-- that cannot be compared, and a `when` would keep its owner from altering those that it names.
create function {schema}.trunkline_touch_updated_at() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
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
before update on {schema}.voice_agent_livekit
for each row execute function {schema}.trunkline_touch_updated_at();
