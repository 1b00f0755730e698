//! The answer: where a call is placed, with which key, trunk and agent, and where that came from.
//!
//! A [`Resolution`] redacts itself, signs tokens inside, and is one `Arc` to share. The secret's
//! text is not kept: [`Answer::token`] needs midstates only, and [`Answer::api_secret`]
//! opens the sealed token anew, into a buffer that is wiped.
//!
//! **Invariant:** credentials that were wiped never sign again, whoever still holds them. One wipe
//! serves every number that shares the config, because they share the [`Credentials`].

use std::fmt;
use std::ops::Deref;

use secrecy::ExposeSecret;
use serde::Serialize;

use crate::cache::Entry;
use crate::clock::{Clock, Moment};
use crate::keyring::{KeyError, KeyRing, Secret};
use crate::number::ConfigId;
use crate::reason::Reason;
use crate::rules::Rules;
use crate::server_url::ServerUrl;
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use crate::token::{AccessToken, Signer, TokenRequest};

/// Which side answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A LiveKit config of the database.
    Database,
    /// The `LIVEKIT_*` variables.
    Environment,
}

/// Where the trunk of an answer was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrunkOrigin {
    /// `trunk_id` of the LiveKit config.
    Config,
    /// `outbound_trunk_id` of the number's rules.
    Rules,
    /// `OUTBOUND_TRUNK_ID`.
    Environment,
}

/// The answer for one caller, to keep for as long as it is needed. Cloning shares it.
#[derive(Clone)]
pub struct Resolution(pub(crate) Arc<Entry>);

impl Resolution {
    /// One that stands nowhere yet.
    pub(crate) fn new(answer: Answer) -> Self {
        Self(Arc::new(Entry::from(Ok(answer))))
    }
}

impl Deref for Resolution {
    type Target = Answer;

    fn deref(&self) -> &Answer {
        match &self.0.said {
            Ok(answer) => answer,
            Err(_) => unreachable!("a resolution is made of an answer"),
        }
    }
}

/// What is known of one caller: usable credentials, trunk and agent, and their source.
///
/// It stays usable for as long as it is held, unless its config changes: then
/// [`token`](Self::token) says [`CredentialError::Wiped`], and resolving again gives what holds
/// now.
#[repr(C)]
pub struct Answer {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) origin: Origin,
    pub(crate) stale: bool,
    /// Whether it counts as a user of its credentials.
    pub(crate) counted: AtomicBool,
    pub(crate) trunk: Option<(Box<str>, TrunkOrigin)>,
    pub(crate) agent: Arc<str>,
    /// What the number's row says, where it is known and there is one.
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) loaded_at: Moment,
}

impl Answer {
    /// An answer that counts as a user of its credentials.
    pub(crate) fn new(
        credentials: Arc<Credentials>,
        trunk: Option<(Box<str>, TrunkOrigin)>,
        agent: Arc<str>,
        origin: Origin,
        rules: Option<Arc<Rules>>,
        loaded_at: Moment,
    ) -> Self {
        Self {
            credentials,
            trunk,
            agent,
            origin,
            rules,
            loaded_at,
            stale: false,
            counted: AtomicBool::new(true),
        }
    }

    /// Leaves its credentials, once.
    pub(crate) fn release(&self) {
        if self.counted.swap(false, Ordering::AcqRel) {
            self.credentials.release();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.release();
    }
}

/// The source with what belongs to it.
#[derive(Clone)]
pub(crate) enum Origin {
    Database { id: ConfigId, name: Arc<str> },
    Environment { reason: Reason },
}

impl Answer {
    /// The URL of the LiveKit server.
    #[must_use]
    pub fn url(&self) -> &ServerUrl {
        &self.credentials.url
    }

    /// The API key. Public by nature: it stands in every token as `iss`.
    #[must_use]
    #[inline]
    pub fn api_key(&self) -> &str {
        &self.credentials.api_key
    }

    /// Mints a LiveKit access token (HS256).
    ///
    /// # Errors
    ///
    /// [`CredentialError::Wiped`] when these credentials are withdrawn: resolve again.
    pub fn token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        self.credentials.token(request)
    }

    /// The API secret in the clear, opened for this call into a buffer that is wiped when dropped.
    ///
    /// For embedders whose LiveKit client insists on the text. Prefer [`token`](Self::token).
    ///
    /// # Errors
    ///
    /// [`CredentialError::Wiped`], or [`CredentialError::Key`] where the key ring has lost the key.
    pub fn api_secret(&self) -> Result<Secret, CredentialError> {
        self.credentials.api_secret()
    }

    /// The outbound SIP trunk: the config's, else the rules', else the environment's.
    #[must_use]
    pub fn trunk_id(&self) -> Option<&str> {
        self.trunk.as_ref().map(|(trunk, _)| &**trunk)
    }

    /// Who named the trunk.
    #[must_use]
    pub fn trunk_origin(&self) -> Option<TrunkOrigin> {
        self.trunk.as_ref().map(|&(_, origin)| origin)
    }

    /// The agent that takes the call: the config's worker name, else `VOICE_AGENT_NAME`.
    #[must_use]
    pub fn agent_name(&self) -> &str {
        &self.agent
    }

    /// What the number's row says: its carrier, its trunk and which calls it allows. `None`: it has
    /// no row, or the database was not asked or not reached; [`reason`](Self::reason) tells which.
    #[must_use]
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_deref()
    }

    /// Which side answered.
    #[must_use]
    #[inline]
    pub fn source(&self) -> Source {
        match self.origin {
            Origin::Database { .. } => Source::Database,
            Origin::Environment { .. } => Source::Environment,
        }
    }

    /// Why it was the environment. `None` when the database answered.
    #[must_use]
    #[inline]
    pub fn reason(&self) -> Option<Reason> {
        match self.origin {
            Origin::Database { .. } => None,
            Origin::Environment { reason } => Some(reason),
        }
    }

    /// The config that answered.
    #[must_use]
    pub fn config_id(&self) -> Option<ConfigId> {
        match self.origin {
            Origin::Database { id, .. } => Some(id),
            Origin::Environment { .. } => None,
        }
    }

    /// The name of the config that answered.
    #[must_use]
    pub fn config_name(&self) -> Option<&str> {
        match &self.origin {
            Origin::Database { name, .. } => Some(name),
            Origin::Environment { .. } => None,
        }
    }

    /// Whether another answer stands on the very same credentials.
    #[cfg(feature = "dispatch")]
    pub(crate) fn shares_credentials_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.credentials, &other.credentials)
    }

    /// Whether this is the last good answer of a database that cannot be asked at present.
    #[must_use]
    #[inline]
    pub fn stale(&self) -> bool {
        self.stale
    }

    /// When it was read from the database, on the resolver's clock.
    #[must_use]
    pub fn loaded_at(&self) -> Moment {
        self.loaded_at
    }
}

impl fmt::Debug for Resolution {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, out)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Resolution")
            .field("source", &self.source())
            .field("reason", &self.reason())
            .field("url", self.url())
            .field("config", &self.config_name())
            .field("trunk", &self.trunk_id())
            .field("agent", &self.agent_name())
            .field("stale", &self.stale())
            .finish_non_exhaustive()
    }
}

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

    /// Whether a row with these values would make the same credentials.
    pub(crate) fn matches(&self, url: &str, api_key: &str, sealed: &str, ring: &KeyRing) -> bool {
        // Under another ring it might not open any more.
        matches!(&self.text, SecretText::Sealed { token, ring: theirs }
                if **token == *sealed && theirs.key_ids() == ring.key_ids())
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

    fn token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        Ok(self.signer()?.mint(request, self.clock.unix_seconds()))
    }

    fn api_secret(&self) -> Result<Secret, CredentialError> {
        self.signer()?;
        match &self.text {
            SecretText::Sealed { token, ring } => Ok(ring.open(token)?.secret),
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
