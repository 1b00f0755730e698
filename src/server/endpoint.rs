//! What an endpoint is: a path, how it answers, and which codes that may have.

use std::sync::Arc;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;

use super::exporter::Exporter;
use super::health::Readiness;

/// One path that is answered.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    /// Every code that it answers with. Each is counted from zero.
    pub(super) codes: &'static [u16],
    pub(super) methods: fn() -> MethodRouter<Arc<Shared>>,
}

/// What the answers are made of.
pub(super) struct Shared {
    pub(super) exporter: Exporter,
    pub(super) health: Readiness,
}

pub(super) fn text(text: &'static str) -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], text)
}

pub(super) fn json(value: &serde_json::Value) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], format!("{value}\n"))
}
