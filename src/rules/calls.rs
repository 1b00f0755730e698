//! The part of the rules about calls: whether the number may call out, where to, and in which
//! format destination and caller are written.

use serde_json::{Map, Value};

use super::{Country, Phone, RulesError};

/// What a number's rules say of calls from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRules {
    /// `outbound`: whether it may call out at all. Absent means that it may.
    pub outbound: bool,
    /// `allowed_outbound`: where to.
    pub destinations: Destinations,
    /// `allow_premium`: whether premium-rate numbers may be called. Absent means that they may not.
    pub premium: bool,
    /// `required_lead_format`: what is dialled, piece by piece.
    pub format: Box<[Piece]>,
    /// `caller_format`: how the caller number is written for the carrier, piece by piece.
    pub caller_format: Box<[Piece]>,
    /// `caller_check`: what follows where the trunk lists other numbers.
    pub caller_check: CallerCheck,
    /// `krisp_enabled`, `headers` and others: how the engine dials the phone, if they say anything.
    pub phone: Option<Box<Phone>>,
}

/// Where a number may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destinations {
    /// Every country: `global`, and what an absent member means.
    Global,
    /// These; one at the least.
    Countries(Box<[Country]>),
}

/// What follows where a trunk lists numbers and the caller's is none of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallerCheck {
    /// `refuse`: nobody is called.
    #[default]
    Refuse,
    /// `warn`: the call goes on, and the log says so.
    Warn,
}

/// A piece of how a number is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// `country_code`, such as `+91`; the plus is written only where it comes first.
    CountryCode,
    /// `country_code_digits`, such as `91`: without a plus wherever it stands.
    CountryCodeDigits,
    /// `base_number`: the national number without a leading zero.
    BaseNumber,
    /// Digits, such as `0`.
    Digits(Box<str>),
}

impl Default for CallRules {
    /// What an empty object says: every country, in E.164.
    fn default() -> Self {
        Self {
            outbound: true,
            destinations: Destinations::Global,
            premium: false,
            format: E164.into(),
            caller_format: E164.into(),
            caller_check: CallerCheck::default(),
            phone: None,
        }
    }
}

impl CallRules {
    pub(super) fn read(members: &Map<String, Value>) -> Result<Self, RulesError> {
        let default = Self::default();
        Ok(Self {
            outbound: match members.get("outbound") {
                None => default.outbound,
                Some(Value::Bool(outbound)) => *outbound,
                // Null, too: whether it would allow calls is for nobody to guess.
                Some(_) => return Err(RulesError::OutboundNoBool),
            },
            destinations: match members.get("allowed_outbound") {
                None | Some(Value::Null) => default.destinations,
                Some(value) => Destinations::read(value).ok_or(RulesError::DestinationsUnknown)?,
            },
            premium: match members.get("allow_premium") {
                None | Some(Value::Null) => default.premium,
                Some(Value::Bool(premium)) => *premium,
                Some(_) => return Err(RulesError::PremiumNoBool),
            },
            format: read_format(members.get("required_lead_format"))
                .ok_or(RulesError::FormatUnknown)?,
            caller_format: read_format(members.get("caller_format"))
                .ok_or(RulesError::CallerFormatUnknown)?,
            caller_check: match members.get("caller_check") {
                None | Some(Value::Null) => default.caller_check,
                Some(Value::String(word)) if word == "refuse" => CallerCheck::Refuse,
                Some(Value::String(word)) if word == "warn" => CallerCheck::Warn,
                Some(_) => return Err(RulesError::CallerCheckUnknown),
            },
            phone: Some(Phone::read(members)?)
                .filter(|phone| *phone != Phone::default())
                .map(Box::new),
        })
    }
}

impl Destinations {
    /// The one country that may be called, where there is only one.
    #[must_use]
    pub fn only(&self) -> Option<Country> {
        match self {
            Self::Countries(countries) if countries.len() == 1 => Some(countries[0]),
            _ => None,
        }
    }

    /// Whether a country may be called.
    #[must_use]
    pub fn allow(&self, country: Country) -> bool {
        match self {
            Self::Global => true,
            Self::Countries(countries) => countries.contains(&country),
        }
    }

    /// Reads one text, with commas between codes where there are several, or a list of texts.
    fn read(value: &Value) -> Option<Self> {
        let words: Vec<&str> = match value {
            Value::String(text) if text.trim().is_empty() => return Some(Self::Global),
            Value::String(text) => text.split(',').map(str::trim).collect(),
            Value::Array(list) => list.iter().map(Value::as_str).collect::<Option<_>>()?,
            _ => return None,
        };
        if words.iter().any(|word| word.trim().eq_ignore_ascii_case("global")) {
            return Some(Self::Global);
        }
        let countries: Vec<_> = words.into_iter().map(str::parse).collect::<Result<_, _>>().ok()?;
        (!countries.is_empty()).then(|| Self::Countries(countries.into()))
    }
}

/// A list of pieces, among which the number itself must be. None of them means E.164.
fn read_format(value: Option<&Value>) -> Option<Box<[Piece]>> {
    let value = match value {
        None | Some(Value::Null) => return Some(E164.into()),
        Some(Value::Array(pieces)) if pieces.is_empty() => return Some(E164.into()),
        Some(value) => value,
    };
    let pieces = value.as_array()?.iter().map(|piece| match piece.as_str()? {
        "country_code" => Some(Piece::CountryCode),
        "country_code_digits" => Some(Piece::CountryCodeDigits),
        "base_number" => Some(Piece::BaseNumber),
        digits if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(Piece::Digits(digits.into()))
        }
        _ => None,
    });
    let pieces: Box<[Piece]> = pieces.collect::<Option<_>>()?;
    pieces.contains(&Piece::BaseNumber).then_some(pieces)
}

/// How numbers are written where nobody says otherwise.
const E164: [Piece; 2] = [Piece::CountryCode, Piece::BaseNumber];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(rules: &Value) -> Result<CallRules, RulesError> {
        CallRules::read(rules.as_object().unwrap())
    }

    #[test]
    fn what_is_absent_or_empty_allows_every_country_in_e164() {
        for rules in [
            json!({}),
            json!({"allowed_outbound": null, "required_lead_format": null}),
            json!({"caller_format": null, "caller_check": null}),
            json!({"caller_format": [], "caller_check": "refuse"}),
            json!({"outbound": true, "allowed_outbound": "", "required_lead_format": []}),
            json!({"allowed_outbound": "Global"}),
            json!({"allowed_outbound": ["IN", "global"]}),
        ] {
            assert_eq!(read(&rules), Ok(CallRules::default()), "{rules}");
        }
    }

    #[test]
    fn one_country_or_several_are_read() {
        let countries = |codes: &[&str]| {
            let countries: Vec<_> = codes.iter().map(|code| code.parse().unwrap()).collect();
            Destinations::Countries(countries.into())
        };
        for (value, codes) in [
            (json!("india"), &["IN"][..]),
            (json!("GB"), &["GB"]),
            (json!("IN, uae"), &["IN", "AE"]),
            (json!(["usa", "CAN"]), &["US", "CA"]),
        ] {
            let read = read(&json!({"allowed_outbound": value})).unwrap();
            assert_eq!(read.destinations, countries(codes), "{value}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (rules, error) in [
            (json!({"outbound": "false"}), RulesError::OutboundNoBool),
            (json!({"outbound": null}), RulesError::OutboundNoBool),
            (json!({"allowed_outbound": "indien"}), RulesError::DestinationsUnknown),
            (json!({"allowed_outbound": []}), RulesError::DestinationsUnknown),
            (json!({"allowed_outbound": ["IN", 7]}), RulesError::DestinationsUnknown),
            (json!({"allowed_outbound": true}), RulesError::DestinationsUnknown),
            (json!({"allow_premium": "yes"}), RulesError::PremiumNoBool),
            (json!({"required_lead_format": "0"}), RulesError::FormatUnknown),
            (json!({"required_lead_format": ["0"]}), RulesError::FormatUnknown),
            (json!({"required_lead_format": ["zero", "base_number"]}), RulesError::FormatUnknown),
            (json!({"required_lead_format": ["+", "base_number"]}), RulesError::FormatUnknown),
            (json!({"caller_format": ["0"]}), RulesError::CallerFormatUnknown),
            (json!({"caller_format": "base_number"}), RulesError::CallerFormatUnknown),
            (json!({"caller_check": "warning"}), RulesError::CallerCheckUnknown),
            (json!({"caller_check": false}), RulesError::CallerCheckUnknown),
        ] {
            assert_eq!(read(&rules), Err(error), "{rules}");
        }
    }
}
