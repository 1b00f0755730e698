//! Reads what is new in the change log of Postgres, over a connection of its own.
//!
//! A *horizon* is the snapshot of the last look: which transactions had committed by then. What is
//! new is what this look sees and that snapshot did not. The order of `seq` would not do, because a
//! transaction that wrote its row early may commit late. Nor does the snapshot alone: a server that
//! recovers from a crash gives out transaction ids again whose commits it had not flushed. So a place
//! beyond the newest one counts, too: places that were seen are never given out again.
//!
//! **Invariant:** a horizon only moves forward together with the changes that lie between, and one
//! that means nothing any more (another server, another log, a log that was pruned) is told as such.

mod news;
mod patience;
#[cfg(any(feature = "relay", feature = "server"))]
mod position;
#[cfg(feature = "server")]
mod resumed;
mod statements;
mod stillness;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub(crate) use self::news::{News, Reach};
use self::patience::Patience;
#[cfg(any(feature = "relay", feature = "server"))]
pub(crate) use self::position::Position;
use self::statements::{AUDIT, LOOK, NO_AUDIT, TRIGGERS};
use self::stillness::{SNAPSHOT, Snapshot, Stillness};
use super::error::typed;
use super::hedged::Hedged;
use super::lendable::Lendable;
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
    audit: Statement,
    /// How long one look may take on a connection that is there.
    deadline: Duration,
    patience: Patience,
    horizon: Option<Horizon>,
    stillness: Stillness,
    /// Where the connection is that looks are asked over.
    held: Arc<Lendable<PostgresSession>>,
}

/// The connection that looks are asked over. It is for who reads at present: while nobody does, none
/// is held. Between two looks upkeep borrows it.
pub(crate) struct LogConnection(Hedged<PostgresSession>);

impl Drop for LogConnection {
    fn drop(&mut self) {
        self.0.held().put(None, Duration::ZERO);
    }
}

impl LogConnection {
    /// Whether it is there, and so may turn out to be dead.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_connected()
    }
}

/// What a look is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Whether the triggers are there that write the log; without them what it says is worth nothing,
    /// and the next look begins anew.
    pub(crate) audits: bool,
    /// Whether something is known to have been written, so that the database does not stand still.
    pub(crate) was_rung_for: bool,
}

/// What an attempt came back with.
enum Looked {
    /// Nothing has been committed since the look before, and what is known of the triggers.
    Stillness { notify: Option<bool> },
    /// How the log stands, and its rows; whether the next look over that session may ask for the
    /// snapshot alone.
    Log { state: LogState, changes: Vec<(Place, LoggedChange)>, session: u64, may_last: bool },
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
    /// Whether a primary was read, whose snapshots can be compared with those of other nodes.
    #[cfg(feature = "relay")]
    of_primary: bool,
}

/// A row that was read: its place, and its transaction.
struct Place {
    seq: i64,
    xact: i64,
}

/// How the log stands at a look.
struct LogState {
    snapshot: Snapshot,
    /// The oldest transaction of which the next look sees rows again, whether they were read or
    /// not. The snapshot of a primary knows better.
    oldest: Option<i64>,
    incarnation: String,
    newest: i64,
    reaches_back: bool,
    /// How many triggers write it, if that was asked.
    triggers: Option<i64>,
    /// Whether they notify, if that was asked.
    notify: Option<bool>,
    /// A table that hides rows from this role, if that was asked and there is one.
    hiding: Option<String>,
}

impl LogCursor {
    /// A reader for a lease of that length; an answer that takes longer renews none.
    pub(crate) fn new(store: Arc<PostgresStore>, lease: Duration) -> Self {
        let statement = |audit: [(&str, &str); 2]| {
            let look =
                audit.iter().fold(LOOK.to_owned(), |look, (name, part)| look.replace(name, part));
            store.statement("read_change_log", &look)
        };
        let (look, audit) = (statement(NO_AUDIT), statement(AUDIT));
        let (patience, stillness) = (Patience::new(lease), Stillness::default());
        // Upkeep takes several round trips, and a look is not to wait for them for long.
        let held = Arc::new(Lendable::new(lease / 16));
        store.lend(&held);
        Self { store, look, audit, deadline: lease, patience, horizon: None, stillness, held }
    }

    /// Somebody is about to read: upkeep waits for that connection, and opens none of its own.
    pub(crate) fn begins(&self) {
        self.held.is_coming();
    }

    /// A place for the connection of looks. One that stays unanswered for an eighth of the lease is
    /// asked again.
    pub(crate) fn connection(&self) -> LogConnection {
        let held = Arc::clone(&self.held);
        held.is_coming();
        LogConnection(Hedged::new(held, self.deadline / 8, self.deadline / 2))
    }

    /// Reads what has been committed since the last look. `note` says what is known right before it is
    /// asked, and what it said comes back with what was found.
    pub(crate) async fn look<N>(
        &mut self,
        connection: &mut LogConnection,
        look: Look,
        note: impl Fn() -> N,
    ) -> Result<(N, News), StoreError> {
        let was_open = connection.is_open();
        let deadline = self.patience.deadline(was_open);
        let late = StoreError::Timeout { after: deadline };
        let asking = async {
            loop {
                let began = Instant::now();
                let asking = connection.0.ask(|session| self.ask(session, look, began, &note));
                tokio::select! {
                    biased;
                    answered = timeout(deadline, asking) => break answered.unwrap_or(Err(late)),
                    // What has been silent for so long may be so for ever, where somebody else got in.
                    () = self.is_let_in_after(self.deadline), if !was_open => {}
                }
            }
        };
        let answered = self.store.asking(asking).await;
        let (has_looked, is_dead) =
            (self.has_looked(), answered.as_ref().map(|answered| answered.held_one_is_dead));
        if self.patience.looked(is_dead, was_open, has_looked) {
            self.store.give_up_connections();
        }
        let (noted, found) = answered?.answer;
        let news = match found {
            Looked::Stillness { notify } => {
                self.stillness.lasted();
                News::none(self.newest(), notify)
            }
            Looked::Log { state, changes, session, may_last } => {
                let seen = may_last.then(|| state.snapshot.clone());
                self.stillness.looked(session, seen, state.notify);
                if let Some(reason) = state.distrusted() {
                    self.horizon = None;
                    return Err(reason);
                }
                self.take(state, changes)
            }
        };
        Ok((noted, news))
    }

    fn has_looked(&self) -> bool {
        self.horizon.is_some()
    }

    /// Waits until the server lets in somebody else of this process, after so long at the earliest; not
    /// where there was no look yet.
    pub(crate) async fn is_let_in_after(&self, time: Duration) {
        if !self.has_looked() {
            pending::<()>().await;
        }
        sleep(time).await;
        self.store.is_let_in().await;
    }

    /// What had committed at the last look, as `pg_current_snapshot()` writes it.
    pub(crate) fn snapshot_read(&self) -> Option<&str> {
        self.horizon.as_ref().map(|horizon| horizon.snapshot.as_str())
    }

    /// Where the log was read to.
    #[cfg(any(test, feature = "server"))]
    pub(crate) fn position(&self) -> Option<Position> {
        self.horizon.as_ref().map(Horizon::position)
    }

    /// The same, if other nodes can compare it with their own: not of a replica.
    #[cfg(feature = "relay")]
    pub(crate) fn position_for_others(&self) -> Option<Position> {
        self.horizon.as_ref().filter(|horizon| horizon.of_primary).map(Horizon::position)
    }

    /// Goes on from there: what lies before has been applied, by somebody else's look.
    #[cfg(feature = "relay")]
    pub(crate) fn go_on_from(&mut self, position: Position) {
        let Position { incarnation, newest, snapshot } = position;
        let (read, of_primary) = (Vec::new(), true);
        self.horizon = Some(Horizon { snapshot, incarnation, read, newest, of_primary });
    }

    /// The newest place in the log that is known.
    fn newest(&self) -> i64 {
        self.horizon.as_ref().map_or(0, |horizon| horizon.newest)
    }

    /// One attempt, which changes nothing here.
    async fn ask<N>(
        &self,
        session: Option<PostgresSession>,
        look: Look,
        began: Instant,
        note: &impl Fn() -> N,
    ) -> Result<(PostgresSession, (N, Looked)), StoreError> {
        let mut session = match session {
            Some(session) => session,
            None => self.store.open_to_look().await?,
        };
        // Who has waited for the connection is not to wait for two answers, the first of which decides
        // nothing; nor is the lease to count from an audit before that.
        let is_late = began.elapsed() >= self.deadline / QUICK;
        let mut audits = look.audits || is_late;
        let may_last = self.stillness.may_last(session.number(), audits);
        let may_last =
            may_last.filter(|_| !look.was_rung_for && !is_late && self.horizon.is_some());
        if let Some(seen) = may_last {
            let noted = note();
            let row = session.ask_plainly(SNAPSHOT).await;
            let now = row.and_then(|row| Snapshot::read(&row));
            if now.map_err(|error| typed(&error, "read_snapshot"))? == *seen {
                let found = Looked::Stillness { notify: self.stillness.notify() };
                return Ok((session, (noted, found)));
            }
            // It takes twice as long now, so the lease must not count from an earlier audit.
            audits = true;
        }
        let (noted, asked) = (note(), Instant::now());
        let (state, changes) = self.read(&mut session, audits).await?;
        let may_last = session.keeps_statements() && asked.elapsed() < self.deadline / QUICK;
        let found = Looked::Log { state, changes, session: session.number(), may_last };
        Ok((session, (noted, found)))
    }

    /// How the log stands, and what is new in it.
    async fn read(
        &self,
        session: &mut PostgresSession,
        audits: bool,
    ) -> Result<(LogState, Vec<(Place, LoggedChange)>), StoreError> {
        let statement = if audits { &self.audit } else { &self.look };
        let horizon = self.horizon.as_ref();
        let read: Vec<_> =
            horizon.iter().flat_map(|horizon| &horizon.read).map(|place| place.seq).collect();
        let values = [
            horizon.map(|horizon| horizon.snapshot.as_str()).into(),
            (MOST_CHANGES + 1).into(),
            Value::Int(horizon.map(|horizon| horizon.newest)),
            Value::Places(&read),
        ];
        let mut state = None;
        let take = |row: &_| {
            if state.is_none() {
                state = Some(LogState::read(row)?);
            }
            read_place(row)?.map(|place| Ok((place, read_change(row)?))).transpose()
        };
        let changes = session.fetch(statement, &values, take).await;
        let changes = changes.map_err(|error| typed(&error, statement.name))?;
        let state = state.ok_or(StoreError::Row { statement: statement.name })?;
        Ok((state, changes.into_iter().flatten().collect()))
    }

    /// Moves the horizon and returns what lies before it.
    fn take(&mut self, state: LogState, logged: Vec<(Place, LoggedChange)>) -> News {
        let LogState { snapshot, oldest, incarnation, newest, reaches_back, notify, .. } = state;
        let reach = match &self.horizon {
            None => Reach::First,
            Some(horizon) if horizon.incarnation == incarnation && reaches_back => Reach::Complete,
            Some(_) => Reach::Gap,
        };
        let mut read = self.horizon.take().map(|horizon| horizon.read).unwrap_or_default();
        let (places, logged): (Vec<_>, Vec<_>) = logged.into_iter().unzip();
        read.extend(places);
        let mut changes: Vec<_> = logged.iter().map(|logged| logged.change).collect();
        let ages = logged.iter().map(|logged| logged.age).collect();
        read.retain(|place| oldest.is_some_and(|oldest| place.xact >= oldest));
        if changes.len() > MOST_CHANGES {
            changes = vec![Change::All];
        }
        self.horizon = Some(Horizon {
            snapshot: snapshot.text,
            incarnation,
            read,
            newest,
            #[cfg(feature = "relay")]
            of_primary: oldest.is_none(),
        });
        News {
            changes,
            #[cfg(feature = "server")]
            logged,
            reach,
            ages,
            newest,
            notify,
        }
    }
}

#[cfg(any(feature = "relay", feature = "server"))]
impl Horizon {
    fn position(&self) -> Position {
        Position {
            incarnation: self.incarnation.clone(),
            newest: self.newest,
            snapshot: self.snapshot.clone(),
        }
    }
}

impl LogState {
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
            snapshot: Snapshot::read(row)?,
            oldest: row.int("oldest")?,
            incarnation: row.own_text("incarnation")?,
            newest: row.own_int("newest")?,
            reaches_back: row.bool("reaches_back")?.unwrap_or(false),
            triggers: row.int("triggers")?,
            notify: row.bool("notify")?,
            hiding: row.text("hiding")?,
        })
    }
}

/// Where a row stands, if it is one.
fn read_place(row: &impl Record) -> Result<Option<Place>, sqlx::Error> {
    Ok(row.int("seq")?.zip(row.int("xact")?).map(|(seq, xact)| Place { seq, xact }))
}

/// What part of a lease a look may take, or be late, for two of them to be asked in a row. Over a slow
/// network a snapshot that has changed would cost the lease.
const QUICK: u32 = 16;
