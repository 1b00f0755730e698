//! What limits a client: prefixes of caller numbers, and the rooms that its tokens may name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::number::E164;

/// What caller numbers must begin with, such as `+97150`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NumberPrefix(String);

impl NumberPrefix {
    /// Its digits, without the plus.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// Whether a number begins so.
    #[must_use]
    pub fn matches(&self, number: E164) -> bool {
        number.digits().starts_with(&self.0)
    }
}

/// A text that is no prefix of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a plus and the first digits of numbers, such as +97150")]
pub struct NumberPrefixError;

impl FromStr for NumberPrefix {
    type Err = NumberPrefixError;

    fn from_str(text: &str) -> Result<Self, NumberPrefixError> {
        let digits = text.strip_prefix('+').ok_or(NumberPrefixError)?;
        let sound = (1..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if sound { Ok(Self(digits.to_owned())) } else { Err(NumberPrefixError) }
    }
}

impl TryFrom<String> for NumberPrefix {
    type Error = NumberPrefixError;

    fn try_from(text: String) -> Result<Self, NumberPrefixError> {
        text.parse()
    }
}

impl From<NumberPrefix> for String {
    fn from(prefix: NumberPrefix) -> Self {
        prefix.to_string()
    }
}

impl fmt::Display for NumberPrefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "+{}", self.0)
    }
}

/// Which rooms a token may name: one by its name, or all that begin so: `call-*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomPattern(String);

impl RoomPattern {
    /// Whether a room may be named.
    #[must_use]
    pub fn matches(&self, room: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(begins) => room.starts_with(begins),
            None => room == self.0,
        }
    }

    /// A room that matches: the only one, or one that begins so and ends with `unique`.
    #[cfg(feature = "server")]
    pub(crate) fn room(&self, unique: &str) -> String {
        match self.0.strip_suffix('*') {
            Some(begins) => format!("{begins}{unique}"),
            None => self.0.clone(),
        }
    }
}

/// A text that is no pattern of rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the name of a room, or its beginning and a `*` at the end, such as call-*")]
pub struct RoomPatternError;

impl FromStr for RoomPattern {
    type Err = RoomPatternError;

    fn from_str(text: &str) -> Result<Self, RoomPatternError> {
        let sound = (1..=LONGEST).contains(&text.chars().count())
            && !text.chars().any(|character| character.is_control() || character.is_whitespace())
            && !text[..text.len() - 1].contains('*');
        if sound { Ok(Self(text.to_owned())) } else { Err(RoomPatternError) }
    }
}

impl TryFrom<String> for RoomPattern {
    type Error = RoomPatternError;

    fn try_from(text: String) -> Result<Self, RoomPatternError> {
        text.parse()
    }
}

impl From<RoomPattern> for String {
    fn from(pattern: RoomPattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

const LONGEST: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_numbers_that_begin_so() {
        let number: E164 = "+971501234567".parse().unwrap();
        for (prefix, matches) in [("+9", true), ("+97150", true), ("+97151", false), ("+1", false)]
        {
            assert_eq!(
                prefix.parse::<NumberPrefix>().unwrap().matches(number),
                matches,
                "{prefix}"
            );
        }
        for text in ["", "+", "971", "+0971", "+97a", "+9715012345678901", "+97 1"] {
            assert_eq!(text.parse::<NumberPrefix>(), Err(NumberPrefixError), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        let matches = |pattern: &str, room| pattern.parse::<RoomPattern>().unwrap().matches(room);
        assert!(matches("call-*", "call-7") && matches("call-*", "call-") && matches("*", "x"));
        assert!(!matches("call-*", "call") && !matches("call-*", "a-call-7"));
        assert!(matches("lobby", "lobby") && !matches("lobby", "lobby2"));
        for text in ["", "a*b", "**", "a b*", "a\n", &"x".repeat(256)] {
            assert_eq!(text.parse::<RoomPattern>(), Err(RoomPatternError), "{text}");
        }
        assert!("é*".parse::<RoomPattern>().unwrap().matches("école"));
    }
}
