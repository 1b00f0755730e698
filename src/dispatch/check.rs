//! Checks a credential before it is trusted, layer by layer: the text, the network, TLS, the key,
//! the secret, the clocks, the trunk, the SIP service. Each failure says what is wrong and what to
//! do. The layers behind a failed one are not checked.
//!
//! **Invariant:** a URL may come from anybody. Nothing is sent to an address where no LiveKit
//! server can be, each token is valid for one method, and of an answer only LiveKit's own errors
//! are repeated.

mod key;
mod network;
mod shape;
mod sip;
mod trunk;

use serde::Serialize;

pub use crate::server_url::leads_off_limits;

use super::livekit::LiveKit;
use crate::clock::Clock;
use crate::keyring::{KeyError, Secret};
use crate::reason::Reason;
use crate::routing::CallerId;

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

    /// A URL whose host `LIVEKIT_HOSTS` refuses, so that no call uses it.
    #[must_use]
    pub fn of_refused_host() -> Self {
        Self {
            step: "shape",
            verdict: Verdict::Failed,
            code: Reason::HostNotAllowed.as_str(),
            message: "the host is not in LIVEKIT_HOSTS".into(),
            hint: Some("add it there, or correct the URL"),
        }
    }
}

/// How a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Good.
    Ok,
    /// Unusual, and possibly fine.
    Warning,
    /// Calls would fail.
    Failed,
}

/// Looks at a credential. Changes nothing on the server, but for a room that it makes and closes to
/// see whether a SIP service runs.
pub async fn check(livekit: &LiveKit, clock: &impl Clock, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    // What fails has said so; nothing behind it is looked at.
    let _ = look(&livekit.for_checks(), clock, subject, &mut findings).await;
    findings.0
}

/// The layers, until one fails.
async fn look(
    livekit: &LiveKit,
    clock: &impl Clock,
    subject: &Subject<'_>,
    findings: &mut Findings,
) -> Result<(), Stop> {
    let (url, credentials) = shape::look(subject, findings)?;
    network::look(livekit, &url, findings).await?;
    key::look(livekit, clock, &credentials, findings).await?;
    if subject.trunks.is_empty() {
        trunk::none(findings);
        return Ok(());
    }
    for (id, numbers) in subject.trunks {
        trunk::look(livekit, &credentials, (id, numbers), findings).await?;
    }
    sip::look(livekit, &credentials, findings).await
}

/// A layer has failed.
struct Stop;

/// What to do about an address where no LiveKit server is.
const NO_SERVER: &str = "no LiveKit server is there: take the URL that your server is reached by";

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
