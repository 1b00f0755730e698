//! One key pair of one LiveKit server, and how it is wiped.
//!
//! The secret's text is not kept. Tokens are signed with midstates; whoever needs the text has the
//! sealed token opened again, into a buffer that is wiped. The object counts the answers that use
//! it, and the last one that leaves wipes it.
//!
//! **Invariant:** wiped credentials never sign again, whoever still holds them. One wipe reaches
//! every number of the config, because they share the [`Credentials`].

use secrecy::ExposeSecret;

use crate::clock::{Clock, Moment};
use crate::keyring::{KeyError, KeyRing, Secret};
use crate::server_url::ServerUrl;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::token::{AccessToken, ReceivedToken, Signer, TokenRequest};

/// One key pair of one server, shared by every answer that uses it.
pub(crate) struct Credentials {
    url: ServerUrl,
    api_key: Box<str>,
    held: Mutex<Held>,
    text: SecretText,
    clock: Arc<dyn Clock>,
}

/// What a wipe takes away, and who still needs it.
struct Held {
    signer: Option<Arc<Signer>>,
    /// How many cached answers use it; the last one that goes wipes.
    users: usize,
}

/// Where the secret's text is had again.
enum SecretText {
    /// In the row, for whoever has the key.
    Sealed { token: Box<str>, ring: Arc<KeyRing> },
    /// In the process environment, where it stays anyway.
    Held(Arc<Secret>),
}

impl Credentials {
    /// Credentials of a row. `opened` is what `sealed` opened to; it is not kept.
    pub(crate) fn sealed(
        url: ServerUrl,
        api_key: &str,
        sealed: &str,
        opened: &Secret,
        ring: Arc<KeyRing>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let text = SecretText::Sealed { token: sealed.into(), ring };
        Self::new(url, api_key, Signer::new(api_key, opened.expose_secret()), text, clock)
    }

    /// Credentials of the environment.
    pub(crate) fn held(
        url: ServerUrl,
        api_key: &str,
        secret: Arc<Secret>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let signer = Signer::new(api_key, secret.expose_secret());
        Self::new(url, api_key, signer, SecretText::Held(secret), clock)
    }

    fn new(
        url: ServerUrl,
        api_key: &str,
        signer: Signer,
        text: SecretText,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let held = Mutex::new(Held { signer: Some(Arc::new(signer)), users: 1 });
        Self { url, api_key: api_key.into(), held, text, clock }
    }

    /// The URL of the server.
    pub(crate) fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// The API key.
    #[inline]
    pub(crate) fn api_key(&self) -> &str {
        &self.api_key
    }

    /// Whether a row with these values would make the same credentials.
    pub(crate) fn matches(&self, url: &str, api_key: &str, sealed: &str, ring: &KeyRing) -> bool {
        // Under another ring it might not open any more.
        matches!(&self.text, SecretText::Sealed { token, ring: theirs }
                if **token == *sealed && theirs.opens_like(ring))
            && self.url.as_str() == url
            && *self.api_key == *api_key
    }

    /// Whether these and others are of the environment, and the same.
    pub(crate) fn held_like(&self, other: &Self) -> bool {
        let (SecretText::Held(ours), SecretText::Held(theirs)) = (&self.text, &other.text) else {
            return false;
        };
        let same = ours.expose_secret() == theirs.expose_secret();
        same && self.url == other.url && self.api_key == other.api_key
    }

    /// Whether their secret is this one, as far as they keep the text.
    pub(crate) fn has_secret(&self, text: &str) -> bool {
        matches!(&self.text, SecretText::Held(secret) if secret.expose_secret() == text)
    }

    /// Whether they are the environment's and have signed this token.
    pub(crate) fn have_signed(&self, token: &ReceivedToken) -> bool {
        matches!(&self.text, SecretText::Held(secret)
                if token.issuer() == &*self.api_key && token.is_signed_with(secret.expose_secret()))
    }

    /// Takes part in them. `false`: they are wiped, and new ones must be made.
    pub(crate) fn acquire(&self) -> bool {
        let mut held = self.lock();
        held.users += usize::from(held.signer.is_some());
        held.signer.is_some()
    }

    /// Leaves. The last one to leave wipes.
    pub(crate) fn release(&self) {
        let mut held = self.lock();
        held.users = held.users.saturating_sub(1);
        if held.users == 0 {
            held.signer = None;
        }
    }

    /// Empties the signer, here and now, whoever still holds these credentials.
    pub(crate) fn wipe(&self) {
        self.lock().signer = None;
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // A thread that panicked while it held the lock left nothing half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signer(&self) -> Result<Arc<Signer>, CredentialError> {
        self.lock().signer.clone().ok_or(CredentialError::Wiped)
    }

    /// What time it is by the resolver's clock.
    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Mints a token, unless they are wiped.
    pub(crate) fn token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        Ok(self.signer()?.mint(request, self.clock.unix_seconds()))
    }

    /// The secret in the clear, unless they are wiped.
    pub(crate) fn api_secret(&self) -> Result<Secret, CredentialError> {
        self.signer()?;
        match &self.text {
            // Whose it is was looked at when these credentials were made of it.
            SecretText::Sealed { token, ring } => Ok(ring.open_whose(token, |_| Ok(()))?.secret),
            SecretText::Held(secret) => {
                Ok(Secret::new(Box::new(secret.expose_secret().as_str().to_owned())))
            }
        }
    }
}

/// Why credentials cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// They were withdrawn since they were resolved.
    #[error("these credentials were withdrawn; resolve the number again")]
    Wiped,
    /// The secret does not open any more.
    #[error("the API secret does not open")]
    Key(#[from] KeyError),
}
