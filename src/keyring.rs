//! The Fernet keys that secrets rest under: the first seals, any opens, and it is known which.
//!
//! Owns the prefix `dev-s-t-` and every way in which sealing and opening can fail. It never logs,
//! and no error of it holds a key, a token or a plaintext. Opening does not look at the clock.
//!
//! **Invariant:** sealing and opening are two verbs. Only [`KeyRing::convert`] lets the prefix
//! decide, for those who come from the Python tool; nothing on a resolve path calls it.

mod fernet;

use std::fmt;

pub use secrecy::ExposeSecret;
use secrecy::SecretBox;
use zeroize::{Zeroize, Zeroizing};

/// Text that is wiped when dropped and whose `Debug` says nothing.
pub type Secret = SecretBox<String>;

/// What every sealed secret begins with.
pub const PREFIX: &str = "dev-s-t-";

/// A secret at rest: [`PREFIX`] and a Fernet token.
///
/// The only type that a store takes for a secret, so that plaintext cannot be written by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(String);

impl Sealed {
    /// Takes text that is already sealed. Its shape is checked; whether a key fits is not.
    ///
    /// # Errors
    ///
    /// [`KeyError::PrefixMissing`] and [`KeyError::TokenMalformed`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        token_of(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The text as it rests in the database.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Sealed({PREFIX}…)")
    }
}

/// A short name of a key that does not reveal it: eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// One or several Fernet keys.
///
/// ```
/// use trunkline::{ExposeSecret, KeyRing};
///
/// let ring = KeyRing::parse(&KeyRing::generate()?)?;
/// let sealed = ring.seal("a LiveKit API secret", 1_700_000_000)?;
/// assert!(sealed.as_str().starts_with("dev-s-t-"));
///
/// let opened = ring.open(sealed.as_str())?;
/// assert_eq!(opened.secret.expose_secret(), "a LiveKit API secret");
/// assert_eq!(opened.key, ring.key_ids()[0]);
/// # Ok::<(), trunkline::KeyError>(())
/// ```
pub struct KeyRing {
    keys: Vec<fernet::Key>,
}

/// A secret in the clear, and the key that opened it.
#[derive(Debug)]
pub struct Opened {
    /// The plaintext.
    pub secret: Secret,
    /// Which key of the ring fitted.
    pub key: KeyId,
}

/// What [`KeyRing::convert`] made of its input.
#[derive(Debug)]
pub enum Converted {
    /// The input carried no prefix.
    Sealed(Sealed),
    /// The input carried the prefix.
    Opened(Opened),
}

impl KeyRing {
    /// Reads comma-separated Fernet keys (32 bytes of base64 each); the first one seals.
    ///
    /// White space around a key is ignored. The caller owns and wipes the text.
    ///
    /// # Errors
    ///
    /// [`KeyError::KeyMissing`] for a text with nothing in it, [`KeyError::KeyMalformed`] with the
    /// place of the key that is none.
    pub fn parse(keys: &str) -> Result<Self, KeyError> {
        if keys.trim().is_empty() {
            return Err(KeyError::KeyMissing);
        }
        keys.split(',')
            .enumerate()
            .map(|(index, key)| {
                fernet::Key::parse(key.trim()).ok_or(KeyError::KeyMalformed { place: index + 1 })
            })
            .collect::<Result<_, _>>()
            .map(|keys| Self { keys })
    }

    /// Makes a fresh key, as the text that [`KeyRing::parse`] reads.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`] where the system has none to give.
    pub fn generate() -> Result<Zeroizing<String>, KeyError> {
        fernet::generate().map_err(|_| KeyError::NoRandomness)
    }

    /// The ids of the keys in order; the first one seals.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(|key| KeyId(key.id())).collect()
    }

    /// Seals a plaintext under the first key. `unix_seconds` is stamped into the token, where it
    /// tells people when; opening does not read it.
    ///
    /// # Errors
    ///
    /// [`KeyError::EmptyInput`] for white space or nothing, [`KeyError::AlreadySealed`],
    /// [`KeyError::PlaintextTooLong`], [`KeyError::NoRandomness`].
    pub fn seal(&self, plaintext: &str, unix_seconds: u64) -> Result<Sealed, KeyError> {
        if plaintext.trim().is_empty() {
            return Err(KeyError::EmptyInput);
        }
        if plaintext.starts_with(PREFIX) {
            return Err(KeyError::AlreadySealed);
        }
        if plaintext.len() > fernet::MAX_PLAINTEXT {
            return Err(KeyError::PlaintextTooLong { longest: fernet::MAX_PLAINTEXT });
        }
        let mut iv = [0; 16];
        getrandom::fill(&mut iv).map_err(|_| KeyError::NoRandomness)?;
        let key = self.keys.first().ok_or(KeyError::KeyMissing)?;
        Ok(Sealed(format!("{PREFIX}{}", key.seal(plaintext.as_bytes(), unix_seconds, iv))))
    }

    /// Opens a sealed secret with whichever key made it. White space in and after the token is
    /// ignored, and either alphabet of base64 is read, as in Python.
    ///
    /// # Errors
    ///
    /// [`KeyError::EmptyInput`], [`KeyError::PrefixMissing`] for plaintext,
    /// [`KeyError::TokenMalformed`], [`KeyError::NoKeyFits`], [`KeyError::NotText`].
    pub fn open(&self, sealed: &str) -> Result<Opened, KeyError> {
        let token = token_of(sealed)?;
        let Some(key) = self.keys.iter().find(|key| key.signed(&token)) else {
            return Err(KeyError::NoKeyFits { ring: self.key_ids() });
        };
        let mut plaintext =
            key.open(&token).ok_or(KeyError::TokenMalformed { why: "padding is broken" })?;
        let text = String::from_utf8(std::mem::take(&mut *plaintext)).map_err(|error| {
            error.into_bytes().zeroize();
            KeyError::NotText
        })?;
        Ok(Opened { secret: Secret::new(Box::new(text)), key: KeyId(key.id()) })
    }

    /// Opens what carries the prefix and seals what does not: the `encrypt_decrypt` of the Python
    /// tool. For people who move over; a program says [`seal`](Self::seal) or [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// Those of the verb that the prefix chose.
    pub fn convert(&self, text: &str, unix_seconds: u64) -> Result<Converted, KeyError> {
        if text.starts_with(PREFIX) {
            self.open(text).map(Converted::Opened)
        } else {
            self.seal(text, unix_seconds).map(Converted::Sealed)
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("KeyRing").field(&self.key_ids()).finish()
    }
}

fn token_of(sealed: &str) -> Result<fernet::Token, KeyError> {
    // Before any work: a row may hold anything, of any length.
    if sealed.len() > PREFIX.len() + fernet::MAX_TEXT + WHITE_SPACE {
        return Err(KeyError::TokenMalformed { why: "longer than 16 KiB" });
    }
    let sealed = sealed.trim_ascii_end();
    if sealed.is_empty() {
        return Err(KeyError::EmptyInput);
    }
    let token = sealed.strip_prefix(PREFIX).ok_or(KeyError::PrefixMissing)?;
    fernet::Token::parse(token).map_err(|why| KeyError::TokenMalformed { why })
}

/// Why a secret could not be sealed or opened. Never holds any part of a key or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No key is configured.
    #[error("no encryption key: LIVEKIT_SECRET_ENCRYPTION_KEY is not set")]
    KeyMissing,
    /// A configured key is not 32 bytes of base64url.
    #[error("key {place} of LIVEKIT_SECRET_ENCRYPTION_KEY is malformed: not 32 bytes of base64url")]
    KeyMalformed {
        /// Which of the comma-separated keys, from 1.
        place: usize,
    },
    /// The text to open is not sealed: it has no prefix.
    #[error("not sealed: a sealed secret begins with {PREFIX}")]
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
    #[error("the system has no randomness to give")]
    NoRandomness,
}

impl KeyError {
    /// The codes of what keeps a secret from opening.
    pub(crate) const OF_OPENING: [&str; 5] =
        ["key_missing", "prefix_missing", "token_malformed", "no_key_fits", "secret_not_text"];

    /// A stable `snake_case` name for the error, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyMissing => "key_missing",
            Self::KeyMalformed { .. } => "key_malformed",
            Self::PrefixMissing => "prefix_missing",
            Self::TokenMalformed { .. } => "token_malformed",
            Self::NoKeyFits { .. } => "no_key_fits",
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
            Self::AlreadySealed => {
                Some("it can be stored as it is, or opened with `trunkline secret open`")
            }
            Self::EmptyInput => Some("pipe the secret in, or name a file that holds it"),
            _ => None,
        }
    }
}

/// How much white space may stand in and after a token: a line break after every 64 characters.
const WHITE_SPACE: usize = 2 * fernet::MAX_TEXT / 64 + 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_763_900_000;

    fn ring() -> KeyRing {
        KeyRing::parse(&KeyRing::generate().unwrap()).unwrap()
    }

    fn open(ring: &KeyRing, sealed: &str) -> String {
        ring.open(sealed).unwrap().secret.expose_secret().clone()
    }

    #[test]
    fn a_sealed_value_carries_the_prefix_and_opens_to_what_it_was() {
        let ring = ring();
        let sealed = ring.seal("s3cret", NOW).unwrap();
        assert!(sealed.as_str().starts_with("dev-s-t-gAAAAA"), "version and a time of this age");
        assert_eq!(open(&ring, sealed.as_str()), "s3cret");
        assert_eq!(open(&ring, &format!("{}\n", sealed.as_str())), "s3cret");
    }

    #[test]
    fn the_first_key_seals_all_open_and_the_opening_key_is_known() {
        let (old, new) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
        let before = KeyRing::parse(&old).unwrap();
        let both = KeyRing::parse(&format!(" {} , {}\n", *new, *old)).unwrap();
        let resting = before.seal("kept", NOW).unwrap();

        let opened = both.open(resting.as_str()).unwrap();
        assert_eq!(opened.secret.expose_secret(), "kept");
        assert_eq!(opened.key, before.key_ids()[0]);
        assert_eq!(opened.key, both.key_ids()[1]);

        let fresh = both.seal("kept", NOW).unwrap();
        assert_eq!(both.open(fresh.as_str()).unwrap().key, both.key_ids()[0]);
        let refused = before.open(fresh.as_str()).unwrap_err();
        assert_eq!(refused, KeyError::NoKeyFits { ring: before.key_ids() });
    }

    #[test]
    fn a_key_id_is_stable_and_shows_nothing_of_the_key() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let ring = KeyRing::parse(key).unwrap();
        assert_eq!(format!("{ring:?}"), "KeyRing([cda1117e])");
        assert_eq!(KeyRing::parse(key).unwrap().key_ids(), ring.key_ids());
    }

    #[test]
    fn opening_does_not_depend_on_the_clock() {
        let ring = ring();
        for stamp in [0, NOW + 61, NOW + 315_360_000, u64::MAX] {
            let sealed = ring.seal("any time", stamp).unwrap();
            assert_eq!(open(&ring, sealed.as_str()), "any time");
        }
    }

    #[test]
    fn each_way_to_fail_has_its_own_error() {
        let ring = ring();
        let error = |text: &str| ring.open(text).unwrap_err();
        let sealed = ring.seal("s3cret", NOW).unwrap();
        let token = sealed.as_str();

        assert_eq!(KeyRing::parse(" \n").unwrap_err(), KeyError::KeyMissing);
        for keys in ["short", "A===", &"A".repeat(45), &format!("{}x", "A".repeat(43))] {
            assert_eq!(KeyRing::parse(keys).unwrap_err(), KeyError::KeyMalformed { place: 1 });
        }
        let good = KeyRing::generate().unwrap();
        let second = KeyRing::parse(&format!("{},nonsense", *good)).unwrap_err();
        assert_eq!(second, KeyError::KeyMalformed { place: 2 });

        assert_eq!(error("s3cret"), KeyError::PrefixMissing);
        assert_eq!(error(""), KeyError::EmptyInput);
        assert_eq!(error("\0"), KeyError::PrefixMissing);
        for broken in [
            PREFIX,
            "dev-s-t-!!",
            "dev-s-t-\0",
            "dev-s-t-gAAA",
            "dev-s-t-AAAA",
            &token[..token.len() - 8],
            &format!("{PREFIX}{}", "A".repeat(17 * 1024)),
        ] {
            assert!(matches!(error(broken), KeyError::TokenMalformed { .. }), "{broken:.40}");
        }
        assert_eq!(ring.seal(token, NOW).unwrap_err(), KeyError::AlreadySealed);
        assert_eq!(ring.seal(" \t\n", NOW).unwrap_err(), KeyError::EmptyInput);
        let long = "x".repeat(fernet::MAX_PLAINTEXT + 1);
        assert!(matches!(ring.seal(&long, NOW), Err(KeyError::PlaintextTooLong { .. })));
        assert_eq!(open(&ring, ring.seal(&long[1..], NOW).unwrap().as_str()).len(), long.len() - 1);
    }

    #[test]
    fn a_token_of_fifty_megabytes_is_refused_before_any_work() {
        let huge = format!("{PREFIX}{}", "A".repeat(50 << 20));
        let error = ring().open(&huge).unwrap_err();
        assert_eq!(error, KeyError::TokenMalformed { why: "longer than 16 KiB" });
    }

    #[test]
    fn an_altered_token_never_opens() {
        let ring = ring();
        let sealed = ring.seal("s3cret", NOW).unwrap();
        let text = sealed.as_str();
        for at in PREFIX.len()..text.trim_end_matches('=').len() - 1 {
            let swap = if &text[at..=at] == "A" { "B" } else { "A" };
            let altered = format!("{}{swap}{}", &text[..at], &text[at + 1..]);
            assert!(ring.open(&altered).is_err(), "altered at {at}");
        }
    }

    #[test]
    fn convert_lets_the_prefix_decide() {
        let ring = ring();
        let Converted::Sealed(sealed) = ring.convert("plain", NOW).unwrap() else {
            panic!("plaintext is sealed")
        };
        let Converted::Opened(opened) = ring.convert(sealed.as_str(), NOW).unwrap() else {
            panic!("a sealed secret is opened")
        };
        assert_eq!(opened.secret.expose_secret(), "plain");
    }

    #[test]
    fn nothing_of_a_secret_is_in_any_debug_text() {
        let (key, canary) = (KeyRing::generate().unwrap(), "canary-4cR7");
        let ring = KeyRing::parse(&key).unwrap();
        let sealed = ring.seal(canary, NOW).unwrap();
        let opened = ring.open(sealed.as_str()).unwrap();
        let shown = format!("{ring:?} {sealed:?} {opened:?} {:?}", ring.open(canary));
        assert!(!shown.contains(canary) && !shown.contains(&key[..8]), "{shown}");
        assert!(!shown.contains(&sealed.as_str()[20..40]), "{shown}");
    }

    proptest! {
        #[test]
        fn the_fernet_crate_opens_ours_and_we_open_its(text in "\\PC{1,200}") {
            prop_assume!(!text.trim().is_empty() && !text.starts_with(PREFIX));
            let key = KeyRing::generate().unwrap();
            let (ours, theirs) = (KeyRing::parse(&key).unwrap(), ::fernet::Fernet::new(&key).unwrap());

            let sealed = ours.seal(&text, NOW).unwrap();
            let token = sealed.as_str().strip_prefix(PREFIX).unwrap();
            prop_assert_eq!(theirs.decrypt(token).unwrap(), text.as_bytes());

            let token = format!("{PREFIX}{}", theirs.encrypt(text.as_bytes()));
            prop_assert_eq!(open(&ours, &token), text);
        }

        #[test]
        fn no_text_panics_the_ring(text in any::<String>()) {
            let ring = ring();
            let _ = ring.open(&text);
            let _ = ring.open(&format!("{PREFIX}{text}"));
            let _ = KeyRing::parse(&text);
        }
    }
}
