//! May this number call that one, and how is it dialled?
//!
//! The rules of the caller number decide. They are part of its cached answer, so a warm call asks
//! the database nothing. `destination.rs` reads the destination; here the rules are applied to it.

mod caller;
mod destination;
mod written;

pub use self::caller::CallerId;
use self::destination::ParsedNumber;
pub(crate) use self::destination::country_of_digits;
use crate::number::{ConfigId, E164};
pub use crate::rules::RulesStatus;
use crate::rules::{CallRules, Country, Destinations, Piece, Rules, RulesError};

/// How a destination without a country code is read: `ROUTING`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reading {
    /// As people in the caller's country dial it, or in the only country that the rules allow.
    Region {
        /// `ROUTING_COUNTRIES`: whose country code may be written without its plus, beside those
        /// that the rules name.
        named: Box<[Country]>,
    },
    /// By its length, as the service before this one did: 0 and 10 digits is India, 0 and 9 digits
    /// or 9 bare ones the United Arab Emirates, 10 bare digits that start with 6 to 9 India, other
    /// 10 bare digits the United States or Canada.
    Heuristic,
}

impl Default for Reading {
    /// By region, with no country named.
    fn default() -> Self {
        Self::Region { named: Box::default() }
    }
}

/// Whether a call may go out, and what is dialled for it: `CallRoutingResult` of the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallRouting {
    /// The carrier of the caller number.
    pub carrier: Option<Box<str>>,
    /// The country that the destination is in, if it could be told.
    pub country: Option<Country>,
    /// `outbound_trunk_id` of the rules.
    pub trunk_id: Option<Box<str>>,
    /// `livekit_config` of the rules.
    pub config_id: Option<ConfigId>,
    /// What is known of the caller's rules.
    pub known: RulesStatus,
    /// What is dialled, or why nothing is.
    pub verdict: Result<Dialled, Refusal>,
}

/// A destination that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialled {
    /// Its number.
    pub e164: E164,
    /// What the rules want dialled for it.
    pub formatted: Box<str>,
    /// The number that the call shows.
    pub caller: CallerId,
}

/// Why a call may not go out. `Ambiguous` alone holds numbers, and its message shows them whole: keep
/// it out of logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// `outbound` is false.
    #[error("this number does not call out: outbound is false in its rules")]
    OutboundNotAllowed,
    /// The destination is in a country that `allowed_outbound` does not name.
    #[error(
        "only {} may be called from this number, and the destination is in {country}",
        listed(allowed)
    )]
    CountryNotAllowed {
        /// Where the destination is.
        country: Country,
        /// What may be called.
        allowed: Box<[Country]>,
    },
    /// It cannot be told in which country the destination is.
    #[error(
        "no country found for the destination; write it with + and its country code, such as \
         +971501234567"
    )]
    CountryUnknown,
    /// The destination is no phone number.
    #[error("the destination is not a phone number{0}")]
    NotANumber(#[from] NotANumber),
    /// It can be read as more than one number.
    #[error("the destination may be {}; write it with + and its country code", either(numbers))]
    Ambiguous {
        /// Which ones.
        numbers: Box<[E164]>,
    },
    /// Calls to it cost extra, and the rules do not say that they may.
    #[error(
        "the destination is a premium-rate number; it may be called if allow_premium is true in \
         the rules"
    )]
    PremiumRate,
    /// Nothing is known of the rules, and `FALLBACK_DENY` wants them known.
    #[error(
        "the rules of this number are unknown, and rules_unknown in FALLBACK_DENY keeps it \
         from calling without them"
    )]
    RulesUnknown,
    /// What the rules say of calls cannot be followed.
    #[error("the rules of this number cannot be followed: {0}")]
    RulesMalformed(#[from] RulesError),
}

/// Why a text is no phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotANumber {
    /// There is something in it that is part of no number, or too much, or too little.
    #[error("; write it with + and its country code, without letters and extensions")]
    Unreadable,
    /// It is none where it was read.
    #[error("{}", in_country(*region))]
    Nowhere {
        /// The country in which it was read, having no plus.
        region: Option<Country>,
    },
    /// A spreadsheet took it for a number to count with.
    #[error(", but a decimal that a spreadsheet made of one; the column must be text")]
    Decimal,
    /// A spreadsheet took it for a sum, and this is the result.
    #[error(", but a sum that a spreadsheet made of one; the column must be text")]
    Calculated,
    /// There are two, with a slash or a line break between them.
    #[error(", but two, with a slash or a line break between them; write one")]
    TwoNumbers,
    /// A separator stands within what would be its country code.
    #[error("; what would be its country code has a separator in it")]
    CodeSplit,
    /// Its country code is there twice.
    #[error("; its country code is written twice")]
    CodeTwice,
}

impl Refusal {
    /// Whether it is about how the destination or the rules are written, and not about what the rules
    /// forbid.
    #[must_use]
    pub fn is_about_writing(&self) -> bool {
        matches!(
            self,
            Self::NotANumber(_)
                | Self::Ambiguous { .. }
                | Self::CountryUnknown
                | Self::RulesMalformed(_)
        )
    }

    /// A stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutboundNotAllowed => "outbound_not_allowed",
            Self::CountryNotAllowed { .. } => "country_not_allowed",
            Self::CountryUnknown => "country_unknown",
            Self::NotANumber(_) => "not_a_number",
            Self::Ambiguous { .. } => "ambiguous",
            Self::PremiumRate => "premium_rate",
            Self::RulesUnknown => "rules_unknown",
            Self::RulesMalformed(_) => "rules_malformed",
        }
    }
}

impl CallRouting {
    /// Whether the call may go out.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.verdict.is_ok()
    }

    /// Whether the call may go out though nothing is known of the rules of its number.
    #[must_use]
    pub fn is_without_rules(&self) -> bool {
        self.allowed() && self.known == RulesStatus::Unknown
    }

    /// It as JSON, with all of its members always there.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let (dialled, refusal) = (self.verdict.as_ref().ok(), self.verdict.as_ref().err());
        serde_json::json!({
            "allowed": self.allowed(),
            "reason": refusal.map(Refusal::code),
            "message": refusal.map(ToString::to_string),
            "caller": dialled.map(|dialled| &dialled.caller.formatted),
            "carrier": self.carrier,
            "country": self.country,
            "formatted": dialled.map(|dialled| &dialled.formatted),
            "e164": dialled.map(|dialled| dialled.e164),
            "trunk_id": self.trunk_id,
            "config_id": self.config_id,
            "rules": self.known,
        })
    }

    /// Applies rules to a destination as a person wrote it.
    pub(crate) fn decide(
        from: E164,
        to: &str,
        rules: Option<&Rules>,
        known: RulesStatus,
        reading: &Reading,
    ) -> Self {
        let default = CallRules::default();
        let calls = rules.map_or(Ok(&default), |rules| rules.calls.as_ref().map_err(|&e| e));
        let (country, verdict) = match calls {
            Err(error) => (None, Err(error.into())),
            Ok(calls) => judge(from, to, calls, reading),
        };
        Self {
            carrier: rules.and_then(|rules| rules.carrier.clone()),
            country,
            trunk_id: rules.and_then(|rules| rules.trunk.clone()),
            config_id: rules.and_then(|rules| rules.config),
            known,
            verdict,
        }
    }
}

/// The country of a destination, and whether and how it is dialled.
fn judge(
    from: E164,
    to: &str,
    calls: &CallRules,
    reading: &Reading,
) -> (Option<Country>, Result<Dialled, Refusal>) {
    if !calls.outbound {
        return (None, Err(Refusal::OutboundNotAllowed));
    }
    let number = match ParsedNumber::read(to, from, &calls.destinations, reading) {
        Ok(number) => number,
        Err(refusal) => return (None, Err(refusal)),
    };
    let Some(country) = number.country else { return (None, Err(Refusal::CountryUnknown)) };
    if let Destinations::Countries(allowed) = &calls.destinations
        && !calls.destinations.allow(country)
    {
        let allowed = allowed.clone();
        return (Some(country), Err(Refusal::CountryNotAllowed { country, allowed }));
    }
    if number.premium && !calls.premium {
        return (Some(country), Err(Refusal::PremiumRate));
    }
    let formatted = written_as(&number, &calls.format).into();
    let caller = CallerId::new(from, calls);
    (Some(country), Ok(Dialled { e164: number.e164, formatted, caller }))
}

/// Joins the pieces. A plus in the middle could not be dialled, so it stands at the front only.
fn written_as(number: &ParsedNumber, pieces: &[Piece]) -> String {
    let mut text = String::with_capacity(20);
    for piece in pieces {
        match piece {
            Piece::CountryCode => {
                if text.is_empty() {
                    text.push('+');
                }
                text.push_str(&number.country_code.to_string());
            }
            Piece::CountryCodeDigits => text.push_str(&number.country_code.to_string()),
            Piece::BaseNumber => text.push_str(&number.national),
            Piece::Digits(digits) => text.push_str(digits),
        }
    }
    text
}

fn listed(countries: &[Country]) -> String {
    let names: Vec<_> = countries.iter().map(Country::to_string).collect();
    match names.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        names => names.join(", "),
    }
}

fn either(numbers: &[E164]) -> String {
    let numbers: Vec<_> = numbers.iter().map(E164::to_string).collect();
    numbers.join(" or ")
}

fn in_country(region: Option<Country>) -> String {
    region.map_or_else(String::new, |region| {
        format!(" in {region}; write one of another country with + and its country code")
    })
}

#[cfg(test)]
mod tests;
