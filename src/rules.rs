//! The rules of a number's row: which config and trunk place its calls, and which calls it may
//! make.
//!
//! Operators edit `rules` by hand, so nothing here trusts their form. What is missing is absent;
//! what is there and wrong is an error and is never ignored. An error in the part about credentials
//! leaves the part about calls valid, and the reverse.

mod calls;
mod country;
mod phone;

use serde::Serialize;
use serde_json::{Map, Value};

pub use self::calls::{CallRules, CallerCheck, Destinations, Piece};
pub use self::country::{Country, NoCountry};
pub use self::phone::{Phone, PhoneError};
use crate::number::ConfigId;

/// What the row of a number says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The row's `provider`: the carrier.
    pub carrier: Option<Box<str>>,
    /// `livekit_config`: the config whose credentials place the call.
    pub config: Option<ConfigId>,
    /// `outbound_trunk_id`: the trunk, where the config names none.
    pub trunk: Option<Box<str>>,
    /// Why the config does not count, if what the rules say of config or trunk is wrong.
    pub credentials_wrong: Option<RulesError>,
    /// Which calls are allowed, or what is wrong with that part.
    pub calls: Result<CallRules, RulesError>,
}

/// What is known of a number's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RulesStatus {
    /// What they say.
    Rules,
    /// That there are none: the number has no row. Every country is allowed, in E.164.
    NoRow,
    /// Nothing: the database was not asked or not reached.
    Unknown,
}

impl Rules {
    /// Reads a row. Null, an absent member and an empty text all mean "none".
    ///
    /// ```
    /// use serde_json::json;
    /// use trunkline::Rules;
    ///
    /// let rules = Rules::read(Some("etisalat"), &json!({"outbound_trunk_id": "ST_1"}));
    /// assert_eq!(rules.trunk.as_deref(), Some("ST_1"));
    /// assert!(rules.calls.is_ok_and(|calls| calls.outbound));
    /// ```
    #[must_use]
    pub fn read(carrier: Option<&str>, rules: &Value) -> Self {
        let nothing = Map::new();
        let (members, wrong) = match rules {
            Value::Object(members) => (members, None),
            Value::Null => (&nothing, None),
            _ => (&nothing, Some(RulesError::NoObject)),
        };
        let (config, trunk) = (config(members), trunk(members));
        let credentials_wrong = wrong.or(config.err()).or(trunk.err());
        Self {
            carrier: carrier.filter(|text| !text.trim().is_empty()).map(Into::into),
            config: config.ok().flatten().filter(|_| trunk.is_ok()),
            trunk: trunk.ok().flatten().map(Into::into),
            credentials_wrong,
            calls: wrong.map_or_else(|| CallRules::read(members), Err),
        }
    }

    /// The first thing that is wrong.
    ///
    /// # Errors
    ///
    /// [`RulesError`] says which member it is.
    pub fn check(&self) -> Result<(), RulesError> {
        self.credentials_wrong.map_or(Ok(()), Err)?;
        self.calls.as_ref().map(drop).map_err(|&error| error)
    }
}

fn config(members: &Map<String, Value>) -> Result<Option<ConfigId>, RulesError> {
    let Some(id) = text(members, "livekit_config").map_err(|()| RulesError::ConfigNoUuid)? else {
        return Ok(None);
    };
    // A URN is one that the databases do not read.
    let id = Some(id).filter(|id| !id.starts_with("urn:")).and_then(|id| id.parse().ok());
    id.map(Some).ok_or(RulesError::ConfigNoUuid)
}

fn trunk(members: &Map<String, Value>) -> Result<Option<&str>, RulesError> {
    text(members, "outbound_trunk_id").map_err(|()| RulesError::TrunkNoText)
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ()> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(()),
    }
}

/// Why rules cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// The rules are an array, a text or a number.
    #[error("rules must be a JSON object, such as {{\"outbound\": true}}")]
    NoObject,
    /// `livekit_config` is there and no UUID.
    #[error("livekit_config in the rules must be the UUID of a LiveKit config")]
    ConfigNoUuid,
    /// `outbound_trunk_id` is there and no text.
    #[error("outbound_trunk_id in the rules must be a text")]
    TrunkNoText,
    /// `outbound` is there and neither true nor false.
    #[error("outbound in the rules must be true or false")]
    OutboundNoBool,
    /// `allowed_outbound` names no country.
    #[error(
        "allowed_outbound in the rules must be global, india, uae, usa, uk, australia, an ISO 3166 code \
         such as DE, or a list of those"
    )]
    DestinationsUnknown,
    /// `allow_premium` is there and neither true nor false.
    #[error("allow_premium in the rules must be true or false")]
    PremiumNoBool,
    /// What is said of how a phone is dialled cannot be followed.
    #[error("in the rules: {0}")]
    Phone(#[from] PhoneError),
    /// `required_lead_format` holds something else than its pieces, or lacks the number.
    #[error(
        "required_lead_format in the rules must be a list of \"country_code\", \
         \"country_code_digits\", \"base_number\" and digits, with base_number among them, such as \
         [\"0\", \"base_number\"]"
    )]
    FormatUnknown,
    /// `caller_format` holds something else than its pieces, or lacks the number.
    #[error(
        "caller_format in the rules must be a list of \"country_code\", \"country_code_digits\", \
         \"base_number\" and digits, with base_number among them, such as [\"0\", \"base_number\"]"
    )]
    CallerFormatUnknown,
    /// `caller_check` is there and no word that it can be.
    #[error("caller_check in the rules must be \"refuse\" or \"warn\"")]
    CallerCheckUnknown,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(rules: &Value) -> Rules {
        Rules::read(None, rules)
    }

    #[test]
    fn absent_null_and_empty_members_mean_none() {
        for rules in [
            json!({}),
            json!(null),
            json!({"livekit_config": null, "outbound_trunk_id": null}),
            json!({"livekit_config": "", "outbound_trunk_id": " "}),
        ] {
            let read = Rules::read(Some(" "), &rules);
            assert_eq!((read.config, &read.trunk, &read.carrier), (None, &None, &None), "{rules}");
            assert_eq!(read.check(), Ok(()), "{rules}");
        }
    }

    #[test]
    fn a_wrong_shape_is_named_and_is_wrong_of_its_part_only() {
        for (rules, error) in [
            (json!([1]), RulesError::NoObject),
            (json!("text"), RulesError::NoObject),
            (json!({"livekit_config": "default"}), RulesError::ConfigNoUuid),
            (
                json!({"livekit_config": "urn:uuid:6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10"}),
                RulesError::ConfigNoUuid,
            ),
            (json!({"livekit_config": 7}), RulesError::ConfigNoUuid),
            (json!({"outbound_trunk_id": ["ST_1"]}), RulesError::TrunkNoText),
            (json!({"outbound": 1}), RulesError::OutboundNoBool),
        ] {
            assert_eq!(read(&rules).check(), Err(error), "{rules}");
        }
        assert!(read(&json!([1])).calls.is_err(), "nothing is allowed by what cannot be read");
        assert!(read(&json!({"livekit_config": 7, "outbound": false})).calls.is_ok());
        let wrong_calls = read(&json!({"outbound_trunk_id": "ST_1", "outbound": 1}));
        assert_eq!(wrong_calls.trunk.as_deref(), Some("ST_1"));
        assert_eq!(wrong_calls.credentials_wrong, None);
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
            let read = read(&json!({"livekit_config": text, "outbound_trunk_id": "ST_1"}));
            assert_eq!((read.config, read.trunk.as_deref()), (Some(id), Some("ST_1")));
        }
    }
}
