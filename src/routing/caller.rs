//! The caller number as a carrier sees it, and the forms under which a trunk may list it.

use super::destination::ParsedNumber;
use super::written_as;
use crate::number::E164;
use crate::rules::{CallRules, CallerCheck};

/// The number that a call shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerId {
    /// The number itself.
    pub number: E164,
    /// What is sent for it, as `caller_format` of the rules says.
    pub formatted: Box<str>,
    /// What follows where the trunk does not list it.
    pub check: CallerCheck,
}

impl From<E164> for CallerId {
    /// In E.164, as for a number without rules.
    fn from(number: E164) -> Self {
        Self::new(number, &CallRules::default())
    }
}

impl CallerId {
    /// The number as its rules want it. One of no known country code stays in E.164.
    #[must_use]
    pub fn new(number: E164, rules: &CallRules) -> Self {
        let formatted = ParsedNumber::known(number)
            .map_or_else(|| number.to_string(), |known| written_as(&known, &rules.caller_format));
        Self { number, formatted: formatted.into(), check: rules.caller_check }
    }

    /// Whether an entry of a trunk's numbers is this one: what is sent, digit for digit, or the same
    /// number in international form or as people in its country write it.
    pub(crate) fn is_listed_as(&self, entry: &str) -> bool {
        let entry = bare(entry);
        if entry == bare(&self.formatted) {
            return true;
        }
        let digits = self.number.digits();
        if let Some(international) = entry.strip_prefix('+') {
            return international == digits;
        }
        let after = |prefix: &str, rest: &str| entry.strip_prefix(prefix) == Some(rest);
        after("", &digits)
            || after("00", &digits)
            || ParsedNumber::known(self.number).is_some_and(|known| {
                after("", &known.national)
                    || known.trunk_prefix().is_some_and(|prefix| after(&prefix, &known.national))
            })
    }
}

/// A plus in front, and digits.
fn bare(number: &str) -> String {
    let number = number.trim();
    let plus = number.starts_with('+').then_some('+');
    plus.into_iter().chain(number.chars().filter(char::is_ascii_digit)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rules::Rules;

    fn caller(number: &str, format: &serde_json::Value) -> CallerId {
        let rules = Rules::read(None, &json!({"caller_format": format}));
        CallerId::new(number.parse().unwrap(), &rules.calls.unwrap())
    }

    #[test]
    fn what_is_sent_is_made_of_the_pieces_that_the_rules_name() {
        for (number, format, sent) in [
            ("+971501234567", json!(null), "+971501234567"),
            ("+971501234567", json!(["0", "base_number"]), "0501234567"),
            ("+971501234567", json!(["country_code_digits", "base_number"]), "971501234567"),
            ("+390612345678", json!(["base_number"]), "0612345678"),
            ("+999123456789", json!(["base_number"]), "+999123456789"),
        ] {
            assert_eq!(&*caller(number, &format).formatted, sent, "{number} {format}");
        }
    }

    #[test]
    fn a_trunk_may_list_the_caller_number_in_every_form_that_means_it_and_in_no_other() {
        let e164 = caller("+971501234567", &json!(null));
        for entry in [
            "+971501234567",
            "971501234567",
            "00971 50 123 4567",
            "0501234567",
            "501234567",
            " +971 (50) 123-4567 ",
        ] {
            assert!(e164.is_listed_as(entry), "{entry}");
        }
        for entry in ["+501234567", "+0501234567", "1501234567", "0971501234567", "+971", "", "+"] {
            assert!(!e164.is_listed_as(entry), "{entry}");
        }
        let prefixed = caller("+971501234567", &json!(["9", "base_number"]));
        assert!(prefixed.is_listed_as("9501234567") && !e164.is_listed_as("9501234567"));
        let spain = caller("+34912345678", &json!(null));
        assert!(spain.is_listed_as("912345678") && !spain.is_listed_as("0912345678"));
    }
}
