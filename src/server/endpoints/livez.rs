//! `/livez`: it runs.

use axum::routing::get;

use crate::server::endpoint::{Endpoint, text};

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/livez", codes: &[200], methods: || get(async || text("alive\n")) };
