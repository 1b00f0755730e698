//! `/readyz`: it should be given calls, or why not.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::server::endpoint::{Endpoint, Shared, json};

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/readyz", codes: &[200, 503], methods: || get(answer) };

async fn answer(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let (status, report) = shared.health.report();
    (status, json(&report))
}
