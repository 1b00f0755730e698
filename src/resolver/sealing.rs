//! Seals the audit: chains the rows that were committed since, a second after an edit.
//!
//! Every listed node that may does it; whoever comes first does it for all. A node that found nothing to
//! do looks ever less often, up to once in ten seconds, until the change feed hears of an edit; and while
//! the database stands still it asks nothing at all.
//!
//! A few rows are chained over the connection of the looks, a statement at a time, since no look may wait
//! for more than one answer; many take a connection for statements. Over a slow network it does neither:
//! those who wait for an answer need the connections more.
//!
//! **Invariant:** the head that is logged was committed.

use std::sync::Weak;
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Engine;
use crate::audit::ChainHash;
use crate::backoff::dice;
use crate::store::{AuditLog, Seal, StoreError};
use crate::telemetry::{AUDIT_SEAL_FAILURES, AUDIT_SEALED, AUDIT_UNSEALED, at_zero};

/// What sealing counts.
pub(super) struct SealsCounted {
    unsealed: Gauge,
    sealed: Counter,
    failures: Counter,
}

impl SealsCounted {
    /// Makes the handles, all series at zero.
    pub(super) fn new() -> Self {
        let counted = Self {
            unsealed: gauge!(AUDIT_UNSEALED),
            sealed: at_zero(counter!(AUDIT_SEALED)),
            failures: at_zero(counter!(AUDIT_SEAL_FAILURES)),
        };
        counted.unsealed(0);
        counted
    }

    fn unsealed(&self, rows: u64) {
        self.unsealed.set(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
    }
}

/// Seals for as long as it is polled.
pub(super) async fn seal_now_and_then(engine: Weak<Engine>) {
    let (mut applied, mut pace, mut heads) = match engine.upgrade().and_then(Watched::of) {
        Some(watched) => (watched.applied, Pace::new(watched.tells_stillness), Heads::default()),
        None => return,
    };
    loop {
        let news = async {
            // With its sender gone nothing is new any more.
            if applied.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            // Not all nodes at once, and not before the edits that come with this one.
            sleep(EVERY.mul_f64(0.5 + dice() / 2.0)).await;
        };
        tokio::select! {
            () = sleep(pace.wait.mul_f64(1.0 - dice() / 5.0)) => {}
            () = news, if pace.hears => pace.wait = EVERY,
        }
        heads.say_when_due();
        // Whatever is committed from here on moves the position on.
        let position = applied.borrow_and_update().clone();
        if !pace.is_due(position) {
            continue;
        }
        let Some(engine) = engine.upgrade() else { return };
        let Some(database) = &engine.database else { return };
        if engine.feed.as_ref().is_some_and(|feed| feed.leaves_upkeep_to_others()) {
            pace.went(Ok(Look::Nothing));
            continue;
        }
        let (audit, counted) = (database.audit(), &engine.telemetry.seals);
        let outcome = seal(&*audit, counted, &mut heads).await;
        match &outcome {
            Ok(_) => {}
            Err(error) if may_not(error) => {
                tracing::debug!(%error, "the audit is not sealed from here");
                if let Ok(rows) = audit.count_unsealed(MOST_COUNTED).await {
                    counted.unsealed(rows);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the audit could not be sealed");
                counted.failures.increment(1);
            }
        }
        pace.went(outcome);
    }
}

/// What came of a look at what there is to chain.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Nothing,
    Chained,
    /// Another process is at it, or the network is slow.
    Busy,
}

/// Chains what there is to chain.
async fn seal(
    audit: &dyn AuditLog,
    counted: &SealsCounted,
    heads: &mut Heads,
) -> Result<Look, StoreError> {
    let (mut chained, mut sealed) = (0, audit.seal_few(FEW).await?);
    loop {
        let Seal::Sealed { rows, more, head } = sealed else { return Ok(Look::Busy) };
        counted.sealed.increment(rows as u64);
        chained += rows;
        if rows > 0 {
            heads.moved(head);
        }
        if !more {
            counted.unsealed(0);
            return Ok(if chained == 0 { Look::Nothing } else { Look::Chained });
        }
        counted.unsealed(audit.count_unsealed(MOST_COUNTED).await?);
        sealed = audit.seal(BATCH).await?;
    }
}

/// What of an engine is watched.
struct Watched {
    applied: watch::Receiver<Option<String>>,
    /// Whether a position that stays the same says that nothing at all was committed.
    tells_stillness: bool,
}

impl Watched {
    #[expect(clippy::needless_pass_by_value, reason = "so that nothing keeps the engine")]
    fn of(engine: std::sync::Arc<Engine>) -> Option<Self> {
        let tells_stillness = engine.database.as_ref()?.kind() == "postgres";
        Some(Self { applied: engine.feed.as_ref()?.applied().watch(), tells_stillness })
    }
}

/// When the next look is.
struct Pace {
    wait: Duration,
    /// Whether news is a reason to look at once.
    hears: bool,
    tells_stillness: bool,
    /// The position at which nothing was left to chain.
    done_at: Option<String>,
    at: Option<String>,
}

impl Pace {
    fn new(tells_stillness: bool) -> Self {
        Self { wait: EVERY, hears: true, tells_stillness, done_at: None, at: None }
    }

    /// Whether there may be something to chain.
    fn is_due(&mut self, position: Option<String>) -> bool {
        let stands_still = self.tells_stillness && position.is_some() && position == self.done_at;
        self.at = position;
        !stands_still
    }

    fn went(&mut self, outcome: Result<Look, StoreError>) {
        self.done_at = None;
        self.hears = true;
        match outcome {
            Ok(Look::Nothing) => {
                self.done_at = self.at.take();
                self.wait = (self.wait * 2).min(LAZY);
            }
            Ok(Look::Chained | Look::Busy) => self.wait = EVERY,
            Err(error) if may_not(&error) => (self.wait, self.hears) = (FORBIDDEN, false),
            Err(_) => (self.wait, self.hears) = (LAZY, false),
        }
    }
}

/// The end of the chain, which goes to the log at most once a minute, and at the end.
#[derive(Default)]
struct Heads {
    unsaid: Option<(i64, ChainHash)>,
    said: Option<Instant>,
}

impl Heads {
    fn moved(&mut self, head: Option<(i64, ChainHash)>) {
        self.unsaid = head.or(self.unsaid.take());
        self.say_when_due();
    }

    fn say_when_due(&mut self) {
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.say();
        }
    }

    fn say(&mut self) {
        if let Some((position, head)) = self.unsaid.take() {
            tracing::info!(position, %head, "the audit is sealed up to here");
            self.said = Some(Instant::now());
        }
    }
}

impl Drop for Heads {
    fn drop(&mut self) {
        self.say();
    }
}

/// The role may not, the database is a replica or a file that may only be read, or it has no audit.
fn may_not(error: &StoreError) -> bool {
    error.may_not_write() || matches!(error, StoreError::NotMigrated { .. })
}

const EVERY: Duration = Duration::from_secs(1);
const LAZY: Duration = Duration::from_secs(10);
const FORBIDDEN: Duration = Duration::from_secs(60);
const SAY_EVERY: Duration = Duration::from_secs(60);
/// As many rows as are chained in passing.
const FEW: usize = 20;
const BATCH: usize = 500;
const MOST_COUNTED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_stands_still_is_asked_once_and_one_that_moves_ever_less_often() {
        let mut pace = Pace::new(true);
        assert!(pace.is_due(Some("7:7:".into())));
        pace.went(Ok(Look::Nothing));
        assert!(!pace.is_due(Some("7:7:".into())));
        for (at, seconds) in [4, 8, 10, 10].into_iter().enumerate() {
            assert!(pace.is_due(Some(at.to_string())));
            pace.went(Ok(Look::Nothing));
            assert_eq!(pace.wait, Duration::from_secs(seconds));
        }
        assert!(pace.is_due(Some("9:9:".into())));
        pace.went(Ok(Look::Chained));
        assert_eq!(pace.wait, EVERY);
        assert!(pace.is_due(Some("9:9:".into())), "what it wrote itself moves the position");
    }

    #[test]
    fn what_another_is_at_or_what_failed_is_looked_at_again_though_nothing_moves() {
        for outcome in [Ok(Look::Busy), Err(StoreError::MayBeSaved)] {
            let mut pace = Pace::new(true);
            assert!(pace.is_due(Some("7:7:".into())));
            pace.went(outcome);
            assert!(pace.is_due(Some("7:7:".into())));
        }
    }

    #[test]
    fn a_file_is_looked_at_though_its_log_stands_still() {
        let mut pace = Pace::new(false);
        assert!(pace.is_due(Some("7".into())));
        pace.went(Ok(Look::Nothing));
        assert!(pace.is_due(Some("7".into())), "not every edit is in the change log");
    }

    #[test]
    fn a_node_that_may_not_seal_looks_once_a_minute_and_hears_no_news() {
        let mut pace = Pace::new(true);
        let refused = StoreError::Refused { statement: "seal", code: "42501".into(), words: None };
        pace.went(Err(refused));
        assert_eq!((pace.wait, pace.hears), (FORBIDDEN, false));
    }
}
