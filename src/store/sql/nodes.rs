//! The rows of the nodes. Only how times and snapshots are written differs between the databases.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Error;
use uuid::Uuid;

use super::{Dialect, SqlStore};
use crate::rollout::{Counts, NodeCounts};
use crate::store::StoreError;
use crate::store::nodes::{
    ChangePlace, Node, NodeCensus, NodeReport, NodeRows, NodeState, NodeWritten,
};
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};

/// The statements.
pub(super) struct Listing {
    begin: Statement,
    refresh: Statement,
    /// Of a step before that of the runs.
    begin_uncounted: Statement,
    refresh_uncounted: Statement,
    counts: Statement,
    end: Statement,
    forget: Statement,
    nodes: Statement,
    count: Statement,
    find_change: Statement,
    nodes_and_change: Statement,
}

impl Listing {
    pub(super) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        // No node holds a connection for what it tells of itself.
        let statement = |name, text| templates.statement(name, text).in_passing();
        Self {
            begin: statement("begin_node", BEGIN),
            refresh: statement("refresh_node", REFRESH),
            begin_uncounted: statement("begin_node", &uncounted(BEGIN)),
            refresh_uncounted: statement("refresh_node", &uncounted(REFRESH)),
            counts: statement("node_counts", COUNTS_INSIDE),
            end: statement("end_node", END),
            forget: statement("forget_nodes", FORGET),
            nodes: statement("nodes", NODES),
            count: statement("count_nodes", COUNT),
            find_change: statement("find_change", FIND_CHANGE),
            nodes_and_change: statement("nodes_and_change", dialect.nodes_and_change),
        }
    }
}

#[async_trait]
impl<S: SqlStore> NodeRows for S {
    async fn begin_node(&self, id: Uuid, node: &NodeReport<'_>) -> Result<NodeWritten, StoreError> {
        let Listing { begin, begin_uncounted, .. } = &self.statements().listing;
        let (mut values, counts) = (values(id, node), counts(node));
        let known = values.len();
        values.extend(counts);
        let begun = match self.pool().write_returning(begin, &values, written).await {
            Err(StoreError::NotMigrated { .. }) => {
                self.pool().write_returning(begin_uncounted, &values[..known], written).await?
            }
            begun => begun?,
        };
        begun.ok_or(StoreError::Row { statement: begin.name })
    }

    async fn refresh_node(
        &self,
        id: Uuid,
        node: &NodeReport<'_>,
        (least, most): (i64, i64),
    ) -> Result<Option<NodeWritten>, StoreError> {
        let Listing { refresh, refresh_uncounted, .. } = &self.statements().listing;
        let mut values = values(id, node);
        values.extend([least.into(), most.into()]);
        let known = values.len();
        values.extend(counts(node));
        match self.pool().write_returning(refresh, &values, written).await {
            Err(StoreError::NotMigrated { .. }) => {
                self.pool().write_returning(refresh_uncounted, &values[..known], written).await
            }
            refreshed => refreshed,
        }
    }

    async fn end_node(&self, id: Uuid) -> Result<(), StoreError> {
        self.pool().write(&self.statements().listing.end, &[id.into()]).await.map(drop)
    }

    async fn forget_nodes(&self) -> Result<u64, StoreError> {
        self.pool().write(&self.statements().listing.forget, &[]).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.pool().read(&self.statements().listing.nodes, &[], read_node).await
    }

    async fn node_counts(&self) -> Result<Vec<NodeCounts>, StoreError> {
        self.pool().read(&self.statements().listing.counts, &[], read_counts).await
    }

    async fn count_nodes(&self) -> Result<Option<NodeCensus>, StoreError> {
        let read = |row: &_| {
            let many = |column| Ok::<_, Error>(Record::own_int(row, column)?.unsigned_abs());
            Ok(NodeCensus {
                live: many("live")?,
                silent: many("silent")?,
                keys: many("rings")?,
                settings: many("fingerprints")?,
                versions: many("versions")?,
            })
        };
        self.pool().read_one(&self.statements().listing.count, &[], read).await
    }

    async fn find_change(&self, seq: i64) -> Result<ChangePlace, StoreError> {
        let statement = &self.statements().listing.find_change;
        let read = |row: &_| {
            if Record::own_int(row, "found")? > 0 {
                return Ok(ChangePlace::Logged);
            }
            let oldest = Record::int(row, "oldest")?.zip(Record::real(row, "age")?);
            // Pruning leaves a row that is old enough to go, and so older than this.
            let pruned = oldest.is_some_and(|(oldest, age)| seq < oldest && age > LEAST_KEPT);
            if pruned {
                return Ok(ChangePlace::Pruned);
            }
            Ok(ChangePlace::Missing { newest: Record::own_int(row, "newest")? })
        };
        let found = self.pool().read_one(statement, &[seq.into()], read).await?;
        found.ok_or(StoreError::Row { statement: statement.name })
    }

    async fn nodes_and_change(&self, seq: i64) -> Result<Vec<(Node, bool)>, StoreError> {
        let read = |row: &_| Ok((read_node(row)?, Record::own_int(row, "seen")? > 0));
        let statement = &self.statements().listing.nodes_and_change;
        self.pool().read(statement, &[seq.into()], read).await
    }
}

/// The values of `{node_values}`, and of those of a refresh.
fn values<'v>(id: Uuid, node: &NodeReport<'v>) -> Vec<Value<'v>> {
    vec![
        id.into(),
        node.name.into(),
        node.host.into(),
        node.program.into(),
        env!("CARGO_PKG_VERSION").into(),
        node.keys.into(),
        node.settings.into(),
        node.hearing.into(),
        Value::Real(node.lease.as_secs_f64()),
        Value::Real(node.max_stale.as_secs_f64()),
        node.applied.into(),
        node.cached.into(),
    ]
}

/// What only a database of the step of the runs has a place for.
fn counts<'v>(node: &NodeReport<'v>) -> [Value<'v>; 2] {
    let many = |count| i64::try_from(count).unwrap_or(i64::MAX).into();
    [many(node.counts.inside), many(node.counts.faults)]
}

/// A statement for a database that has no such place. It ends without these values.
fn uncounted(statement: &str) -> String {
    [", inside = $15, faults = $16", ", inside, faults", ", $13, $14, 1, {now}"]
        .into_iter()
        .zip(["", "", ", 1, {now}"])
        .fold(statement.to_owned(), |statement, (with, without)| statement.replace(with, without))
}

fn read_counts(row: &impl Record) -> Result<NodeCounts, Error> {
    let (now, age) = (row.real("now")?, row.real("age")?);
    let (now, age) = (now.unwrap_or_default(), age.unwrap_or_default().max(0.0));
    let many = |column| Ok::<_, Error>(row.int(column)?.map(i64::unsigned_abs));
    let counts = many("inside")?.zip(many("faults")?);
    let since = row.time("started_at")?.map_or(0, |time| time.timestamp_millis());
    Ok(NodeCounts {
        id: row.own_id("id")?,
        name: row.own_text("name")?,
        since: Duration::from_millis(since.unsigned_abs()).as_secs_f64(),
        told_at: now - age,
        is_live: NodeState::of(Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX))
            == NodeState::Live,
        counts: counts.map(|(inside, faults)| Counts { inside, faults }),
    })
}

fn written(row: &impl Record) -> Result<NodeWritten, Error> {
    let clock = row.real("clock")?.unwrap_or_default();
    Ok(NodeWritten { refreshes: row.own_int("refreshes")?, clock })
}

/// A node as `{node_columns}` tell it.
fn read_node(row: &impl Record) -> Result<Node, Error> {
    let time = |column| {
        let seconds = row.real(column)?.unwrap_or_default();
        Ok::<_, Error>(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
    };
    let (keys, age) = (row.own_text("keys")?, time("age")?);
    Ok(Node {
        id: row.own_id("id")?,
        name: row.own_text("name")?,
        host: row.own_text("host")?,
        program: row.own_text("program")?,
        version: row.own_text("version")?,
        keys: keys.split(',').filter(|key| !key.is_empty()).map(ToOwned::to_owned).collect(),
        settings: row.own_text("settings")?,
        hearing: row.own_text("hearing")?,
        lease: time("lease")?,
        max_stale: time("max_stale")?,
        applied: row.text("applied")?,
        cached: row.own_int("cached")?.unsigned_abs(),
        since: row.time("started_at")?,
        age,
        state: NodeState::of(age),
    })
}

/// The columns of a node. A text of any length is cut before it leaves the database.
pub(super) const NODE_COLUMNS: &str =
    "n.id, substr(n.name, 1, 255) as name, substr(n.host, 1, 255) as host,
        substr(n.program, 1, 255) as program, substr(n.version, 1, 64) as version,
        substr(n.keys, 1, 1024) as keys, substr(n.settings, 1, 64) as settings,
        substr(n.hearing, 1, 64) as hearing, n.lease, n.max_stale,
        substr(cast(n.applied as text), 1, 65536) as applied, n.cached, n.started_at,
        {node_age} as age";

/// Whether a node counts: it may go on answering for so long. One whose `MAX_STALE` is shorter must
/// not come and go between two refreshes.
pub(super) const COUNTS: &str = "{node_age} < {counts_for}";

const BEGIN: &str = "
    insert into {schema}.trunkline_nodes
        (id, name, host, program, version, keys, settings, hearing, lease, max_stale, applied, cached, inside, faults,
            refreshes, started_at, refreshed_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, {applied}, $12, $13, $14, 1, {now}, {now})
    returning refreshes, {clock} as clock";

const REFRESH: &str = "
    update {schema}.trunkline_nodes set
        name = $2, host = $3, program = $4, version = $5, keys = $6, settings = $7, hearing = $8,
        lease = $9, max_stale = $10, applied = {applied}, cached = $12, inside = $15, faults = $16,
        refreshes = refreshes + 1, refreshed_at = {now}
    where id = $1 and refreshes between $13 and $14
    returning refreshes, {clock} as clock";

const END: &str = "delete from {schema}.trunkline_nodes where id = $1";

const FORGET: &str =
    "delete from {schema}.trunkline_nodes as n where {node_age} > {counts_for} + 86400";

const NODES: &str = "
    select {node_columns} from {schema}.trunkline_nodes as n
    where {counts}
    order by n.name, n.id limit 10000";

const COUNT: &str = "
    select count(*) filter (where {node_age} < 30) as live,
        count(*) filter (where {node_age} >= 30) as silent,
        count(distinct n.keys) filter (where {node_age} < 30) as rings,
        count(distinct n.settings) filter (where {node_age} < 30) as fingerprints,
        count(distinct n.version) filter (where {node_age} < 30) as versions
    from {schema}.trunkline_nodes as n
    where {counts}";

const COUNTS_INSIDE: &str = "
    select n.id, substr(n.name, 1, 255) as name, n.started_at, {node_age} as age, {clock} as now,
        n.inside, n.faults
    from {schema}.trunkline_nodes as n
    where {counts}
    order by n.name, n.id limit 10000";

/// The oldest row is told, too: what is before it was pruned, unless it never was.
const FIND_CHANGE: &str = "
    select (select coalesce(max(seq), 0) from {schema}.voice_agent_changes) as newest,
        (select count(*) from {schema}.voice_agent_changes where seq = $1) as found,
        oldest.seq as oldest, oldest.age as age
    from (select 1 as one) as always
    left join (
        select seq, {age} as age from {schema}.voice_agent_changes
        where operation <> 'begin'
        order by seq limit 1
    ) as oldest on true";

/// The shortest `CHANGE_LOG_KEEP`, in seconds.
const LEAST_KEPT: f64 = 3600.0;
