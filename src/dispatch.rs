//! One call, from the request to its outcome: resolve, route, make a room, send an agent, and dial
//! if the engine is to do that.
//!
//! ```text
//! CallRequest -> Resolver::resolve -> route -> CreateRoom -> CreateDispatch -> [CreateSIPParticipant]
//!      |             401: once more <---------------'---------------'--------------------'
//!      '-> Report: outcome, room, routing, credentials' source, Call to hang up with
//! ```
//!
//! **Invariant:** a dial is requested once. Making a room may be repeated, because it makes one
//! room however often. Sending an agent is repeated only after the room was looked into.
//!
//! **Invariant:** a call is ended with the config that it was placed with.

mod attempt;
pub mod batch;
pub mod check;
pub mod livekit;
mod metrics;
#[cfg(feature = "server")]
pub(crate) mod options;
mod outcome;
mod placed;
#[cfg(feature = "server")]
pub(crate) mod recorded;
mod report;
mod request;
mod trunk_key;
mod trunks;
#[cfg(feature = "server")]
pub(crate) mod uploaded;
mod verdict;

use std::fmt;
use std::sync::Arc;

use tracing::Instrument;

use self::attempt::Attempt;
use self::livekit::{LiveKit, LiveKitError, SipStatus};
#[cfg(feature = "server")]
pub(crate) use self::metrics::BatchGauges;
pub(crate) use self::metrics::CallMetrics;
pub use self::outcome::Outcome;
pub use self::placed::{Call, FoundCall, HangUpError};
pub use self::report::Report;
use self::report::{Placed, ReportDraft};
pub use self::request::{CallRequest, Dial, EngineDial, MOST_METADATA, OWN_FIELDS, WrongRequest};
use self::trunks::Trunks;
pub use self::verdict::Again;
use self::verdict::FailureVerdict;
use crate::answer::ResolveError;
use crate::cache::Resolution;
use crate::credentials::CredentialError;
use crate::number::{Caller, ConfigId, E164};
use crate::resolver::Resolver;

/// Places calls. Clones share the connections.
///
/// ```no_run
/// use trunkline::dispatch::livekit::LiveKit;
/// use trunkline::dispatch::{CallRequest, Dispatcher, Outcome};
/// use trunkline::{Caller, Resolver, Settings};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = Settings::from_env()?;
/// let livekit = LiveKit::new((&settings.tuning).into());
/// let dispatcher = Dispatcher::new(Resolver::builder(settings).start(), livekit);
///
/// let caller = Caller::parse("0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11", "+971501234567")?;
/// let report = dispatcher.call(&CallRequest::new(caller, "050 765 4321")).await;
/// if let (Outcome::Placed, Some(call)) = (report.outcome, &report.call) {
///     println!("in room {}", call.room);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Dispatcher {
    resolver: Resolver,
    livekit: LiveKit,
    trunks: Arc<Trunks>,
    metrics: Arc<CallMetrics>,
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Dispatcher")
            .field("resolver", &self.resolver)
            .field("livekit", &self.livekit)
            .finish_non_exhaustive()
    }
}

/// Is told right before the step that cannot be taken back, and may keep it from being taken.
pub(crate) trait DialGate: Sync {
    fn about_to_dial(
        &self,
        room: &str,
        config: Option<ConfigId>,
        to: E164,
    ) -> impl Future<Output = std::io::Result<()>> + Send;

    /// Waits until the carrier may be asked. An error: it is not to be asked any more.
    fn turn(&self) -> impl Future<Output = std::io::Result<()>> + Send;
}

/// A ledger that writes nothing down, and tells of the room.
struct OnRoomMade<F>(F);

impl<F: Fn(&Call) + Sync> DialGate for OnRoomMade<F> {
    async fn about_to_dial(
        &self,
        room: &str,
        config: Option<ConfigId>,
        _: E164,
    ) -> std::io::Result<()> {
        self.0(&Call::new(room, config));
        Ok(())
    }

    async fn turn(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Why a call was not placed.
struct Failed {
    outcome: Outcome,
    message: String,
    sip: Option<SipStatus>,
    /// Whether the credentials are what is wrong, so that others may do.
    by_credentials: bool,
    /// Whether that is because they were withdrawn, so that nothing was sent.
    withdrawn: bool,
    again: Again,
}

impl Dispatcher {
    /// Places calls for the numbers of a resolver.
    #[must_use]
    pub fn new(resolver: Resolver, livekit: LiveKit) -> Self {
        let metrics = CallMetrics::new();
        let livekit = livekit.with_pairs_of(&resolver, metrics.other_pair.clone());
        Self { resolver, livekit, trunks: Arc::default(), metrics: Arc::new(metrics) }
    }

    /// The resolver that it asks.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The pool of connections that it uses.
    #[must_use]
    pub fn livekit(&self) -> &LiveKit {
        &self.livekit
    }

    /// Places one call. If you drop the future early, a room or a ringing phone may stay behind.
    pub async fn call(&self, request: &CallRequest) -> Report {
        self.call_notifying(request, |_| {}).await
    }

    /// Places one call, and tells you its room as soon as that exists, before anybody is sent there or
    /// called. To end the call early, pass that room to [`hang_up`](Self::hang_up).
    pub async fn call_notifying(
        &self,
        request: &CallRequest,
        room_made: impl Fn(&Call) + Sync,
    ) -> Report {
        self.call_through(request, &OnRoomMade(room_made)).await
    }

    /// Places a call through a gate of its own.
    pub(crate) async fn call_through(&self, request: &CallRequest, gate: &impl DialGate) -> Report {
        let report = self.call_with_gate(request, None, gate).await;
        self.metrics.ended(&report);
        report
    }

    /// One try at a call, with credentials that were resolved for it if there are any.
    pub(crate) async fn call_with_gate(
        &self,
        request: &CallRequest,
        answer: Option<Resolution>,
        gate: &impl DialGate,
    ) -> Report {
        let began = self.resolver.now();
        let mut draft = ReportDraft::default();
        let span = tracing::debug_span!("call", job = request.job);
        let livekit = self.livekit.for_call();
        let placing = self.place(request, answer, &livekit, gate, &mut draft);
        let ended = placing.instrument(span).await;
        draft.other_pair = livekit.other_pair_used();
        let report = draft.end(request, ended, self.resolver.now().since(began));
        tracing::debug!(job = report.job, outcome = report.outcome.as_str(), took = ?report.took, "call");
        report
    }

    /// Checks the request and the rules, and returns whom the call would reach.
    pub(crate) fn would_call(&self, request: &CallRequest, answer: &Resolution) -> Option<E164> {
        let attempt = Attempt {
            dispatcher: self,
            livekit: &self.livekit,
            request,
            room: "",
            answer: answer.clone(),
        };
        request.check().ok()?;
        attempt.prepare(&mut ReportDraft::default()).ok().map(|(dialled, _)| dialled.e164)
    }

    /// Does everything that a call does before it asks a server: resolves, routes, writes the metadata.
    /// The outcome is [`Outcome::Placed`] if the call would be tried.
    pub async fn rehearse(&self, request: &CallRequest) -> (Report, Option<String>) {
        self.rehearse_with(request, self.resolver.resolve(request.caller).await)
    }

    /// The same with what the caller was answered.
    pub(crate) fn rehearse_with(
        &self,
        request: &CallRequest,
        answer: Result<Resolution, ResolveError>,
    ) -> (Report, Option<String>) {
        let began = self.resolver.now();
        let mut draft = ReportDraft::default();
        let rehearsed = || {
            request.check()?;
            let room = request.room_name();
            let attempt = Attempt {
                dispatcher: self,
                livekit: &self.livekit,
                request,
                room: &room,
                answer: answer?,
            };
            Ok::<_, Failed>(attempt.prepare(&mut draft)?.1)
        };
        let (ended, metadata) = match rehearsed() {
            Ok(metadata) => (Ok(Placed { sip_call_id: None }), Some(metadata)),
            Err(failed) => (Err(failed), None),
        };
        let report = draft.end(request, ended, self.resolver.now().since(began));
        (report, metadata)
    }

    /// Tries with the current credentials; once more with newer ones if a server refuses them, and again
    /// where they were withdrawn meanwhile. A request that is refused or not sent does nothing, so nothing
    /// was dialled.
    async fn place(
        &self,
        request: &CallRequest,
        answer: Option<Resolution>,
        livekit: &LiveKit,
        gate: &impl DialGate,
        draft: &mut ReportDraft,
    ) -> Result<Placed, Failed> {
        request.check()?;
        let room = request.room_name();
        let mut answer = match answer {
            Some(answer) => answer,
            None => self.resolver.resolve(request.caller).await?,
        };
        let (mut careful, mut left) = (request.again, EDITS_MEANWHILE);
        let mut before: Option<Failed> = None;
        loop {
            let used = answer.clone();
            let attempt = Attempt { dispatcher: self, livekit, request, room: &room, answer };
            let failed = match attempt.run(careful, gate, draft).await {
                Err(failed) if failed.by_credentials => failed,
                ended => return ended,
            };
            let may_go_on = left > 0 && (before.is_none() || failed.withdrawn);
            // Refused before it could look: what an earlier one left in doubt is so still.
            let failed = before.filter(|first| first.outcome == Outcome::InDoubt).unwrap_or(failed);
            let newer = if may_go_on { self.newer(request.caller, &used).await } else { None };
            let Some(newer) = newer else { return Err(failed) };
            (answer, careful, before) = (newer, true, Some(failed));
            left -= 1;
        }
    }

    /// Newer credentials than those that a server refused, if there are any.
    async fn newer(&self, caller: Caller, refused: &Resolution) -> Option<Resolution> {
        self.resolver.credentials_refused(refused);
        let newer = self.resolver.resolve(caller).await.ok()?;
        (!newer.shares_credentials_with(refused)).then_some(newer)
    }
}

impl Failed {
    fn new(outcome: Outcome, again: Again, message: impl Into<String>) -> Self {
        let (by_credentials, withdrawn) = (false, false);
        Self { outcome, message: message.into(), sip: None, by_credentials, withdrawn, again }
    }

    /// A step before any dialling failed.
    fn of_preparing(error: &LiveKitError) -> Self {
        Self::judged(FailureVerdict::of_preparing(error), error)
    }

    /// Nobody can say what became of the last step.
    fn in_doubt(error: &LiveKitError) -> Self {
        let verdict =
            FailureVerdict { outcome: Outcome::InDoubt, again: Again::Never, words: None };
        Self::judged(verdict, error)
    }

    fn judged(
        FailureVerdict { outcome, again, words }: FailureVerdict,
        error: &LiveKitError,
    ) -> Self {
        let sip = match error {
            LiveKitError::Answered(answer) => answer.sip.clone(),
            _ => None,
        };
        let withdrawn = matches!(error, LiveKitError::Credentials(CredentialError::Wiped));
        let by_credentials = error.is_unauthorized() || withdrawn;
        let message = match words {
            Some(words) => format!("{words} ({error})"),
            None => error.to_string(),
        };
        Self { outcome, message, sip, by_credentials, withdrawn, again }
    }

    /// The same, not to be tried again.
    fn final_now(self) -> Self {
        Self { again: Again::Never, ..self }
    }
}

impl From<ResolveError> for Failed {
    fn from(error: ResolveError) -> Self {
        let again = if error.is_temporary() { Again::Soon } else { Again::Mended };
        Self::new(Outcome::NoCredentials, again, error.to_string())
    }
}

/// How often a call goes on although its credentials were withdrawn while it was being placed.
const EDITS_MEANWHILE: usize = 5;
