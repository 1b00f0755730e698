with ours as (
    select oid, cast(relname as text) as name, relkind from pg_class
    where relnamespace = to_regnamespace(format('%I', {schema_text}))
        and relname in ('voice_agent_livekit', 'voice_agent_numbers')
), wanted (name, columns, kind) as (values
    ('voice_agent_livekit', array['id'], 'uuid'),
    ('voice_agent_livekit', array['name', 'description', 'livekit_url', 'livekit_api_key',
        'livekit_api_secret', 'trunk_id', 'worker_name'], 'text'),
    ('voice_agent_livekit', array['created_at', 'updated_at', 'trunkline_disabled_at'], 'timestamptz'),
    ('voice_agent_numbers', array['id', 'tenant_id'], 'uuid'),
    ('voice_agent_numbers', array['country_code', 'provider'], 'text'),
    ('voice_agent_numbers', array['base_number'], 'bigint'),
    ('voice_agent_numbers', array['rules'], 'jsonb')
), typed as (
    select ours.name, attname, attnum, kind, format_type(atttypid, atttypmod) as found, typcategory,
        cast(case when typtype = 'd' then typbasetype else atttypid end as regtype) as base
    from ours
    join wanted using (name)
    join pg_attribute on attrelid = ours.oid and cast(attname as text) = any(columns)
    join pg_type on pg_type.oid = atttypid
    where not attisdropped
)
select name as place, 'must be a plain table, and is a ' || case relkind
    when 'p' then 'partitioned table' when 'v' then 'view' when 'm' then 'materialized view'
    when 'f' then 'foreign table' else 'relation of another kind' end as what, 0 as attnum
from ours where relkind <> 'r'
union all
select name, 'must be a plain table, and is part of an inheritance', 0
from ours where relkind = 'r' and exists (
    select from pg_inherits where ours.oid in (inhparent, inhrelid)
)
union all
select name || '.' || cast(attname as text), 'must be ' || kind || ', and is ' || found, attnum
from typed
where not case kind
    when 'uuid' then base = cast('uuid' as regtype)
    when 'text' then typcategory = 'S'
    when 'timestamptz' then typcategory = 'D'
        and base in (cast('timestamptz' as regtype), cast('timestamp' as regtype))
    when 'bigint' then typcategory = 'S' or base in (cast('int2' as regtype), cast('int4' as regtype),
        cast('int8' as regtype), cast('numeric' as regtype))
    else base in (cast('json' as regtype), cast('jsonb' as regtype))
end
order by place, attnum
