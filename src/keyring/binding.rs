//! Binds a secret to its config, inside the seal. A row that somebody without the key edits or
//! swaps opens nothing.
//!
//! Layout of what is sealed: `config id, 16 bytes | URL | API key | secret`. URL and API key follow
//! their length in bytes, as two bytes, the higher one first.

use uuid::Uuid;
use zeroize::Zeroizing;

/// The row that a secret belongs to, its texts byte for byte as they stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The id of the LiveKit config.
    pub config: Uuid,
    /// The URL that tokens are sent to.
    pub url: &'a str,
    /// The API key.
    pub api_key: &'a str,
}

impl<'a> Binding<'a> {
    /// What is sealed of a secret that belongs there. `None`: a text of it is too long.
    pub(super) fn around(&self, secret: &str) -> Option<Zeroizing<Vec<u8>>> {
        let texts = [self.url, self.api_key];
        // Never grown, since that would leave a copy behind.
        let length = 16 + texts.map(|text| 2 + text.len()).iter().sum::<usize>() + secret.len();
        let mut sealed = Zeroizing::new(Vec::with_capacity(length));
        sealed.extend_from_slice(self.config.as_bytes());
        for text in texts {
            sealed.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
            sealed.extend_from_slice(text.as_bytes());
        }
        sealed.extend_from_slice(secret.as_bytes());
        Some(sealed)
    }

    /// Tells what was sealed apart: to whom it belongs, and the secret.
    pub(super) fn split(sealed: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (config, rest) = sealed.split_first_chunk::<16>()?;
        let (url, rest) = text(rest)?;
        let (api_key, secret) = text(rest)?;
        Some((Self { config: Uuid::from_bytes(*config), url, api_key }, secret))
    }

    /// In what two of them differ, in words.
    pub(super) fn differs_from(&self, other: &Binding<'_>) -> Option<&'static str> {
        [
            (self.config != other.config, "config"),
            (self.url != other.url, "URL"),
            (self.api_key != other.api_key, "API key"),
        ]
        .into_iter()
        .find_map(|(differs, what)| differs.then_some(what))
    }
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
