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

use super::applied::Applied;
use super::doorbell::{Doorbell, Suspicion};
use super::metrics::ChangesCounted;
use crate::backoff::{Backoff, dice};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::store::{LogCursor, Look, News, Reach, StoreError};

/// What reading needs.
pub(crate) struct Reader {
    /// Kept while nobody polls, so that a gap is caught up and not doubted.
    pub(crate) log: Mutex<LogCursor>,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counted: ChangesCounted,
    pub(crate) applied: Applied,
    /// Why the last look failed, for those who ask.
    pub(crate) trouble: Arc<StdMutex<Option<String>>>,
    pub(crate) lease: Duration,
    /// How often to look where the doorbell does not work.
    pub(crate) poll: Duration,
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
            let look = pace.look(self.lease * 3 / 8);
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
                    self.apply(&news);
                    if let Some(snapshot) = log.snapshot_read() {
                        self.applied.note(snapshot, found || news.reach != Reach::Complete);
                    }
                    #[cfg(feature = "server")]
                    self.applied
                        .listeners
                        .tell(news.logged, news.reach == Reach::Complete, || log.position());
                    self.doorbell.looked(asked_at);
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
                    self.cope(&error, backoff.failures());
                    sleep(wait).await;
                }
            }
        }
    }

    fn apply(&self, news: &News) {
        let changes = news.changes.len();
        let _span = (changes > 0).then(|| tracing::debug_span!("apply changes", changes).entered());
        self.cache.apply_all(&news.changes);
        self.counted.applied(&news.ages, news.newest);
        if news.reach == Reach::Complete {
            return;
        }
        if news.reach == Reach::Gap {
            tracing::warn!("the change log does not reach back; everything is asked for anew");
        }
        self.cache.fence.doubt();
        self.counted.doubted();
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
        sleep(pace.reluctance()).await;
        let most = if self.doorbell.works() { self.rhythm() } else { self.poll };
        pace.was_woken = timeout(most, self.doorbell.wake_up()).await.is_ok();
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
