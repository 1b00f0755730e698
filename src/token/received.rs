//! A token that somebody sent: read, and then believed only if a secret signed it.
//!
//! **Invariant:** HS256 is the only algorithm. What the token says of itself chooses no other one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::Sha256;

/// A token whose shape was checked, and whose signature was not.
pub(crate) struct ReceivedToken<'t> {
    /// Header and claims, as they were signed.
    signed: &'t str,
    signature: [u8; 32],
    issuer: String,
    claims: Map<String, Value>,
}

/// Why a text is no token that can be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoToken {
    /// It has not the form of one, or names no issuer.
    Malformed(&'static str),
    /// It was signed in another way.
    OtherAlgorithm,
}

/// What is wrong with the times of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutOfTime {
    /// It does not say when it ends.
    Endless,
    Expired,
    Early,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// What whoever reads it must understand. We understand nothing of that.
    crit: Option<Value>,
}

impl<'t> ReceivedToken<'t> {
    pub(crate) fn read(token: &'t str) -> Result<Self, NoToken> {
        let malformed = NoToken::Malformed;
        if token.len() > LONGEST {
            return Err(malformed("it is longer than 64 KiB"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed(SHAPE))?;
        let (header, claims) = signed.split_once('.').ok_or(malformed(SHAPE))?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed(SHAPE));
        let header: Header =
            serde_json::from_slice(&decoded(header)?).map_err(|_| malformed(SHAPE))?;
        if header.alg != "HS256" || header.crit.is_some() {
            return Err(NoToken::OtherAlgorithm);
        }
        let signature =
            decoded(signature)?.try_into().map_err(|_| malformed("its signature is cut off"))?;
        let claims: Map<_, _> =
            serde_json::from_slice(&decoded(claims)?).map_err(|_| malformed(SHAPE))?;
        let issuer = claims.get("iss").and_then(Value::as_str).filter(|issuer| !issuer.is_empty());
        let issuer = issuer.ok_or(malformed("it names no issuer (iss)"))?.to_owned();
        Ok(Self { signed, signature, issuer, claims })
    }

    /// The API key that it says it was signed with.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether this secret signed it. Takes the same time for every wrong signature.
    pub(crate) fn is_signed_with(&self, api_secret: &str) -> bool {
        <Hmac<Sha256> as KeyInit>::new_from_slice(api_secret.as_bytes())
            .expect("HMAC takes a key of any length")
            .chain_update(self.signed)
            .verify_slice(&self.signature)
            .is_ok()
    }

    /// Whether it is good at this time, give or take [`LEEWAY`].
    pub(crate) fn check_times(&self, unix_seconds: u64) -> Result<(), OutOfTime> {
        let time = |claim| self.claims.get(claim).map(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "seconds of this age are exact")]
        let now = unix_seconds as f64;
        let Some(Some(end)) = time("exp") else { return Err(OutOfTime::Endless) };
        if now >= end + LEEWAY {
            return Err(OutOfTime::Expired);
        }
        match time("nbf") {
            None => Ok(()),
            Some(Some(begin)) if now + LEEWAY >= begin => Ok(()),
            Some(_) => Err(OutOfTime::Early),
        }
    }

    /// Its claims, for those who have verified it.
    pub(crate) fn into_claims(self) -> Map<String, Value> {
        self.claims
    }
}

/// How far clocks may be apart, in seconds.
const LEEWAY: f64 = 60.0;
/// In bytes.
const LONGEST: usize = 64 << 10;
const SHAPE: &str = "it is not three parts of base64url, the first two of JSON";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Signer, TokenRequest};
    use super::*;

    const SECRET: &str = "a secret of a LiveKit server, long enough";

    fn encoded(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn token(header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let state = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
        let signature = state.chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn hs256(claims: &Value) -> String {
        token(&json!({"alg": "HS256", "typ": "JWT"}), claims)
    }

    #[test]
    fn a_token_of_ours_is_read_and_is_of_its_secret_alone() {
        let minted = Signer::new("APIkey", SECRET).mint(&TokenRequest::join("room", "a"), 1000);
        let read = ReceivedToken::read(minted.as_str()).unwrap();
        assert_eq!(read.issuer(), "APIkey");
        assert!(read.is_signed_with(SECRET) && !read.is_signed_with("another secret"));
        assert_eq!(read.check_times(1000), Ok(()));
        assert_eq!(read.into_claims()["video"]["room"], "room");
    }

    #[test]
    fn what_was_changed_after_signing_is_signed_by_nobody() {
        let good = hs256(&json!({"iss": "APIkey", "exp": 1000, "sub": "a"}));
        let [header, _, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
        let claims = encoded(&json!({"iss": "APIkey", "exp": 1000, "sub": "b"}));
        let forged = format!("{header}.{claims}.{signature}");
        assert!(!ReceivedToken::read(&forged).unwrap().is_signed_with(SECRET));
    }

    #[test]
    fn no_header_chooses_another_algorithm() {
        let claims = json!({"iss": "APIkey", "exp": 1000});
        for header in [
            json!({"alg": "none"}),
            json!({"alg": "None", "typ": "JWT"}),
            json!({"alg": "hs256"}),
            json!({"alg": "HS512"}),
            json!({"alg": "RS256"}),
            json!({"alg": "HS256", "crit": ["b64"], "b64": false}),
        ] {
            let refused = ReceivedToken::read(&token(&header, &claims)).err();
            assert_eq!(refused, Some(NoToken::OtherAlgorithm), "{header}");
        }
    }

    #[test]
    fn what_is_no_token_is_told() {
        let good = hs256(&json!({"iss": "APIkey", "exp": 1000}));
        let unsigned = &good[..=good.rfind('.').unwrap()];
        for text in [
            "",
            "a.b",
            "a.b.c",
            "....",
            unsigned,
            &format!("{good}."),
            &format!("{good}="),
            &hs256(&json!({"exp": 1000})),
            &hs256(&json!({"iss": 7})),
            &hs256(&json!({"iss": ""})),
            &hs256(&json!("iss")),
            &token(&json!({"typ": "JWT"}), &json!({"iss": "APIkey"})),
            &"x".repeat(LONGEST + 1),
        ] {
            let read = ReceivedToken::read(text).err();
            assert!(matches!(read, Some(NoToken::Malformed(_))), "{text} {read:?}");
        }
    }

    #[test]
    fn times_hold_give_or_take_a_minute_and_an_end_must_be_there() {
        let at = |claims: Value, now| {
            let token = hs256(&claims);
            ReceivedToken::read(&token).unwrap().check_times(now)
        };
        let until = |exp: Value| json!({"iss": "APIkey", "exp": exp});
        assert_eq!(at(until(json!(1000)), 1059), Ok(()));
        assert_eq!(at(until(json!(1000)), 1060), Err(OutOfTime::Expired));
        assert_eq!(at(until(json!(1000.5)), 1060), Ok(()));
        for endless in [until(Value::Null), until(json!("1000")), json!({"iss": "APIkey"})] {
            assert_eq!(at(endless, 0), Err(OutOfTime::Endless));
        }
        let from = |nbf: Value| json!({"iss": "APIkey", "exp": 5000, "nbf": nbf});
        assert_eq!(at(from(json!(1000)), 940), Ok(()));
        assert_eq!(at(from(json!(1000)), 939), Err(OutOfTime::Early));
        assert_eq!(at(from(json!("now")), 2000), Err(OutOfTime::Early));
    }
}
