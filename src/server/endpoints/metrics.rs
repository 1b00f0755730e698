//! `/metrics`: every metric, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::server::endpoint::{Endpoint, Shared};

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/metrics", codes: &[200], methods: || get(answer) };

async fn answer(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.health.look();
    shared.health.record_metrics();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.exporter.render())
}
