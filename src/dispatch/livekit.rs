//! The client of LiveKit's server API: the few methods that placing a call needs.
//!
//! One connection pool serves all servers. Each request carries a token of its own, valid for a
//! minute and for that method only, made by the cached signer: no secret comes here. A server's
//! answer is kept as it came (status, Twirp code, message, SIP status), without the tokens that
//! servers repeat in their errors.
//!
//! **Invariant:** nothing is sent twice here and no redirect is followed, but for a request whose token was
//! refused: that goes once more with the other pair of its config (`pairs.rs`). `dispatch/attempt.rs` decides
//! what else may be repeated.

mod agents;
mod error;
mod lookup;
#[cfg(feature = "server")]
mod origins;
mod pairs;
mod rooms;
mod sip;
#[cfg(feature = "server")]
pub(crate) mod webhook;

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use tracing::Instrument;

pub use self::agents::AgentDispatch;
pub use self::error::{Answered, LiveKitError, SipStatus};
use self::lookup::Lookup;
pub(in crate::dispatch) use self::lookup::OFF_LIMITS;
pub(in crate::dispatch) use self::pairs::OtherPairCounters;
use self::pairs::{OtherPairs, Refusal};
pub use self::rooms::{CallStatus, Participant, Room};
pub use self::sip::{SipDial, SipParticipant, SipTrunk};
use crate::cache::Resolution;
#[cfg(feature = "server")]
use crate::resolver::Resolver;
use crate::server_url::ServerUrl;
use crate::settings::Tuning;
use crate::token::{TokenRequest, VideoGrant};

/// A pool of connections to LiveKit servers. Cloning shares it.
#[derive(Clone, Debug)]
pub struct LiveKit {
    http: reqwest::Client,
    timeouts: Timeouts,
    /// How many bytes an answer may have.
    longest: usize,
    /// Whether it goes nowhere that no server is.
    is_guarded: bool,
    /// Where the other pair of a config is found.
    pairs: Option<OtherPairs>,
}

/// How long a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For an answer, connecting included. A call that waits until it is answered takes its ringing
    /// time longer.
    pub answer: Duration,
}

impl From<&Tuning> for Timeouts {
    /// `LIVEKIT_CONNECT_TIMEOUT` and `LIVEKIT_TIMEOUT`.
    fn from(tuning: &Tuning) -> Self {
        Self { connect: tuning.livekit_connect, answer: tuning.livekit }
    }
}

impl LiveKit {
    /// A pool whose requests take no longer than these.
    ///
    /// Certificates are those that the system trusts. A machine without any still reaches servers
    /// over http.
    ///
    /// # Panics
    ///
    /// Never in practice: where the system cannot make random numbers.
    #[must_use]
    pub fn new(timeouts: Timeouts) -> Self {
        Self::looking_up(timeouts, Lookup::warning())
    }

    /// One that takes every name for these addresses, which were looked at before, and goes over no
    /// proxy, which would look names up itself. The name stays the one that TLS asks for.
    pub(in crate::dispatch) fn pinned(timeouts: Timeouts, addresses: Vec<SocketAddr>) -> Self {
        Self::looking_up(timeouts, Lookup::pinned(addresses))
    }

    /// One for clients of the API, who may have written the URL: it goes nowhere that no server is, and
    /// into a private network only where somebody else named its host.
    #[cfg(feature = "server")]
    pub(in crate::dispatch) fn guarded(resolver: &Resolver) -> Self {
        let lookup = Lookup::guarded(origins::Origins::of(resolver));
        Self::looking_up(resolver.tuning().into(), lookup)
    }

    /// The same, with answers of so many bytes at the most.
    pub(in crate::dispatch) fn taking(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    fn looking_up(timeouts: Timeouts, lookup: Lookup) -> Self {
        let builder = reqwest::Client::builder();
        let is_guarded = lookup.is_guarded();
        let builder = if lookup.is_pinned() { builder.no_proxy() } else { builder };
        let http = builder
            .tls_backend_preconfigured(tls())
            .dns_resolver(lookup)
            .connect_timeout(timeouts.connect)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("the TLS configuration is complete");
        Self { http, timeouts, longest: LONGEST_ANSWER, is_guarded, pairs: None }
    }

    /// How long its requests may take.
    pub(in crate::dispatch) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// How long a request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeouts.answer
    }

    /// Whether key and secret are good, by a question that costs the server nothing. Returns what
    /// the server says of the time.
    pub(super) async fn probe(&self, on: &Resolution) -> Result<Option<String>, LiveKitError> {
        let rights = VideoGrant::list();
        let asked = serde_json::json!({"names": ["__probe__"]});
        let request = self.request(on, "RoomService/ListRooms", &rights.into(), &asked)?;
        let (date, body) = bytes_of(request.timeout(self.timeouts.answer), self.longest).await?;
        match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(answer) if answer.is_object() => Ok(date),
            _ => Err(LiveKitError::NotLiveKit { status: 200 }),
        }
    }

    /// What answers at the URL itself, whatever it says.
    pub(super) async fn greet(&self, url: &ServerUrl) -> Result<String, LiveKitError> {
        let request = self.http.get(http_base(url)).timeout(self.timeouts.answer);
        match bytes_of(request, self.longest).await {
            Ok((_, body)) => Ok(String::from_utf8_lossy(&body).into_owned()),
            Err(LiveKitError::Answered(answer)) => Ok(answer.message),
            Err(error) => Err(error),
        }
    }

    /// Refuses a URL that names an address where no server is, which is not looked up.
    fn refuse_off_limits(&self, url: &ServerUrl) -> Result<(), LiveKitError> {
        if self.is_guarded && url.is_off_limits() {
            return Err(LiveKitError::NotConnected { why: format!("the URL names {OFF_LIMITS}") });
        }
        Ok(())
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        on: &Resolution,
        method: &'static str,
        rights: &TokenRequest,
        body: &(impl Serialize + Sync),
    ) -> Result<A, LiveKitError> {
        let asking = |on: &Resolution| {
            Ok(self.request(on, method, rights, body)?.timeout(self.timeouts.answer))
        };
        let asked = self.with_either_pair(on, Refusal::Any, asking);
        asked.instrument(tracing::debug_span!("livekit", method)).await
    }

    fn request(
        &self,
        on: &Resolution,
        method: &'static str,
        rights: &TokenRequest,
        body: &impl Serialize,
    ) -> Result<reqwest::RequestBuilder, LiveKitError> {
        self.refuse_off_limits(on.url())?;
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
    longest: usize,
) -> Result<A, LiveKitError> {
    let (_, body) = bytes_of(request, longest).await?;
    serde_json::from_slice(&body).map_err(|_| LiveKitError::NotLiveKit { status: 200 })
}

/// Sends a request and reads its date and its body, of which no more than that.
async fn bytes_of(
    request: reqwest::RequestBuilder,
    longest: usize,
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
        if body.len() > longest {
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
    VideoGrant::admin(room).into()
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

/// Servers write an empty list as null, or leave it out.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

const LONGEST_ANSWER: usize = 16 << 20;
