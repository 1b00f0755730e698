//! LiveKit's official client, made from resolved credentials, for methods that `dispatch::livekit`
//! lacks.
//!
//! Calls are not placed with it: it keeps the secret as plain text, and its errors do not tell a
//! wrong key from a broken proxy.

use livekit_api::services::LiveKitApi;

use crate::answer::Answer;
use crate::credentials::CredentialError;
use crate::dispatch::livekit::http_base;
use crate::keyring::ExposeSecret;

impl Answer {
    /// The official client with these credentials.
    ///
    /// Make it once and keep it for as long as it serves: each has a pool of connections of its own,
    /// and reads the system's certificates. It holds the API secret in the clear until it is dropped,
    /// and does not learn of a change; what is resolved after a change gives another one. It repeats
    /// no request: with its failover, a dial would be repeated, too.
    ///
    /// # Errors
    ///
    /// [`CredentialError`], as for [`Answer::api_secret`].
    pub fn livekit_api(&self) -> Result<LiveKitApi, CredentialError> {
        let secret = self.api_secret()?;
        let (url, secret) = (http_base(self.url()), secret.expose_secret());
        Ok(LiveKitApi::with_api_key(&url, self.api_key(), secret).with_failover(false))
    }
}
