//! Looks at a credential before it is trusted, one layer after the other: what is written, the
//! network, TLS, the key, the secret, the clocks, the trunk. Each failure is named in plain words,
//! with what to do about it; what lies behind a failed layer is not looked at.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::livekit::{Answered, LiveKit, LiveKitError, SipTrunk};
use super::trunks::Listed;
use crate::answer::KnownRules;
use crate::cache::Resolution;
use crate::clock::{Clock, Moment, SystemClock};
use crate::environment::{Environment, EnvironmentValues};
use crate::keyring::{ExposeSecret, KeyError, Secret};
use crate::reason::Reason;
use crate::routing::CallerId;
use crate::rules::CallerCheck;
use crate::server_url::ServerUrl;

/// A credential to be looked at.
pub struct Subject<'a> {
    /// The server's URL.
    pub url: &'a str,
    /// The API key.
    pub api_key: &'a str,
    /// The API secret.
    pub api_secret: &'a Secret,
    /// The trunks that calls go over, each with the numbers that call over it.
    pub trunks: &'a [(&'a str, Vec<CallerId>)],
}

/// What one layer came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked at.
    pub step: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// A stable word for it.
    pub code: &'static str,
    /// What was found. Holds no secret.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl Finding {
    /// A secret that does not open, so that nothing can be asked with it.
    #[must_use]
    pub fn of_key_error(error: &KeyError) -> Self {
        let (verdict, message) = (Verdict::Failed, error.to_string());
        Self { step: "sealed", verdict, code: error.code(), message, hint: error.hint() }
    }
}

/// How a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Good.
    Ok,
    /// Odd, and perhaps good all the same.
    Warning,
    /// Calls would fail.
    Failed,
}

/// Looks at a credential. Changes nothing on the server.
pub async fn check(livekit: &LiveKit, clock: &impl Clock, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    // What fails has said so; nothing behind it is looked at.
    let _ = look(livekit, clock, subject, &mut findings).await;
    findings.0
}

/// The layers, until one fails.
async fn look(
    livekit: &LiveKit,
    clock: &impl Clock,
    subject: &Subject<'_>,
    findings: &mut Findings,
) -> Result<(), Stop> {
    let (url, credentials) = shape(subject, findings)?;
    network(livekit, &url, findings).await?;
    key(livekit, clock, &credentials, findings).await?;
    if subject.trunks.is_empty() {
        let hint = "the rules of a number or OUTBOUND_TRUNK_ID may name one";
        findings.warn(TRUNK, "no_trunk", "no trunk is named", hint);
    }
    for (id, numbers) in subject.trunks {
        trunk(livekit, &credentials, (id, numbers), findings).await?;
    }
    Ok(())
}

/// A layer has failed.
struct Stop;

struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, step: &'static str, message: impl Into<String>) {
        let (verdict, code, message) = (Verdict::Ok, "ok", message.into());
        self.0.push(Finding { step, verdict, code, message, hint: None });
    }

    fn warn(
        &mut self,
        step: &'static str,
        code: &'static str,
        message: impl Into<String>,
        hint: &'static str,
    ) {
        let (verdict, message) = (Verdict::Warning, message.into());
        self.0.push(Finding { step, verdict, code, message, hint: Some(hint) });
    }

    fn fail(
        &mut self,
        step: &'static str,
        code: &'static str,
        message: impl Into<String>,
        hint: &'static str,
    ) -> Stop {
        let (verdict, message) = (Verdict::Failed, message.into());
        self.0.push(Finding { step, verdict, code, message, hint: Some(hint) });
        Stop
    }
}

/// What can be seen without asking anybody.
fn shape(subject: &Subject<'_>, findings: &mut Findings) -> Result<(ServerUrl, Resolution), Stop> {
    const STEP: &str = "shape";
    let Subject { url, api_key, api_secret, trunks } = subject;
    let secret = api_secret.expose_secret().as_str();
    let parsed: ServerUrl = url.parse().map_err(|error: crate::ServerUrlError| {
        findings.fail(STEP, "url_malformed", error.to_string(), "copy the URL anew")
    })?;
    let ends = |text: &str| text.trim() != text;
    if secret.is_empty() || api_key.is_empty() {
        let what =
            if secret.is_empty() { "the API secret is empty" } else { "the API key is empty" };
        return Err(findings.fail(
            STEP,
            "empty",
            what,
            "both are shown once, when the key is made",
        ));
    }
    if ends(secret) || ends(api_key) {
        let what = if ends(secret) { "the API secret" } else { "the API key" };
        let message = format!("{what} begins or ends with white space, perhaps a line break");
        return Err(findings.fail(STEP, "white_space", message, "paste it without the line break"));
    }
    if secret.starts_with("API") && !api_key.starts_with("API") {
        let message =
            "key and secret seem to be swapped: the secret begins with API, the key does not";
        return Err(findings.fail(
            STEP,
            "swapped",
            message,
            "the key is the one that begins with API",
        ));
    }
    let before = findings.0.len();
    if secret.len() < SHORT_SECRET {
        let message = format!("the API secret has {} characters", secret.len());
        findings.warn(STEP, "secret_short", message, "LiveKit asks for at least 32");
    }
    for (trunk, _) in trunks.iter().filter(|(trunk, _)| !trunk.starts_with("ST_")) {
        if trunk.starts_with("TK") && trunk.len() == 34 {
            let message = "the trunk is a Twilio SID (TK…), which LiveKit does not know";
            let hint =
                "make an outbound trunk on the LiveKit server for it, and take that one's ST_…";
            return Err(findings.fail(STEP, "trunk_of_twilio", message, hint));
        }
        let message = format!("the trunk {trunk:?} does not begin with ST_, as LiveKit's do");
        findings.warn(STEP, "trunk_unusual", message, "`lk sip outbound list` shows the trunks");
    }
    if parsed.address().0.ends_with(".sip.livekit.cloud") {
        let message = "this is the host for SIP, not for the API";
        return Err(findings.fail(
            STEP,
            "sip_host",
            message,
            "take out .sip: wss://….livekit.cloud",
        ));
    }
    if !parsed.is_secure() && !parsed.is_loopback() {
        let message = "tokens cross the network in the clear";
        findings.warn(STEP, "plain_text", message, "use wss:// unless the network is your own");
    }
    if findings.0.len() == before {
        findings.ok(STEP, "URL, key, secret and trunk look like themselves");
    }
    let values = EnvironmentValues {
        url: Some(parsed.clone()),
        api_key: Some((*api_key).to_owned()),
        api_secret: Some(Arc::new(Secret::new(Box::new(secret.to_owned())))),
        ..EnvironmentValues::default()
    };
    let unsaved = Environment::new(values, Arc::new(SystemClock::default()));
    let credentials = unsaved.answer(Reason::DatabaseNotConfigured, KnownRules::Unknown, Moment(0));
    let credentials = credentials.map_err(|unanswered| {
        let missing = unanswered.error.to_string();
        findings.fail(STEP, "empty", missing, "URL, key and secret belong together")
    })?;
    Ok((parsed, Resolution::new(credentials)))
}

/// Name, address, encryption, and what answers there.
async fn network(livekit: &LiveKit, url: &ServerUrl, findings: &mut Findings) -> Result<(), Stop> {
    let (host, port) = url.address();
    let found =
        tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), port))).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            let message = format!("{host} is not found: {error}");
            let hint = "is the host right, and does this machine's DNS know it?";
            return Err(findings.fail("dns", "host_unknown", message, hint));
        }
        Err(_) => {
            let message = format!("{host}: no answer of the DNS in time");
            return Err(findings.fail("dns", "dns_timeout", message, "look at this machine's DNS"));
        }
    };
    let many = if addresses.len() == 1 { "address" } else { "addresses" };
    findings.ok("dns", format!("{host} has {} {many}", addresses.len()));

    let connect = tokio::net::TcpStream::connect(addresses.as_slice());
    match tokio::time::timeout(PATIENCE, connect).await {
        Ok(Ok(_)) => findings.ok("tcp", format!("port {port} is open")),
        Ok(Err(error)) => {
            let message = format!("port {port} of {host}: {error}");
            let hint = "does the server run, and do firewalls let this machine through?";
            return Err(findings.fail("tcp", "not_connected", message, hint));
        }
        Err(_) => {
            let message = format!("port {port} of {host}: no answer in time");
            let hint = "a firewall drops the packets, or the address is wrong";
            return Err(findings.fail("tcp", "connect_timeout", message, hint));
        }
    }
    match livekit.greet(url).await {
        Ok(greeting) => {
            if url.is_secure() {
                findings.ok("tls", "the certificate is trusted");
            }
            if greeting.contains("HTTP request to an HTTPS server") {
                let message = "the port wants TLS, and the URL says none";
                return Err(findings.fail("tls", "tls_wanted", message, "use wss:// in the URL"));
            }
        }
        Err(LiveKitError::NotConnected { why }) if url.is_secure() => {
            let message = format!("no TLS: {why}");
            let hint = if why.contains("InvalidContentType") || why.contains("corrupt message") {
                "the port speaks plain HTTP: use ws://, or the port that has TLS"
            } else {
                "the certificate is not one that this machine trusts for this host and this day"
            };
            return Err(findings.fail("tls", "tls_failed", message, hint));
        }
        Err(error) => {
            let hint = "something listens there that does not speak HTTP, or not in time";
            return Err(findings.fail("http", "no_http", error.to_string(), hint));
        }
    }
    Ok(())
}

/// Whether the server knows the key, and the secret is its.
async fn key(
    livekit: &LiveKit,
    clock: &impl Clock,
    credentials: &Resolution,
    findings: &mut Findings,
) -> Result<(), Stop> {
    let asked = livekit.probe(credentials).await;
    let date = match &asked {
        Ok(date) => date.as_deref(),
        Err(LiveKitError::Answered(answer)) => answer.date.as_deref(),
        Err(_) => None,
    };
    let ahead =
        date.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok()).map(|server| {
            let ours = i64::try_from(clock.unix_seconds()).unwrap_or(i64::MAX);
            ours.saturating_sub(server.timestamp())
        });
    let skew = |ahead: i64| {
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        format!("this machine's clock is {} s {way} the server's", ahead.abs())
    };
    match asked {
        Ok(_) => {
            findings.ok("key", "the server knows the key");
            findings.ok("secret", "the server accepts the secret");
        }
        Err(LiveKitError::Answered(answer)) => {
            return Err(refused(&answer, ahead.map(skew), findings));
        }
        Err(error @ LiveKitError::NotLiveKit { .. }) => {
            let hint = "is the path right, and does the proxy pass /twirp on?";
            return Err(findings.fail("livekit", "not_livekit", error.to_string(), hint));
        }
        Err(error) => {
            let hint = "the server accepts connections and does not answer in time";
            return Err(findings.fail("livekit", "unanswered", error.to_string(), hint));
        }
    }
    match ahead {
        // Servers allow for a minute.
        Some(ahead) if ahead.abs() > 30 => {
            findings.warn(
                "clock",
                "clock_skew",
                skew(ahead),
                "past a minute, tokens are refused: run NTP",
            );
        }
        Some(_) => findings.ok("clock", "the clocks agree"),
        None => {}
    }
    Ok(())
}

fn refused(answer: &Answered, skew: Option<String>, findings: &mut Findings) -> Stop {
    let says = |words| answer.message.contains(words);
    if answer.status != 401 {
        let hint = "is the path right, and does the proxy pass /twirp on?";
        return findings.fail("livekit", "not_livekit", answer.to_string(), hint);
    }
    if says("invalid API key") {
        let message = "the server does not know this API key";
        let hint = "was it revoked, or is it the key of another server or project?";
        return findings.fail("key", "key_unknown", message, hint);
    }
    findings.ok("key", "the server knows the key");
    if says("expired") || says("not valid yet") {
        let message = skew.unwrap_or_else(|| "the clocks differ by more than a minute".to_owned());
        return findings.fail("clock", "clock_skew", message, "set the clocks of both by NTP");
    }
    if says("signature") {
        let message = "the secret is not the one of this key";
        let hint = "a secret is shown once, when its key is made; make a new pair if it is lost";
        return findings.fail("secret", "secret_wrong", message, hint);
    }
    let hint = "the server refuses a token that is good; it may be of another project";
    findings.fail("secret", "refused", answer.to_string(), hint)
}

/// Whether the server has a trunk, and the trunk the numbers.
async fn trunk(
    livekit: &LiveKit,
    credentials: &Resolution,
    (id, numbers): (&str, &[CallerId]),
    findings: &mut Findings,
) -> Result<(), Stop> {
    let trunk = match livekit.sip_trunk(credentials, id).await {
        Ok(Some(trunk)) => trunk,
        Ok(None) => {
            let message = format!("the server has no outbound trunk {id}");
            let hint = "trunks belong to one server or project; `lk sip outbound list` shows them";
            return Err(findings.fail(TRUNK, "trunk_unknown", message, hint));
        }
        Err(LiveKitError::Answered(answer)) if answer.message.contains("sip not connected") => {
            let message = "the server has no SIP: it runs without Redis";
            let hint = "set redis in its configuration, and run livekit-sip beside it";
            return Err(findings.fail(TRUNK, "no_sip", message, hint));
        }
        Err(error) => {
            let hint = "the trunk could not be looked up";
            return Err(findings.fail(TRUNK, "trunk_unasked", error.to_string(), hint));
        }
    };
    let missing = missing(&trunk, numbers);
    if missing.is_empty() {
        let message = match numbers.len() {
            0 => format!("the server has {id}"),
            1 => format!("the server has {id}, which carries the number"),
            many => format!("the server has {id}, which carries {many} numbers"),
        };
        findings.ok(TRUNK, message);
        return Ok(());
    }
    let shown: Vec<_> =
        missing.iter().take(3).map(|missing| missing.number.masked().to_string()).collect();
    let message = format!(
        "{id} does not carry {} of {} numbers, such as {}",
        missing.len(),
        numbers.len(),
        shown.join(", ")
    );
    let hint = "add them to the trunk's numbers, or give the numbers another config";
    if missing.iter().all(|missing| missing.check == CallerCheck::Warn) {
        findings.warn(TRUNK, "number_not_on_trunk", message, hint);
        return Ok(());
    }
    Err(findings.fail(TRUNK, "number_not_on_trunk", message, hint))
}

/// The numbers that a trunk does not carry.
fn missing<'a>(trunk: &SipTrunk, numbers: &'a [CallerId]) -> Vec<&'a CallerId> {
    let carried = Listed::of(trunk);
    numbers.iter().filter(|number| !carried.carry(number)).collect()
}

const TRUNK: &str = "trunk";
/// How long each layer of the network may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// LiveKit's own warns below this.
const SHORT_SECRET: usize = 32;
