//! LiveKit access tokens: what one may do, and the HS256 signature that says so.
//!
//! HS256 is HMAC-SHA256, so a signer needs the two SHA-256 midstates of its key and not the key's
//! text: [`Signer`] keeps those, and the API secret that made them is wiped. Who steals midstates
//! can mint tokens until the secret is rotated; the secret itself they do not give.

mod claims;

use std::fmt;
use std::time::Duration;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{Engine, encoded_len};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What a token is for: who holds it, for how long, and what LiveKit lets the holder do.
///
/// Nothing is granted by default. A token lives 60 seconds unless said otherwise.
///
/// ```
/// use std::time::Duration;
/// use trunkline::{SipGrant, TokenRequest, VideoGrant};
///
/// let dial = TokenRequest {
///     video: VideoGrant { room_create: true, ..VideoGrant::default() },
///     sip: SipGrant { call: true, ..SipGrant::default() },
///     ..TokenRequest::default()
/// };
/// assert_eq!(dial.ttl, Duration::from_secs(60));
/// ```
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The participant's identity (`sub`). Needed to join a room, not to call the server's API.
    pub identity: Option<String>,
    /// The participant's display name.
    pub name: Option<String>,
    /// Metadata that the participant carries into the room.
    pub metadata: Option<String>,
    /// How long the token is good for, in whole seconds.
    pub ttl: Duration,
    /// Rights on rooms.
    pub video: VideoGrant,
    /// Rights on telephony.
    pub sip: SipGrant,
}

impl Default for TokenRequest {
    fn default() -> Self {
        Self {
            identity: None,
            name: None,
            metadata: None,
            ttl: DEFAULT_TTL,
            video: VideoGrant::default(),
            sip: SipGrant::default(),
        }
    }
}

impl TokenRequest {
    /// The right to join one room under an identity.
    #[must_use]
    pub fn join(room: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            identity: Some(identity.into()),
            video: VideoGrant { room_join: true, room: Some(room.into()), ..VideoGrant::default() },
            ..Self::default()
        }
    }
}

impl From<VideoGrant> for TokenRequest {
    /// These rights and no others, for a minute.
    fn from(video: VideoGrant) -> Self {
        Self { video, ..Self::default() }
    }
}

impl From<SipGrant> for TokenRequest {
    /// These rights and no others, for a minute.
    fn from(sip: SipGrant) -> Self {
        Self { sip, ..Self::default() }
    }
}

/// Rights on rooms, in LiveKit's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VideoGrant {
    /// May create and delete rooms.
    pub room_create: bool,
    /// May list rooms.
    pub room_list: bool,
    /// May administer `room`, agent dispatches included.
    pub room_admin: bool,
    /// May join `room`.
    pub room_join: bool,
    /// The room that the rights above are about.
    pub room: Option<String>,
}

/// Rights on telephony, in LiveKit's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SipGrant {
    /// May manage trunks and dispatch rules.
    pub admin: bool,
    /// May place calls.
    pub call: bool,
}

/// A signed token. `Debug` hides it, dropping wipes it.
pub struct AccessToken(Zeroizing<Box<str>>);

impl AccessToken {
    /// The token's text, for an `Authorization: Bearer` header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AccessToken(hidden)")
    }
}

/// Signs tokens without knowing the secret's text. Wiped when dropped.
pub(crate) struct Signer {
    /// What every token of these credentials begins with: the header, and the issuer's claim.
    start: Box<str>,
    /// The midstates of the secret, with `start` hashed.
    state: Hmac<Sha256>,
}

impl Signer {
    pub(crate) fn new(api_key: &str, api_secret: &str) -> Self {
        let start = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims::first(api_key)));
        let state = <Hmac<Sha256> as KeyInit>::new_from_slice(api_secret.as_bytes())
            .expect("HMAC takes a key of any length")
            .chain_update(&start);
        Self { start: start.into(), state }
    }

    /// Mints a token, valid from `unix_seconds` on.
    pub(crate) fn mint(&self, request: &TokenRequest, unix_seconds: u64) -> AccessToken {
        let claims = claims::rest(request, unix_seconds);
        let start = self.start.len();
        let dot = start + encoded_len(claims.len(), false).expect("claims fit into memory");
        // Of the length that it will have, so that no copy is left behind unwiped.
        let mut token = Vec::with_capacity(dot + SIGNATURE);
        token.extend_from_slice(self.start.as_bytes());
        token.resize(dot + SIGNATURE, b'.');
        URL_SAFE_NO_PAD.encode_slice(claims, &mut token[start..dot]).expect("there is room");
        let mut state = self.state.clone();
        state.update(&token[start..dot]);
        let signature = state.finalize().into_bytes();
        URL_SAFE_NO_PAD.encode_slice(signature, &mut token[dot + 1..]).expect("there is room");
        let token = String::from_utf8(token).expect("base64 is text");
        AccessToken(Zeroizing::new(token.into_boxed_str()))
    }
}

const DEFAULT_TTL: Duration = Duration::from_secs(60);
/// `{"alg":"HS256","typ":"JWT"}` in base64url.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// A dot and 32 bytes of base64url.
const SIGNATURE: usize = 1 + 43;

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use livekit_token::TokenVerifier;

    use super::*;

    const SECRET: &str = "a secret of a LiveKit server, long enough";

    #[expect(clippy::disallowed_methods, reason = "the verifier compares with the real time")]
    fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn the_official_verifier_accepts_a_token_and_reads_its_grants() {
        let request = TokenRequest {
            sip: SipGrant { admin: false, call: true },
            metadata: Some("{\"job\":\"7\"}".into()),
            name: Some("Dialler".into()),
            ..TokenRequest::join("call-1", "dialler")
        };
        let token = Signer::new("APIkey", SECRET).mint(&request, now());
        let claims = TokenVerifier::with_api_key("APIkey", SECRET).verify(token.as_str()).unwrap();
        assert_eq!((claims.iss.as_str(), claims.sub.as_str()), ("APIkey", "dialler"));
        assert_eq!(
            (claims.name.as_str(), claims.metadata.as_str()),
            ("Dialler", "{\"job\":\"7\"}")
        );
        assert_eq!(claims.exp - claims.nbf, 60);
        assert!(claims.video.room_join && !claims.video.room_create && !claims.video.room_admin);
        assert_eq!(claims.video.room, "call-1");
        assert!(claims.sip.call && !claims.sip.admin);
    }

    #[test]
    fn another_secret_another_key_and_a_past_time_are_refused() {
        let request = TokenRequest::join("call-1", "dialler");
        let verifier = TokenVerifier::with_api_key("APIkey", SECRET);
        for token in [
            Signer::new("APIkey", "another secret").mint(&request, now()),
            Signer::new("APIother", SECRET).mint(&request, now()),
            Signer::new("APIkey", SECRET).mint(&request, now() - 3600),
        ] {
            assert!(verifier.verify(token.as_str()).is_err());
        }
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let token = Signer::new("APIkey", SECRET).mint(&TokenRequest::default(), now());
        assert_eq!(format!("{token:?}"), "AccessToken(hidden)");
    }
}
