//! `POST /v1/livekit/verify`: which LiveKit config signed a token, and what the token says.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::asking::Asking;
use super::body::parse;
use super::fields::{Field, Kind, optional, required};
use super::problem::Problem;
use crate::number::ConfigId;
use crate::resolver::VerifyError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyQuestion {
    token: String,
}

#[derive(Serialize)]
struct VerifyAnswer {
    config_id: Option<ConfigId>,
    config_name: String,
    claims: Map<String, Value>,
}

pub(super) async fn answer(asking: &Asking<'_>, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let VerifyQuestion { token } = parse(body, ASKED)?;
    let verified = asking.resolver.verify_for(&token, asking.client.id, &asking.whose()).await?;
    let answered = VerifyAnswer {
        config_id: verified.config_id,
        config_name: verified.config_name,
        claims: verified.claims,
    };
    Ok(serde_json::to_vec(&answered).expect("JSON is JSON"))
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        match error {
            VerifyError::Malformed { .. } | VerifyError::OtherAlgorithm => {
                Self::field(code, "token", &message)
            }
            error if error.is_temporary() => Self::unavailable(code, message),
            _ => Self::unprocessable(code, message),
        }
    }
}

pub(super) const ASKED: &[Field] =
    &[required("token", Kind::Text, "The access token, or that of a webhook, as it came.")];

pub(super) const ANSWERED: &[Field] = &[
    optional(
        "config_id",
        Kind::Text,
        "The LiveKit config whose secret signed it, a UUID; null where the environment's did.",
    ),
    required("config_name", Kind::Text, "Its name; environment for that."),
    required("claims", Kind::Anything, "What the token says, in LiveKit's names."),
];
