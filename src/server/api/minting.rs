//! A LiveKit access token of the answer for a caller.

use super::asking::{Asking, CallFrom};
use super::metrics::ApiMetrics;
use super::problem::Problem;
use crate::cache::Resolution;
use crate::credentials::CredentialError;
use crate::token::{AccessToken, TokenRequest};

/// A token, and whose credentials signed it.
pub(super) struct Minted {
    pub(super) answer: Resolution,
    pub(super) token: AccessToken,
    /// In seconds since 1970.
    pub(super) expires_at: u64,
}

/// Resolves the caller, and signs the token.
pub(super) async fn mint(
    asking: &Asking<'_>,
    from: &CallFrom,
    request: &TokenRequest,
    metrics: &ApiMetrics,
) -> Result<Minted, Problem> {
    let mut attempts = 0;
    loop {
        let answer = asking.resolve(from).await.inspect_err(|_| metrics.unanswered())?;
        // Before the token is made, so that it is good for as long as is said.
        let expires_at = asking.resolver.unix_time().as_secs() + request.ttl.as_secs();
        match answer.token(request) {
            Ok(token) => {
                metrics.minted(&answer);
                return Ok(Minted { answer, token, expires_at });
            }
            // They were withdrawn this moment: what holds now is asked for.
            Err(CredentialError::Wiped) if attempts < MOST_ATTEMPTS => attempts += 1,
            Err(error) => {
                metrics.unanswered();
                return Err(error.into());
            }
        }
    }
}

const MOST_ATTEMPTS: usize = 3;
