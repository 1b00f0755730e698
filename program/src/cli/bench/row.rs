//! What was measured, in figures and as a chart.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::cli::output::short;

/// A row: what was asked how, and how long it took.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) asked: u64,
    /// Of all threads together.
    pub(super) took: Duration,
    pub(super) threads: u16,
    /// Nanoseconds of single questions, less what looking at the clock takes.
    pub(super) times: Histogram<u64>,
}

impl Row {
    /// Nanoseconds a question on one thread.
    fn mean(&self) -> u64 {
        nanos(self.took) / self.asked.max(1)
    }

    fn a_second(&self) -> u64 {
        u64::from(self.threads) * 1_000_000_000 / self.mean().max(1)
    }

    fn figures(&self) -> [u64; 4] {
        let at = |quantile| self.times.value_at_quantile(quantile);
        [at(0.5), at(0.99), at(0.999), self.times.max()]
    }

    pub(super) fn cells(&self) -> Vec<String> {
        let time = |nanos| short(Duration::from_nanos(nanos));
        let mut cells = vec![self.what.to_owned(), self.a_second().to_string(), time(self.mean())];
        cells.extend(self.figures().map(time));
        cells
    }

    pub(super) fn json(&self) -> Value {
        let [p50, p99, p999, max] = self.figures();
        json!({
            "what": self.what, "asked": self.asked, "per_second": self.a_second(),
            "mean_ns": self.mean(), "p50_ns": p50, "p99_ns": p99, "p999_ns": p999, "max_ns": max,
        })
    }

    /// How many answers took how long: a column for each sixth of a decade, from 10 ns to 68 ms.
    pub(super) fn chart(&self) -> String {
        let bounds: Vec<u64> = bounds().collect();
        let counts: Vec<u64> =
            bounds.windows(2).map(|pair| self.times.count_between(pair[0], pair[1] - 1)).collect();
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        let column = |&count: &u64| match count {
            0 => ' ',
            _ => COLUMNS[usize::try_from(count * 7 / most).unwrap_or(7)],
        };
        counts.iter().map(column).collect()
    }
}

/// The bounds of the columns, in nanoseconds: six a decade.
fn bounds() -> impl Iterator<Item = u64> {
    (0..7).flat_map(|decade| [10, 15, 22, 33, 47, 68].map(|step| step * 10_u64.pow(decade)))
}

/// What stands under the columns.
pub(super) fn axis() -> String {
    ["10ns", "100ns", "1µs", "10µs", "100µs", "1ms", "10ms"]
        .map(|mark| format!("{mark:<6}"))
        .concat()
}

pub(super) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const COLUMNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
