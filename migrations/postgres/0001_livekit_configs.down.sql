-- Takes away what the way up brought: the table only if it was made here, and never an adopted one.

drop trigger if exists trunkline_touch_updated_at on {schema}.voice_agent_livekit;
drop function if exists {schema}.trunkline_touch_updated_at();
drop index if exists {schema}.trunkline_livekit_name;

do $do$
declare
    configs regclass := to_regclass(format('%I.voice_agent_livekit', {schema_text}));
    added record;
begin
    if obj_description(configs, 'pg_class') = 'made by trunkline' then
        drop table {schema}.voice_agent_livekit;
        return;
    end if;
    if exists (
        select from pg_attribute
        where attrelid = configs and attname = 'id'
            and col_description(attrelid, attnum) = 'default made by trunkline'
    ) then
        alter table {schema}.voice_agent_livekit alter column id drop default;
        comment on column {schema}.voice_agent_livekit.id is null;
    end if;
    for added in
        select attname as name from pg_attribute
        where attrelid = configs and attnum > 0 and not attisdropped
            and col_description(attrelid, attnum) = 'made by trunkline'
    loop
        execute format('alter table %s drop column %I', configs, added.name);
    end loop;
end
$do$;
