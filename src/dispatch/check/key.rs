//! Whether the server knows the key, the secret is its, and the clocks agree.

use super::{Findings, Stop};
use crate::cache::Resolution;
use crate::clock::Clock;
use crate::dispatch::livekit::{Answered, LiveKit, LiveKitError};

/// By how many seconds this machine's clock is ahead of the server's, if the server told the time.
#[derive(Clone, Copy)]
struct Ahead(Option<i64>);

/// Looks at key, secret and clocks, by one question that costs the server nothing.
pub(super) async fn look(
    livekit: &LiveKit,
    clock: &impl Clock,
    credentials: &Resolution,
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    let asked = livekit.probe(credentials).await;
    let date = match &asked {
        Ok(date) => date.as_deref(),
        Err(LiveKitError::Answered(answer)) => answer.date.as_deref(),
        Err(_) => None,
    };
    let ahead = Ahead::of(clock, date);
    match asked {
        Ok(_) => {
            findings.ok("key", "the server knows the key");
            findings.ok("secret", "the server accepts the secret");
            clocks(ahead, findings);
            Ok(())
        }
        Err(LiveKitError::Answered(answer)) if answer.status == 401 => {
            Err(refused(*answer, ahead, findings))
        }
        Err(error @ (LiveKitError::Answered(_) | LiveKitError::NotLiveKit { .. })) => {
            let hint = "is the path right, and does the proxy pass /twirp on?";
            Err(findings.fail("livekit", "not_livekit", findings.words(&error), hint))
        }
        Err(error) => {
            let hint = "the server accepts connections and does not answer in time";
            Err(findings.fail("livekit", "unanswered", error.to_string(), hint))
        }
    }
}

/// What the server refuses: the key, the time, or the secret.
fn refused(answer: Answered, ahead: Ahead, findings: &mut Findings<'_>) -> Stop {
    let says = |words| answer.message.contains(words);
    if says("invalid API key") {
        let message = "the server does not know this API key";
        let hint = "was it revoked, or is it the key of another server or project?";
        return findings.fail("key", "key_unknown", message, hint);
    }
    findings.ok("key", "the server knows the key");
    if says("expired") || says("not valid yet") {
        let message = ahead.in_words().unwrap_or_else(|| TOO_FAR_APART.to_owned());
        return findings.fail("clock", "clock_skew", message, "set the clocks of both by NTP");
    }
    if says("signature") {
        let message = "the secret is not the one of this key";
        let hint = "a secret is shown once, when its key is made; make a new pair if it is lost";
        return findings.fail("secret", "secret_wrong", message, hint);
    }
    let hint = "the server refuses a token that is good; it may be of another project";
    let message = findings.words(&answer.into());
    findings.fail("secret", "refused", message, hint)
}

/// Clocks that differ by less than what servers allow for.
fn clocks(ahead: Ahead, findings: &mut Findings<'_>) {
    let Ahead(Some(seconds)) = ahead else { return };
    match ahead.in_words() {
        Some(message) if seconds.abs() > MUCH => {
            let hint = "past a minute, tokens are refused: run NTP";
            findings.warn("clock", "clock_skew", message, hint);
        }
        _ => findings.ok("clock", "the clocks agree"),
    }
}

impl Ahead {
    /// By the `Date` of an answer.
    fn of(clock: &impl Clock, date: Option<&str>) -> Self {
        let server = date.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok());
        let ours = i64::try_from(clock.unix_seconds()).unwrap_or(i64::MAX);
        Self(server.map(|server| ours.saturating_sub(server.timestamp())))
    }

    fn in_words(self) -> Option<String> {
        let seconds = self.0?;
        let way = if seconds > 0 { "ahead of" } else { "behind" };
        Some(format!("this machine's clock is {} s {way} the server's", seconds.abs()))
    }
}

/// Servers allow for a minute; so many seconds are told of.
const MUCH: i64 = 30;
const TOO_FAR_APART: &str = "the clocks differ by more than a minute";
