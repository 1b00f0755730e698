//! What can go wrong between us and a LiveKit server, told apart as far as it can be.

use std::error::Error;
use std::fmt;

use serde::Deserialize;

use crate::credentials::CredentialError;

/// Why a request to a LiveKit server came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LiveKitError {
    /// No token could be minted; nothing was sent.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// No connection came about; nothing was sent.
    #[error("no connection to the LiveKit server: {why}")]
    NotConnected {
        /// What the network or TLS said.
        why: String,
    },
    /// The request was sent, and no answer came. The server may have acted on it.
    #[error("no answer from the LiveKit server: {why}")]
    Unanswered {
        /// What the network said, or that time was up.
        why: String,
    },
    /// The server answered with an error.
    #[error(transparent)]
    Answered(#[from] Box<Answered>),
    /// What answered is no LiveKit server.
    #[error("what answered is not a LiveKit server (HTTP {status})")]
    NotLiveKit {
        /// The HTTP status.
        status: u16,
    },
}

/// An error that a server answered with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// The Twirp code, such as `not_found`. `None`: the answer was plain text.
    pub code: Option<String>,
    /// The message of the server, without tokens, at most 300 characters.
    pub message: String,
    /// The answer of the carrier, if one was asked.
    pub sip: Option<SipStatus>,
    /// The clock of the server, from its `Date` header.
    pub date: Option<String>,
}

/// A final SIP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipStatus {
    /// Its code, such as 486.
    pub code: u16,
    /// Its reason phrase, such as `Busy Here`.
    pub text: String,
}

impl LiveKitError {
    pub(super) fn of_transport(error: reqwest::Error) -> Self {
        let connecting = error.is_connect();
        let why = if error.is_timeout() && !connecting {
            "time was up".to_owned()
        } else {
            innermost(&error.without_url())
        };
        if connecting { Self::NotConnected { why } } else { Self::Unanswered { why } }
    }

    /// What it says in words of ours and of LiveKit: what else a server answered is not repeated, since
    /// it may be anything that this machine can reach.
    pub(in crate::dispatch) fn of_livekit(&self) -> String {
        match self {
            Self::Answered(answer) => answer.of_livekit(),
            error => error.to_string(),
        }
    }

    /// Whether the server refused the token. Then nothing was done. What a carrier refused is another
    /// matter, although servers may tell of it with the same status.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Answered(answer) if answer.status == 401 && answer.sip.is_none())
    }

    /// Whether the server says that what was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Answered(answer) if answer.code.as_deref() == Some("not_found"))
    }

    /// Whether the server may have done what it was asked for.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Unanswered { .. } | Self::NotLiveKit { .. } => true,
            Self::Answered(answer) => answer.status >= 500,
            Self::Credentials(_) | Self::NotConnected { .. } => false,
        }
    }

    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::NotConnected { .. } | Self::Unanswered { .. } => true,
            Self::Answered(answer) => answer.status >= 500 || answer.status == 429,
            Self::Credentials(_) | Self::NotLiveKit { .. } => false,
        }
    }
}

impl From<Answered> for LiveKitError {
    fn from(answered: Answered) -> Self {
        Self::Answered(Box::new(answered))
    }
}

impl Answered {
    pub(in crate::dispatch) fn read(
        status: u16,
        json: bool,
        date: Option<String>,
        body: &[u8],
    ) -> Self {
        #[derive(Deserialize)]
        struct Twirp {
            code: String,
            #[serde(default)]
            msg: String,
            #[serde(default)]
            meta: std::collections::BTreeMap<String, serde_json::Value>,
        }
        let twirp = json.then(|| serde_json::from_slice::<Twirp>(body).ok()).flatten();
        match twirp {
            Some(Twirp { code, msg, meta }) => {
                let text = |name| meta.get(name).and_then(serde_json::Value::as_str);
                let sip = text("sip_status_code").and_then(|code| code.parse().ok()).map(|code| {
                    let text = scrubbed(text("sip_status").unwrap_or_default());
                    SipStatus { code, text }
                });
                let (code, message) = (Some(scrubbed(&code)), scrubbed(&msg));
                Self { status, code, message, sip, date }
            }
            None => {
                let message = scrubbed(&String::from_utf8_lossy(body));
                Self { status, code: None, message, sip: None, date }
            }
        }
    }
}

impl Answered {
    /// The same, where it is an error of Twirp; else the status alone.
    pub(in crate::dispatch) fn of_livekit(&self) -> String {
        match &self.code {
            Some(code) if TWIRP.contains(&code.as_str()) => self.to_string(),
            _ => format!("the server answered {}, and not as LiveKit does", self.status),
        }
    }
}

impl Error for Answered {}

impl fmt::Display for Answered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the LiveKit server answered {}", self.status)?;
        if let Some(code) = &self.code {
            write!(out, " {code}")?;
        }
        if !self.message.is_empty() {
            write!(out, ": {}", self.message)?;
        }
        if let Some(SipStatus { code, text }) = &self.sip {
            write!(out, " (SIP {code} {text})")?;
        }
        Ok(())
    }
}

/// The words of the innermost cause, which is what the network or TLS said.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    scrubbed(&cause.to_string())
}

/// A server's words without tokens and control characters, 300 characters at the most.
fn scrubbed(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(LONGEST));
    let part_of_token = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '=')
    };
    let mut rest = text;
    while !rest.is_empty() && clean.chars().count() < LONGEST {
        let end = rest.find(|character| !part_of_token(character)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        // Header and claims of a JWT begin with `{"`, which base64 makes `eyJ`.
        clean.push_str(if word.contains("eyJ") { "[token]" } else { word });
        let mut others = after.chars();
        if let Some(other) = others.next() {
            clean.push(if other.is_control() { ' ' } else { other });
        }
        rest = others.as_str();
    }
    clean.chars().take(LONGEST).collect::<String>().trim().to_owned()
}

const LONGEST: usize = 300;
/// The codes of Twirp's errors, and the one that its Go library once misspelled.
const TWIRP: [&str; 19] = [
    "aborted",
    "already_exists",
    "bad_route",
    "canceled",
    "data_loss",
    "dataloss",
    "deadline_exceeded",
    "failed_precondition",
    "internal",
    "invalid_argument",
    "malformed",
    "not_found",
    "out_of_range",
    "permission_denied",
    "resource_exhausted",
    "unauthenticated",
    "unavailable",
    "unimplemented",
    "unknown",
];

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJBUEkifQ.c2lnbmF0dXJl";

    #[test]
    fn tokens_do_not_come_through() {
        let body = format!("invalid token: {TOKEN}, error: signature is invalid");
        let answer = Answered::read(401, false, None, body.as_bytes());
        assert_eq!(answer.message, "invalid token: [token], error: signature is invalid");
        for text in [
            format!("\"{TOKEN}\""),
            format!("a={TOKEN}&b"),
            format!("Bearer {TOKEN}\n{TOKEN}"),
            TOKEN[..40].to_owned(),
            format!("x.{TOKEN}"),
            format!("{}{TOKEN}", "é".repeat(290)),
        ] {
            let clean = scrubbed(&text);
            assert!(!clean.contains("eyJ") && !clean.contains("c2ln"), "{text} became {clean}");
            assert!(clean.chars().count() <= LONGEST);
        }
        assert_eq!(scrubbed("line\r\nbreak\u{7}"), "line  break");
    }

    #[test]
    fn a_twirp_error_keeps_its_code_and_what_the_carrier_said() {
        let body = br#"{"code":"resource_exhausted","msg":"INVITE failed",
            "meta":{"sip_status_code":"486","sip_status":"Busy Here","error_details":"AA=="}}"#;
        let answer = Answered::read(429, true, None, body);
        assert_eq!((answer.status, answer.code.as_deref()), (429, Some("resource_exhausted")));
        assert_eq!(answer.sip, Some(SipStatus { code: 486, text: "Busy Here".into() }));
        assert_eq!(
            answer.to_string(),
            "the LiveKit server answered 429 resource_exhausted: INVITE failed (SIP 486 Busy Here)"
        );
    }

    #[test]
    fn a_check_repeats_only_what_is_an_error_of_twirp() {
        let read = |json, body: &str| Answered::read(403, json, None, body.as_bytes());
        let twirp = read(true, "{\"code\":\"permission_denied\",\"msg\":\"no such right\"}");
        assert_eq!(twirp.of_livekit(), twirp.to_string());
        for (json, body) in [
            (false, "{\"code\":\"not_found\",\"msg\":\"canary\"}"),
            (true, "{\"code\":\"Success\",\"msg\":\"canary\",\"SecretAccessKey\":\"canary\"}"),
            (true, "{\"error\":\"canary\"}"),
            (false, "canary"),
        ] {
            let error = LiveKitError::from(read(json, body));
            assert_eq!(error.of_livekit(), "the server answered 403, and not as LiveKit does");
        }
    }

    #[test]
    fn what_is_no_twirp_error_is_kept_as_text() {
        for (json, body) in [(true, "{\"error\":1}"), (true, "not json"), (false, "{\"code\":1}")] {
            let answer = Answered::read(502, json, None, body.as_bytes());
            assert_eq!((answer.code, answer.message.as_str()), (None, body));
        }
    }
}
