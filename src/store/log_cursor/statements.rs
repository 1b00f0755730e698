//! What a look asks: how the log stands and what is new in it, and as an audit whether that can be trusted.

/// One statement, so that rows and snapshot are of one moment. A replica's own snapshot does not
/// list the transactions in progress, so all from the oldest of them on count as unseen there.
///
/// Each part reads what is new and no more, by an index, however long another transaction has been
/// open: rows of transactions that had not begun at the last look, of those that were in progress then,
/// and places that were not there.
///
/// A log that was emptied or written anew has another file node, and a table that was swapped for
/// another one is that other one; a server that was restarted or
/// replaced began at another time, and may use transaction ids again that were lost.
///
/// A row that can be seen and whose transaction is yet to come was restored from another cluster. It
/// is from before every horizon, since nothing is pruned here before it is.
pub(super) const LOOK: &str = include_str!("look.sql");

/// What a look asks besides, as an audit and else: whether what the log says can be trusted.
pub(super) const AUDIT: [(&str, &str); 2] = [
    (
        "{audit_columns}",
        "triggers.many as triggers, triggers.notify as notify, (
            select min(name) from unnest(array[
                'voice_agent_changes', 'voice_agent_livekit', 'voice_agent_numbers'
            ]) as ours (name)
            where row_security_active(to_regclass(format('%I.%I', {schema_text}, name)))
        ) as hiding",
    ),
    (
        "{audit_of_triggers}",
        "cross join (
            select count(*) filter (where relname in ('voice_agent_livekit', 'voice_agent_numbers'))
                - case when to_regclass(format('%I.trunkline_users', {schema_text})) is null then 0
                    else 5 - count(*) filter (where relname in ('trunkline_users', 'trunkline_sessions'))
                end
                - case when bool_or(relname = 'trunkline_clients')
                    or to_regclass(format('%I.trunkline_clients', {schema_text})) is null
                    then 0 else 1 end
                - case when bool_or(relname = 'trunkline_rollout')
                    or to_regclass(format('%I.trunkline_rollout', {schema_text})) is null
                    then 0 else 1 end as many,
                bool_and(tgnargs = 0) as notify
            from pg_trigger
            join pg_class on pg_class.oid = tgrelid
            join pg_namespace on pg_namespace.oid = relnamespace
            where nspname = {schema_text} and tgenabled in ('O', 'A')
                and relname in ('voice_agent_livekit', 'voice_agent_numbers', 'trunkline_clients',
                    'trunkline_rollout', 'trunkline_users', 'trunkline_sessions')
                and starts_with(cast(tgname as text), 'trunkline_log_')
        ) as triggers",
    ),
];
pub(super) const NO_AUDIT: [(&str, &str); 2] = [
    (
        "{audit_columns}",
        "cast(null as bigint) as triggers, cast(null as boolean) as notify,
            cast(null as text) as hiding",
    ),
    ("{audit_of_triggers}", ""),
];
/// Insert, update, delete and truncate, on two tables. Less for each of the other tables that is there
/// and lacks its own.
pub(super) const TRIGGERS: i64 = 8;
