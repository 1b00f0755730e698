//! Reads the change log of Postgres: whenever the doorbell rings, and four times a lease without.
//!
//! Each look is a proof of its own: what was committed before it has been read and applied. The
//! doorbell makes a change arrive within milliseconds, and where it does not work (behind a pooler,
//! on a replica, with notifications lost) looks in a quicker rhythm do nearly as well.
//!
//! **Invariant:** changes are applied, or everything is put in doubt, before the lease is renewed.

use std::convert::Infallible;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::apply::Applier;
use super::doorbell::{Doorbell, Suspicion};
#[cfg(feature = "relay")]
use super::relay::Relay;
use crate::backoff::{Backoff, dice};
use crate::clock::Clock;
use crate::store::{LogCursor, Look, Reach, StoreError};

/// What reading needs.
pub(crate) struct Reader {
    /// Kept while nobody polls, so that a gap is caught up and not doubted.
    pub(crate) log: Mutex<LogCursor>,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) applier: Applier,
    pub(crate) clock: Arc<dyn Clock>,
    /// Why the last look failed, for those who ask.
    pub(crate) trouble: Arc<StdMutex<Option<String>>>,
    pub(crate) lease: Duration,
    /// How often to look where the doorbell does not work.
    pub(crate) poll: Duration,
    /// Whom to tell of each look.
    #[cfg(feature = "relay")]
    pub(crate) relay: Option<Arc<Relay>>,
}

impl Reader {
    /// Reads for as long as it is polled.
    pub(crate) async fn read(&self) -> Infallible {
        let mut log = self.log.lock().await;
        let mut connection = log.connection();
        let mut pace = LookPace::default();
        let (mut suspicion, mut said) = (Suspicion::new(self.lease / 4), Said::new());
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let look = pace.look(self.audits_every());
            #[cfg(feature = "relay")]
            let before = log.position_for_others();
            let note = || (self.doorbell.heard(), self.clock.now());
            match Box::pin(log.look(&mut connection, look, note)).await {
                Ok(((heard, asked_at), news)) => {
                    if let Some(notify) = news.notify {
                        self.doorbell.audited(asked_at, notify);
                    }
                    if backoff.failures() > 0 {
                        self.note(None);
                    }
                    backoff.succeeded();
                    let found = !news.changes.is_empty();
                    pace.found(found);
                    self.applier.apply(&news.changes, &news.ages, news.newest, news.reach);
                    if let Some(snapshot) = log.snapshot_read() {
                        self.applier.applied.note(snapshot, found || news.reach != Reach::Complete);
                    }
                    #[cfg(feature = "server")]
                    self.applier.applied.listeners.tell(
                        news.logged.clone(),
                        news.reach == Reach::Complete,
                        || log.position().map(|position| position.to_string()),
                    );
                    self.doorbell.looked(asked_at);
                    #[cfg(feature = "relay")]
                    if let Some(relay) = &self.relay {
                        relay.looked(before, log.position_for_others(), &news).await;
                    }
                    let (by_now, now) = (self.doorbell.heard(), self.clock.now());
                    let should_be_heard = found && !self.doorbell.is_muted();
                    if suspicion.looked(heard, should_be_heard, by_now, now) {
                        self.doorbell.is_deaf(by_now);
                    }
                    said.say(self.doorbell.works(), self.poll);
                    self.wait(&mut pace).await;
                }
                Err(error) => {
                    let is_late = matches!(error, StoreError::Timeout { .. });
                    let in_vain = if is_late { began.elapsed() } else { Duration::ZERO };
                    let wait = backoff.failed(LONGEST_WAIT, in_vain);
                    pace = LookPace::default();
                    self.doorbell.could_not_look();
                    self.cope(&error, backoff.failures());
                    #[cfg(feature = "relay")]
                    if let Some(relay) = &self.relay {
                        relay.could_not_look().await;
                    }
                    if is_late {
                        // Who is let in meanwhile shows that it is not busy any more.
                        timeout(wait, log.is_let_in_after(Duration::ZERO)).await.ok();
                    } else {
                        sleep(wait).await;
                    }
                }
            }
        }
    }

    fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn cope(&self, error: &StoreError, failures: u32) {
        self.note(Some(error.to_string()));
        if failures == 1 {
            tracing::warn!(%error, "the change log cannot be read");
        } else {
            tracing::debug!(%error, failures, "the change log can still not be read");
        }
    }

    /// Waits for the doorbell, or until it is time to look without.
    async fn wait(&self, pace: &mut LookPace) {
        // Hints that lead to nothing may come as fast as they like; looks do not.
        let reluctance = pace.reluctance();
        sleep(reluctance).await;
        let most = match self.wait_of_leader() {
            Some(wait) => wait.saturating_sub(reluctance),
            None if self.doorbell.works() => self.rhythm(),
            None => self.poll,
        };
        pace.was_woken = timeout(most, self.doorbell.wake_up()).await.is_ok();
    }

    /// How long to wait while others are told of each look.
    #[cfg(feature = "relay")]
    fn wait_of_leader(&self) -> Option<Duration> {
        self.relay.as_ref()?.wait_of_leader()
    }

    #[cfg(not(feature = "relay"))]
    #[expect(clippy::unused_self, reason = "nobody is told")]
    fn wait_of_leader(&self) -> Option<Duration> {
        None
    }

    /// How often a look is an audit. What others are told proves nothing without one.
    fn audits_every(&self) -> Duration {
        if self.wait_of_leader().is_some() { Duration::ZERO } else { self.lease * 3 / 8 }
    }

    /// How soon to look without a ring: a notification may be lost, and a lease lasts no longer than
    /// what was last proven. Never twice the same, so that nodes that heard one ring part again.
    fn rhythm(&self) -> Duration {
        (self.lease / 4).mul_f64(1.0 - SPREAD * dice())
    }
}

/// How soon the next look comes, and what it asks.
#[derive(Default)]
struct LookPace {
    audited: Option<Instant>,
    /// Whether the doorbell led to this look.
    was_woken: bool,
    /// How many looks in a row it led to for nothing.
    in_vain: u32,
}

impl LookPace {
    /// What the next look asks, which is for the triggers, too, so often.
    fn look(&mut self, audit_every: Duration) -> Look {
        let audits = self.audited.is_none_or(|audited| audited.elapsed() >= audit_every);
        if audits {
            self.audited = Some(Instant::now());
        }
        Look { audits, was_rung_for: self.was_woken }
    }

    fn found(&mut self, something: bool) {
        self.in_vain =
            if something || !self.was_woken { 0 } else { self.in_vain.saturating_add(1) };
    }

    fn reluctance(&self) -> Duration {
        Duration::from_millis(10) * self.in_vain.saturating_sub(PATIENT_WITH).min(10)
    }
}

/// Says in the log by which way changes are learned of, when that changes.
struct Said {
    began: Instant,
    works: Option<bool>,
}

impl Said {
    fn new() -> Self {
        Self { began: Instant::now(), works: None }
    }

    fn say(&mut self, works: bool, poll: Duration) {
        // The proof takes its time.
        let early = self.works.is_none() && self.began.elapsed() < SETTLED;
        if self.works == Some(works) || (!works && early) {
            return;
        }
        self.works = Some(works);
        if works {
            tracing::info!("changes are heard through NOTIFY");
        } else {
            tracing::warn!(every = ?poll, "NOTIFY is not heard; the change log is read instead");
        }
    }
}

/// By what part of it the time between looks may be shorter.
const SPREAD: f64 = 0.2;
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// After how many looks in vain the next one waits.
const PATIENT_WITH: u32 = 8;
/// How long the proof of the doorbell may take before its absence is worth a word.
const SETTLED: Duration = Duration::from_secs(2);
