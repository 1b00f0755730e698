-- Takes away the indexes and the default, and the table only if it was made here.

drop index if exists trunkline_numbers_config;
drop index if exists trunkline_numbers_digits;

do $$
begin
    if obj_description('voice_agent_numbers'::regclass) = 'made by trunkline' then
        drop table voice_agent_numbers;
        return;
    end if;
    if exists (
        select from pg_attribute
        where attrelid = 'voice_agent_numbers'::regclass and attname = 'id'
            and col_description(attrelid, attnum) = 'default made by trunkline'
    ) then
        alter table voice_agent_numbers alter column id drop default;
        comment on column voice_agent_numbers.id is null;
    end if;
end
$$;
