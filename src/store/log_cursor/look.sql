select
    case when pg_is_in_recovery()
        then concat(pg_snapshot_xmin(pg_current_snapshot()), ':',
            pg_snapshot_xmin(pg_current_snapshot()), ':')
        else cast(pg_current_snapshot() as text)
    end as snapshot,
    cast(pg_backend_pid() as bigint) as backend,
    case when pg_is_in_recovery()
        then cast(cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as bigint)
    end as oldest,
    concat_ws('/', extract(epoch from pg_postmaster_start_time()),
        pg_relation_filenode(to_regclass(format('%I.voice_agent_changes', {schema_text}))),
        cast(to_regclass(format('%I.voice_agent_livekit', {schema_text})) as oid),
        cast(to_regclass(format('%I.voice_agent_numbers', {schema_text})) as oid)) as incarnation,
    (select coalesce(max(seq), 0) from {schema}.voice_agent_changes) as newest,
    (select xact from {schema}.voice_agent_changes order by xact limit 1)
        < pg_snapshot_xmin(cast($1 as pg_snapshot))
    or (select xact from {schema}.voice_agent_changes order by xact desc limit 1)
        >= pg_snapshot_xmax(pg_current_snapshot()) as reaches_back,
    {audit_columns},
    news.*
from (values (1)) as always
{audit_of_triggers}
left join (
    (
        select {change_columns}, cast(cast(xact as text) as bigint) as xact
        from {schema}.voice_agent_changes
        where xact >= pg_snapshot_xmax(cast($1 as pg_snapshot))
            and xact < pg_snapshot_xmax(pg_current_snapshot())
            and not seq = any($4)
        order by voice_agent_changes.xact limit $2
    ) union all (
        select {change_columns}, cast(cast(xact as text) as bigint) as xact
        from {schema}.voice_agent_changes
        where xact = any(array(select pg_snapshot_xip(cast($1 as pg_snapshot))))
            and not seq = any($4)
        limit $2
    ) union all (
        select {change_columns}, cast(cast(xact as text) as bigint) as xact
        from {schema}.voice_agent_changes
        where seq > $3
            and not (xact >= pg_snapshot_xmax(cast($1 as pg_snapshot))
                and xact < pg_snapshot_xmax(pg_current_snapshot()))
            and not xact = any(array(select pg_snapshot_xip(cast($1 as pg_snapshot))))
            and not seq = any($4)
        order by seq limit $2
    )
) as news on true
order by seq limit $2
