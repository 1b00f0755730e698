//! The tokens of clients, sessions and links: 256 random bits behind a prefix that scanners for secrets
//! know them by.
//!
//! **Invariant:** only its hash is stored. The token has as many bits as the hash, so a plain SHA-256
//! is as good as a slow one; it is compared in constant time.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::keyring::KeyError;

/// The token of a client, to be shown once. `Debug` hides it, dropping wipes it.
///
/// ```
/// use trunkline::access::{ClientToken, TokenHash};
///
/// let token = ClientToken::generate()?;
/// assert!(token.as_str().starts_with("tlc_"));
/// assert_eq!(TokenHash::of(token.as_str()), Some(token.hash()));
/// # Ok::<(), trunkline::KeyError>(())
/// ```
pub struct ClientToken(Zeroizing<String>);

impl ClientToken {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        random(CLIENT_TOKEN_PREFIX).map(Self)
    }

    /// Its text, for an `Authorization: Bearer` header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::sha256(&self.0)
    }
}

impl fmt::Debug for ClientToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ClientToken(hidden)")
    }
}

/// What a browser shows for as long as somebody is signed in. `Debug` hides it, dropping wipes it.
pub struct SessionToken(Zeroizing<String>);

impl SessionToken {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        random(SESSION_PREFIX).map(Self)
    }

    /// Its text, for a cookie.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::sha256(&self.0)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SessionToken(hidden)")
    }
}

/// What signs somebody in once. `Debug` hides it, dropping wipes it.
pub struct LinkToken(Zeroizing<String>);

impl LinkToken {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        random(LINK_PREFIX).map(Self)
    }

    /// Its text, for a link.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::sha256(&self.0)
    }
}

impl fmt::Debug for LinkToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("LinkToken(hidden)")
    }
}

/// The SHA-256 of a token. Two are compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a text that has the form of a client's token.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::of_kind(CLIENT_TOKEN_PREFIX, text)
    }

    /// The hash of a text that has the form of a session's token.
    #[must_use]
    pub fn of_session(text: &str) -> Option<Self> {
        Self::of_kind(SESSION_PREFIX, text)
    }

    /// The hash of a text that has the form of a link's token.
    #[must_use]
    pub fn of_link(text: &str) -> Option<Self> {
        Self::of_kind(LINK_PREFIX, text)
    }

    fn of_kind(prefix: &str, text: &str) -> Option<Self> {
        let has_form = text.len() == LENGTH && text.starts_with(prefix);
        has_form.then(|| Self::sha256(text))
    }

    fn sha256(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Reads what [`to_hex`](Self::to_hex) wrote.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// As it is stored: 64 hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// A part of it to look it up by. Nobody can choose it, not knowing the token.
    #[cfg(feature = "server")]
    pub(crate) fn place(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_ne_bytes(first)
    }
}

/// The text of a new token.
fn random(prefix: &str) -> Result<Zeroizing<String>, KeyError> {
    let mut bits = Zeroizing::new([0; BITS / 8]);
    getrandom::fill(&mut *bits).map_err(|_| KeyError::NoRandomness)?;
    let mut text = Zeroizing::new(String::with_capacity(LENGTH));
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(*bits, &mut text);
    Ok(text)
}

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        use fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenHash(hidden)")
    }
}

/// What every token of a client begins with.
pub const CLIENT_TOKEN_PREFIX: &str = "tlc_";
const SESSION_PREFIX: &str = "tls_";
/// What the token of every link that signs in begins with.
pub const LINK_PREFIX: &str = "tll_";
const BITS: usize = 256;
/// A prefix, and 32 bytes of base64url.
const LENGTH: usize = CLIENT_TOKEN_PREFIX.len() + 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_own_and_what_is_stored_of_it_reads_back() {
        let (one, other) = (ClientToken::generate().unwrap(), ClientToken::generate().unwrap());
        assert_eq!(one.as_str().len(), LENGTH);
        assert_ne!(one.hash(), other.hash());
        assert_eq!(TokenHash::from_hex(&one.hash().to_hex()), Some(one.hash()));
        assert_eq!(one.hash().to_hex().len(), 64);
    }

    #[test]
    fn what_has_not_the_form_is_not_hashed() {
        let token = ClientToken::generate().unwrap();
        let body = &token.as_str()[CLIENT_TOKEN_PREFIX.len()..];
        for text in ["", "tlc_", body, &format!("tlx_{body}"), &format!("tlc_{body}a")] {
            assert_eq!(TokenHash::of(text), None, "{text}");
        }
        for hex in ["", "zz", &"é".repeat(32), &"0".repeat(63)] {
            assert_eq!(TokenHash::from_hex(hex), None, "{hex}");
        }
    }

    #[test]
    fn a_token_of_one_kind_is_none_of_another() {
        let client = ClientToken::generate().unwrap();
        let session = SessionToken::generate().unwrap();
        let link = LinkToken::generate().unwrap();
        assert_eq!(TokenHash::of_session(session.as_str()), Some(session.hash()));
        assert_eq!(TokenHash::of_link(link.as_str()), Some(link.hash()));
        for text in [session.as_str(), link.as_str()] {
            assert_eq!(TokenHash::of(text), None);
        }
        for text in [client.as_str(), link.as_str()] {
            assert_eq!(TokenHash::of_session(text), None);
        }
        for text in [client.as_str(), session.as_str()] {
            assert_eq!(TokenHash::of_link(text), None);
        }
    }

    #[test]
    fn none_shows_itself() {
        let token = ClientToken::generate().unwrap();
        let (session, link) = (SessionToken::generate(), LinkToken::generate());
        let shown = format!("{token:?} {:?} {session:?} {link:?}", token.hash());
        assert_eq!(
            shown,
            "ClientToken(hidden) TokenHash(hidden) Ok(SessionToken(hidden)) Ok(LinkToken(hidden))"
        );
    }
}
