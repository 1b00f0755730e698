//! The Prometheus exporter: a recorder with the buckets that [`crate::telemetry`] wants.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Recorder, set_global_recorder, with_local_recorder};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_process::Collector;

use crate::telemetry::recommended_buckets;

/// What metrics are recorded to and read from. Cloning shares it.
#[derive(Clone)]
pub struct Exporter {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    process: Collector,
}

impl Exporter {
    /// One that nothing records to by itself: see [`record`](Self::record).
    ///
    /// # Errors
    ///
    /// Never in practice: where a histogram had no buckets.
    pub fn new() -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in recommended_buckets() {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
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
        self.handle.render()
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

const SORT_EVERY: Duration = Duration::from_secs(5);
