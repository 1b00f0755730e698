//! `/version`: what runs.

use axum::response::IntoResponse;
use axum::routing::get;

use crate::server::endpoint::{Endpoint, json};

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/version", codes: &[200], methods: || get(answer) };

async fn answer() -> impl IntoResponse {
    json(&serde_json::json!({"name": "trunkline", "version": env!("CARGO_PKG_VERSION")}))
}
