//! Checks a credential before it is trusted, layer by layer: the text, the network, TLS, the key,
//! the secret, the clocks, the trunk, the SIP service. Each failure says what is wrong and what to
//! do. The layers behind a failed one are not checked.
//!
//! **Invariant:** a URL may come from anybody. A name is looked up once, and what is sent goes to the
//! addresses that were found then. Nothing is sent to an address where no LiveKit server can be, each
//! token is valid for one method, and of an answer only LiveKit's own errors are repeated; of one that
//! somebody else asked for, nothing.

mod key;
mod network;
mod pair;
mod shape;
mod sip;
mod trunk;

use std::time::Duration;

use serde::Serialize;

pub use self::pair::PairsAtServers;
pub use crate::server_url::leads_off_limits;

use super::livekit::{LiveKit, LiveKitError, Timeouts};
use crate::clock::Clock;
use crate::keyring::{KeyError, Secret};
use crate::reason::Reason;
use crate::routing::CallerId;
use crate::server_url::AllowedHosts;

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

    /// Not all trunks and numbers were looked at.
    #[cfg(feature = "server")]
    pub(crate) fn of_too_many(trunks: usize, numbers: usize) -> Self {
        Self {
            step: "trunk",
            verdict: Verdict::Warning,
            code: "not_all",
            message: format!(
                "only {trunks} trunks and {numbers} numbers of the config were looked at"
            ),
            hint: Some("`trunkline livekit check` looks at all of them"),
        }
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

/// How far a check goes.
#[derive(Debug, Clone, Copy)]
pub enum Reach<'a> {
    /// Wherever a LiveKit server can be, with the patience of the client: for whoever could go there
    /// himself.
    Anywhere,
    /// For somebody elsewhere, who must not look into this network: over the internet, or to hosts of
    /// this list. Each answer has 3 s and 64 KiB, and its words are not repeated.
    OnlyTo(&'a AllowedHosts),
}

/// Looks at a credential. Changes nothing on the server, but for a room that it makes and closes to
/// see whether a SIP service runs.
pub async fn check(livekit: &LiveKit, clock: &impl Clock, subject: &Subject<'_>) -> Vec<Finding> {
    let timeouts = livekit.timeouts();
    check_telling(timeouts, clock, subject, Reach::Anywhere, &mut |_| {}).await
}

/// The same, and tells each finding when it is made.
pub async fn check_telling(
    timeouts: Timeouts,
    clock: &impl Clock,
    subject: &Subject<'_>,
    reach: Reach<'_>,
    tell: &mut (dyn FnMut(&Finding) + Send),
) -> Vec<Finding> {
    let repeats = matches!(reach, Reach::Anywhere);
    let mut findings = Findings { said: Vec::new(), tell, repeats };
    let timeouts = if repeats { timeouts } else { OF_OTHERS };
    // What fails has said so; nothing behind it is looked at.
    let _ = look(timeouts, clock, subject, reach, &mut findings).await;
    findings.said
}

/// The layers, until one fails.
async fn look(
    timeouts: Timeouts,
    clock: &impl Clock,
    subject: &Subject<'_>,
    reach: Reach<'_>,
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    let (url, credentials) = shape::look(subject, findings)?;
    if let Reach::OnlyTo(hosts) = reach
        && !hosts.allow(&url)
    {
        return Err(findings.say(Finding::of_refused_host()));
    }
    let livekit = &network::look(timeouts, &url, reach, findings).await?;
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

/// How long servers may take that somebody else asks for.
const OF_OTHERS: Timeouts =
    Timeouts { connect: Duration::from_secs(3), answer: Duration::from_secs(3) };
/// How much of their answers is read.
const LONGEST_OF_OTHERS: usize = 64 << 10;

struct Findings<'t> {
    said: Vec<Finding>,
    tell: &'t mut (dyn FnMut(&Finding) + Send),
    /// Whether the words of servers are repeated.
    repeats: bool,
}

impl Findings<'_> {
    fn say(&mut self, finding: Finding) -> Stop {
        (self.tell)(&finding);
        self.said.push(finding);
        Stop
    }

    /// What a server answered, or that it did not.
    fn words(&self, error: &LiveKitError) -> String {
        match error {
            LiveKitError::Answered(answer) if !self.repeats => {
                format!("the server answered {}", answer.status)
            }
            error => error.of_livekit(),
        }
    }

    fn ok(&mut self, step: &'static str, message: impl Into<String>) {
        let (verdict, code, message) = (Verdict::Ok, "ok", message.into());
        self.say(Finding { step, verdict, code, message, hint: None });
    }

    fn warn(
        &mut self,
        step: &'static str,
        code: &'static str,
        message: impl Into<String>,
        hint: &'static str,
    ) {
        let (verdict, message) = (Verdict::Warning, message.into());
        self.say(Finding { step, verdict, code, message, hint: Some(hint) });
    }

    fn fail(
        &mut self,
        step: &'static str,
        code: &'static str,
        message: impl Into<String>,
        hint: &'static str,
    ) -> Stop {
        let (verdict, message) = (Verdict::Failed, message.into());
        self.say(Finding { step, verdict, code, message, hint: Some(hint) })
    }
}
