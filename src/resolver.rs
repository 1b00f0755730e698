//! Number in, credentials out: the read path on one screen, and the parts it is built from.
//!
//! The cache answers if it has a current answer. Else one load per caller asks the database
//! (`loader.rs`). If that fails, the environment answers, with the reason. The flag decides whose
//! credentials an answer holds; it is checked where an answer is made (`live.rs`). Nothing here fails
//! silently, and nothing panics a caller.

mod builder;
#[cfg(feature = "server")]
mod clients;
mod config;
mod decision;
#[cfg(feature = "server")]
mod edits;
mod explain;
mod health;
mod key_rotation;
mod key_rule;
#[cfg(feature = "server")]
mod key_usage;
mod live;
mod loaded;
mod loader;
mod metrics;
#[cfg(feature = "dispatch")]
mod other_pair;
mod owners;
#[cfg(feature = "server")]
mod people;
mod reload;
mod rollout;
#[cfg(feature = "dispatch")]
mod route;
mod route_batcher;
mod sealing;
mod self_check;
mod source_log;
mod tasks;
#[cfg(all(feature = "dispatch", feature = "server"))]
mod url_origin;
mod url_watch;
mod verification;
mod warming;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use thread_local::ThreadLocal;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use self::builder::ResolverBuilder;
pub use self::explain::{Explanation, Step};
use self::health::HealthState;
pub use self::health::{Health, NotReady};
use self::live::Live;
pub use self::live::ReloadError;
use self::loader::Loader;
use self::metrics::{Hits, Telemetry};
use self::owners::Owners;
#[cfg(feature = "server")]
pub(crate) use self::people::{Person, SignInError, Visit};
pub use self::rollout::{Compared, Moving, RolloutSurvey};
pub use self::verification::{Verified, VerifyError};
use crate::answer::{Answer, ResolveError, Source, Unanswered};
use crate::cache::{Cache, CacheEntry, Resolution, ResolveOutcome, ThreadCache};
use crate::change::Change;
use crate::changes::ChangeFeed;
use crate::clock::{Clock, Moment};
use crate::lifecycle::Lifecycle;
use crate::nodes::{Nodes, Registration};
use crate::number::Caller;
use crate::settings::{Settings, Tuning};
use crate::store::OpenStore;

/// Resolves callers to LiveKit credentials. Cloning shares it.
///
/// ```no_run
/// use trunkline::{Caller, Resolver, Settings, TokenRequest};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let resolver = Resolver::builder(Settings::from_env()?).start();
/// let caller = Caller::parse("0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11", "+971501234567")?;
/// let answer = resolver.resolve(caller).await?;
/// if let Some(reason) = answer.reason() {
///     eprintln!("the environment answers: {reason}");
/// }
/// let token = answer.token(&TokenRequest::join("call-1", "dispatcher"))?;
/// println!("{} with a token of {} characters", answer.url(), token.as_str().len());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Resolver {
    engine: Arc<Engine>,
}

/// What the clones of a resolver share.
struct Engine {
    live: Arc<Live>,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    threads: ThreadLocal<Thread>,
    loader: Arc<Loader>,
    owners: Owners,
    issuers: verification::Issuers,
    #[cfg(feature = "server")]
    clients: clients::Clients,
    #[cfg(feature = "server")]
    people: people::People,
    /// What the settings name. `None`: nothing, or another store was given.
    database: Option<OpenStore>,
    /// Where changes come from. `None`: the embedder reports them.
    feed: Option<Arc<ChangeFeed>>,
    /// Its row among the nodes. `None`: it has no feed, or is not to be listed.
    registration: Option<Arc<Registration>>,
    health_state: HealthState,
    lifecycle: Lifecycle,
    tuning: Arc<Tuning>,
    /// Where what must outlast a restart is kept.
    #[cfg(all(feature = "dispatch", feature = "server"))]
    data_dir: Option<std::path::PathBuf>,
}

/// One thread's own data, in cache lines that no other thread writes to.
#[repr(align(128))]
struct Thread {
    hits: Hits,
    thread_cache: ThreadCache,
}

impl Resolver {
    /// Starts to build one.
    #[must_use]
    pub fn builder(settings: Settings) -> ResolverBuilder {
        ResolverBuilder::new(settings)
    }

    /// The credentials for a call from `caller`.
    ///
    /// A warm caller is answered without waiting. A cold one waits for one statement, for
    /// `RESOLVE_DEADLINE` at the most; then the last good answer serves, or the environment.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when neither the database nor the environment has an answer.
    pub async fn resolve(&self, caller: Caller) -> Result<Resolution, ResolveError> {
        self.outcome(caller).await.map_err(ResolveError::from)
    }

    /// The same; without credentials, the rules of the number's row come with the error.
    pub(crate) async fn outcome(&self, caller: Caller) -> ResolveOutcome {
        let engine = &self.engine;
        if let Some(outcome) = engine.own_at_once(caller) {
            return outcome;
        }
        let asked_at = engine.clock.now();
        let span = tracing::debug_span!("resolve", number = %caller.number.masked());
        let outcome = engine.loader.outcome(caller).instrument(span).await;
        engine.telemetry.cold.record(engine.clock.now().since(asked_at));
        engine.count_outcome(outcome, false)
    }

    /// The answer for `caller` if it is in memory and proven: the warm part of
    /// [`resolve`](Self::resolve), without a future. `None`: it would have to be loaded.
    #[must_use]
    #[inline]
    pub fn try_resolve(&self, caller: Caller) -> Option<Result<Resolution, ResolveError>> {
        self.engine.own_at_once(caller).map(|outcome| outcome.map_err(Into::into))
    }

    /// Passes the answer of [`try_resolve`](Self::try_resolve) to `use_it` by reference. This is
    /// faster than a clone, because threads that ask for the same number do not contend on a reference
    /// count. Be brief in `use_it`, and clone what you keep. If the answer changes meanwhile, its
    /// credentials may be withdrawn during the call: [`Answer::token`] then returns an error, and
    /// resolving again gives the current answer.
    ///
    /// ```no_run
    /// # fn dial(resolver: &trunkline::Resolver, caller: trunkline::Caller) -> Option<()> {
    /// let request = trunkline::TokenRequest::join("room", "caller");
    /// let token = resolver.try_resolve_with(caller, |answer| answer.ok()?.token(&request).ok())?;
    /// # let _ = token; None }
    /// ```
    #[inline]
    pub fn try_resolve_with<T>(
        &self,
        caller: Caller,
        use_it: impl FnOnce(Result<&Answer, &ResolveError>) -> T,
    ) -> Option<T> {
        self.engine
            .at_once(caller, |entry| use_it(entry.outcome.as_ref().map_err(|why| &why.error)))
    }

    /// The answer in memory for a caller, current or not. Does not count as a use.
    #[cfg(feature = "dispatch")]
    pub(crate) fn peek(&self, caller: Caller) -> Option<Resolution> {
        self.engine.cache.peek(caller)?.ok()
    }

    /// What time it is by the resolver's clock.
    #[cfg(feature = "dispatch")]
    pub(crate) fn now(&self) -> Moment {
        self.engine.clock.now()
    }

    /// The time since 1970 by the resolver's clock.
    #[cfg(feature = "server")]
    pub(crate) fn unix_time(&self) -> Duration {
        self.engine.clock.unix_time()
    }

    /// Applies a change that this process made itself, without waiting for the change feed. When the
    /// feed reports the same change later, that costs one more load.
    pub fn invalidate(&self, change: Change) {
        self.engine.telemetry.by_embedder.increment(1);
        self.engine.cache.apply(change);
    }

    /// How many answers are in memory.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.engine.cache.len()
    }

    /// Whether it is proven that no change was missed. Also true if no change feed was wanted.
    #[must_use]
    pub fn hears_changes(&self) -> bool {
        self.engine.cache.fence.lease_is_live(self.engine.clock.now())
    }

    /// Its health: how it learns of changes, whether it is ready, and what the self-check has found.
    #[must_use]
    pub fn health(&self) -> Health {
        self.engine.health()
    }

    /// The nodes of its database, this one among them. `None`: no database is named, or another store
    /// was given.
    #[must_use]
    pub fn nodes(&self) -> Option<Nodes> {
        self.engine.database.as_ref().map(Nodes::of)
    }

    /// Ends when [`stop`](Self::stop) is called.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.engine.lifecycle.stopping()
    }

    /// Ends the tasks that run beside the callers and waits for them, for `patience` at the most. One that
    /// is listed among the nodes takes its row away; without this it may count until `MAX_STALE` is over.
    /// `false`: some are still running.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.engine.lifecycle.stop(patience).await
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.lifecycle.stopping().cancel();
    }
}

impl Engine {
    /// An answer to hold. One that left the index while it was handed over may be wiped, so then the
    /// cache is asked once more.
    #[inline]
    fn own_at_once(&self, caller: Caller) -> Option<ResolveOutcome> {
        match self.at_once(caller, CacheEntry::outcome)? {
            Ok(resolution) if resolution.is_retired() => self.at_once(caller, CacheEntry::outcome),
            outcome => Some(outcome),
        }
    }

    /// The answer in memory, or the environment's while the database is not asked. Counts it.
    #[inline]
    fn at_once<T>(&self, caller: Caller, look: impl FnOnce(&Arc<CacheEntry>) -> T) -> Option<T> {
        if !self.live.asks_database() {
            return Some(look(&self.off()));
        }
        let Thread { hits, thread_cache } = self.thread();
        let sampled = hits.next_is_sampled();
        let began = if sampled { self.clock.now() } else { self.clock.coarse() };
        let look = |entry: &Arc<CacheEntry>| {
            if sampled {
                self.record_warm(began);
            }
            match &entry.outcome {
                Ok(answer) if answer.source() == Source::Database && !answer.stale() => {
                    hits.count();
                }
                outcome => {
                    hits.pass();
                    self.count(outcome.as_ref(), true);
                }
            }
            look(entry)
        };
        match self.cache.hit(caller, began, sampled, thread_cache, look) {
            Ok(answer) => Some(answer),
            Err(look) => Some(look?(&CacheEntry::of(self.loader.with_new_config(caller, began)?))),
        }
    }

    /// The answer for every caller while the database is not asked.
    #[cold]
    fn off(&self) -> Arc<CacheEntry> {
        let off = self.live.off();
        self.count(off.outcome.as_ref(), true);
        off
    }

    #[cold]
    fn record_warm(&self, began: Moment) {
        self.telemetry.warm.record(self.clock.now().since(began));
    }

    #[inline(always)]
    fn thread(&self) -> &Thread {
        let new =
            || Thread { hits: self.telemetry.new_hits(), thread_cache: ThreadCache::default() };
        self.threads.get_or(new)
    }

    #[cold]
    fn count(&self, outcome: Result<&Answer, &Unanswered>, in_memory: bool) {
        match outcome {
            Ok(answer) => self.telemetry.answered(answer, in_memory),
            Err(unanswered) => {
                if let Some(reason) = unanswered.error.reason() {
                    self.telemetry.refused(reason);
                }
            }
        }
    }

    fn count_outcome(&self, outcome: ResolveOutcome, in_memory: bool) -> ResolveOutcome {
        self.count(outcome.as_deref(), in_memory);
        if let Some(config) = outcome.as_deref().ok().and_then(Answer::config_id) {
            self.cache.last_used.note(&[(config, self.clock.now())]);
        }
        outcome
    }
}
