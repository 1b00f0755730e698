//! The client of LiveKit's server API: the few methods that placing a call takes.
//!
//! One pool of connections serves all servers. Each request carries a token of its own, good for a
//! minute and for that method only, minted by the cached signer: no secret comes here. What a
//! server answers is kept as it came (status, Twirp code, message, SIP status), except for tokens,
//! which servers repeat in their errors.
//!
//! **Invariant:** nothing here is ever sent twice. What may be repeated is for `dispatch.rs` to know.

mod error;

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use tracing::Instrument;

pub use self::error::{Answered, LiveKitError, SipStatus};
use crate::cache::Resolution;
use crate::server_url::ServerUrl;
use crate::token::{SipGrant, TokenRequest, VideoGrant};

/// A pool of connections to LiveKit servers. Cloning shares it.
#[derive(Clone, Debug)]
pub struct LiveKit {
    http: reqwest::Client,
    timeout: Duration,
}

/// A room.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Room {
    /// Its id, `RM_…`.
    #[serde(default)]
    pub sid: String,
    /// Its name.
    pub name: String,
    /// What was put on it when it was made.
    #[serde(default)]
    pub metadata: String,
    /// How many are in it, the agent included.
    #[serde(default)]
    pub num_participants: u32,
}

/// An agent that was sent into a room.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct AgentDispatch {
    /// Its id, `AD_…`.
    pub id: String,
    /// The agent's name.
    #[serde(default)]
    pub agent_name: String,
    /// Where to.
    #[serde(default)]
    pub room: String,
    /// What the agent was told.
    #[serde(default)]
    pub metadata: String,
}

/// An outbound SIP trunk, without its password.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct SipTrunk {
    /// Its id, `ST_…`.
    #[serde(rename = "sip_trunk_id")]
    pub id: String,
    /// The numbers that may call over it; `*` is any.
    #[serde(default)]
    pub numbers: Vec<String>,
}

/// A phone that was dialled into a room.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct SipParticipant {
    /// Its id, `PA_…`.
    #[serde(default)]
    pub participant_id: String,
    /// The call's id, `SCL_…`.
    #[serde(default)]
    pub sip_call_id: String,
}

/// A phone to be dialled into a room.
#[derive(Debug, Clone, Serialize)]
pub struct SipDial<'a> {
    /// The trunk.
    #[serde(rename = "sip_trunk_id")]
    pub trunk: &'a str,
    /// The number that is called, as the carrier wants it.
    #[serde(rename = "sip_call_to")]
    pub to: &'a str,
    /// The number that calls. Without it the server takes any of the trunk's.
    #[serde(rename = "sip_number")]
    pub from: &'a str,
    /// Where the phone joins.
    #[serde(rename = "room_name")]
    pub room: &'a str,
    /// The identity under which it joins.
    #[serde(rename = "participant_identity")]
    pub identity: &'a str,
    /// How long it may ring.
    #[serde(rename = "ringing_timeout", serialize_with = "seconds")]
    pub ringing: Duration,
    /// How long the call may take.
    #[serde(rename = "max_call_duration", serialize_with = "seconds")]
    pub longest: Duration,
    /// Whether to answer only once the phone is answered.
    pub wait_until_answered: bool,
}

impl LiveKit {
    /// A pool whose requests take `timeout` at the most, `connect` of it for the connection.
    ///
    /// Certificates are those that the system trusts. A machine without any still reaches servers
    /// over http.
    ///
    /// # Panics
    ///
    /// Never in practice: where the system cannot make random numbers.
    #[must_use]
    pub fn new(connect: Duration, timeout: Duration) -> Self {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls())
            .connect_timeout(connect)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("the TLS configuration is complete");
        Self { http, timeout }
    }

    /// How long a request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Makes a room. Doing it twice makes one room.
    ///
    /// # Errors
    ///
    /// [`LiveKitError`], as for every method here.
    pub async fn create_room(
        &self,
        on: &Resolution,
        name: &str,
        metadata: &str,
    ) -> Result<Room, LiveKitError> {
        #[derive(Serialize)]
        struct CreateRoom<'a> {
            name: &'a str,
            metadata: &'a str,
        }
        let rights = VideoGrant { room_create: true, ..VideoGrant::default() };
        self.ask(on, "RoomService/CreateRoom", &rights.into(), &CreateRoom { name, metadata }).await
    }

    /// The rooms with these names that exist.
    pub async fn rooms(&self, on: &Resolution, names: &[&str]) -> Result<Vec<Room>, LiveKitError> {
        #[derive(Serialize)]
        struct ListRooms<'a> {
            names: &'a [&'a str],
        }
        #[derive(Deserialize)]
        struct Rooms {
            #[serde(default, deserialize_with = "null_is_empty")]
            rooms: Vec<Room>,
        }
        let rights = VideoGrant { room_list: true, ..VideoGrant::default() };
        let found: Rooms =
            self.ask(on, "RoomService/ListRooms", &rights.into(), &ListRooms { names }).await?;
        Ok(found.rooms)
    }

    /// Whether key and secret are good, by a question that costs the server nothing. Returns what
    /// the server says of the time.
    pub(super) async fn probe(&self, on: &Resolution) -> Result<Option<String>, LiveKitError> {
        let rights = VideoGrant { room_list: true, ..VideoGrant::default() };
        let asked = serde_json::json!({"names": ["__probe__"]});
        let request = self.request(on, "RoomService/ListRooms", &rights.into(), &asked)?;
        let (date, body) = bytes_of(request.timeout(self.timeout)).await?;
        match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(answer) if answer.is_object() => Ok(date),
            _ => Err(LiveKitError::NotLiveKit { status: 200 }),
        }
    }

    /// What answers at the URL itself, whatever it says.
    pub(super) async fn greet(&self, url: &ServerUrl) -> Result<String, LiveKitError> {
        match bytes_of(self.http.get(http_base(url)).timeout(self.timeout)).await {
            Ok((_, body)) => Ok(String::from_utf8_lossy(&body).into_owned()),
            Err(LiveKitError::Answered(answer)) => Ok(answer.message),
            Err(error) => Err(error),
        }
    }

    /// Closes a room and hangs up on everybody in it.
    ///
    /// # Errors
    ///
    /// A room that does not exist is one, too: [`LiveKitError::is_not_found`].
    pub async fn delete_room(&self, on: &Resolution, name: &str) -> Result<(), LiveKitError> {
        #[derive(Serialize)]
        struct DeleteRoom<'a> {
            room: &'a str,
        }
        #[derive(Deserialize)]
        struct Deleted {}
        let rights = VideoGrant { room_create: true, ..VideoGrant::default() };
        let Deleted {} = self
            .ask(on, "RoomService/DeleteRoom", &rights.into(), &DeleteRoom { room: name })
            .await?;
        Ok(())
    }

    /// Sends an agent into a room. Doing it twice sends two.
    pub async fn create_dispatch(
        &self,
        on: &Resolution,
        room: &str,
        agent_name: &str,
        metadata: &str,
    ) -> Result<AgentDispatch, LiveKitError> {
        #[derive(Serialize)]
        struct CreateDispatch<'a> {
            room: &'a str,
            agent_name: &'a str,
            metadata: &'a str,
        }
        let body = CreateDispatch { room, agent_name, metadata };
        self.ask(on, "AgentDispatchService/CreateDispatch", &admin_of(room), &body).await
    }

    /// The agents that were sent into a room. A room that does not exist is an error after three
    /// seconds, `unavailable`.
    pub async fn dispatches(
        &self,
        on: &Resolution,
        room: &str,
    ) -> Result<Vec<AgentDispatch>, LiveKitError> {
        #[derive(Serialize)]
        struct ListDispatch<'a> {
            room: &'a str,
        }
        #[derive(Deserialize)]
        struct Dispatches {
            #[serde(default, deserialize_with = "null_is_empty")]
            agent_dispatches: Vec<AgentDispatch>,
        }
        let found: Dispatches = self
            .ask(on, "AgentDispatchService/ListDispatch", &admin_of(room), &ListDispatch { room })
            .await?;
        Ok(found.agent_dispatches)
    }

    /// One outbound trunk, if the server has it.
    pub async fn sip_trunk(
        &self,
        on: &Resolution,
        id: &str,
    ) -> Result<Option<SipTrunk>, LiveKitError> {
        #[derive(Serialize)]
        struct ListTrunks<'a> {
            trunk_ids: [&'a str; 1],
        }
        #[derive(Deserialize)]
        struct Trunks {
            #[serde(default, deserialize_with = "null_is_empty")]
            items: Vec<Option<serde_json::Value>>,
        }
        let rights = SipGrant { admin: true, ..SipGrant::default() };
        let body = ListTrunks { trunk_ids: [id] };
        let found: Trunks = self.ask(on, "SIP/ListSIPOutboundTrunk", &rights.into(), &body).await?;
        // Some servers put an empty item in the place of a trunk that they do not have, and some
        // that do not know the filter answer with all trunks.
        let trunks = found.items.into_iter().flatten();
        let read = |trunk| serde_json::from_value::<SipTrunk>(trunk).ok();
        Ok(trunks.filter_map(read).find(|trunk| trunk.id == id))
    }

    /// Dials a phone into a room, once. `call` names the call to servers that know duplicates by it.
    pub async fn dial(
        &self,
        on: &Resolution,
        dial: &SipDial<'_>,
        call: &str,
    ) -> Result<SipParticipant, LiveKitError> {
        let patience = if dial.wait_until_answered { dial.ringing } else { Duration::ZERO };
        let request = self
            .request(
                on,
                "SIP/CreateSIPParticipant",
                &SipGrant { call: true, ..SipGrant::default() }.into(),
                dial,
            )?
            .header("x-livekit-request-id", call)
            .timeout(self.timeout.saturating_add(patience));
        let span = tracing::debug_span!("livekit", method = "SIP/CreateSIPParticipant");
        answer_to(request).instrument(span).await
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        on: &Resolution,
        method: &'static str,
        rights: &TokenRequest,
        body: &impl Serialize,
    ) -> Result<A, LiveKitError> {
        let request = self.request(on, method, rights, body)?.timeout(self.timeout);
        answer_to(request).instrument(tracing::debug_span!("livekit", method)).await
    }

    fn request(
        &self,
        on: &Resolution,
        method: &'static str,
        rights: &TokenRequest,
        body: &impl Serialize,
    ) -> Result<reqwest::RequestBuilder, LiveKitError> {
        let token = on.token(rights)?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
            .expect("base64 and dots fit into a header");
        bearer.set_sensitive(true);
        let body = serde_json::to_vec(body).expect("texts, numbers and booleans are JSON");
        Ok(self
            .http
            .post(format!("{}/twirp/livekit.{method}", http_base(on.url())))
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
            .body(body))
    }
}

/// Sends a request and reads its answer.
async fn answer_to<A: DeserializeOwned>(
    request: reqwest::RequestBuilder,
) -> Result<A, LiveKitError> {
    let (_, body) = bytes_of(request).await?;
    serde_json::from_slice(&body).map_err(|_| LiveKitError::NotLiveKit { status: 200 })
}

/// Sends a request and reads its date and its body, of which no more than [`LONGEST_ANSWER`].
async fn bytes_of(
    request: reqwest::RequestBuilder,
) -> Result<(Option<String>, Vec<u8>), LiveKitError> {
    let mut response = request.send().await.map_err(LiveKitError::of_transport)?;
    let status = response.status().as_u16();
    let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (json, date) = (
        header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json")),
        header(DATE),
    );
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(LiveKitError::of_transport)? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST_ANSWER {
            return Err(LiveKitError::NotLiveKit { status });
        }
    }
    if status != 200 {
        return Err(Answered::read(status, json, date, &body).into());
    }
    Ok((date, body))
}

/// The base of a server's HTTP API: the URL with http for ws, and without a slash at its end.
pub(crate) fn http_base(url: &ServerUrl) -> String {
    let text = url.as_str().trim_end_matches('/');
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    let secure = scheme.eq_ignore_ascii_case("wss") || scheme.eq_ignore_ascii_case("https");
    format!("{}:{rest}", if secure { "https" } else { "http" })
}

fn admin_of(room: &str) -> TokenRequest {
    VideoGrant { room_admin: true, room: Some(room.to_owned()), ..VideoGrant::default() }.into()
}

/// What the system trusts, by rustls with ring.
///
/// # Panics
///
/// Never: ring speaks TLS 1.2 and 1.3.
#[must_use]
pub fn tls() -> rustls::ClientConfig {
    use rustls_platform_verifier::BuilderVerifierExt;

    let builder = || {
        rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
    };
    match builder().with_platform_verifier() {
        Ok(config) => config.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no certificates to trust on this system: https will fail");
            builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        }
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, out: S) -> Result<S::Ok, S::Error> {
    // Rounded up: no time at all would mean the server's own default.
    let rounded = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    out.collect_str(&format_args!("{rounded}s"))
}

/// Servers write an empty list as null, or leave it out.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

const LONGEST_ANSWER: usize = 16 << 20;
