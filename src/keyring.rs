//! The Fernet keys that seal secrets at rest. The first key seals, any key opens, and it is known
//! which. Keys are of the settings, or rest in the database, sealed by those (`data_key.rs`).
//!
//! Owns the prefix `dev-s-t-`. It never logs, and no error of it holds a key, a token or a
//! plaintext. Opening does not look at the clock.
//!
//! **Invariant:** sealing and opening are two methods. Only [`KeyRing::convert`] lets the prefix
//! decide, for those who come from the Python tool; nothing on a resolve path calls it.

mod binding;
mod data_key;
mod error;
mod fernet;
#[cfg(feature = "relay")]
mod message;
mod rule;
#[cfg(feature = "server")]
mod ticket;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use secrecy::ExposeSecret;
use secrecy::SecretBox;
use zeroize::{Zeroize, Zeroizing};

pub use self::binding::Binding;
pub use self::data_key::{UnopenedKey, WrappedKey};
pub use self::error::KeyError;
use self::fernet::{Form, SECRETS};
#[cfg(feature = "relay")]
pub(crate) use self::message::LONGEST_MESSAGE;
pub use self::rule::KeyRule;

/// Text that is wiped when dropped and whose `Debug` says nothing.
pub type Secret = SecretBox<String>;

/// What every sealed secret begins with.
pub const PREFIX: &str = "dev-s-t-";

/// A secret at rest: [`PREFIX`] and a Fernet token, or the like of one that is bound to its config.
///
/// The only type that a store takes for a secret, so that plaintext cannot be written by mistake.
#[derive(Clone)]
pub struct Sealed {
    text: String,
    epoch: Option<i64>,
}

impl Sealed {
    /// Takes text that is already sealed. Its shape is checked; whether a key fits is not.
    ///
    /// # Errors
    ///
    /// [`KeyError::PrefixMissing`] and [`KeyError::TokenMalformed`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        token_of(text)?;
        Ok(Self { text: text.to_owned(), epoch: None })
    }

    /// By which state of the keys it was sealed: [`KeyRule::epoch`]. A store takes it only while that
    /// state holds. `None`: by none.
    #[must_use]
    pub fn epoch(&self) -> Option<i64> {
        self.epoch
    }

    /// The text as it rests in the database.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is bound to a config. Whether it is bound to this one is known once it opens.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        token_of(&self.text).is_ok_and(|token| token.form(SECRETS) == Some(Form::Bound))
    }
}

impl PartialEq for Sealed {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Sealed {}

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

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let is_hex = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let read = u32::from_str_radix(text, 16).ok().filter(|_| is_hex);
        read.map(|id| Self(id.to_be_bytes())).ok_or(KeyError::KeyIdMalformed)
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
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
    keys: Arc<[Arc<fernet::Key>]>,
    /// How many of them are of the settings. They come first; the others are data keys.
    roots: usize,
    unopened: Arc<[UnopenedKey]>,
    bound_only: bool,
    rule: Option<KeyRule>,
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
                let key = fernet::Key::parse(key.trim()).map(Arc::new);
                key.ok_or(KeyError::KeyMalformed { place: index + 1 })
            })
            .collect::<Result<Arc<[_]>, _>>()
            .map(|keys| {
                let roots = keys.len();
                Self { keys, roots, unopened: Arc::default(), bound_only: false, rule: None }
            })
    }

    /// The same keys, which open as a config's only what is bound to it, if so.
    #[must_use]
    pub fn bound_only(self, bound_only: bool) -> Self {
        Self { bound_only, ..self }
    }

    /// Whether it opens as a config's only what is bound to it.
    #[must_use]
    pub fn is_bound_only(&self) -> bool {
        self.bound_only
    }

    /// Whether the other one opens the same in the same way, whichever key of each seals.
    #[must_use]
    pub fn opens_like(&self, other: &Self) -> bool {
        let opening = |ring: &Self| -> BTreeSet<_> {
            ring.key_ids().into_iter().filter(|key| !ring.refuses(*key)).collect()
        };
        opening(self) == opening(other) && self.bound_only == other.bound_only
    }

    /// Makes a fresh key, as the text that [`KeyRing::parse`] reads.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`] where the system has none to give.
    pub fn generate() -> Result<Zeroizing<String>, KeyError> {
        fernet::generate().map_err(|_| KeyError::NoRandomness)
    }

    /// The ids of the keys in order; the first one seals, unless a rule names another one.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(|key| KeyId(key.id())).collect()
    }

    /// Seals a plaintext under the key that seals. `unix_seconds` is stamped into the token, where it
    /// tells people when; opening does not read it.
    ///
    /// # Errors
    ///
    /// [`KeyError::EmptyInput`] for white space or nothing, [`KeyError::AlreadySealed`],
    /// [`KeyError::PlaintextTooLong`], [`KeyError::NoRandomness`], and
    /// [`KeyError::SealingKeyMissing`] where a rule names a key that is not in the ring.
    pub fn seal(&self, plaintext: &str, unix_seconds: u64) -> Result<Sealed, KeyError> {
        Self::can_be_sealed(plaintext)?;
        self.sealed(Form::Plain, plaintext.as_bytes(), unix_seconds)
    }

    /// The same, bound to a config: [`open_for`](Self::open_for) this one opens it and no other.
    ///
    /// # Errors
    ///
    /// Those of [`seal`](Self::seal). The texts of the config count in its length.
    pub fn seal_for(
        &self,
        plaintext: &str,
        owner: &Binding<'_>,
        unix_seconds: u64,
    ) -> Result<Sealed, KeyError> {
        Self::can_be_sealed(plaintext)?;
        let inside = owner
            .around(plaintext)
            .ok_or(KeyError::PlaintextTooLong { longest: fernet::MAX_PLAINTEXT })?;
        self.sealed(Form::Bound, &inside, unix_seconds)
    }

    /// The same of what was opened a moment ago, whatever is in it: Python seals white space, too.
    pub(crate) fn seal_again(&self, secret: &str, unix_seconds: u64) -> Result<Sealed, KeyError> {
        self.sealed(Form::Plain, secret.as_bytes(), unix_seconds)
    }

    fn can_be_sealed(plaintext: &str) -> Result<(), KeyError> {
        if plaintext.trim().is_empty() {
            return Err(KeyError::EmptyInput);
        }
        if plaintext.starts_with(PREFIX) {
            return Err(KeyError::AlreadySealed);
        }
        Ok(())
    }

    fn sealed(&self, form: Form, inside: &[u8], unix_seconds: u64) -> Result<Sealed, KeyError> {
        if inside.len() > fernet::MAX_PLAINTEXT {
            return Err(KeyError::PlaintextTooLong { longest: fernet::MAX_PLAINTEXT });
        }
        let mut iv = [0; 16];
        getrandom::fill(&mut iv).map_err(|_| KeyError::NoRandomness)?;
        let token = self.sealing_key()?.seal(form, inside, unix_seconds, iv);
        let epoch = self.rule.as_ref().map(|rule| rule.epoch);
        Ok(Sealed { text: format!("{PREFIX}{token}"), epoch })
    }

    /// Opens a sealed secret with whichever key made it. White space in and after the token is
    /// ignored, and either alphabet of base64 is read, as in Python.
    ///
    /// # Errors
    ///
    /// [`KeyError::EmptyInput`], [`KeyError::PrefixMissing`] for plaintext,
    /// [`KeyError::TokenMalformed`], [`KeyError::NoKeyFits`], [`KeyError::KeyRefused`],
    /// [`KeyError::NotText`], and [`KeyError::Bound`] for a secret that opens as a config's alone.
    pub fn open(&self, sealed: &str) -> Result<Opened, KeyError> {
        self.open_whose(sealed, |owner| match owner {
            Some(_) => Err(KeyError::Bound),
            None => Ok(()),
        })
    }

    /// Opens the secret of a config. One that is bound must be bound to this one; whether others are
    /// opened, [`bound_only`](Self::bound_only) says.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), [`KeyError::BoundElsewhere`] and [`KeyError::NotBound`].
    pub fn open_for(&self, sealed: &str, owner: &Binding<'_>) -> Result<Opened, KeyError> {
        self.open_whose(sealed, |bound_to| match bound_to {
            Some(bound_to) => match owner.differs_from(bound_to) {
                Some(what) => Err(KeyError::BoundElsewhere { what }),
                None => Ok(()),
            },
            None if self.bound_only => Err(KeyError::NotBound),
            None => Ok(()),
        })
    }

    /// Opens a sealed secret of either form, and tells first whose it is: for people, who have a
    /// token and no row. Opens nothing where `of` refuses.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and what `of` returns.
    pub fn open_whose(
        &self,
        sealed: &str,
        of: impl FnOnce(Option<&Binding<'_>>) -> Result<(), KeyError>,
    ) -> Result<Opened, KeyError> {
        let token = token_of(sealed)?;
        let key = self.signer(&token)?;
        let mut inside =
            key.open(&token).ok_or(KeyError::TokenMalformed { why: "padding is broken" })?;
        let id = KeyId(key.id());
        let bytes = if token.form(SECRETS) == Some(Form::Bound) {
            let (owner, secret) = Binding::split(&inside)
                .ok_or(KeyError::TokenMalformed { why: "what it is bound to cannot be read" })?;
            of(Some(&owner))?;
            secret.to_vec()
        } else {
            of(None)?;
            std::mem::take(&mut *inside)
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            error.into_bytes().zeroize();
            KeyError::NotText
        })?;
        Ok(Opened { secret: Secret::new(Box::new(text)), key: id })
    }

    /// Which key a secret is sealed under, without opening it.
    ///
    /// # Errors
    ///
    /// Those of the token, and [`KeyError::NoKeyFits`].
    pub fn key_of(&self, sealed: &str) -> Result<KeyId, KeyError> {
        let token = token_of(sealed)?;
        self.signer(&token).map(|key| KeyId(key.id()))
    }

    fn signer(&self, token: &fernet::Token) -> Result<&fernet::Key, KeyError> {
        let signer = self.keys.iter().find(|key| key.signed(token));
        let signer = signer.ok_or_else(|| self.no_key_fits())?;
        match KeyId(signer.id()) {
            key if self.refuses(key) => Err(KeyError::KeyRefused { key }),
            _ => Ok(signer),
        }
    }

    fn no_key_fits(&self) -> KeyError {
        if self.unopened.is_empty() {
            return KeyError::NoKeyFits { ring: self.key_ids() };
        }
        self.unopened_error(&self.unopened.iter().map(|key| key.id).collect::<Vec<_>>())
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
    fernet::Token::parse(token, SECRETS).map_err(|why| KeyError::TokenMalformed { why })
}

/// How much white space may stand in and after a token: a line break after every 64 characters.
const WHITE_SPACE: usize = 2 * fernet::MAX_TEXT / 64 + 64;

#[cfg(test)]
mod tests;
