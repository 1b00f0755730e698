//! The statements of the audit.

use crate::store::sql::Dialect;
use crate::store::statement::{Statement, Templates};

/// The statements.
pub(in crate::store::sql) struct Auditing {
    pub(super) page: Statement,
    pub(super) last_edits: Statement,
    pub(super) chain: Statement,
    pub(super) walk: Statement,
    pub(super) count_new: Statement,
    pub(super) lock: Statement,
    pub(super) end: Statement,
    pub(super) new_rows: Statement,
    pub(super) these_rows: Statement,
    pub(super) link: Statement,
    pub(super) few_rows: Statement,
    pub(super) few_links: Statement,
    pub(super) prunable: Statement,
    pub(super) prune: Option<Statement>,
    pub(super) begin_pruning: Statement,
    pub(super) prune_rows: Statement,
    pub(super) prune_chain: Statement,
    pub(super) tell_pruning: Statement,
    pub(super) end_pruning: Statement,
    pub(super) unaudited: Statement,
}

impl Auditing {
    pub(in crate::store::sql) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        let statement = |name, text: &'static str| templates.statement(name, text);
        Self {
            page: statement("audit_page", PAGE),
            last_edits: statement("last_edits", LAST_EDITS),
            chain: statement("audit_chain", CHAIN),
            walk: statement("audit_unsealed", WALK),
            count_new: statement("count_unsealed", COUNT_NEW).in_passing(),
            lock: statement("seal_audit", dialect.audit_lock),
            end: statement("seal_audit", END),
            new_rows: statement("seal_audit", NEW_ROWS),
            these_rows: statement("seal_audit", THESE_ROWS),
            link: statement("seal_audit", LINK),
            few_rows: statement("seal_audit", FEW_ROWS).in_passing(),
            few_links: statement("seal_audit", LINK).in_passing(),
            prunable: statement("prune_audit", PRUNABLE),
            prune: dialect.prune_audit.map(|text| statement("prune_audit", text)),
            begin_pruning: statement("prune_audit", BEGIN_PRUNING),
            prune_rows: statement("prune_audit", PRUNE_ROWS),
            prune_chain: statement("prune_audit", PRUNE_CHAIN),
            tell_pruning: statement("prune_audit", TELL_PRUNING),
            end_pruning: statement("prune_audit", END_PRUNING),
            unaudited: statement("unaudited", dialect.unaudited),
        }
    }
}

/// What the parts of these statements are.
pub(in crate::store::sql) const AUDIT_PARTS: &[(&str, &str)] = &[
    (
        "{audit_columns}",
        "a.id, {audit_at} as at, {audit_xact} as xact, a.entity, a.operation, a.row_id, a.tenant_id,
        a.digits, cast(a.before as text) as before, cast(a.after as text) as after,
        {audit_login} as login, {audit_address} as address, cast(a.claimed as text) as claimed",
    ),
    (
        "{not_chained}",
        "not exists (select 1 from {schema}.trunkline_audit_chain as c where c.audit_id = a.id)",
    ),
];

/// Facts and claims alike answer to who it was.
const PAGE: &str = "
    select {audit_columns}, c.position
    from {schema}.trunkline_audit as a
    left join {schema}.trunkline_audit_chain as c on c.audit_id = a.id
    where a.id < $1
        and ($2 is null or a.at >= {audit_time_2})
        and ($3 is null or a.at < {audit_time_3})
        and ($4 is null or a.entity = $4)
        and ($5 is null or a.operation = $5)
        and ($6 is null or a.row_id = $6)
        and ($7 is null or a.tenant_id = $7)
        and ($8 is null or a.digits = $8)
        and ($9 is null or {audit_login} = $9 or a.claimed ->> 'actor' = $9
            or a.claimed ->> 'client' = $9 or a.claimed ->> 'client_name' = $9)
        and ($10 is null or a.claimed ->> 'request' = $10)
    order by a.id desc
    limit $11";

const LAST_EDITS: &str = "
    select {audit_columns}, c.position
    from {schema}.trunkline_audit as a
    left join {schema}.trunkline_audit_chain as c on c.audit_id = a.id
    where a.id in (
        select max(last.id) from {schema}.trunkline_audit as last
        where last.entity = $2 and last.row_id in (select cast(t.value as text) from {audit_listed_1})
        group by last.row_id
    )";

const CHAIN: &str = "
    select c.position, c.hash, c.audit_id, {audit_columns}
    from {schema}.trunkline_audit_chain as c
    left join {schema}.trunkline_audit as a on a.id = c.audit_id
    where c.position > $1
    order by c.position
    limit $2";

const WALK: &str = "
    select a.id, c.position
    from {schema}.trunkline_audit as a
    left join {schema}.trunkline_audit_chain as c on c.audit_id = a.id
    where a.id > $1
    order by a.id
    limit $2";

const COUNT_NEW: &str = "
    select count(*) as many from (
        select 1 from {schema}.trunkline_audit as a
        where {may_be_new} and {not_chained}
        limit $1
    ) as new_ones";

const END: &str = "
    select position, hash, horizon
    from {schema}.trunkline_audit_chain
    order by position desc limit 1";

/// The horizon is of the same moment as the rows.
const NEW_ROWS: &str = "
    select {audit_columns}, {audit_horizon} as horizon
    from {schema}.trunkline_audit as a
    where {may_be_new} and {not_chained}
    order by a.id
    limit $1";

const THESE_ROWS: &str = "
    select {audit_columns}, cast(null as text) as horizon
    from {schema}.trunkline_audit as a
    where a.id in (select cast(t.value as bigint) from {audit_listed_1}) and {not_chained}
    order by a.id";

/// The end of the chain beside each, or alone where there are none.
const FEW_ROWS: &str = "
    select e.position as end_position, e.hash as end_hash, e.horizon as end_horizon,
        {audit_horizon} as horizon, {audit_columns}
    from (select 1 as one) as always
    left join (
        select position, hash, horizon
        from {schema}.trunkline_audit_chain
        order by position desc limit 1
    ) as e on true
    left join (
        select a.* from {schema}.trunkline_audit as a
        where {may_be_new} and {not_chained}
        order by a.id
        limit $1
    ) as a on true
    order by a.id";

const LINK: &str = "
    insert into {schema}.trunkline_audit_chain (position, audit_id, hash, horizon)
    select cast(t.value ->> 0 as bigint), cast(t.value ->> 1 as bigint), t.value ->> 2, $2
    from {audit_links_1}";

/// Pruning where nobody needs a right for it: a file. Up to where the chain may go: before the first row
/// that is too young or is gone, but for the checkpoint, and no further than so many.
const PRUNABLE: &str = "
    select coalesce(
        min(case when a.id is null or a.at >= {ago_1} then c.position end) - 1, max(c.position)
    ) as position
    from (
        select position, audit_id from {schema}.trunkline_audit_chain
        order by position limit $2
    ) as c
    left join {schema}.trunkline_audit as a on a.id = c.audit_id
    where a.id is not null
        or c.position > (select min(position) from {schema}.trunkline_audit_chain)";

const BEGIN_PRUNING: &str = "insert into {schema}.trunkline_audit_session (prunes) values (1)";

const PRUNE_ROWS: &str = "
    delete from {schema}.trunkline_audit where id in (
        select audit_id from {schema}.trunkline_audit_chain where position <= $1
    )";

/// The last link stays, as the checkpoint.
const PRUNE_CHAIN: &str = "
    delete from {schema}.trunkline_audit_chain where position < $1";

const TELL_PRUNING: &str = "
    insert into {schema}.trunkline_audit (entity, operation, row_id, after)
    select 'audit', 'prune', cast(position as text),
        json_object('position', position, 'hash', hash, 'rows', $2)
    from {schema}.trunkline_audit_chain where position = $1";

const END_PRUNING: &str = "delete from {schema}.trunkline_audit_session";
