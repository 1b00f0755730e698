//! The parts of statements that only Postgres understands.

use crate::store::sql::Dialect;

/// What only Postgres understands.
pub(super) const DIALECT: Dialect = Dialect {
    parts: &[
        ("{age}", AGE),
        ("{config_named}", CONFIG_NAMED),
        (
            "{listed_1}",
            "select cast(t.value as uuid) from json_array_elements_text(cast($1 as json)) as t (value)",
        ),
        (
            "{listed_3}",
            "select cast(t.value as uuid) from json_array_elements_text(cast($3 as json)) as t (value)",
        ),
        ("{ms_of_change}", "cast(floor(extract(epoch from {time_of_change}) * 1000) as bigint)"),
        (
            "{time_of_change}",
            "case when c.updated_at between '1900-01-01' and '9999-01-01' then c.updated_at end",
        ),
        ("{texts_3}", "select value from json_array_elements_text(cast($3 as json)) as t (value)"),
        ("{tenant_of_7}", "cast(substr($7, 1, 32) as uuid)"),
        (
            "{batch_age}",
            "cast(extract(epoch from clock_timestamp() - b.beat_at) as double precision)",
        ),
        ("{json_6}", "cast($6 as jsonb)"),
        ("{texts_2}", "json_array_elements_text(cast($2 as json)) as p (value)"),
        ("{key_of_config}", "replace(cast(c.id as text), '-', '')"),
        ("{to_write_numbers}", "for update of n"),
        ("{to_write_config}", "for update of c"),
        ("{to_write_keys}", "for update"),
        // Removing it waits, editing it does not.
        ("{to_name_config}", "for key share of c"),
        (
            "{rules_with_2}",
            "{rules_object} || jsonb_build_object('livekit_config', cast($2 as text))",
        ),
        ("{login}", "substr(login, 1, 255)"),
        ("{rules_without}", "{rules_object} - 'livekit_config'"),
        ("{rules_object}", RULES_OBJECT),
        (
            "{answer_age}",
            "cast(extract(epoch from clock_timestamp() - answered_at) as double precision)",
        ),
        ("{node_age}", NODE_AGE),
        ("{pair_age}", PAIR_AGE),
        ("{call_age}", CALL_AGE),
        ("{counts_for}", "greatest(n.max_stale, 30)"),
        ("{applied}", "cast($11 as pg_snapshot)"),
        ("{now}", "clock_timestamp()"),
        ("{for_update}", "for update"),
        ("{locked_until}", LOCKED_UNTIL),
        ("{clock}", "cast(extract(epoch from clock_timestamp()) as double precision)"),
        ("{time_of_5}", "to_timestamp($5)"),
        ("{after_2}", "clock_timestamp() + make_interval(secs => $2)"),
        (
            "{blocked_age}",
            "cast(extract(epoch from clock_timestamp() - blocked_since) as double precision)",
        ),
        ("{after_3}", "clock_timestamp() + make_interval(secs => $3)"),
        ("{after_5}", "clock_timestamp() + make_interval(secs => $5)"),
        ("{after_9}", "clock_timestamp() + make_interval(secs => $9)"),
        ("{audit_at}", "to_char(a.at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"),
        ("{audit_xact}", "cast(a.xact as text)"),
        ("{audit_login}", "a.login"),
        ("{audit_address}", "a.address"),
        ("{audit_time_2}", "to_timestamp($2)"),
        ("{audit_time_3}", "to_timestamp($3)"),
        ("{audit_horizon}", "cast(pg_snapshot_xmin(pg_current_snapshot()) as text)"),
        ("{may_be_new}", MAY_BE_NEW),
        ("{audit_listed_1}", "json_array_elements_text(cast($1 as json)) as t (value)"),
        ("{audit_links_1}", "json_array_elements(cast($1 as json)) as t (value)"),
        ("{ago_1}", "clock_timestamp() - make_interval(secs => $1)"),
    ],
    route: ROUTE,
    routes: ROUTES,
    assign: ASSIGN,
    unassign: UNASSIGN,
    prune_changes: PRUNE_CHANGES,
    nodes_and_change: NODES_AND_CHANGE,
    audit_lock: AUDIT_LOCK,
    prune_audit: Some(PRUNE_AUDIT),
    unaudited: UNAUDITED,
    knows_keys: KNOWS_KEYS,
    hold_keys: HOLD_KEYS,
    reseal_all: RESEAL_ALL,
    knows_pairs: KNOWS_PAIRS,
    knows_calls: KNOWS_CALLS,
    marks_resealing: false,
    say_behalf: SAY_BEHALF,
    unsay_behalf: None,
    #[cfg(feature = "server")]
    own_written: OWN_WRITTEN,
    #[cfg(feature = "server")]
    newest_written: NEWEST_WRITTEN,
};

/// The rules as an object, also where an adopted column has the type json.
const RULES_OBJECT: &str = "case when jsonb_typeof(cast(rules as jsonb)) = 'object'
        then cast(rules as jsonb) else cast('{}' as jsonb) end";

/// How long ago a change was written.
const AGE: &str = "cast(extract(epoch from clock_timestamp() - changed_at) as double precision)";

/// A quarter of an hour, doubled by each further failure, up to sixteen hours.
const LOCKED_UNTIL: &str =
    "clock_timestamp() + make_interval(secs => 900 * power(2, least(failures - 9, 6)))";

/// For how long a pair is in its phase.
const PAIR_AGE: &str = "cast(extract(epoch from clock_timestamp() - p.since) as double precision)";

/// How long ago a call was dialled.
const CALL_AGE: &str =
    "cast(extract(epoch from clock_timestamp() - k.dialled_at) as double precision)";

/// How long ago a node gave its last sign of life.
const NODE_AGE: &str =
    "cast(extract(epoch from clock_timestamp() - n.refreshed_at) as double precision)";

/// The id that the rules name; null for what is none. A text that is no UUID must not reach the cast,
/// so a pattern guards it: every form that Postgres reads, braces and missing hyphens included. The
/// usual form is known without it, since it takes longer than all else.
const CONFIG_NAMED: &str = "case
            when rules ->> 'livekit_config' like '________-____-____-____-____________'
                and length(translate(rules ->> 'livekit_config', '-', '')) = 32
                and translate(rules ->> 'livekit_config', '-0123456789abcdefABCDEF', '') = ''
            then cast(rules ->> 'livekit_config' as uuid)
            when rules ->> 'livekit_config'
                ~* '^([0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}|[{][0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}[}])$'
            then cast(rules ->> 'livekit_config' as uuid)
        end";

const ROUTE: &str = "
    select {rules_columns}, {credential_columns}
    from (
        select cast(rules as text) as rules, provider, {config_named} as config
        from {schema}.voice_agent_numbers
        where {this_number}
        order by id limit 1
    ) as n
    left join {schema}.voice_agent_livekit as c on c.id = n.config";

/// For each of many, as above.
const ROUTES: &str = "
    select wanted.place - 1 as place, {rules_columns}, {credential_columns}
    from unnest($1, $2) with ordinality as wanted (digits, tenant_id, place)
    cross join lateral (
        select cast(rules as text) as rules, provider, {config_named} as config
        from {schema}.voice_agent_numbers as known
        where {digits} = wanted.digits and known.tenant_id = wanted.tenant_id
        order by id limit 1
    ) as n
    left join {schema}.voice_agent_livekit as c on c.id = n.config";

const ASSIGN: &str = "
    update {schema}.voice_agent_numbers set rules = {rules_object}
        || jsonb_build_object('livekit_config', cast($3 as text))
    where {this_number}";

const UNASSIGN: &str = "
    update {schema}.voice_agent_numbers set rules = {rules_without}
    where {this_number}";

/// What this transaction has logged; nothing, where it changed nothing that a call depends on.
#[cfg(feature = "server")]
const OWN_WRITTEN: &str = "
    select seq, cast(cast(xact as text) as bigint) as place
    from {schema}.voice_agent_changes
    where xact = pg_current_xact_id()
    order by seq desc limit 1";

#[cfg(feature = "server")]
const NEWEST_WRITTEN: &str = "
    select seq, cast(cast(xact as text) as bigint) as place
    from {schema}.voice_agent_changes
    order by xact desc, seq desc limit 1";

/// By transaction, so that whoever finds a row from before his horizon has missed none; and never
/// the last one of those. That one is also from before every transaction that is still open, since
/// no horizon is later than those. Rows of transactions that are yet to come, which a restore
/// brought, go with them: one that stayed would say that nothing was pruned.
const PRUNE_CHANGES: &str = "
    delete from {schema}.voice_agent_changes
    where changed_at < clock_timestamp() - make_interval(secs => $1) and (
        xact < (
            select xact from {schema}.voice_agent_changes
            where changed_at < clock_timestamp() - make_interval(secs => $1)
                and xact < pg_snapshot_xmin(pg_current_snapshot())
            order by xact desc limit 1
        ) or xact >= pg_snapshot_xmax(pg_current_snapshot())
            and seq < (select max(seq) from {schema}.voice_agent_changes)
    )";

/// Whether the snapshot of a node's last look has the transaction of the change. Of a change that was
/// pruned that is not known any more. It was from before the transaction of every row that is left, so
/// a snapshot by which all up to such a one had ended has it.
const NODES_AND_CHANGE: &str = "
    select {node_columns}, cast(case
        when n.applied is null then 0
        when logged.xact is not null and pg_visible_in_snapshot(logged.xact, n.applied) then 1
        when logged.xact is null and pg_snapshot_xmin(n.applied) > oldest.xact then 1
        else 0
    end as bigint) as seen
    from {schema}.trunkline_nodes as n
    left join {schema}.voice_agent_changes as logged on logged.seq = $1
    left join (
        select xact from {schema}.voice_agent_changes
        where operation <> 'begin'
        order by seq limit 1
    ) as oldest on true
    where {counts}
    order by n.name, n.id limit 10000";

/// Of transactions that had not all ended when the chain was written last, or beyond its newest row. A
/// horizon that is yet to come is of another server; then any row may be new.
const MAY_BE_NEW: &str = "(a.xact >= coalesce((
            select case when cast(horizon as xid8) <= pg_snapshot_xmax(pg_current_snapshot())
                then cast(horizon as xid8) else cast('0' as xid8) end
            from {schema}.trunkline_audit_chain order by position desc limit 1
        ), cast('0' as xid8))
        or a.id > (select coalesce(max(audit_id), 0) from {schema}.trunkline_audit_chain))";

/// For the transaction, so that a pooler may stand before the server. Nobody waits for it.
const AUDIT_LOCK: &str = "
    select cast(cast(pg_try_advisory_xact_lock(
        hashtextextended('trunkline audit ' || {schema_text}, 0)) as int) as bigint) as got";

const KNOWS_KEYS: &str = "
    select cast(case
        when state is null then 0
        when keys is null then 1
        when has_table_privilege(keys, 'select') then 3
        else 2 end as bigint) as many
    from (select to_regclass(format('%I.trunkline_key_state', {schema_text})) as state,
        to_regclass(format('%I.trunkline_keys', {schema_text})) as keys) as ours";

const KNOWS_PAIRS: &str = "
    select cast(count(*) filter (where has_table_privilege(place, 'select')) as bigint) as many
    from to_regclass(format('%I.trunkline_pairs', {schema_text})) as place";

const KNOWS_CALLS: &str = "
    select cast(count(*) filter (where has_table_privilege(place, 'select')) as bigint) as many
    from to_regclass(format('%I.trunkline_calls', {schema_text})) as place";

const HOLD_KEYS: &str = "select {schema}.trunkline_hold_key_state({schema_text}) as epoch";

/// The update time of a row stays, and nobody waits for the disk: what a crash takes back is sealed as it
/// was, and found again. A row that somebody else has locked is left to him.
const RESEAL_ALL: &str = "
    with said as materialized (
        select set_config('trunkline.resealing', 'on', true), set_config('synchronous_commit', 'off', true),
            {schema}.trunkline_hold_key_state({schema_text}) as epoch
    ), given as materialized (
        select cast(t.id as uuid) as id, t.was, t.url, t.key, t.sealed
        from said cross join json_to_recordset(cast($1 as json))
            as t (id text, was text, url text, key text, sealed text)
        where said.epoch = $2
    ), free as materialized (
        select c.id, given.was, given.url, given.key, given.sealed
        from given join {schema}.voice_agent_livekit as c on c.id = given.id
        for update of c skip locked
    )
    update {schema}.voice_agent_livekit as c set livekit_api_secret = free.sealed
    from free
    where c.id = free.id and c.livekit_api_secret = free.was
        and coalesce(c.livekit_url, '') = free.url and coalesce(c.livekit_api_key, '') = free.key
    returning c.id";

/// Who may prune has no right but on this function.
const PRUNE_AUDIT: &str = "select {schema}.trunkline_prune_audit({schema_text}, $1, $2) as many";

/// One that is disabled, or fires for replicas alone, audits nothing.
const UNAUDITED: &str = "
    select watched.name as place, happening.name as what
    from unnest(array['voice_agent_livekit', 'voice_agent_numbers', 'trunkline_clients',
        'trunkline_users', 'trunkline_tenants']) as watched (name)
    cross join unnest(array['insert', 'update', 'delete', 'truncate']) as happening (name)
    where to_regclass(format('%I.trunkline_audit', {schema_text})) is not null
        and to_regclass(format('%I.%I', {schema_text}, watched.name)) is not null
        and not exists (
            select from pg_trigger
            where tgrelid = to_regclass(format('%I.%I', {schema_text}, watched.name))
                and tgname = 'trunkline_audit_' || happening.name and tgenabled in ('O', 'A')
        )
    order by 1, 2";

/// For this transaction alone.
const SAY_BEHALF: &str = "
    select set_config('trunkline.' || key, value, true) from json_each_text(cast($1 as json))";
