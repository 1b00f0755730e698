//! The last hour of the engine's own counters, for the charts: read from the exporter every few seconds,
//! so that a page has them without a Prometheus.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::reason::Reason;
use crate::telemetry::{CHANGE_DELAY, COLD, ENTRIES, FALLBACKS, REFUSALS, RESOLUTIONS, WARM};

/// Samples, the oldest first.
#[derive(Default)]
pub(in crate::server) struct History(Mutex<VecDeque<Sample>>);

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sample {
    /// In seconds since 1970.
    pub(super) at: u64,
    /// Answers of the database, and how many of them were in memory.
    pub(super) database: f64,
    pub(super) from_memory: f64,
    pub(super) stale: f64,
    pub(super) environment: f64,
    pub(super) refused: f64,
    pub(super) entries: f64,
    /// Fallbacks by reason.
    pub(super) fallbacks: BTreeMap<String, f64>,
    /// How many took so long or less, by upper bound.
    warm: Buckets,
    cold: Buckets,
    delay: Buckets,
}

type Buckets = Vec<(f64, f64)>;

/// What happened between two samples.
pub(super) struct Span {
    pub(super) seconds: f64,
    pub(super) database: f64,
    pub(super) from_memory: f64,
    pub(super) stale: f64,
    pub(super) environment: f64,
    pub(super) refused: f64,
    pub(super) fallbacks: Vec<(String, f64)>,
    warm: Buckets,
    cold: Buckets,
    delay: Buckets,
}

impl History {
    /// Takes a sample of what the exporter tells.
    pub(in crate::server) fn take(&self, at: u64, text: &str) {
        let mut samples = self.lock();
        // A clock that was put back begins a new hour.
        if samples.back().is_some_and(|last| last.at >= at) {
            samples.retain(|sample| sample.at < at);
        }
        samples.push_back(Sample::read(at, text));
        while samples.len() > MOST {
            samples.pop_front();
        }
    }

    /// What was taken, and one sample of now.
    pub(super) fn until(&self, now: Sample) -> Vec<Sample> {
        let mut samples: Vec<_> =
            self.lock().iter().filter(|sample| sample.at < now.at).cloned().collect();
        samples.push(now);
        samples
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    /// Reads Prometheus' text format.
    pub(super) fn read(at: u64, text: &str) -> Self {
        let mut sample = Self { at, ..Self::default() };
        for line in text.lines().filter(|line| line.starts_with("trunkline_")) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let label = |of: &str| {
                let (_, rest) = labels.split_once(&format!("{of}=\""))?;
                rest.split_once('"').map(|(value, _)| value)
            };
            match name {
                RESOLUTIONS if label("source") == Some("environment") => {
                    sample.environment += value;
                }
                RESOLUTIONS => {
                    sample.database += value;
                    match label("from") {
                        Some("index") => sample.from_memory += value,
                        Some("stale") => sample.stale += value,
                        _ => {}
                    }
                }
                FALLBACKS => {
                    let reason = label("reason").unwrap_or_default().to_owned();
                    sample.fallbacks.insert(reason, value);
                }
                REFUSALS => sample.refused += value,
                ENTRIES => sample.entries = value,
                _ => {
                    let Some(of) = name.strip_suffix("_bucket") else { continue };
                    let Some(bound) = label("le").and_then(|bound| bound.parse::<f64>().ok())
                    else {
                        continue;
                    };
                    match of {
                        WARM => sample.warm.push((bound, value)),
                        COLD => sample.cold.push((bound, value)),
                        CHANGE_DELAY => sample.delay.push((bound, value)),
                        _ => {}
                    }
                }
            }
        }
        sample
    }
}

impl Span {
    pub(super) fn between(old: &Sample, new: &Sample) -> Self {
        let apart = |old: f64, new: f64| (new - old).max(0.0);
        let seconds = new.at.saturating_sub(old.at).max(1);
        let mut fallbacks: Vec<_> = new
            .fallbacks
            .iter()
            .map(|(reason, many)| {
                let before = old.fallbacks.get(reason).copied().unwrap_or(0.0);
                (reason.clone(), apart(before, *many))
            })
            .filter(|(_, many)| *many > 0.0)
            .collect();
        fallbacks.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        #[expect(clippy::cast_precision_loss, reason = "an hour is short")]
        let seconds = seconds as f64;
        Self {
            seconds,
            database: apart(old.database, new.database),
            from_memory: apart(old.from_memory, new.from_memory),
            stale: apart(old.stale, new.stale),
            environment: apart(old.environment, new.environment),
            refused: apart(old.refused, new.refused),
            fallbacks,
            warm: less(&new.warm, &old.warm),
            cold: less(&new.cold, &old.cold),
            delay: less(&new.delay, &old.delay),
        }
    }

    pub(super) fn answers(&self) -> f64 {
        self.database + self.environment
    }

    /// Fallbacks that the settings do not want.
    pub(super) fn unwanted(&self) -> f64 {
        let by_settings = |reason: &str| reason.parse::<Reason>().is_ok_and(Reason::is_by_settings);
        self.fallbacks.iter().filter(|(reason, _)| !by_settings(reason)).map(|(_, many)| many).sum()
    }

    /// The time within which this part of the answers came from memory. `None`: there were none.
    pub(super) fn warm(&self, part: f64) -> Option<f64> {
        quantile(&self.warm, part)
    }

    /// The same of those that were not in memory.
    pub(super) fn cold(&self, part: f64) -> Option<f64> {
        quantile(&self.cold, part)
    }

    /// The same of changes, from being written to being applied here.
    pub(super) fn delay(&self, part: f64) -> Option<f64> {
        quantile(&self.delay, part)
    }
}

fn less(new: &Buckets, old: &Buckets) -> Buckets {
    let before = |bound: f64| {
        old.iter().find(|(of, _)| of.total_cmp(&bound).is_eq()).map_or(0.0, |(_, many)| *many)
    };
    new.iter().map(|(bound, many)| (*bound, (many - before(*bound)).max(0.0))).collect()
}

/// As Prometheus tells it: within its bucket it is taken to be spread evenly.
fn quantile(buckets: &Buckets, part: f64) -> Option<f64> {
    let (_, all) = buckets.last().filter(|(_, all)| *all > 0.0)?;
    let wanted = all * part;
    let (mut low, mut before) = (0.0, 0.0);
    for (bound, many) in buckets {
        if *many >= wanted {
            if bound.is_infinite() || *many <= before {
                return Some(low);
            }
            return Some(low + (bound - low) * (wanted - before) / (many - before));
        }
        (low, before) = (*bound, *many);
    }
    Some(low)
}

/// How often a sample is taken.
pub(in crate::server) const EVERY: Duration = Duration::from_secs(15);
/// An hour of them.
const MOST: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# HELP trunkline_resolutions_total Answers\n\
        trunkline_resolutions_total{source=\"database\",from=\"index\"} 10\n\
        trunkline_resolutions_total{source=\"environment\",from=\"loaded\"} 1\n\
        trunkline_fallbacks_total{reason=\"number_unknown\"} 1\n\
        trunkline_fallbacks_total{reason=\"flag_off\"} 0\n\
        trunkline_resolve_cold_duration_seconds_bucket{le=\"0.001\"} 2\n\
        trunkline_resolve_cold_duration_seconds_bucket{le=\"0.002\"} 2\n\
        trunkline_resolve_cold_duration_seconds_bucket{le=\"+Inf\"} 2\n";
    const AFTER: &str = "trunkline_resolutions_total{source=\"database\",from=\"index\"} 30\n\
        trunkline_resolutions_total{source=\"database\",from=\"loaded\"} 4\n\
        trunkline_resolutions_total{source=\"environment\",from=\"loaded\"} 4\n\
        trunkline_fallbacks_total{reason=\"number_unknown\"} 3\n\
        trunkline_fallbacks_total{reason=\"flag_off\"} 5\n\
        trunkline_resolve_cold_duration_seconds_bucket{le=\"0.001\"} 2\n\
        trunkline_resolve_cold_duration_seconds_bucket{le=\"0.002\"} 6\n\
        trunkline_resolve_cold_duration_seconds_bucket{le=\"+Inf\"} 6\n";

    #[test]
    fn a_span_is_what_two_samples_differ_by() {
        let span = Span::between(&Sample::read(100, BEFORE), &Sample::read(110, AFTER));
        assert_eq!((span.seconds, span.database, span.environment), (10.0, 24.0, 3.0));
        assert_eq!((span.from_memory, span.unwanted()), (20.0, 2.0));
        assert_eq!(
            span.fallbacks,
            [("flag_off".to_owned(), 5.0), ("number_unknown".to_owned(), 2.0)]
        );
        let median = span.cold(0.5).unwrap();
        assert!((median - 0.0015).abs() < 1e-9, "{median}");
        assert_eq!(span.warm(0.5), None);
    }

    #[test]
    fn an_hour_is_kept_and_a_clock_that_is_put_back_does_no_harm() {
        let history = History::default();
        for at in 0..300 {
            history.take(at, AFTER);
        }
        assert_eq!(history.lock().len(), MOST);
        history.take(290, AFTER);
        let times: Vec<_> =
            history.until(Sample::read(291, AFTER)).iter().map(|one| one.at).collect();
        assert!(times.is_sorted() && times.ends_with(&[289, 290, 291]), "{times:?}");
    }
}
