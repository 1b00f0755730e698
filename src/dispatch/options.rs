//! Who dials, and how: what a client of the API may say of it, for one call and for a batch, within the same
//! limits as the command line.
//!
//! **Invariant:** of the headers of a call a client writes only those by which no carrier says who calls, who
//! pays or where a call goes. The others are the rules' to set, and the command line's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Dial, EngineDial};
use crate::rules::{Phone, PhoneError};

/// What may be said of dialling. What is not said is as on the command line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct DialOptions {
    /// `agent` or `engine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wait: Option<bool>,
    /// In seconds, as the two below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ringing: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) longest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confirm_agent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) krisp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hide_number: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phone_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phone_attributes: Option<BTreeMap<Box<str>, Box<str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<BTreeMap<Box<str>, Box<str>>>,
}

/// The same in the types of a call.
#[derive(Debug, Clone)]
pub(crate) struct Dialling {
    pub(crate) dial: Dial,
    pub(crate) confirm_agent: Option<Duration>,
    pub(crate) phone: Phone,
}

/// What is wrong with an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongOption {
    pub(crate) field: &'static str,
    pub(crate) why: String,
}

impl DialOptions {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// [`WrongOption`] says which one cannot be followed, and why.
    pub(crate) fn read(&self) -> Result<Dialling, WrongOption> {
        let confirm_agent = seconds("confirm_agent", self.confirm_agent, MOST_CONFIRMING)?;
        let (dial, phone) = match self.dial.as_deref() {
            Some("engine") => (Dial::Engine(self.engine()?), self.phone()?),
            None | Some("agent") => (self.agent()?, Phone::default()),
            Some(_) => return Err(wrong("dial", "must be agent or engine")),
        };
        Ok(Dialling { dial, confirm_agent, phone })
    }

    fn engine(&self) -> Result<EngineDial, WrongOption> {
        let usual = EngineDial::default();
        Ok(EngineDial {
            wait_until_answered: self.wait.unwrap_or(usual.wait_until_answered),
            ringing: seconds("ringing", self.ringing, EngineDial::MOST_RINGING)?
                .unwrap_or(usual.ringing),
            longest: seconds("longest", self.longest, EngineDial::MOST_LASTING)?
                .unwrap_or(usual.longest),
        })
    }

    /// What is said of how the engine dials means nothing where the agent does.
    fn agent(&self) -> Result<Dial, WrongOption> {
        let said = [
            ("wait", self.wait.is_some()),
            ("ringing", self.ringing.is_some()),
            ("longest", self.longest.is_some()),
            ("krisp", self.krisp.is_some()),
            ("display_name", self.display_name.is_some()),
            ("hide_number", self.hide_number.is_some()),
            ("phone_name", self.phone_name.is_some()),
            ("phone_attributes", self.phone_attributes.is_some()),
            ("headers", self.headers.is_some()),
        ];
        match said.iter().find(|(_, is_said)| *is_said) {
            Some((field, _)) => Err(wrong(
                field,
                "must be left out, or dial must be engine: the agent dials as it likes",
            )),
            None => Ok(Dial::Agent),
        }
    }

    fn phone(&self) -> Result<Phone, WrongOption> {
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let phone = Phone {
            krisp_enabled: self.krisp,
            display_name: text(&self.display_name),
            hide_phone_number: self.hide_number,
            participant_name: text(&self.phone_name),
            participant_attributes: self.phone_attributes.clone().unwrap_or_default(),
            headers: self.headers.clone().unwrap_or_default(),
        };
        let of_livekit = |name: &str| name.starts_with("lk.");
        if phone.participant_attributes.keys().any(|name| of_livekit(name)) {
            return Err(wrong("phone_attributes", "must have no name that begins with lk."));
        }
        if !phone.headers.keys().all(|name| is_of_clients(name)) {
            return Err(wrong("headers", ONLY_OWN_HEADERS));
        }
        if phone.headers.len() > MOST_HEADERS {
            return Err(wrong("headers", format!("must be {MOST_HEADERS} at the most")));
        }
        phone.check().map_err(|error| wrong(field_of(error), error.to_string()))?;
        Ok(phone)
    }
}

/// Whether a client may write this header. By others a carrier is told who calls (`P-Asserted-Identity`), who
/// pays (`P-Charging-Vector`) or where a call goes (`Diversion`, `Refer-To`).
fn is_of_clients(name: &str) -> bool {
    let begins = |with: &str| {
        name.get(..with.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(with))
    };
    (begins("X-") && !begins("X-LK-")) || name.eq_ignore_ascii_case("User-to-User")
}

fn field_of(error: PhoneError) -> &'static str {
    match error {
        PhoneError::KrispNoBool => "krisp",
        PhoneError::HideNoBool => "hide_number",
        PhoneError::DisplayName => "display_name",
        PhoneError::Name => "phone_name",
        PhoneError::Attributes => "phone_attributes",
        PhoneError::Headers => "headers",
    }
}

pub(in crate::dispatch) fn wrong(field: &'static str, why: impl Into<String>) -> WrongOption {
    WrongOption { field, why: why.into() }
}

pub(in crate::dispatch) fn whole(
    field: &'static str,
    number: Option<u64>,
    least: u64,
    most: u64,
) -> Result<Option<usize>, WrongOption> {
    let Some(number) = number else { return Ok(None) };
    let fits = (least..=most).contains(&number).then(|| usize::try_from(number).ok()).flatten();
    fits.map(Some)
        .ok_or_else(|| wrong(field, format!("must be a whole number from {least} to {most}")))
}

fn seconds(
    field: &'static str,
    number: Option<u64>,
    most: u64,
) -> Result<Option<Duration>, WrongOption> {
    Ok(whole(field, number, 1, most)?.map(|seconds| Duration::from_secs(seconds as u64)))
}

/// In seconds.
pub(crate) const MOST_CONFIRMING: u64 = 120;
/// A request to a carrier is one datagram in many places.
const MOST_HEADERS: usize = 16;
const ONLY_OWN_HEADERS: &str = "must have names that begin with X-, and not with X-LK-, or be User-to-User: by                                 others a carrier is told who calls, who pays and where a call goes, which the                                 rules of a number may say";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(options: &Value) -> Result<Dialling, WrongOption> {
        serde_json::from_value::<DialOptions>(options.clone()).unwrap().read()
    }

    #[test]
    fn what_is_said_is_followed_and_what_is_not_is_as_on_the_command_line() {
        let usual = read(&json!({})).unwrap();
        assert_eq!((usual.dial, usual.confirm_agent), (Dial::Agent, None));
        let dialling = read(&json!({"dial": "engine", "ringing": 80, "krisp": true,
            "display_name": "The bank", "hide_number": true, "phone_name": "Lead",
            "phone_attributes": {"lead": "7"}, "headers": {"x-lead": "7", "User-to-User": "00"}}))
        .unwrap();
        let Dial::Engine(EngineDial { ringing, longest, .. }) = dialling.dial else { panic!() };
        assert_eq!((ringing.as_secs(), longest.as_secs()), (80, 3600));
        let phone = json!({"krisp_enabled": true, "display_name": "The bank",
            "hide_phone_number": true, "participant_name": "Lead",
            "participant_attributes": {"lead": "7"}, "headers": {"x-lead": "7", "User-to-User": "00"}});
        assert_eq!(json!(dialling.phone), phone);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let many: Value = (0..17).map(|at| (format!("X-{at}"), json!("b"))).collect();
        for (field, value) in [
            ("dial", json!("somebody")),
            ("ringing", json!(0)),
            ("ringing", json!(81)),
            ("longest", json!(86_401)),
            ("confirm_agent", json!(121)),
            ("display_name", json!("a\"b")),
            ("phone_name", json!("a\nb")),
            ("phone_attributes", json!({"sip.callStatus": "active"})),
            ("phone_attributes", json!({"lk.agent": "x"})),
            ("headers", json!({"X-A": "b\r\nTo: x"})),
            ("headers", many),
        ] {
            let mut options = json!({"dial": "engine"});
            options[field] = value;
            assert_eq!(read(&options).unwrap_err().field, field, "{options}");
        }
        for (field, value) in [("krisp", json!(false)), ("headers", json!({"X-A": "b"}))] {
            let mut options = json!({});
            options[field] = value;
            assert_eq!(read(&options).unwrap_err().field, field, "the agent dials: {options}");
        }
    }

    #[test]
    fn no_client_says_who_calls_who_pays_or_where_a_call_goes() {
        for name in [
            "P-Asserted-Identity",
            "p-preferred-identity",
            "Remote-Party-ID",
            "Privacy",
            "Identity",
            "Diversion",
            "History-Info",
            "P-Charging-Vector",
            "Refer-To",
            "Referred-By",
            "Replaces",
            "Route",
            "From",
            "X-LK-CallID",
            "x-lk-callid",
            "User-to-Users",
            "X",
            "",
        ] {
            let refused = read(&json!({"dial": "engine", "headers": {name: "x"}})).unwrap_err();
            assert_eq!(refused.field, "headers", "{name}");
        }
    }
}
