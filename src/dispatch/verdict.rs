//! What an error means for a call: its outcome, and what has to happen before it is tried again.
//!
//! **Invariant:** a call is tried again only if it is known that no phone rang for it. What is known
//! only by a server's words is known only for words that are listed here.

use super::Outcome;
use super::livekit::{Answered, LiveKitError, SipStatus};

/// When a call that came to nothing may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Not at all: a phone may have rung, or it would come to nothing each time.
    Never,
    /// In a moment: nothing was dialled, and it may go better by then.
    Soon,
    /// Once the trunk or the server has room for it: nothing was dialled, since they are at a limit.
    AtLimit,
    /// Once somebody has mended what the message says: no phone rang.
    Mended,
}

/// Whether a phone rang for a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rang {
    /// It did not, as far as the SIP service told a moment before the end.
    No,
    /// Nobody can say.
    Unknown,
    /// It did.
    Yes,
}

/// What is known of a dial, beside the error with which it ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialling {
    pub(super) rang: Rang,
    /// Whether it ended before the phone had rung for as long as it might.
    pub(super) cut_short: bool,
}

/// What an error means for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FailureVerdict {
    pub(super) outcome: Outcome,
    pub(super) again: Again,
    /// What it is in plain words, where the server's are none.
    pub(super) words: Option<&'static str>,
}

impl FailureVerdict {
    const fn of(outcome: Outcome, again: Again) -> Self {
        Self { outcome, again, words: None }
    }

    const fn because(outcome: Outcome, again: Again, words: &'static str) -> Self {
        Self { outcome, again, words: Some(words) }
    }

    /// What a failed step before any dialling means.
    pub(super) fn of_preparing(error: &LiveKitError) -> Self {
        let outcome = match error {
            LiveKitError::Credentials(_) => Outcome::CredentialsRefused,
            _ if error.is_unauthorized() => Outcome::CredentialsRefused,
            LiveKitError::Answered(answer) if answer.status < 500 => Outcome::Rejected,
            _ => Outcome::Unreachable,
        };
        let again = match error {
            LiveKitError::Answered(answer) if answer.status == 429 => Again::AtLimit,
            _ if error.is_temporary() => Again::Soon,
            _ => Again::Mended,
        };
        let words = match error {
            LiveKitError::Answered(answer) if lost_redis(answer) => Some(REDIS_GONE),
            _ => None,
        };
        Self { outcome, again, words }
    }

    /// What a failed dial means. Only what is known for certain is not in doubt.
    pub(super) fn of_dialling(error: &LiveKitError, dialling: Dialling) -> Self {
        match error {
            _ if error.is_unauthorized() => Self::of_preparing(error),
            LiveKitError::Answered(answer) => match &answer.sip {
                Some(sip) => Self::of_sip(sip, dialling.rang),
                None => Self::of_answer(answer, dialling),
            },
            _ if error.is_ambiguous() => Self::of(Outcome::InDoubt, Again::Never),
            _ => Self::of_preparing(error),
        }
    }

    /// What a server says by itself, without a carrier's answer.
    fn of_answer(answer: &Answered, dialling: Dialling) -> Self {
        let says = |words: &str| answer.message.contains(words);
        match (answer.status, answer.code.as_deref().unwrap_or_default()) {
            (404, "not_found") => Self::of(Outcome::TrunkUnknown, Again::Mended),
            (429, _) => Self::of(Outcome::Rejected, Again::AtLimit),
            (408, "canceled") => Self::of_canceled(answer, dialling),
            (412, "failed_precondition") if says("context deadline exceeded") => {
                Self::of_ringing(dialling.rang)
            }
            (400 | 412 | 503, _) if says("no such host") => {
                Self::because(Outcome::CarrierTrouble, Again::Mended, NO_HOST)
            }
            (412 | 503, _) if NOT_CONNECTED.iter().any(|words| says(words)) => {
                Self::because(Outcome::CarrierTrouble, Again::Mended, NO_CONNECTION)
            }
            (412, "failed_precondition") if AUTHENTICATION.iter().any(|words| says(words)) => {
                Self::because(Outcome::CarrierTrouble, Again::Mended, WRONG_PASSWORD)
            }
            // Among others what goes wrong with the sound of a call that was answered.
            (412, "failed_precondition") => Self::of(Outcome::CarrierTrouble, Again::Never),
            (503, "unavailable") if says("no response from servers") => {
                Self::because(Outcome::NoSipService, Again::Soon, NO_SERVICE)
            }
            (503, "unavailable") if says("no servers available") || says("cpu exhausted") => {
                Self::because(Outcome::NoSipService, Again::AtLimit, SERVICE_BUSY)
            }
            (500, "internal") if says("sip not connected") => {
                Self::because(Outcome::NoSipService, Again::Mended, NO_REDIS)
            }
            // The phone's place in the room comes before the carrier is asked.
            (500, "internal") if says("update room failed") => {
                Self::of(Outcome::Unreachable, Again::Soon)
            }
            // The trunk is read before anybody is asked for a call.
            (500, _) if lost_redis(answer) => {
                Self::because(Outcome::Unreachable, Again::Soon, REDIS_GONE)
            }
            // The server's own limit of time says nothing of the phone.
            (408 | 500.., _) => Self::of(Outcome::InDoubt, Again::Never),
            _ => Self::of(Outcome::Rejected, Again::Mended),
        }
    }

    /// The SIP service took the call back.
    fn of_canceled(answer: &Answered, Dialling { rang, cut_short }: Dialling) -> Self {
        let says = |words: &str| answer.message.contains(words);
        if says("(0 intermediate responses)") {
            return Self::of_ringing(if rang == Rang::Yes { rang } else { Rang::No });
        }
        if (cut_short && says("sip request timed out")) || says("service shutting down") {
            let again = if rang == Rang::No { Again::Mended } else { Again::Never };
            return Self::because(Outcome::Cancelled, again, ENDED);
        }
        Self::of_ringing(rang)
    }

    /// Nobody answered. Where no phone rang, that is the carrier's fault.
    fn of_ringing(rang: Rang) -> Self {
        match rang {
            Rang::No => Self::because(Outcome::CarrierTrouble, Again::Mended, SILENT),
            Rang::Unknown | Rang::Yes => Self::of(Outcome::NoAnswer, Again::Never),
        }
    }

    /// What the carrier said, by the final responses of RFC 3261, section 21, and those added to it.
    fn of_sip(SipStatus { code, text }: &SipStatus, rang: Rang) -> Self {
        let outcome = match code {
            486 | 600 => Outcome::Busy,
            // Unwanted and rejected are RFC 8197 and RFC 8688.
            603 | 607 | 608 => Outcome::Declined,
            408 | 480 | 487 => Outcome::NoAnswer,
            404 | 410 | 484 | 604 => Outcome::NumberUnknown,
            _ if at_limit(text) => {
                return Self::because(Outcome::CarrierTrouble, Again::AtLimit, CARRIER_BUSY);
            }
            _ if rang == Rang::No => return Self::of(Outcome::CarrierTrouble, Again::Mended),
            _ => Outcome::CarrierTrouble,
        };
        Self::of(outcome, Again::Never)
    }
}

/// Whether a carrier says that too many calls go over the trunk.
fn at_limit(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    CARRIER_LIMITS.iter().any(|words| text.contains(words))
}

/// Whether a server has lost its Redis: it tells of its own connection, while what a SIP service says
/// comes as an error of another.
fn lost_redis(answer: &Answered) -> bool {
    let says = |words| answer.message.contains(words);
    answer.status >= 500 && says("dial tcp") && !says("twirp error")
}

/// How carriers name their limits: Telnyx with 403, Twilio and others with 5xx.
const CARRIER_LIMITS: [&str; 4] =
    ["channel limit", "cps limit", "concurrent call limit", "concurrent calls limit"];
/// How the SIP service names a carrier with which no connection came about.
const NOT_CONNECTED: [&str; 6] = [
    "connection refused",
    "no route to host",
    "network is unreachable",
    "dial tcp",
    "x509: ",
    "tls: ",
];
/// How it names a carrier that wants another user or password.
const AUTHENTICATION: [&str; 3] = ["required auth", "max auth retry", "no auth header"];

const SILENT: &str = "the carrier did not answer and no phone rang: look at the trunk's address";
const NO_HOST: &str = "the host in the trunk's address is not found: correct it";
const NO_CONNECTION: &str =
    "no connection to the carrier: look at the trunk's address, port and transport";
const WRONG_PASSWORD: &str =
    "the carrier wants another user or password: correct those of the trunk";
const CARRIER_BUSY: &str = "the carrier's limit of calls is reached";
const SERVICE_BUSY: &str = "the SIP service takes no more calls at present";
const NO_SERVICE: &str = "no SIP service answers: does livekit-sip run, with the server's Redis?";
const NO_REDIS: &str = "the server runs without Redis, and so without SIP";
const REDIS_GONE: &str = "the server does not reach its Redis: bring that back";
const ENDED: &str = "the call was ended before anybody answered";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, words: &str) -> LiveKitError {
        let body = serde_json::json!({"code": code, "msg": words}).to_string();
        Answered::read(status, true, None, body.as_bytes()).into()
    }

    fn sip(status: u16, code: u16, text: &str) -> LiveKitError {
        let meta = serde_json::json!({"sip_status_code": code.to_string(), "sip_status": text});
        let body = serde_json::json!({"code": "x", "msg": "INVITE failed", "meta": meta});
        Answered::read(status, true, None, body.to_string().as_bytes()).into()
    }

    fn judged(error: &LiveKitError, rang: Rang) -> (Outcome, Again) {
        let verdict = FailureVerdict::of_dialling(error, Dialling { rang, cut_short: false });
        (verdict.outcome, verdict.again)
    }

    #[test]
    fn what_servers_and_carriers_say_is_told_apart() {
        use {Again::*, Outcome::*};
        for (status, code, words, outcome, again) in [
            (404, "not_found", "requested sip trunk does not exist", TrunkUnknown, Mended),
            (429, "resource_exhausted", "too many requests", Rejected, AtLimit),
            (408, "deadline_exceeded", "request timed out", InDoubt, Never),
            (408, "deadline_exceeded", "context deadline exceeded", InDoubt, Never),
            (408, "canceled", "sip request timed out", NoAnswer, Never),
            (
                408,
                "canceled",
                "transaction failed to complete (2 intermediate responses)",
                NoAnswer,
                Never,
            ),
            (
                408,
                "canceled",
                "transaction failed to complete (0 intermediate responses)",
                CarrierTrouble,
                Mended,
            ),
            (408, "canceled", "service shutting down", Cancelled, Never),
            (412, "failed_precondition", "context deadline exceeded", NoAnswer, Never),
            (
                412,
                "failed_precondition",
                "max auth retry attempts reached for SIP invite",
                CarrierTrouble,
                Mended,
            ),
            (
                412,
                "failed_precondition",
                "dial tcp 192.0.2.1:5060: connect: connection refused",
                CarrierTrouble,
                Mended,
            ),
            (412, "failed_precondition", "no common codec", CarrierTrouble, Never),
            (400, "invalid_argument", "lookup sip.example: no such host", CarrierTrouble, Mended),
            (400, "invalid_argument", "missing room name", Rejected, Mended),
            (
                503,
                "unavailable",
                "dial tcp 192.0.2.1:5061: connect: connection refused",
                CarrierTrouble,
                Mended,
            ),
            (503, "unavailable", "no response from servers", NoSipService, Soon),
            (
                503,
                "unavailable",
                "no servers available (received 1 responses)",
                NoSipService,
                AtLimit,
            ),
            (503, "unavailable", "cpu exhausted", NoSipService, AtLimit),
            (503, "unavailable", "read tcp: connection reset by peer", InDoubt, Never),
            (500, "internal", "sip not connected (redis required)", NoSipService, Mended),
            (500, "internal", "update room failed: no room", Unreachable, Soon),
            (500, "internal", "no 'To' header on Response", InDoubt, Never),
            (401, "unauthenticated", "permissions denied", CredentialsRefused, Mended),
        ] {
            let error = answer(status, code, &format!("twirp error unknown: {words}"));
            assert_eq!(judged(&error, Rang::Unknown), (outcome, again), "{status} {words}");
        }
    }

    /// What the carrier says counts, whatever the HTTP status is that the server makes of it.
    #[test]
    fn a_carriers_answer_is_final_unless_no_phone_rang() {
        use {Again::*, Outcome::*};
        for (status, code, text, outcome, rang_no, rang_yes) in [
            (429, 486, "Busy Here", Busy, Never, Never),
            (403, 603, "Decline", Declined, Never, Never),
            (503, 480, "Temporarily Unavailable", NoAnswer, Never, Never),
            (404, 404, "Not Found", NumberUnknown, Never, Never),
            (412, 503, "Service Unavailable", CarrierTrouble, Mended, Never),
            (403, 403, "Forbidden", CarrierTrouble, Mended, Never),
            (404, 302, "Moved Temporarily", CarrierTrouble, Mended, Never),
            (401, 438, "Invalid Identity Header", CarrierTrouble, Mended, Never),
            (403, 403, "User channel limit exceeded D1", CarrierTrouble, AtLimit, AtLimit),
            (412, 503, "CPS limit exceeded", CarrierTrouble, AtLimit, AtLimit),
            (412, 500, "Concurrent call limit exceeded", CarrierTrouble, AtLimit, AtLimit),
        ] {
            let error = sip(status, code, text);
            assert_eq!(judged(&error, Rang::No), (outcome, rang_no), "{code} {text}");
            assert_eq!(judged(&error, Rang::Yes), (outcome, rang_yes), "{code} {text}");
            assert_eq!(judged(&error, Rang::Unknown), (outcome, rang_yes), "{code} {text}");
        }
    }

    #[test]
    fn a_carrier_that_is_silent_is_no_phone_that_rings() {
        let error = answer(408, "canceled", "twirp error unknown: sip request timed out");
        assert_eq!(judged(&error, Rang::Yes), (Outcome::NoAnswer, Again::Never));
        assert_eq!(judged(&error, Rang::No), (Outcome::CarrierTrouble, Again::Mended));
        let early = |rang| {
            let verdict = FailureVerdict::of_dialling(&error, Dialling { rang, cut_short: true });
            (verdict.outcome, verdict.again)
        };
        assert_eq!(early(Rang::Yes), (Outcome::Cancelled, Again::Never));
        assert_eq!(early(Rang::Unknown), (Outcome::Cancelled, Again::Never));
        assert_eq!(early(Rang::No), (Outcome::Cancelled, Again::Mended));
    }

    #[test]
    fn a_redis_that_died_is_told_of_and_nobody_was_dialled() {
        let words = "dial tcp 127.0.0.1:6379: connect: connection refused";
        let at_the_room = format!("could not get node for room: {words}");
        let prepared = FailureVerdict::of_preparing(&answer(500, "unknown", &at_the_room));
        assert_eq!((prepared.outcome, prepared.words), (Outcome::Unreachable, Some(REDIS_GONE)));
        let dial = answer(500, "unknown", words);
        assert_eq!(judged(&dial, Rang::Unknown), (Outcome::Unreachable, Again::Soon));
        let of_a_service = answer(500, "unknown", &format!("twirp error unknown: {words}"));
        assert_eq!(judged(&of_a_service, Rang::Unknown), (Outcome::InDoubt, Again::Never));
    }

    #[test]
    fn nothing_that_was_prepared_in_vain_is_final() {
        for (error, again) in [
            (answer(429, "resource_exhausted", "later"), Again::AtLimit),
            (answer(503, "unavailable", "later"), Again::Soon),
            (answer(400, "malformed", "no"), Again::Mended),
            (answer(401, "unauthenticated", "no"), Again::Mended),
            (LiveKitError::NotLiveKit { status: 200 }, Again::Mended),
            (LiveKitError::NotConnected { why: "refused".into() }, Again::Soon),
            (LiveKitError::Unanswered { why: "time was up".into() }, Again::Soon),
        ] {
            assert_eq!(FailureVerdict::of_preparing(&error).again, again, "{error}");
        }
    }
}
