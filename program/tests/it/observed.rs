//! What operators see: metrics, health, dashboards, alerts, traces. Names are held against each other
//! wherever they stand, and the alerts fire on a real Prometheus.

#![expect(clippy::float_cmp, reason = "what is counted is a whole number")]

mod agree;
mod alerts;
mod connections;
mod daemon;
mod metrics;
mod pictures;
mod state_log;
#[cfg(feature = "otel")]
mod traces;
