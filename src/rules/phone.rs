//! How a phone is dialled and joins its room, beside number and trunk: the options that LiveKit
//! takes.
//!
//! They are checked here once. So no server gets what it would refuse, and nobody writes a header
//! of their own into a carrier's request.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// How a phone is dialled and joins its room. What is absent is left to the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Phone {
    /// Whether noise is taken out of what is heard of it, where the server can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub krisp_enabled: Option<bool>,
    /// The name that the called person is shown beside the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Box<str>>,
    /// Whether those in the room are kept from seeing its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hide_phone_number: Option<bool>,
    /// The name under which it joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant_name: Option<Box<str>>,
    /// What others in the room are told of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub participant_attributes: BTreeMap<Box<str>, Box<str>>,
    /// SIP headers for the carrier.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<Box<str>, Box<str>>,
}

/// What is wrong with the options of a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhoneError {
    /// `krisp_enabled` is there and neither true nor false.
    #[error("krisp_enabled must be true or false")]
    KrispNoBool,
    /// `hide_phone_number` is there and neither true nor false.
    #[error("hide_phone_number must be true or false")]
    HideNoBool,
    /// `display_name` is there and no text that a carrier takes.
    #[error(
        "display_name must be a text of at most 128 bytes without quotes, backslashes and line breaks"
    )]
    DisplayName,
    /// `participant_name` is there and no text.
    #[error("participant_name must be a text without line breaks")]
    Name,
    /// `participant_attributes` is there and not an object of texts.
    #[error(
        "participant_attributes must be an object of texts, whose names do not begin with \"sip.\""
    )]
    Attributes,
    /// `headers` is there and not an object of texts, or holds what is no header.
    #[error(
        "headers must be an object of ASCII texts without line breaks, 1024 bytes at most, whose \
         names are letters, digits and '-', such as X-Campaign, and none that calls need themselves"
    )]
    Headers,
}

impl Phone {
    /// Reads the members that it has of the rules of a number.
    pub(super) fn read(members: &Map<String, Value>) -> Result<Self, PhoneError> {
        let flag = |name, wrong| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong),
        };
        let text = |name, wrong| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str().into())),
            Some(_) => Err(wrong),
        };
        let texts = |name, wrong| match members.get(name) {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Object(texts)) => texts
                .iter()
                .map(|(name, value)| Some((name.as_str().into(), value.as_str()?.into())))
                .collect::<Option<_>>()
                .ok_or(wrong),
            Some(_) => Err(wrong),
        };
        let phone = Self {
            krisp_enabled: flag("krisp_enabled", PhoneError::KrispNoBool)?,
            display_name: text("display_name", PhoneError::DisplayName)?,
            hide_phone_number: flag("hide_phone_number", PhoneError::HideNoBool)?,
            participant_name: text("participant_name", PhoneError::Name)?,
            participant_attributes: texts("participant_attributes", PhoneError::Attributes)?,
            headers: texts("headers", PhoneError::Headers)?,
        };
        phone.check()?;
        Ok(phone)
    }

    /// Whether servers and carriers take it.
    ///
    /// # Errors
    ///
    /// [`PhoneError`] says what they would not.
    pub fn check(&self) -> Result<(), PhoneError> {
        let one_line = |text: &str| !text.chars().any(char::is_control);
        let display = |name: &str| {
            name.len() <= LONGEST_DISPLAY_NAME && one_line(name) && !name.contains(['"', '\\'])
        };
        let named = |name: &str| {
            (1..=255).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let of_carriers = |name: &str| OF_CARRIERS.iter().any(|own| name.eq_ignore_ascii_case(own));
        if !self.display_name.as_deref().is_none_or(display) {
            return Err(PhoneError::DisplayName);
        }
        if !self.participant_name.as_deref().is_none_or(one_line) {
            return Err(PhoneError::Name);
        }
        let attribute = |name: &str| !name.is_empty() && !name.starts_with("sip.");
        if !self.participant_attributes.keys().all(|name| attribute(name)) {
            return Err(PhoneError::Attributes);
        }
        let header = |name: &str, value: &str| {
            named(name)
                && !of_carriers(name)
                && value.len() <= LONGEST_HEADER
                && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        };
        if self.headers.iter().all(|(name, value)| header(name, value)) {
            Ok(())
        } else {
            Err(PhoneError::Headers)
        }
    }

    /// The same, with what `other` says in place of what it says itself; attributes and headers of
    /// both, one by one. A header is the same in capital and small letters.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut headers = without(&self.headers, &other.headers);
        headers.extend(other.headers.clone());
        Self { headers, ..self.with_all_but_headers(other) }
    }

    /// The same, but a header that it has itself stays as it is.
    #[must_use]
    pub fn with_but_headers(&self, other: &Self) -> Self {
        let mut headers = without(&other.headers, &self.headers);
        headers.extend(self.headers.clone());
        Self { headers, ..self.with_all_but_headers(other) }
    }

    fn with_all_but_headers(&self, other: &Self) -> Self {
        let mut participant_attributes = self.participant_attributes.clone();
        participant_attributes.extend(other.participant_attributes.clone());
        Self {
            krisp_enabled: other.krisp_enabled.or(self.krisp_enabled),
            display_name: other.display_name.clone().or_else(|| self.display_name.clone()),
            hide_phone_number: other.hide_phone_number.or(self.hide_phone_number),
            participant_name: other
                .participant_name
                .clone()
                .or_else(|| self.participant_name.clone()),
            participant_attributes,
            headers: BTreeMap::new(),
        }
    }
}

/// The headers of some that others do not have.
fn without(
    headers: &BTreeMap<Box<str>, Box<str>>,
    others: &BTreeMap<Box<str>, Box<str>>,
) -> BTreeMap<Box<str>, Box<str>> {
    let is_there = |name: &str| others.keys().any(|other| other.eq_ignore_ascii_case(name));
    let kept = headers.iter().filter(|(name, _)| !is_there(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

const LONGEST_DISPLAY_NAME: usize = 128;
const LONGEST_HEADER: usize = 1024;
/// The headers by which a call finds its way, which the SIP service writes itself.
const OF_CARRIERS: [&str; 16] = [
    "Allow",
    "Authorization",
    "Call-ID",
    "Contact",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "From",
    "Max-Forwards",
    "Proxy-Authorization",
    "Record-Route",
    "Route",
    "Supported",
    "To",
    "User-Agent",
    "Via",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(rules: &Value) -> Result<Phone, PhoneError> {
        Phone::read(rules.as_object().unwrap())
    }

    #[test]
    fn what_is_absent_is_left_to_the_server() {
        let nothing = json!({"display_name": " ", "headers": null, "participant_name": ""});
        assert_eq!(read(&nothing), Ok(Phone::default()));
        assert_eq!(json!(Phone::default()), json!({}));
    }

    #[test]
    fn what_is_there_is_sent_under_the_names_that_servers_know() {
        let all = json!({"krisp_enabled": true, "display_name": "Asha's bank", "headers": {"X-Lead": "7; b"},
            "hide_phone_number": false, "participant_name": "Lead",
            "participant_attributes": {"lead": "7"}});
        assert_eq!(json!(read(&all).unwrap()), all);
    }

    #[test]
    fn what_servers_and_carriers_would_not_take_is_named() {
        let long = "x".repeat(129);
        for (rules, error) in [
            (json!({"krisp_enabled": "yes"}), PhoneError::KrispNoBool),
            (json!({"hide_phone_number": 1}), PhoneError::HideNoBool),
            (json!({"display_name": 1}), PhoneError::DisplayName),
            (json!({"display_name": long}), PhoneError::DisplayName),
            (json!({"display_name": "a\"b"}), PhoneError::DisplayName),
            (json!({"display_name": "a\r\nRoute: x"}), PhoneError::DisplayName),
            (json!({"participant_name": "a\nb"}), PhoneError::Name),
            (json!({"participant_attributes": {"a": 1}}), PhoneError::Attributes),
            (json!({"participant_attributes": {"sip.callStatus": "x"}}), PhoneError::Attributes),
            (json!({"headers": "X-A: b"}), PhoneError::Headers),
            (json!({"headers": {"X-A": 1}}), PhoneError::Headers),
            (json!({"headers": {"X-A": "b\r\nTo: x"}}), PhoneError::Headers),
            (json!({"headers": {"X-A": "b\n"}}), PhoneError::Headers),
            (json!({"headers": {"X-A\r\nTo": "b"}}), PhoneError::Headers),
            (json!({"headers": {"": "b"}}), PhoneError::Headers),
            (json!({"headers": {"from": "b"}}), PhoneError::Headers),
        ] {
            assert_eq!(read(&rules), Err(error), "{rules}");
        }
    }

    #[test]
    fn options_go_before_rules_one_by_one() {
        let rules = read(&json!({"krisp_enabled": true, "display_name": "of the rules",
            "headers": {"X-A": "rules", "X-B": "rules"}}))
        .unwrap();
        let options = read(&json!({"display_name": "of the options", "krisp_enabled": false,
            "headers": {"X-A": "options"}}))
        .unwrap();
        let both = json!({"krisp_enabled": false, "display_name": "of the options",
            "headers": {"X-A": "options", "X-B": "rules"}});
        assert_eq!(json!(rules.with(&options)), both);
        assert_eq!(rules.with(&Phone::default()), rules);
        let small = read(&json!({"headers": {"x-a": "options", "X-C": "options"}})).unwrap();
        assert_eq!(
            json!(rules.with(&small).headers),
            json!({"x-a": "options", "X-B": "rules", "X-C": "options"})
        );
        assert_eq!(
            json!(rules.with_but_headers(&small).headers),
            json!({"X-A": "rules", "X-B": "rules", "X-C": "options"})
        );
        assert_eq!(rules.with_but_headers(&options).display_name, options.display_name);
    }
}
