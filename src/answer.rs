//! The answer: server, key, trunk and agent for a call, and their source; or why there is none.
//!
//! An [`Answer`] redacts itself and signs tokens by itself. Signing fails once its credentials are
//! wiped, whoever still holds it.

mod error;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub use self::error::ResolveError;
pub(crate) use self::error::Unanswered;
use crate::clock::Moment;
use crate::credentials::{CredentialError, Credentials};
use crate::keyring::Secret;
use crate::number::ConfigId;
use crate::reason::Reason;
use crate::rules::{Rules, RulesStatus};
use crate::server_url::ServerUrl;
use crate::sync::{Arc, AtomicBool, Ordering};
use crate::token::{AccessToken, TokenRequest};

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
#[non_exhaustive]
pub enum TrunkOrigin {
    /// `trunk_id` of the LiveKit config.
    Config,
    /// `outbound_trunk_id` of the number's rules.
    Rules,
    /// `OUTBOUND_TRUNK_ID`.
    Environment,
}

/// What is known of one caller: usable credentials, trunk and agent, and their source.
///
/// It stays usable for as long as it is held, unless its config changes: then
/// [`token`](Self::token) says [`CredentialError::Wiped`], and resolving again gives what holds
/// now.
#[repr(C)]
pub struct Answer {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) origin: AnswerOrigin,
    pub(crate) stale: bool,
    /// Whether the number is known to have no row.
    pub(crate) no_row: bool,
    /// Whether it counts as a user of its credentials.
    pub(crate) registered: AtomicBool,
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
        origin: AnswerOrigin,
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
            no_row: false,
            registered: AtomicBool::new(true),
        }
    }

    /// An answer of the environment, whose credentials stay whoever uses them.
    pub(crate) fn of_environment(
        credentials: Arc<Credentials>,
        trunk: Option<(Box<str>, TrunkOrigin)>,
        agent: Arc<str>,
        reason: Reason,
        rules: &KnownRules,
        now: Moment,
    ) -> Self {
        let origin = AnswerOrigin::Environment { reason };
        let said = rules.rules().cloned();
        let mut answer = Self::new(credentials, trunk, agent, origin, said, now);
        answer.no_row = *rules == KnownRules::NoRow;
        answer.registered = AtomicBool::new(false);
        answer
    }

    /// Leaves its credentials, once.
    pub(crate) fn release(&self) {
        if self.registered.swap(false, Ordering::AcqRel) {
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
pub(crate) enum AnswerOrigin {
    Database { id: ConfigId, name: Arc<str> },
    Environment { reason: Reason },
}

impl Answer {
    /// The URL of the LiveKit server.
    #[must_use]
    pub fn url(&self) -> &ServerUrl {
        self.credentials.url()
    }

    /// The API key. It is not secret: every token has it as `iss`.
    #[must_use]
    #[inline]
    pub fn api_key(&self) -> &str {
        self.credentials.api_key()
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
    /// no row, or the database was not asked or not reached; [`rules_status`](Self::rules_status) says which.
    #[must_use]
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_deref()
    }

    /// How much is known about the rules of the number.
    #[must_use]
    pub fn rules_status(&self) -> RulesStatus {
        match &self.rules {
            Some(_) => RulesStatus::Rules,
            None if self.no_row => RulesStatus::NoRow,
            None => RulesStatus::Unknown,
        }
    }

    /// What is known of them, to hand on.
    pub(crate) fn known_rules(&self) -> KnownRules {
        match &self.rules {
            Some(rules) => KnownRules::Rules(Arc::clone(rules)),
            None if self.no_row => KnownRules::NoRow,
            None => KnownRules::Unknown,
        }
    }

    /// Which side answered.
    #[must_use]
    #[inline]
    pub fn source(&self) -> Source {
        match self.origin {
            AnswerOrigin::Database { .. } => Source::Database,
            AnswerOrigin::Environment { .. } => Source::Environment,
        }
    }

    /// Whether this is the answer that the row, the flag and the rollout ask for, and not a fallback.
    pub(crate) fn is_as_the_row_wants(&self) -> bool {
        self.reason().is_none_or(|reason| reason == Reason::FlagOff || reason.is_by_rollout())
    }

    /// Why the environment answered. `None` if the database did.
    #[must_use]
    #[inline]
    pub fn reason(&self) -> Option<Reason> {
        match self.origin {
            AnswerOrigin::Database { .. } => None,
            AnswerOrigin::Environment { reason } => Some(reason),
        }
    }

    /// The config that answered.
    #[must_use]
    pub fn config_id(&self) -> Option<ConfigId> {
        match self.origin {
            AnswerOrigin::Database { id, .. } => Some(id),
            AnswerOrigin::Environment { .. } => None,
        }
    }

    /// The name of the config that answered.
    #[must_use]
    pub fn config_name(&self) -> Option<&str> {
        match &self.origin {
            AnswerOrigin::Database { name, .. } => Some(name),
            AnswerOrigin::Environment { .. } => None,
        }
    }

    /// Whether another answer shares exactly these credentials.
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

    /// How long ago the database was asked for it. An answer of the environment is as old as the look
    /// at the database that had none.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.credentials.now().since(self.loaded_at)
    }

    /// When it was read from the database, on the resolver's clock.
    #[must_use]
    pub fn loaded_at(&self) -> Moment {
        self.loaded_at
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

/// Rules, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum KnownRules {
    Rules(Arc<Rules>),
    NoRow,
    #[default]
    Unknown,
}

impl KnownRules {
    pub(crate) fn rules_status(&self) -> RulesStatus {
        match self {
            Self::Rules(_) => RulesStatus::Rules,
            Self::NoRow => RulesStatus::NoRow,
            Self::Unknown => RulesStatus::Unknown,
        }
    }

    pub(crate) fn rules(&self) -> Option<&Arc<Rules>> {
        match self {
            Self::Rules(rules) => Some(rules),
            Self::NoRow | Self::Unknown => None,
        }
    }
}
