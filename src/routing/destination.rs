//! A destination as people write it becomes a number: cleaned, then read by the numbering plans of
//! the world (`rlibphonenumber`, which carries the metadata of Google's libphonenumber).
//!
//! What is written with a country code is believed if its length is possible. What is not must be
//! valid where it is read, because reading it there is a guess.

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumber, Region};

use super::{Reading, Refusal};
use crate::number::E164;
use crate::rules::Country;

/// A destination, read.
pub(super) struct Number {
    pub(super) e164: E164,
    /// Where it is. `None`: in no country, as satellite phones are.
    pub(super) country: Option<Country>,
    pub(super) country_code: i32,
    /// The national number, without the zero that some countries dial before it.
    pub(super) national: String,
}

impl Number {
    /// Reads a destination for a caller, given the only country that the caller may call.
    pub(super) fn read(
        text: &str,
        from: E164,
        only: Option<Country>,
        reading: Reading,
    ) -> Result<Self, Refusal> {
        let (plus, digits) = cleaned(text).ok_or(Refusal::NotANumber { region: None })?;
        if plus {
            return Self::international(&digits);
        }
        if let Some(rest) = digits.strip_prefix("00") {
            return Self::international(rest);
        }
        let guessed = match reading {
            Reading::Heuristic => by_length(&digits),
            Reading::Region => None,
        };
        if let Some((code, national)) = guessed {
            return Self::international(&format!("{code}{national}"));
        }
        let own = || match reading {
            Reading::Region => country_of(&parse_international(&from.digits()).ok()?),
            Reading::Heuristic => None,
        };
        let region = only.or_else(own);
        let national = region.and_then(|region| Self::national(&digits, region));
        // With an exit code, or with a country code that lacks its plus.
        let international = || match digits.strip_prefix("011") {
            Some(rest) => Self::international(rest).ok(),
            None => Self::international(&digits).ok().filter(Self::is_valid),
        };
        if let Some(number) = national.or_else(international) {
            return Ok(number);
        }
        match (region, by_length(&digits)) {
            // No region is known, not even of the caller.
            (None, Some((code, national))) => Self::international(&format!("{code}{national}")),
            (None, None) => Err(Refusal::CountryUnknown),
            (region, _) => Err(Refusal::NotANumber { region }),
        }
    }

    /// A number with its country code, and without a plus.
    fn international(digits: &str) -> Result<Self, Refusal> {
        let parsed = parse_international(digits)?;
        // Not one that lacks its area code, which is possible as well.
        let possible = PHONE_NUMBER_UTIL.is_possible_number_with_reason(&parsed);
        let possible = matches!(possible, Ok(NumberLengthType::IsPossible));
        Self::of(&parsed).filter(|_| possible).ok_or(Refusal::NotANumber { region: None })
    }

    /// A number as it is dialled within a country, if it is one there.
    fn national(digits: &str, country: Country) -> Option<Self> {
        let region: Region = country.code().parse().ok()?;
        let parsed = PHONE_NUMBER_UTIL.parse(digits, Some(region)).ok()?;
        Self::of(&parsed).filter(Self::is_valid)
    }

    fn of(parsed: &PhoneNumber) -> Option<Self> {
        let national = rlibphonenumber::get_national_significant_number_owned(parsed);
        let e164 = E164::from_digits(&format!("{}{national}", parsed.country_code)).ok()?;
        let country = country_of(parsed);
        Some(Self { e164, country, country_code: parsed.country_code, national })
    }

    fn is_valid(&self) -> bool {
        parse_international(&self.e164.digits())
            .is_ok_and(|parsed| PHONE_NUMBER_UTIL.is_valid_number(&parsed))
    }
}

fn parse_international(digits: &str) -> Result<PhoneNumber, Refusal> {
    PHONE_NUMBER_UTIL.parse(format!("+{digits}"), None).map_err(|error| match error {
        ParseError::InvalidCountryCode => Refusal::CountryUnknown,
        _ => Refusal::NotANumber { region: None },
    })
}

/// The country of a number; where several share a code and the number belongs to none of them, the
/// one that the code is named after.
fn country_of(parsed: &PhoneNumber) -> Option<Country> {
    let exact = PHONE_NUMBER_UTIL.get_region_for_number(parsed);
    let region =
        exact.or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(parsed.country_code))?;
    region.as_region_str().parse().ok()
}

/// Code and national number of bare digits, by their number alone.
fn by_length(digits: &str) -> Option<(&'static str, &str)> {
    match (digits.len(), digits.strip_prefix('0')) {
        (11, Some(national)) => Some(("91", national)),
        (10, Some(national)) => Some(("971", national)),
        (9, _) => Some(("971", digits)),
        (10, None) if digits.starts_with(['6', '7', '8', '9']) => Some(("91", digits)),
        (10, None) => Some(("1", digits)),
        _ => None,
    }
}

/// Whether there is a plus, and the digits behind it. `None`: there is something that is part of no
/// number, or nothing at all.
fn cleaned(text: &str) -> Option<(bool, String)> {
    let text = text.trim_matches(|mark: char| mark.is_whitespace() || is_invisible(mark));
    let text = match text.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &text[4..],
        _ => text,
    };
    // What a spreadsheet made of a number that it took for one to count with: the zero is no digit
    // of it. No country writes a single digit behind a point.
    if let Some((_, last)) = text.rsplit_once('.')
        && last.chars().count() < 2
    {
        return None;
    }
    let mut digits = String::with_capacity(20);
    let mut plus = false;
    for character in text.chars() {
        match character {
            '+' | '＋' if digits.is_empty() && !plus => plus = true,
            _ if is_separator(character) => {}
            _ => digits.push(digit(character)?),
        }
        if digits.len() > LONGEST {
            return None;
        }
    }
    (!digits.is_empty()).then_some((plus, digits))
}

fn is_separator(character: char) -> bool {
    character.is_whitespace() || is_invisible(character) || "-‐‑‒–—−.·()/".contains(character)
}

/// Marks that come along when numbers are pasted: of no width, or of writing direction.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The ASCII form of a digit of ASCII, Arabic, Persian, Devanagari or full width.
fn digit(character: char) -> Option<char> {
    let zeros = ['0', '\u{660}', '\u{6f0}', '\u{966}', '\u{ff10}'];
    zeros.iter().find_map(|&zero| {
        let value = u32::from(character).checked_sub(u32::from(zero))?;
        char::from_digit(value, 10)
    })
}

/// An exit code and 15 digits, and some to spare for a zero in brackets.
const LONGEST: usize = 20;
