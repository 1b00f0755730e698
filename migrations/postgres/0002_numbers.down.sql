-- Takes away the indexes and the default, and the table only if it was made here.

drop index if exists {schema}.trunkline_numbers_config;
drop index if exists {schema}.trunkline_numbers_digits;

do $do$
declare
    numbers regclass := to_regclass(format('%I.voice_agent_numbers', {schema_text}));
begin
    if obj_description(numbers, 'pg_class') = 'made by trunkline' then
        drop table {schema}.voice_agent_numbers;
        return;
    end if;
    if exists (
        select from pg_attribute
        where attrelid = numbers and attname = 'id'
            and col_description(attrelid, attnum) = 'default made by trunkline'
    ) then
        alter table {schema}.voice_agent_numbers alter column id drop default;
        comment on column {schema}.voice_agent_numbers.id is null;
    end if;
end
$do$;
