//! Reads the change log of Postgres: whenever the doorbell rings, and now and then without.
//!
//! Each look is a proof of its own: what was committed before it has been read and applied. So the
//! doorbell makes a change arrive within a millisecond, and where it cannot sound (behind a pooler,
//! on a replica, with notifications lost) looks in a quick rhythm hold the lease all the same.
//!
//! **Invariant:** changes are applied, or everything is put in doubt, before the lease is renewed.

use std::convert::Infallible;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::bell::Bell;
use super::metrics::ChangesCounted;
use super::watch::backoff;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::store::{LogCursor, News, PostgresStore, Reach, StoreError, may_be_the_connection};

/// What reading needs.
pub(crate) struct Reader {
    pub(crate) store: Arc<PostgresStore>,
    /// Kept while nobody polls, so that a gap is caught up and not doubted.
    pub(crate) log: Mutex<LogCursor>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counted: ChangesCounted,
    /// Why the last look failed, for those who ask.
    pub(crate) trouble: Arc<StdMutex<Option<String>>>,
    pub(crate) lease: Duration,
    /// How often to look where the doorbell does not sound.
    pub(crate) poll: Duration,
}

impl Reader {
    /// Reads for as long as it is polled.
    pub(crate) async fn read(&self) -> Infallible {
        let mut log = self.log.lock().await;
        let (mut pace, mut voice) = (Pace::default(), Voice::new());
        let mut failures = 0;
        loop {
            let (rings, asked_at) = (self.bell.rings(), self.clock.now());
            let was_connected = log.is_connected();
            // Early enough that the next one comes before the lease ends.
            let audits = pace.audits(self.safety() / 2);
            match log.look(audits).await {
                Ok(news) => {
                    if let Some(rings) = news.rings {
                        self.bell.audited(asked_at, rings);
                    }
                    if failures > 0 {
                        self.note(None);
                    }
                    failures = 0;
                    pace.found(!news.changes.is_empty());
                    self.apply(&news);
                    self.bell.looked(asked_at, rings);
                    voice.tell(self.bell.sounds(), self.poll);
                    self.wait(&mut pace).await;
                }
                Err(error) => {
                    failures += 1;
                    pace.begin_anew();
                    self.cope(&error, was_connected, failures);
                    // A held connection that broke says little; the first new one is tried at once.
                    if !was_connected {
                        sleep(backoff(failures, LONGEST_WAIT)).await;
                    }
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

    fn cope(&self, error: &StoreError, was_connected: bool, failures: u32) {
        self.note(Some(error.to_string()));
        if !may_be_the_connection(error) {
            self.bell.distrust();
        } else if was_connected {
            self.store.give_up_connections();
        }
        if failures == 1 {
            tracing::warn!(%error, "the change log cannot be read");
        } else {
            tracing::debug!(%error, failures, "the change log can still not be read");
        }
    }

    /// How often to look although the bell sounds, and to look for the triggers: a notification may
    /// be lost, and a lease lasts no longer than what was last seen of the triggers.
    fn safety(&self) -> Duration {
        SAFETY_LOOK.min(self.lease / 2)
    }

    /// Waits for the bell, or until it is time to look without.
    async fn wait(&self, pace: &mut Pace) {
        // Hints that lead to nothing may come as fast as they like; looks do not.
        sleep(pace.reluctance()).await;
        let most = if self.bell.sounds() { self.safety() } else { self.poll };
        pace.rung = timeout(most, self.bell.rung()).await.is_ok();
    }
}

/// How soon the next look comes, and what it asks.
#[derive(Default)]
struct Pace {
    audited: Option<Instant>,
    /// Whether the bell made this look.
    rung: bool,
    /// How many looks in a row the bell made for nothing.
    in_vain: u32,
}

impl Pace {
    fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// Whether this look should ask for the triggers, too.
    fn audits(&mut self, every: Duration) -> bool {
        let due = self.audited.is_none_or(|audited| audited.elapsed() >= every);
        if due {
            self.audited = Some(Instant::now());
        }
        due
    }

    fn found(&mut self, something: bool) {
        self.in_vain = if something || !self.rung { 0 } else { self.in_vain.saturating_add(1) };
    }

    fn reluctance(&self) -> Duration {
        Duration::from_millis(10) * self.in_vain.saturating_sub(PATIENT_WITH).min(10)
    }
}

/// Says in the log by which way changes are learned of, when that changes.
struct Voice {
    began: Instant,
    sounded: Option<bool>,
}

impl Voice {
    fn new() -> Self {
        Self { began: Instant::now(), sounded: None }
    }

    fn tell(&mut self, sounds: bool, poll: Duration) {
        // The first heartbeat takes its time.
        let early = self.sounded.is_none() && self.began.elapsed() < SETTLED;
        if self.sounded == Some(sounds) || (!sounds && early) {
            return;
        }
        self.sounded = Some(sounds);
        if sounds {
            tracing::info!("changes are heard through NOTIFY");
        } else {
            tracing::warn!(every = ?poll, "NOTIFY is not heard; the change log is read instead");
        }
    }
}

const SAFETY_LOOK: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// After how many looks in vain the next one waits.
const PATIENT_WITH: u32 = 8;
/// How long the first heartbeat may take before its absence is worth a word.
const SETTLED: Duration = Duration::from_secs(2);
