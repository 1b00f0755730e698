//! LiveKit access tokens: their grants, and the HS256 signature.
//!
//! HS256 is HMAC-SHA256, so a signer needs the two SHA-256 midstates of its key and not the key's
//! text. [`Signer`] keeps those, and the API secret is wiped. Whoever steals midstates can make
//! tokens until the secret is rotated; they do not give the secret itself. What all tokens of a key
//! pair begin with is hashed into the midstates once.

mod claims;
mod received;
mod room_config;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{Engine, encoded_len};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

pub(crate) use self::received::{NoToken, OutOfTime, ReceivedToken};
pub use self::room_config::{RoomAgent, RoomConfig};

/// What a token is for: who holds it, for how long, and what LiveKit lets the holder do.
///
/// Nothing is granted by default. A token lives 60 seconds unless said otherwise.
///
/// ```
/// use std::time::Duration;
/// use trunkline::{SipGrant, TokenRequest, VideoGrant};
///
/// let dial = TokenRequest::from(SipGrant::call());
/// assert_eq!(dial.ttl, Duration::from_secs(60));
///
/// let mut listener = VideoGrant::join("call-1");
/// listener.can_publish = Some(false);
/// listener.hidden = true;
/// let mut request = TokenRequest::from(listener);
/// request.identity = Some("supervisor".into());
/// request.ttl = Duration::from_secs(600);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TokenRequest {
    /// The participant's identity (`sub`). Needed to join a room, not to call the server's API.
    pub identity: Option<String>,
    /// The participant's display name.
    pub name: Option<String>,
    /// Metadata that the participant carries into the room.
    pub metadata: Option<String>,
    /// Attributes that the participant carries into the room.
    pub attributes: BTreeMap<String, String>,
    /// How the room is made, if joining makes it.
    pub room_config: Option<RoomConfig>,
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
            attributes: BTreeMap::new(),
            room_config: None,
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
        let mut request = Self::from(VideoGrant::join(room));
        request.identity = Some(identity.into());
        request
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

/// Rights on rooms, in LiveKit's words. Start from one of the constructors, or from no right at all
/// with `default`, and set what is missing.
///
/// What is `None` is as the server has it: a participant may publish and subscribe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Whether it may publish tracks.
    pub can_publish: Option<bool>,
    /// Whether it may subscribe to the tracks of others.
    pub can_subscribe: Option<bool>,
    /// Whether it may send data.
    pub can_publish_data: Option<bool>,
    /// What it may publish alone; nothing named is everything. Only with `can_publish`.
    pub can_publish_sources: Vec<TrackSource>,
    /// Whether it may change its own name, metadata and attributes.
    pub can_update_own_metadata: Option<bool>,
    /// Whether others do not see it.
    pub hidden: bool,
    /// Whether it records the room, which others are told.
    pub recorder: bool,
}

impl VideoGrant {
    /// May join this room.
    #[must_use]
    pub fn join(room: impl Into<String>) -> Self {
        Self { room_join: true, room: Some(room.into()), ..Self::default() }
    }

    /// May administer this room.
    #[must_use]
    pub fn admin(room: impl Into<String>) -> Self {
        Self { room_admin: true, room: Some(room.into()), ..Self::default() }
    }

    /// May create and delete rooms.
    #[must_use]
    pub fn create() -> Self {
        Self { room_create: true, ..Self::default() }
    }

    /// May list rooms.
    #[must_use]
    pub fn list() -> Self {
        Self { room_list: true, ..Self::default() }
    }
}

/// Where a track comes from, in LiveKit's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrackSource {
    /// `camera`
    Camera,
    /// `microphone`
    Microphone,
    /// `screen_share`
    ScreenShare,
    /// `screen_share_audio`
    ScreenShareAudio,
}

impl TrackSource {
    fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Microphone => "microphone",
            Self::ScreenShare => "screen_share",
            Self::ScreenShareAudio => "screen_share_audio",
        }
    }
}

/// Rights on telephony, in LiveKit's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SipGrant {
    /// May manage trunks and dispatch rules.
    pub admin: bool,
    /// May place calls.
    pub call: bool,
}

impl SipGrant {
    /// May place calls.
    #[must_use]
    pub fn call() -> Self {
        Self { call: true, ..Self::default() }
    }

    /// May manage trunks and dispatch rules.
    #[must_use]
    pub fn admin() -> Self {
        Self { admin: true, ..Self::default() }
    }
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
    fn the_official_verifier_reads_every_right_of_a_participant() {
        let video = VideoGrant {
            can_publish: Some(true),
            can_subscribe: Some(false),
            can_publish_data: Some(false),
            can_publish_sources: vec![TrackSource::Microphone, TrackSource::ScreenShareAudio],
            can_update_own_metadata: Some(true),
            hidden: true,
            recorder: true,
            ..VideoGrant::join("call-1")
        };
        let request = TokenRequest { identity: Some("a".into()), ..video.into() };
        let token = Signer::new("APIkey", SECRET).mint(&request, now());
        let claims = TokenVerifier::with_api_key("APIkey", SECRET).verify(token.as_str()).unwrap();
        let read = claims.video;
        let publishing = (read.can_publish, read.can_subscribe, read.can_publish_data);
        assert_eq!(publishing, (Some(true), Some(false), Some(false)));
        assert_eq!(read.can_update_own_metadata, Some(true));
        assert!(read.hidden && read.recorder);
        assert_eq!(read.can_publish_sources, ["microphone", "screen_share_audio"]);
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
