//! What can be seen of a credential without asking anybody.

use std::sync::Arc;

use super::{Findings, NO_SERVER, Stop, Subject};
use crate::answer::KnownRules;
use crate::cache::Resolution;
use crate::clock::{Moment, SystemClock};
use crate::dispatch::livekit::OFF_LIMITS;
use crate::environment::{Environment, EnvironmentValues};
use crate::keyring::{ExposeSecret, Secret};
use crate::reason::Reason;
use crate::server_url::{ServerUrl, ServerUrlError};

/// Looks at how URL, key, secret and trunks are written. Yields what is asked with.
pub(super) fn look(
    subject: &Subject<'_>,
    findings: &mut Findings<'_>,
) -> Result<(ServerUrl, Resolution), Stop> {
    let Subject { url, api_key: key, api_secret, trunks } = subject;
    let secret = api_secret.expose_secret().as_str();
    let url: ServerUrl = url.parse().map_err(|error: ServerUrlError| {
        findings.fail(STEP, "url_malformed", error.to_string(), "copy the URL again")
    })?;
    if url.is_off_limits() {
        let message = format!("the host is {OFF_LIMITS}");
        return Err(findings.fail(STEP, "off_limits", message, NO_SERVER));
    }
    there(key, secret, findings)?;
    without_white_space(key, secret, findings)?;
    not_swapped(key, secret, findings)?;
    let before = findings.said.len();
    long_enough(secret, findings);
    for (trunk, _) in *trunks {
        of_livekit(trunk, findings)?;
    }
    not_of_sip(&url, findings)?;
    encrypted(&url, findings);
    if findings.said.len() == before {
        findings.ok(STEP, "URL, key, secret and trunk look like themselves");
    }
    let credentials = credentials(&url, key, secret, findings)?;
    Ok((url, credentials))
}

/// Neither key nor secret is empty.
fn there(key: &str, secret: &str, findings: &mut Findings<'_>) -> Result<(), Stop> {
    let what = match (secret.is_empty(), key.is_empty()) {
        (true, _) => "the API secret is empty",
        (_, true) => "the API key is empty",
        _ => return Ok(()),
    };
    Err(findings.fail(STEP, "empty", what, "both are shown once, when the key is made"))
}

/// Nothing was pasted with a line break.
fn without_white_space(key: &str, secret: &str, findings: &mut Findings<'_>) -> Result<(), Stop> {
    let what = if secret.trim() != secret {
        "the API secret"
    } else if key.trim() != key {
        "the API key"
    } else {
        return Ok(());
    };
    let message = format!("{what} begins or ends with white space, perhaps a line break");
    Err(findings.fail(STEP, "white_space", message, "paste it without the line break"))
}

/// The key is not where the secret belongs.
fn not_swapped(key: &str, secret: &str, findings: &mut Findings<'_>) -> Result<(), Stop> {
    if !secret.starts_with("API") || key.starts_with("API") {
        return Ok(());
    }
    let message = "key and secret seem to be swapped: the secret begins with API, the key does not";
    Err(findings.fail(STEP, "swapped", message, "the key is the one that begins with API"))
}

/// The secret is as long as LiveKit wants it.
fn long_enough(secret: &str, findings: &mut Findings<'_>) {
    if secret.len() < SHORT_SECRET {
        let message = format!("the API secret has {} characters", secret.len());
        findings.warn(STEP, "secret_short", message, "LiveKit asks for at least 32");
    }
}

/// The trunk is one of LiveKit's own.
fn of_livekit(trunk: &str, findings: &mut Findings<'_>) -> Result<(), Stop> {
    if trunk.starts_with("TK") && trunk.len() == 34 {
        let message = "the trunk is a Twilio SID (TK…), which LiveKit does not know";
        let hint = "make an outbound trunk on the LiveKit server for it, and take that one's ST_…";
        return Err(findings.fail(STEP, "trunk_of_twilio", message, hint));
    }
    if !trunk.starts_with("ST_") {
        let message = format!("the trunk {trunk:?} does not begin with ST_, as LiveKit's do");
        findings.warn(STEP, "trunk_unusual", message, "`lk sip outbound list` shows the trunks");
    }
    Ok(())
}

/// The host is that of the API.
fn not_of_sip(url: &ServerUrl, findings: &mut Findings<'_>) -> Result<(), Stop> {
    if !url.address().0.ends_with(".sip.livekit.cloud") {
        return Ok(());
    }
    let message = "this is the host for SIP, not for the API";
    Err(findings.fail(STEP, "sip_host", message, "take out .sip: wss://….livekit.cloud"))
}

/// Tokens do not cross a network in the clear.
fn encrypted(url: &ServerUrl, findings: &mut Findings<'_>) {
    if !url.is_secure() && !url.is_loopback() {
        let message = "tokens cross the network in the clear";
        findings.warn(STEP, "plain_text", message, "use wss:// unless the network is your own");
    }
}

/// The three of them as credentials to ask with.
fn credentials(
    url: &ServerUrl,
    key: &str,
    secret: &str,
    findings: &mut Findings<'_>,
) -> Result<Resolution, Stop> {
    let values = EnvironmentValues {
        url: Some(url.clone()),
        api_key: Some(key.to_owned()),
        api_secret: Some(Arc::new(Secret::new(Box::new(secret.to_owned())))),
        ..EnvironmentValues::default()
    };
    let unsaved = Environment::new(values, Arc::new(SystemClock::default()));
    let answer = unsaved.answer(Reason::DatabaseNotConfigured, KnownRules::Unknown, Moment(0));
    answer.map(Resolution::new).map_err(|unanswered| {
        let missing = unanswered.error.to_string();
        findings.fail(STEP, "empty", missing, "URL, key and secret belong together")
    })
}

const STEP: &str = "shape";
/// LiveKit's own warns below this.
const SHORT_SECRET: usize = 32;
