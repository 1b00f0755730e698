-- Takes away what the way up brought: the table only if it was made here, and never an adopted one.

drop trigger if exists trunkline_touch_updated_at on voice_agent_livekit;
drop function if exists trunkline_touch_updated_at();
drop index if exists trunkline_livekit_name;

do $$
declare
    added record;
begin
    if obj_description('voice_agent_livekit'::regclass) = 'made by trunkline' then
        drop table voice_agent_livekit;
        return;
    end if;
    if exists (
        select from pg_attribute
        where attrelid = 'voice_agent_livekit'::regclass and attname = 'id'
            and col_description(attrelid, attnum) = 'default made by trunkline'
    ) then
        alter table voice_agent_livekit alter column id drop default;
        comment on column voice_agent_livekit.id is null;
    end if;
    for added in
        select attname as name from pg_attribute
        where attrelid = 'voice_agent_livekit'::regclass and attnum > 0 and not attisdropped
            and col_description(attrelid, attnum) = 'made by trunkline'
    loop
        execute format('alter table voice_agent_livekit drop column %I', added.name);
    end loop;
end
$$;
