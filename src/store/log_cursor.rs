//! Reads what is new in the change log of Postgres, over a connection of its own.
//!
//! A *horizon* is the snapshot of the last look: which transactions had committed by then. What is
//! new is what this look sees and that snapshot did not. The order of `seq` would not do, because a
//! transaction that wrote its row early may commit late. Nor does the snapshot alone: a server that
//! recovers from a crash gives out transaction ids again whose commits it had not flushed, which is
//! how commits that only notify are (heartbeats are). So a place beyond the newest one counts, too:
//! places that were seen are never given out again.
//!
//! **Invariant:** a horizon only moves forward together with the changes that lie between, and one
//! that means nothing any more (another server, another log, a log that was pruned) is told as such.

use std::sync::Arc;
use std::time::Duration;

use super::error::{is_of_connection, typed};
use super::postgres::PostgresSession;
use super::record::Record;
use super::session::Session;
use super::sql::read_change;
use super::statement::{Statement, Value};
use super::{LoggedChange, MOST_CHANGES, PostgresStore, StoreError};
use crate::change::Change;

/// A reader of the change log.
pub(crate) struct LogCursor {
    store: Arc<PostgresStore>,
    look: Statement,
    /// How long one look may take on a connection that is there.
    patience: Duration,
    /// How long it may take to connect and look.
    patience_for_first: Duration,
    session: Option<PostgresSession>,
    horizon: Option<Horizon>,
}

/// How far the log has been read.
struct Horizon {
    /// As `pg_current_snapshot()` writes it.
    snapshot: String,
    /// Tells this server's run and this very log from any other.
    incarnation: String,
    /// Places that the next look would see again: a replica cannot say which transactions of the
    /// primary were in progress, so there the oldest of them is the horizon.
    read: Vec<Place>,
    /// The newest place in the log.
    newest: i64,
}

/// A row that was read: its place, and its transaction.
struct Place {
    seq: i64,
    xact: i64,
}

/// How the log stands at a look.
struct State {
    snapshot: String,
    /// The oldest transaction of which the next look sees rows again, whether they were read or
    /// not. The snapshot of a primary knows better.
    oldest: Option<i64>,
    incarnation: String,
    newest: i64,
    reaches_back: bool,
    /// How many triggers write it, if that was asked.
    triggers: Option<i64>,
    /// Whether they ring, if that was asked.
    rings: Option<bool>,
    /// A table that hides rows from this role, if that was asked and there is one.
    hiding: Option<String>,
}

/// What a look found.
#[derive(Debug)]
pub(crate) struct News {
    /// What changed. Of a log that could not be followed, only what is still in it.
    pub(crate) changes: Vec<Change>,
    /// Whether that is all that changed since the look before.
    pub(crate) reach: Reach,
    /// How long ago each row was written.
    pub(crate) ages: Vec<Duration>,
    /// The newest place in the log; zero if it had no rows.
    pub(crate) newest: i64,
    /// Whether edits ring, if that was looked for.
    pub(crate) rings: Option<bool>,
}

/// How far back a look could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To the look before.
    Complete,
    /// There was none before.
    First,
    /// Not so far: the log was pruned or emptied, or it is another one.
    Gap,
}

impl LogCursor {
    /// A reader for a lease of that length: two looks may fail within it.
    pub(crate) fn new(store: Arc<PostgresStore>, lease: Duration) -> Self {
        let (patience, patience_for_first) = (lease / 3, lease);
        let look = store.statement("read_change_log", LOOK);
        Self { store, look, patience, patience_for_first, session: None, horizon: None }
    }

    /// Whether the connection is there, and so may turn out to be dead.
    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// Reads what has been committed since the last look.
    ///
    /// `audit`: also asks whether the triggers are there that write the log; without them what it
    /// says is worth nothing, and the next look begins anew.
    pub(crate) async fn look(&mut self, audit: bool) -> Result<News, StoreError> {
        let patience = if self.session.is_some() { self.patience } else { self.patience_for_first };
        let late = StoreError::Timeout { after: patience };
        let store = Arc::clone(&self.store);
        let asking =
            async { tokio::time::timeout(patience, self.ask(audit)).await.unwrap_or(Err(late)) };
        let (state, changes) = store.asking(asking).await.inspect_err(|_| self.session = None)?;
        if let Some(reason) = state.distrusted() {
            self.horizon = None;
            return Err(reason);
        }
        Ok(self.take(state, changes))
    }

    async fn ask(
        &mut self,
        audit: bool,
    ) -> Result<(State, Vec<(Place, LoggedChange)>), StoreError> {
        let session = match &mut self.session {
            Some(session) => session,
            empty => empty.insert(self.store.open_session().await?),
        };
        let horizon = self.horizon.as_ref();
        let read: Vec<_> =
            horizon.iter().flat_map(|horizon| &horizon.read).map(|place| place.seq).collect();
        let values = [
            horizon.map(|horizon| horizon.snapshot.as_str()).into(),
            (MOST_CHANGES + 1).into(),
            audit.into(),
            Value::Int(horizon.map(|horizon| horizon.newest)),
            Value::Places(&read),
        ];
        let mut state = None;
        let take = |row: &_| {
            if state.is_none() {
                state = Some(State::read(row)?);
            }
            read_place(row)?.map(|place| Ok((place, read_change(row)?))).transpose()
        };
        let changes = session.fetch(&self.look, &values, take).await;
        let changes = changes.map_err(|error| typed(&error, self.look.name))?;
        let state = state.ok_or(StoreError::Row { statement: self.look.name })?;
        Ok((state, changes.into_iter().flatten().collect()))
    }

    /// Moves the horizon and returns what lies before it.
    fn take(&mut self, state: State, logged: Vec<(Place, LoggedChange)>) -> News {
        let State { snapshot, oldest, incarnation, newest, reaches_back, rings, .. } = state;
        let reach = match &self.horizon {
            None => Reach::First,
            Some(horizon) if horizon.incarnation == incarnation && reaches_back => Reach::Complete,
            Some(_) => Reach::Gap,
        };
        let mut read = self.horizon.take().map(|horizon| horizon.read).unwrap_or_default();
        let (mut changes, mut ages) = (Vec::new(), Vec::new());
        for (place, logged) in logged {
            read.push(place);
            changes.push(logged.change);
            ages.push(logged.age);
        }
        read.retain(|place| oldest.is_some_and(|oldest| place.xact >= oldest));
        if changes.len() > MOST_CHANGES {
            changes = vec![Change::All];
        }
        self.horizon = Some(Horizon { snapshot, incarnation, read, newest });
        News { changes, reach, ages, newest, rings }
    }
}

impl State {
    /// Why what the log says proves nothing.
    fn distrusted(&self) -> Option<StoreError> {
        if self.triggers.is_some_and(|triggers| triggers < TRIGGERS) {
            return Some(StoreError::TriggersMissing);
        }
        let why = match &self.hiding {
            Some(table) => format!("row security hides rows of {table} from this role"),
            None if self.newest == 0 => "it has no row, not even the one it began with".to_owned(),
            None => return None,
        };
        Some(StoreError::LogUntrusted { why })
    }

    fn read(row: &impl Record) -> Result<Self, sqlx::Error> {
        Ok(Self {
            snapshot: row.own_text("snapshot")?,
            oldest: row.int("oldest")?,
            incarnation: row.own_text("incarnation")?,
            newest: row.own_int("newest")?,
            reaches_back: row.bool("reaches_back")?.unwrap_or(false),
            triggers: row.int("triggers")?,
            rings: row.bool("rings")?,
            hiding: row.text("hiding")?,
        })
    }
}

/// Whether a look failed because its connection did, and another one may do better.
pub(crate) fn may_be_the_connection(error: &StoreError) -> bool {
    matches!(error, StoreError::Timeout { .. }) || is_of_connection(error)
}

/// Where a row stands, if it is one.
fn read_place(row: &impl Record) -> Result<Option<Place>, sqlx::Error> {
    Ok(row.int("seq")?.zip(row.int("xact")?).map(|(seq, xact)| Place { seq, xact }))
}

/// One statement, so that rows and snapshot are of one moment. A replica's own snapshot does not
/// list the transactions in progress, so all from the oldest of them on count as unseen there.
///
/// A log that was emptied or written anew has another file node, and a table that was swapped for
/// another one is that other one; a server that was restarted or
/// replaced began at another time, and may use transaction ids again that were lost.
///
/// A row that can be seen and whose transaction is yet to come was restored from another cluster. It
/// is from before every horizon, since nothing is pruned here before it is.
const LOOK: &str = "
    select
        case when pg_is_in_recovery()
            then concat(pg_snapshot_xmin(pg_current_snapshot()), ':',
                pg_snapshot_xmin(pg_current_snapshot()), ':')
            else cast(pg_current_snapshot() as text)
        end as snapshot,
        case when pg_is_in_recovery()
            then cast(cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as bigint)
        end as oldest,
        concat_ws('/', extract(epoch from pg_postmaster_start_time()),
            pg_relation_filenode(to_regclass(format('%I.voice_agent_changes', {schema_text}))),
            cast(to_regclass(format('%I.voice_agent_livekit', {schema_text})) as oid),
            cast(to_regclass(format('%I.voice_agent_numbers', {schema_text})) as oid)) as incarnation,
        (select coalesce(max(seq), 0) from {schema}.voice_agent_changes) as newest,
        exists (
            select from {schema}.voice_agent_changes
            where xact < pg_snapshot_xmin(cast($1 as pg_snapshot))
        ) or exists (
            select from {schema}.voice_agent_changes
            where xact >= pg_snapshot_xmax(pg_current_snapshot())
        ) as reaches_back,
        triggers.many as triggers, triggers.ring as rings,
        case when $3 then (
            select min(name) from unnest(array[
                'voice_agent_changes', 'voice_agent_livekit', 'voice_agent_numbers'
            ]) as ours (name)
            where row_security_active(to_regclass(format('%I.%I', {schema_text}, name)))
        ) end as hiding,
        news.*
    from (values (1)) as always
    left join lateral (
        select count(*) as many, bool_and(tgnargs = 0) as ring from pg_trigger
        join pg_class on pg_class.oid = tgrelid
        join pg_namespace on pg_namespace.oid = relnamespace
        where nspname = {schema_text} and tgenabled in ('O', 'A')
            and relname in ('voice_agent_livekit', 'voice_agent_numbers')
            and starts_with(cast(tgname as text), 'trunkline_log_')
    ) as triggers on $3
    left join (
        select {change_columns}, cast(cast(xact as text) as bigint) as xact
        from {schema}.voice_agent_changes
        where (
            seq > $4 or xact >= pg_snapshot_xmin(cast($1 as pg_snapshot))
                and xact < pg_snapshot_xmax(pg_current_snapshot())
                and not pg_visible_in_snapshot(xact, cast($1 as pg_snapshot))
        ) and not exists (select from unnest($5) as known (place) where place = seq)
        order by seq limit $2
    ) as news on true
    order by seq";
/// Insert, update, delete and truncate, on two tables.
const TRIGGERS: i64 = 8;
