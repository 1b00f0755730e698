//! The `rules` JSON of a number, as far as resolving needs it: which config, which trunk.
//!
//! Operators edit these by hand, so nothing here trusts their shape. What is missing is absent;
//! what is there and wrong is an error, never ignored.

use serde_json::Value;

use crate::number::ConfigId;

/// What a number's rules say about credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// `livekit_config`: the config whose credentials place the call.
    pub config: Option<ConfigId>,
    /// `outbound_trunk_id`: the trunk, where the config names none.
    pub trunk: Option<String>,
}

impl Rules {
    /// Reads the rules of a row. Null, an absent member and an empty text all mean "none".
    ///
    /// # Errors
    ///
    /// [`RulesError`] says which member is wrong; the rest of the rules does not count then.
    pub fn read(rules: &Value) -> Result<Self, RulesError> {
        let members = match rules {
            Value::Object(members) => members,
            Value::Null => return Ok(Self::default()),
            _ => return Err(RulesError::NoObject),
        };
        let text = |name| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(name),
        };
        let config = text("livekit_config")
            .map_err(|_| RulesError::ConfigNoUuid)?
            .map(|id| id.parse().map_err(|_| RulesError::ConfigNoUuid))
            .transpose()?;
        let trunk = text("outbound_trunk_id").map_err(|_| RulesError::TrunkNoText)?;
        Ok(Self { config, trunk })
    }
}

/// Why rules cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// The rules are an array, a text or a number.
    #[error("rules are a JSON object, such as {{\"outbound\": true}}")]
    NoObject,
    /// `livekit_config` is there and no UUID.
    #[error("livekit_config in the rules is the UUID of a LiveKit config")]
    ConfigNoUuid,
    /// `outbound_trunk_id` is there and no text.
    #[error("outbound_trunk_id in the rules is a text")]
    TrunkNoText,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_null_and_empty_members_mean_none() {
        for rules in [
            json!({}),
            json!(null),
            json!({"livekit_config": null, "outbound_trunk_id": null}),
            json!({"livekit_config": "", "outbound_trunk_id": " "}),
        ] {
            assert_eq!(Rules::read(&rules), Ok(Rules::default()), "{rules}");
        }
    }

    #[test]
    fn a_wrong_shape_is_named() {
        for (rules, error) in [
            (json!([1]), RulesError::NoObject),
            (json!("text"), RulesError::NoObject),
            (json!({"livekit_config": "default"}), RulesError::ConfigNoUuid),
            (json!({"livekit_config": 7}), RulesError::ConfigNoUuid),
            (json!({"outbound_trunk_id": ["ST_1"]}), RulesError::TrunkNoText),
        ] {
            assert_eq!(Rules::read(&rules), Err(error), "{rules}");
        }
    }

    #[test]
    fn every_spelling_of_a_uuid_that_postgres_takes_is_read() {
        let id: ConfigId = "6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10".parse().unwrap();
        for text in [
            "6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10",
            "6F1C0A52-8D3E-4B7A-9C55-0E2F4A6B8D10",
            "6f1c0a528d3e4b7a9c550e2f4a6b8d10",
            "{6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10}",
        ] {
            let rules = json!({"livekit_config": text, "outbound_trunk_id": "ST_1"});
            let read = Rules::read(&rules).unwrap();
            assert_eq!((read.config, read.trunk.as_deref()), (Some(id), Some("ST_1")));
        }
    }
}
