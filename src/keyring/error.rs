//! Every way in which sealing and opening can fail.

use super::{KeyId, PREFIX};

/// Why a secret could not be sealed or opened. Never holds any part of a key or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No key is configured.
    #[error("no encryption key: LIVEKIT_SECRET_ENCRYPTION_KEY is not set")]
    KeyMissing,
    /// A configured key is not 32 bytes of base64url.
    #[error(
        "key {place} of LIVEKIT_SECRET_ENCRYPTION_KEY is malformed: it must be 32 bytes of base64url"
    )]
    KeyMalformed {
        /// Which of the comma-separated keys, from 1.
        place: usize,
    },
    /// The text to open is not sealed: it has no prefix.
    #[error("not sealed: a sealed secret must begin with {PREFIX}")]
    PrefixMissing,
    /// The prefix is there and what follows is no Fernet token.
    #[error("malformed token: {why}")]
    TokenMalformed {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The token is well formed and no key of the ring made it, or it was altered since.
    #[error("no key of the ring fits (ring: {ring:?})")]
    NoKeyFits {
        /// The keys that were tried.
        ring: Vec<KeyId>,
    },
    /// The same where the database has data keys that do not open here: it may be under one of those.
    #[error(
        "no key of the ring fits (ring: {ring:?}), and data keys of the database do not open here: {data_keys:?}"
    )]
    DataKeyUnopened {
        /// The keys that were tried.
        ring: Vec<KeyId>,
        /// The data keys.
        data_keys: Vec<KeyId>,
    },
    /// A key that is to seal a data key is not one of the settings.
    #[error(
        "key {key} is no key of LIVEKIT_SECRET_ENCRYPTION_KEY, and so none that seals data keys"
    )]
    RootKeyMissing {
        /// Which key.
        key: KeyId,
    },
    /// The key that made the token is in the ring, and opens nothing any more.
    #[error("it is sealed under key {key}, which is refused")]
    KeyRefused {
        /// Which key.
        key: KeyId,
    },
    /// The key that seals, by what the database says, is not in the ring.
    #[error("the database says that key {key} seals, and it is not in the ring")]
    SealingKeyMissing {
        /// Which key.
        key: KeyId,
    },
    /// A text is no id of a key.
    #[error("the id of a key must be eight hex digits")]
    KeyIdMalformed,
    /// The secret is bound to a config, and was not opened as that one's.
    #[error("the secret is bound to a LiveKit config, and opens only for that one")]
    Bound,
    /// The secret is bound to something else than what it was opened for.
    #[error("the secret was sealed for another {what}")]
    BoundElsewhere {
        /// What is another one: config, URL or API key.
        what: &'static str,
    },
    /// The secret is bound to no config, and only those that are may be used.
    #[error("the secret is not bound to its config, and BOUND_SECRETS_ONLY is on")]
    NotBound,
    /// The text to seal carries the prefix already.
    #[error("already sealed: the text begins with {PREFIX}")]
    AlreadySealed,
    /// There is nothing to seal or open.
    #[error("empty input: there is nothing but white space")]
    EmptyInput,
    /// The plaintext is longer than any secret.
    #[error("the secret is longer than {longest} bytes")]
    PlaintextTooLong {
        /// The longest that is taken, in bytes.
        longest: usize,
    },
    /// What was sealed is not UTF-8 text.
    #[error("the opened secret is not UTF-8 text")]
    NotText,
    /// The system gave no random bytes.
    #[error("the system has no random numbers")]
    NoRandomness,
}

impl KeyError {
    /// The codes of what keeps a secret from opening.
    pub(crate) const OF_OPENING: [&str; 9] = [
        "key_missing",
        "prefix_missing",
        "token_malformed",
        "no_key_fits",
        "data_key_unopened",
        "key_refused",
        "secret_not_text",
        "secret_bound_elsewhere",
        "secret_not_bound",
    ];

    /// A stable `snake_case` name for the error, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyMissing => "key_missing",
            Self::KeyMalformed { .. } => "key_malformed",
            Self::PrefixMissing => "prefix_missing",
            Self::TokenMalformed { .. } => "token_malformed",
            Self::NoKeyFits { .. } => "no_key_fits",
            Self::DataKeyUnopened { .. } => "data_key_unopened",
            Self::RootKeyMissing { .. } => "root_key_missing",
            Self::KeyRefused { .. } => "key_refused",
            Self::SealingKeyMissing { .. } => "sealing_key_missing",
            Self::KeyIdMalformed => "key_id_malformed",
            Self::Bound => "secret_bound",
            Self::BoundElsewhere { .. } => "secret_bound_elsewhere",
            Self::NotBound => "secret_not_bound",
            Self::AlreadySealed => "already_sealed",
            Self::EmptyInput => "empty_input",
            Self::PlaintextTooLong { .. } => "secret_too_long",
            Self::NotText => "secret_not_text",
            Self::NoRandomness => "no_randomness",
        }
    }

    /// What to do about it, where there is one thing to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::KeyMissing => Some(
                "make one with `trunkline key generate` and set LIVEKIT_SECRET_ENCRYPTION_KEY, or \
                 name a file with LIVEKIT_SECRET_ENCRYPTION_KEY_FILE",
            ),
            Self::KeyMalformed { .. } => Some(
                "a key is 44 characters, as `trunkline key generate` prints; separate keys by commas",
            ),
            Self::PrefixMissing => Some("seal it first: `trunkline secret seal`"),
            Self::TokenMalformed { .. } => {
                Some("copy the whole token, from dev-s-t- to its last character")
            }
            Self::NoKeyFits { .. } => {
                Some("add the key that sealed it to LIVEKIT_SECRET_ENCRYPTION_KEY, after a comma")
            }
            Self::DataKeyUnopened { .. } => Some(
                "add the root key that seals them to LIVEKIT_SECRET_ENCRYPTION_KEY, after a comma; \
                 `trunkline key status` shows which one that is",
            ),
            Self::RootKeyMissing { .. } => {
                Some("`trunkline key status` shows the keys of the settings")
            }
            Self::KeyRefused { .. } => Some(
                "seal it again with `trunkline key rotate`, or accept the key again: `trunkline key retire KEY --back`",
            ),
            Self::SealingKeyMissing { .. } => Some(
                "add that key to LIVEKIT_SECRET_ENCRYPTION_KEY, after a comma; `trunkline key status` \
                 shows what each node has",
            ),
            Self::KeyIdMalformed => Some("`trunkline key status` shows the ids"),
            Self::Bound => {
                Some("seal the plaintext again, or unbind it first: `trunkline key unbind`")
            }
            Self::BoundElsewhere { .. } => Some(
                "somebody without the key has changed the row: restore it, or enter the secret again \
                 with `trunkline livekit edit`",
            ),
            Self::NotBound => Some("`trunkline key bind` binds it"),
            Self::AlreadySealed => {
                Some("it can be stored as it is, or opened with `trunkline secret open`")
            }
            Self::EmptyInput => Some("pipe the secret in, or name a file that holds it"),
            _ => None,
        }
    }
}
