-- Takes away the indexes, and the table only if it was made here.

drop index if exists trunkline_numbers_config;
drop index if exists trunkline_numbers_digits;

do $$
begin
    if obj_description('voice_agent_numbers'::regclass) = 'made by trunkline' then
        drop table voice_agent_numbers;
    end if;
end
$$;
