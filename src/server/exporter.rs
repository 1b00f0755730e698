//! The Prometheus exporter: a recorder with the buckets that [`crate::telemetry`] wants.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Recorder, set_global_recorder, with_local_recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_process::Collector;

use crate::clock::processor_time;
use crate::telemetry::recommended_buckets;

/// What metrics are recorded to and read from. Cloning shares it.
///
/// ```
/// use trunkline::server::Exporter;
///
/// let exporter = Exporter::new()?;
/// assert!(exporter.install(), "it is the first of this process");
/// let text = exporter.render();
/// assert!(text.contains("process_"));
/// # Ok::<(), trunkline::server::ExporterError>(())
/// ```
#[derive(Clone)]
pub struct Exporter {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    process: Collector,
}

/// A histogram has no buckets, which is a defect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the metrics cannot be recorded: {why}")]
pub struct ExporterError {
    why: String,
}

impl Exporter {
    /// One that nothing records to by itself: see [`record`](Self::record).
    ///
    /// # Errors
    ///
    /// Never in practice: where a histogram had no buckets.
    pub fn new() -> Result<Self, ExporterError> {
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in recommended_buckets() {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
                .map_err(|error| ExporterError { why: error.to_string() })?;
        }
        let recorder = Arc::new(builder.build_recorder());
        let exporter = Self { handle: recorder.handle(), recorder, process: Collector::default() };
        exporter.record(|| exporter.process.describe());
        Ok(exporter)
    }

    /// Makes it what the whole process records to. `false`: another one is that already.
    #[must_use]
    pub fn install(&self) -> bool {
        set_global_recorder(Arc::clone(&self.recorder)).is_ok()
    }

    /// Makes what is built in here record to it, whatever the process records to.
    pub fn record<T>(&self, build: impl FnOnce() -> T) -> T {
        with_local_recorder::<T>(&*self.recorder as &dyn Recorder, build)
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.record(|| self.process.collect());
        with_processor_time(self.handle.render(), processor_time())
    }

    /// Sorts what histograms have gathered into their buckets, now and then, so that it takes no
    /// more room than they do.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            tokio::time::sleep(SORT_EVERY).await;
            self.handle.run_upkeep();
        }
    }
}

/// Counters are whole numbers to whom they are recorded, and seconds of processor time are too long
/// for a rate over a minute: what is known better takes the place of what was recorded.
fn with_processor_time(text: String, used: Option<Duration>) -> String {
    let Some(used) = used else { return text };
    let Some(at) = text.find(PROCESSOR_TIME).map(|at| at + PROCESSOR_TIME.len()) else {
        return text;
    };
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    format!("{}{:.6}{}", &text[..at], used.as_secs_f64(), &text[end..])
}

/// What stands before its value, on a line of its own.
const PROCESSOR_TIME: &str = "\nprocess_cpu_seconds_total ";
const SORT_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_told_in_fractions_under_its_name_and_type() {
        let text =
            "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 3\n\nother 1\n";
        let told = with_processor_time(text.into(), Some(Duration::from_millis(3450)));
        let expected = text.replace("total 3\n", "total 3.450000\n");
        assert_eq!(told, expected);
        assert_eq!(with_processor_time(text.into(), None), text);
        assert_eq!(with_processor_time("other 1\n".into(), Some(Duration::ZERO)), "other 1\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_scraped_has_the_fraction() {
        let text = Exporter::new().unwrap().render();
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"), "{text}");
        let line =
            text.lines().find(|line| line.starts_with("process_cpu_seconds_total ")).unwrap();
        assert!(line.contains('.'), "{line}");
    }
}
