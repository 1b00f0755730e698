//! Logs where answers come from: once for each change of source, and limited per topic to what a
//! person can read. An outage is a fallback of every number; the log gets twenty lines of it in ten
//! seconds with how many were kept back, and the metrics count all of them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cache::ResolveOutcome;
use crate::clock::Moment;
use crate::number::E164;
use crate::reason::Reason;

/// The log limiter: how many lines were logged lately, by topic.
#[derive(Default)]
pub(super) struct SourceLog(Mutex<[Window; Reason::ALL.len() + 5]>);

/// What a line is about. Each topic is limited by itself.
#[derive(Clone, Copy)]
pub(super) enum Topic {
    /// Answers that the database does not give, for a reason.
    Fallback(Reason),
    /// Answers that it gives.
    Database,
    /// Secrets that do not open.
    Secret,
    /// Configs whose URL alone was changed.
    UrlChanged,
    /// Configs at addresses where no LiveKit server is.
    OffLimits,
    /// Calls that nothing is known to forbid.
    #[cfg(feature = "dispatch")]
    WithoutRules,
}

impl Topic {
    fn place(self) -> usize {
        match self {
            Self::Fallback(reason) => reason as usize,
            Self::Database => Reason::ALL.len(),
            Self::Secret => Reason::ALL.len() + 1,
            Self::UrlChanged => Reason::ALL.len() + 2,
            Self::OffLimits => Reason::ALL.len() + 3,
            #[cfg(feature = "dispatch")]
            Self::WithoutRules => Reason::ALL.len() + 4,
        }
    }
}

#[derive(Clone, Copy)]
struct Window {
    began: Moment,
    logged: u32,
    kept_back: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { began: Moment(0), logged: 0, kept_back: 0 }
    }
}

impl SourceLog {
    /// Whether one more line may be logged. If so, how many were kept back since the last one.
    pub(super) fn admit(&self, topic: Topic, now: Moment) -> Option<u64> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = &mut windows[topic.place()];
        if now.since(window.began) >= WINDOW || window.logged == 0 {
            (window.began, window.logged) = (now, 0);
        }
        if window.logged >= MOST {
            window.kept_back += 1;
            return None;
        }
        window.logged += 1;
        Some(std::mem::take(&mut window.kept_back))
    }

    /// Logs that a call may go out though the rules of its number are unknown.
    #[cfg(feature = "dispatch")]
    pub(super) fn log_without_rules(&self, number: E164, reason: Option<Reason>, now: Moment) {
        let Some(kept_back) = self.admit(Topic::WithoutRules, now) else { return };
        let (number, reason) = (number.masked(), reason.map(tracing::field::display));
        tracing::warn!(
            reason,
            %number,
            kept_back,
            "no rules are known for a call: every country may be called"
        );
    }

    /// Logs where an answer comes from, in the words that operators search for.
    pub(super) fn log(&self, number: E164, outcome: &ResolveOutcome, now: Moment) {
        let number = number.masked();
        match outcome {
            Ok(answer) => match answer.reason() {
                None => {
                    let Some(kept_back) = self.admit(Topic::Database, now) else {
                        return;
                    };
                    tracing::info!(
                        config = answer.config_name(),
                        %number,
                        kept_back,
                        "Using LiveKit credentials from database"
                    );
                }
                // Somebody wants it so; the metrics count it.
                Some(reason) if reason.is_by_settings() || reason.is_by_rollout() => {}
                Some(reason) => {
                    let topic = Topic::Fallback(reason);
                    let Some(kept_back) = self.admit(topic, now) else { return };
                    tracing::warn!(%reason, %number, kept_back, "Falling back to environment variables");
                }
            },
            Err(unanswered) => {
                let reason = unanswered.error.reason().unwrap_or(Reason::LoadPanicked);
                let topic = Topic::Fallback(reason);
                let Some(kept_back) = self.admit(topic, now) else { return };
                let error = &unanswered.error;
                tracing::error!(%number, %error, kept_back, "no credentials for a call");
            }
        }
    }
}

/// How many lines a topic may log in a [`WINDOW`]. The metrics count every answer.
const MOST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_so_often_and_then_counted() {
        let log = SourceLog::default();
        let at = |seconds| Moment(0).after(Duration::from_secs(seconds));
        let admit = |reason, seconds| log.admit(Topic::Fallback(reason), at(seconds));
        for _ in 0..MOST {
            assert_eq!(admit(Reason::NumberUnknown, 1), Some(0));
        }
        assert_eq!(admit(Reason::NumberUnknown, 2), None);
        assert_eq!(admit(Reason::NumberUnknown, 10), None, "the window is not over");
        assert_eq!(admit(Reason::DatabaseTimeout, 10), Some(0), "each reason for itself");
        assert_eq!(admit(Reason::NumberUnknown, 11), Some(2), "it says how many it kept back");
        assert_eq!(admit(Reason::NumberUnknown, 11), Some(0));
    }
}
