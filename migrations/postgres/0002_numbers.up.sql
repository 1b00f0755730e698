-- The caller numbers of the tenants, adopted like the configs. A number is looked up by its digits,
-- country code and all, which no column holds: the index below holds them.

do $do$
declare
    numbers regclass := to_regclass(format('%I.voice_agent_numbers', {schema_text}));
begin
    if numbers is null then
        create table {schema}.voice_agent_numbers (
            id uuid primary key default gen_random_uuid(),
            tenant_id uuid not null,
            country_code text not null default '+971',
            base_number bigint not null,
            provider text,
            rules jsonb not null default '{}'
        );
        comment on table {schema}.voice_agent_numbers is 'made by trunkline';
        numbers := to_regclass(format('%I.voice_agent_numbers', {schema_text}));
    end if;

    if not exists (
        select from pg_attrdef join pg_attribute on adrelid = attrelid and adnum = attnum
        where attrelid = numbers and attname = 'id'
    ) then
        alter table {schema}.voice_agent_numbers alter column id set default gen_random_uuid();
        comment on column {schema}.voice_agent_numbers.id is 'default made by trunkline';
    end if;

    -- A tenant has a number once. An adopted table may say otherwise, now or later, and is not
    -- narrowed: there the row with the lowest id answers, and `trunkline doctor` counts the doubles.
    if obj_description(numbers, 'pg_class') = 'made by trunkline' then
        create unique index trunkline_numbers_digits on {schema}.voice_agent_numbers (
            (ltrim(country_code, '+0 ') || cast(base_number as text)), tenant_id
        );
    else
        create index trunkline_numbers_digits on {schema}.voice_agent_numbers (
            (ltrim(country_code, '+0 ') || cast(base_number as text)), tenant_id
        );
    end if;

    -- "Which numbers use this config" is asked before a config is removed.
    -- However the rules spell its id.
    create index trunkline_numbers_config on {schema}.voice_agent_numbers (
        replace(lower(trim(rules ->> 'livekit_config', '{}')), '-', '')
    );
end
$do$;
