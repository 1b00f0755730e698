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

use std::collections::HashSet;
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
    /// Places that the next look may see again: a replica cannot say which transactions of the
    /// primary were in progress, so there the oldest of them is the horizon.
    read: HashSet<i64>,
    /// The newest place in the log; zero if it had no rows.
    newest: i64,
}

/// How the log stands at a look.
struct State {
    snapshot: String,
    incarnation: String,
    newest: i64,
    reaches_back: bool,
    /// How many triggers write it, if that was asked.
    triggers: Option<i64>,
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
        if state.triggers.is_some_and(too_few) {
            self.horizon = None;
            return Err(StoreError::TriggersMissing);
        }
        Ok(self.take(state, changes))
    }

    async fn ask(&mut self, audit: bool) -> Result<(State, Vec<LoggedChange>), StoreError> {
        let session = match &mut self.session {
            Some(session) => session,
            empty => empty.insert(self.store.open_session().await?),
        };
        let horizon = self.horizon.as_ref();
        let values = [
            horizon.map(|horizon| horizon.snapshot.as_str()).into(),
            (MOST_CHANGES + 1).into(),
            audit.then_some(self.store.schema()).into(),
            Value::Int(horizon.map(|horizon| horizon.newest)),
        ];
        let mut state = None;
        let read = |row: &_| {
            if state.is_none() {
                state = Some(State::read(row)?);
            }
            Record::int(row, "seq")?.map(|_| read_change(row)).transpose()
        };
        let changes = session.fetch(&self.look, &values, read).await;
        let changes = changes.map_err(|error| typed(&error, self.look.name))?;
        let state = state.ok_or(StoreError::Row { statement: self.look.name })?;
        Ok((state, changes.into_iter().flatten().collect()))
    }

    /// Moves the horizon and returns what lies before it.
    fn take(&mut self, state: State, logged: Vec<LoggedChange>) -> News {
        let State { snapshot, incarnation, newest, reaches_back, .. } = state;
        let read: HashSet<_> = logged.iter().map(|logged| logged.seq).collect();
        let is_new = |logged: &LoggedChange| {
            self.horizon.as_ref().is_none_or(|horizon| !horizon.read.contains(&logged.seq))
        };
        let (mut changes, ages): (Vec<_>, Vec<_>) =
            logged.into_iter().filter(is_new).map(|logged| (logged.change, logged.age)).unzip();
        let reach = match &self.horizon {
            None => Reach::First,
            Some(horizon)
                if horizon.incarnation == incarnation
                    && if newest > 0 { reaches_back } else { horizon.newest == 0 } =>
            {
                Reach::Complete
            }
            Some(_) => Reach::Gap,
        };
        if read.len() > MOST_CHANGES {
            changes = vec![Change::All];
        }
        self.horizon = Some(Horizon { snapshot, incarnation, read, newest });
        News { changes, reach, ages, newest }
    }
}

impl State {
    fn read(row: &impl Record) -> Result<Self, sqlx::Error> {
        Ok(Self {
            snapshot: row.own_text("snapshot")?,
            incarnation: row.own_text("incarnation")?,
            newest: row.own_int("newest")?,
            reaches_back: row.bool("reaches_back")?.unwrap_or(false),
            triggers: row.int("triggers")?,
        })
    }
}

/// Whether a look failed because its connection did, and another one may do better.
pub(crate) fn may_be_the_connection(error: &StoreError) -> bool {
    matches!(error, StoreError::Timeout { .. }) || is_of_connection(error)
}

fn too_few(triggers: i64) -> bool {
    triggers < TRIGGERS
}

/// One statement, so that rows and snapshot are of one moment. A replica's own snapshot does not
/// list the transactions in progress, so all from the oldest of them on count as unseen there.
///
/// A log that was emptied or written anew has another file node; a server that was restarted or
/// replaced began at another time, and may use transaction ids again that were lost.
const LOOK: &str = "
    select
        case when pg_is_in_recovery()
            then concat(pg_snapshot_xmin(pg_current_snapshot()), ':',
                pg_snapshot_xmin(pg_current_snapshot()), ':')
            else cast(pg_current_snapshot() as text)
        end as snapshot,
        concat_ws('/', extract(epoch from pg_postmaster_start_time()),
            pg_relation_filenode(to_regclass(format('%I.voice_agent_changes', {schema_text})))) as incarnation,
        (select coalesce(max(seq), 0) from {schema}.voice_agent_changes) as newest,
        exists (
            select from {schema}.voice_agent_changes
            where xact < pg_snapshot_xmin(cast($1 as pg_snapshot))
        ) as reaches_back,
        case when $3 is not null then (
            select count(*) from pg_trigger
            join pg_class on pg_class.oid = tgrelid
            join pg_namespace on pg_namespace.oid = relnamespace
            where nspname = $3 and tgenabled <> 'D'
                and relname in ('voice_agent_livekit', 'voice_agent_numbers')
                and starts_with(cast(tgname as text), 'trunkline_log_')
        ) end as triggers,
        news.*
    from (values (1)) as always
    left join (
        select {change_columns}
        from {schema}.voice_agent_changes
        where seq > $4 or xact >= pg_snapshot_xmin(cast($1 as pg_snapshot))
            and not pg_visible_in_snapshot(xact, cast($1 as pg_snapshot))
        order by seq limit $2
    ) as news on true
    order by seq";
/// Insert, update, delete and truncate, on two tables.
const TRIGGERS: i64 = 8;
