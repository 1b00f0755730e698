//! Every path that is answered: a file each, and a line here.

mod livez;
mod metrics;
mod readyz;
mod version;

use super::endpoint::Endpoint;

pub(super) const ENDPOINTS: [Endpoint; 4] =
    [metrics::ENDPOINT, livez::ENDPOINT, readyz::ENDPOINT, version::ENDPOINT];
