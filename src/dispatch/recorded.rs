//! Calls that are placed once, however often they are asked for: each has a row before it is dialled.
//!
//! Whoever asks gives the question a key. A second question with that key gets what became of the first
//! one. If the node that placed it is gone, nobody knows whether a phone rang, and that is the answer;
//! a call that was accepted only is placed by whoever is asked next.
//!
//! **Invariant:** a call is dialled only after its row says so, by the attempt whose claim the row has.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::livekit::LiveKit;
use super::livekit::webhook::CallEnd;
use super::{Call, CallRequest, Dial, DialGate, Dispatcher, HangUpError, Outcome};
use crate::backoff::{Backoff, dice};
use crate::lifecycle::Lifecycle;
use crate::number::{ConfigId, E164, TenantId};
use crate::resolver::Resolver;
use crate::store::{
    CallAttempt, CallFilter, CallLeft, CallLine, CallRow, CallRows, CallState, NewCall, StoreError,
};

/// Places calls and keeps a record of them. Cloning shares it.
#[derive(Clone)]
pub(crate) struct RecordedCalls(Arc<Shared>);

struct Shared {
    dispatcher: Dispatcher,
    rows: Arc<dyn CallRows>,
    tasks: Lifecycle,
    /// Claims of which this process does not know whether they were written down. Nobody follows them.
    lost: Mutex<HashSet<Uuid>>,
}

/// A call that is asked for.
pub(crate) struct AskedCall {
    /// Who asks.
    pub(crate) client: Uuid,
    /// His word for this question.
    pub(crate) key: String,
    /// The SHA-256 of what he asks, in hex.
    pub(crate) body: String,
    pub(crate) request: CallRequest,
}

/// What became of a call, as JSON.
pub(crate) struct Recorded {
    pub(crate) answer: Value,
    /// Whether that was known before.
    pub(crate) is_replayed: bool,
}

/// How a call stands, as JSON.
enum Standing {
    Ended(Value),
    Running(Value),
}

/// What may be new of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum News {
    /// Somebody may have been called.
    Dialling,
    /// It is known what became of it.
    Ended,
    /// The phone has left.
    Left,
}

impl News {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Dialling => "dialling",
            Self::Ended => "ended",
            Self::Left => "left",
        }
    }
}

/// Why it is not known what became of a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRecorded {
    #[error("the client asked something else under this key")]
    OtherBody,
    #[error("the call is being placed")]
    Running,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the task that placed the call died")]
    Died,
}

/// Why a call was not ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotEnded {
    #[error("there is no such call")]
    NotFound,
    #[error("nobody was called yet")]
    NotDialled,
    #[error(transparent)]
    HangUp(#[from] HangUpError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RecordedCalls {
    /// Those of this resolver's database. `None`: it has none.
    pub(crate) fn of(resolver: &Resolver) -> Option<Self> {
        let rows = resolver.database()?.call_rows();
        let livekit = LiveKit::guarded(resolver);
        let dispatcher = Dispatcher::new(resolver.clone(), livekit);
        let (tasks, lost) = (Lifecycle::new(), Mutex::default());
        Some(Self(Arc::new(Shared { dispatcher, rows, tasks, lost })))
    }

    /// Places a call, or says what became of it. Goes on when nobody waits any more.
    pub(crate) async fn place(&self, asked: AskedCall) -> Result<Recorded, NotRecorded> {
        let AskedCall { client, key, body, request } = asked;
        let (shared, id, attempt) = (&self.0, Uuid::new_v4(), self.attempt(&request));
        let (key, body) = (key.as_str(), body.as_str());
        let new = NewCall { id, client, key, body, caller: request.caller, attempt };
        match shared.rows.begin_call(&new).await {
            Ok(true) => return self.run(id, attempt, request).await,
            Ok(false) => {}
            Err(error) => {
                shared.lose(attempt.claim);
                return Err(error.into());
            }
        }
        let row = shared.rows.call_by_key(client, key).await?;
        // It was removed in between, a month old: the next question begins anew.
        let row = row.ok_or(NotRecorded::Running)?;
        if row.body != body {
            return Err(NotRecorded::OtherBody);
        }
        if shared.may_take_over(&row)
            && shared.rows.take_over_call(row.id, row.claim, attempt).await?
        {
            return self.run(row.id, attempt, request).await;
        }
        match shared.standing(row).await? {
            Standing::Ended(answer) => Ok(Recorded { answer, is_replayed: true }),
            Standing::Running(_) => Err(NotRecorded::Running),
        }
    }

    /// How a call of a client stands. `None`: it has none of this id.
    pub(crate) async fn look(&self, client: Uuid, id: Uuid) -> Result<Option<Value>, StoreError> {
        let Some(row) = self.0.rows.call(client, id).await? else { return Ok(None) };
        let (left, ended_at) = (row.left.clone(), row.ended_at);
        let (Standing::Ended(answer) | Standing::Running(answer)) = self.0.standing(row).await?;
        Ok(Some(with_end(answer, left, ended_at)))
    }

    /// What became of the calls of a client within this time, the oldest calls first: of which call, of
    /// which tenant, what, and how the call stands.
    pub(crate) async fn news(
        &self,
        client: Uuid,
        tenant: Option<TenantId>,
        within: Duration,
    ) -> Result<Vec<(Uuid, TenantId, News, Value)>, StoreError> {
        let rows = self.0.rows.news_of_calls(client, tenant, within).await?;
        let mut news = Vec::new();
        for (tenant, row) in rows {
            let (id, state, has_left) = (row.id, row.state, row.left.is_some());
            let call = told(row);
            let mut add = |what| news.push((id, tenant, what, call.clone()));
            match state {
                CallState::Accepted => continue,
                CallState::Dialling => add(News::Dialling),
                CallState::Ended => add(News::Ended),
            }
            if has_left {
                add(News::Left);
            }
        }
        Ok(news)
    }

    /// Writes down what the webhook of a server tells of a call: that of a config, or the environment's,
    /// or of both where they have one key. `false`: it is not of ours, or known.
    pub(crate) async fn heard(
        &self,
        config: Option<ConfigId>,
        by_environment: bool,
        end: &CallEnd,
    ) -> Result<bool, StoreError> {
        let CallEnd { room, reason, sip_status } = end;
        let why = (reason.as_deref(), sip_status.as_deref());
        self.0.rows.leave_call(room, config, by_environment, why).await
    }

    /// So many calls of a client, the newest first.
    pub(crate) async fn list(
        &self,
        client: Uuid,
        filter: CallFilter<'_>,
        most: usize,
    ) -> Result<Vec<CallLine>, StoreError> {
        self.0.rows.calls(client, filter, most).await
    }

    /// Hangs up on a call of a client.
    pub(crate) async fn end(&self, client: Uuid, id: Uuid) -> Result<(), NotEnded> {
        let row = self.0.rows.call(client, id).await?.ok_or(NotEnded::NotFound)?;
        let room = row.room.ok_or(NotEnded::NotDialled)?;
        Ok(self.0.dispatcher.hang_up(&Call::new(room, row.config)).await?)
    }

    /// Removes what is older than a month, now and then, for as long as it is polled.
    pub(crate) async fn prune(&self) -> Infallible {
        loop {
            // Not all nodes at once.
            sleep(FORGET_EVERY.mul_f64(0.5 + dice())).await;
            match self.0.rows.forget_calls(KEPT).await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "records of calls were removed"),
                Err(error) => tracing::debug!(%error, "old records of calls stay"),
            }
        }
    }

    fn attempt(&self, request: &CallRequest) -> CallAttempt {
        let ringing = match request.dial {
            Dial::Engine(how) if how.wait_until_answered => how.ringing,
            Dial::Engine(_) | Dial::Agent => Duration::ZERO,
        };
        let within = request.confirm_agent.unwrap_or_default() + ringing + LONGEST;
        let node = self.0.dispatcher.resolver().node_row();
        CallAttempt { claim: Uuid::new_v4(), node, within }
    }

    /// Places a call in a task of its own: a client that leaves must not leave a call half placed.
    async fn run(
        &self,
        id: Uuid,
        attempt: CallAttempt,
        request: CallRequest,
    ) -> Result<Recorded, NotRecorded> {
        let (tell, told) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        self.0.tasks.spawn("call", async move { shared.run(id, attempt, request, tell).await });
        let answer = told.await.map_err(|_| NotRecorded::Died)?;
        Ok(Recorded { answer, is_replayed: false })
    }
}

/// A call with what its server told of its end.
fn with_end(
    mut answer: Value,
    left: Option<CallLeft>,
    ended_at: Option<chrono::DateTime<chrono::Utc>>,
) -> Value {
    if let Some(CallLeft { at, reason, sip_status }) = left {
        // Where the engine waited, its outcome was known when the phone was answered.
        let answered_at = ended_at.filter(|_| answer["answered"] == true);
        let seconds = answered_at.map(|answered| (at - answered).num_seconds().max(0));
        answer["left_at"] = json!(at);
        answer["disconnect_reason"] = json!(reason);
        answer["sip_call_status"] = json!(sip_status);
        answer["seconds"] = json!(seconds);
    }
    answer
}

/// A call as its row says it.
fn told(row: CallRow) -> Value {
    let CallRow { id, state, room, config, answer, ended_at, left, .. } = row;
    let answer = answer.and_then(|answer| serde_json::from_str(&answer).ok());
    let plain = || {
        json!({
            "id": id, "state": state.as_str(), "outcome": null, "room": room, "config_id": config,
        })
    };
    with_end(answer.unwrap_or_else(plain), left, ended_at)
}

impl Shared {
    async fn run(
        &self,
        id: Uuid,
        attempt: CallAttempt,
        request: CallRequest,
        tell: oneshot::Sender<Value>,
    ) {
        let (until, claim) = (Instant::now() + attempt.within, attempt.claim);
        let gate = RowGate { rows: &*self.rows, id, claim };
        let report = self.dispatcher.call_through(&request, &gate).await;
        let mut answer = json!(report);
        answer["id"] = json!(id);
        answer["state"] = json!(CallState::Ended.as_str());
        let waits = matches!(request.dial, Dial::Engine(how) if how.wait_until_answered);
        answer["answered"] = json!(waits.then_some(report.outcome == Outcome::Placed));
        let (outcome, text) = (report.outcome.as_str(), answer.to_string());
        let (mut tell, mut backoff) = (Some((tell, answer)), Backoff::default());
        loop {
            let written = self.rows.end_call(id, claim, outcome, &text).await;
            // Whoever waits is told now, whether it was written or not.
            if let Some((tell, answer)) = tell.take() {
                tell.send(answer).ok();
            }
            match written {
                Ok(_) => return,
                Err(error) if Instant::now() >= until => {
                    tracing::warn!(%error, call = %id, outcome, "the outcome of a call is not recorded");
                    return;
                }
                Err(_) => sleep(backoff.failed(LONGEST_WAIT, Duration::ZERO)).await,
            }
        }
    }

    /// Whether nobody goes on with a call, and nobody was called.
    fn may_take_over(&self, row: &CallRow) -> bool {
        let is_lost = || self.lost().contains(&row.claim);
        row.state == CallState::Accepted && (row.is_abandoned || is_lost())
    }

    /// What became of a call, or how far it is. One that was being dialled when its node went is given
    /// up: whether a phone rang is not known, so it is never dialled again.
    async fn standing(&self, row: CallRow) -> Result<Standing, StoreError> {
        let CallRow { id, claim, state, is_abandoned, room, config, answer, .. } = row;
        match (state, answer.and_then(|answer| serde_json::from_str(&answer).ok())) {
            (CallState::Ended, Some(answer)) => Ok(Standing::Ended(answer)),
            // Somebody has edited the row.
            (CallState::Ended, None) => {
                Ok(Standing::Ended(json!({"id": id, "state": state.as_str()})))
            }
            (CallState::Dialling, _) if is_abandoned => {
                let outcome = Outcome::InDoubt.as_str();
                let answer = json!({
                    "id": id,
                    "state": CallState::Ended.as_str(),
                    "outcome": outcome,
                    "message": "the node that placed the call ended before it knew what became of it",
                    "room": room,
                    "config_id": config,
                });
                // If its own attempt was quicker, the next question tells.
                let given_up = self.rows.end_call(id, claim, outcome, &answer.to_string()).await?;
                if given_up {
                    tracing::warn!(call = %id, "a call is in doubt: its node is gone");
                }
                Ok(Standing::Ended(answer))
            }
            (CallState::Accepted | CallState::Dialling, _) => Ok(Standing::Running(json!({
                "id": id, "state": state.as_str(), "outcome": null, "room": room, "config_id": config,
            }))),
        }
    }

    fn lose(&self, claim: Uuid) {
        let mut lost = self.lost();
        if lost.len() >= MOST_LOST {
            lost.clear();
        }
        lost.insert(claim);
    }

    fn lost(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets a call be dialled once its row says so.
struct RowGate<'r> {
    rows: &'r dyn CallRows,
    id: Uuid,
    claim: Uuid,
}

impl DialGate for RowGate<'_> {
    async fn about_to_dial(
        &self,
        room: &str,
        config: Option<ConfigId>,
        to: E164,
    ) -> std::io::Result<()> {
        match self.rows.dial_call(self.id, self.claim, room, config, to).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(std::io::Error::other("another node has taken the call over")),
            Err(error) => Err(std::io::Error::other(error)),
        }
    }

    async fn turn(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How long a call takes at the most, beside the ringing and what an agent is waited for: a server that
/// answers each request late.
const LONGEST: Duration = Duration::from_secs(120);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long the record of a call is kept.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
const FORGET_EVERY: Duration = Duration::from_secs(3600);
const MOST_LOST: usize = 10_000;
