//! Callers: text becomes an [`E164`] number and a [`TenantId`] here, once, or is refused.
//!
//! This file owns the two halves of a cache key and the key itself, [`Caller`]. It never trims,
//! guesses a country or repairs: a number that is not canonical is an error that says what would
//! be.
//!
//! **Invariant:** a `Caller` cannot be built without a tenant, so no cache entry is shared by two.

mod text;

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A caller number in E.164 form, without its plus: 7 to 15 digits, the first of them 1 to 9.
///
/// `Display` writes it whole, `+` included. `Debug` masks it, since numbers of people end up in
/// logs through `{:?}` more often than through intent.
///
/// ```
/// use trunkline::E164;
///
/// let number: E164 = "+971501234567".parse()?;
/// assert_eq!(number.to_string(), "+971501234567");
/// assert_eq!(format!("{number:?}"), "+971*******67");
/// # Ok::<(), trunkline::NumberError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct E164(u64);

impl E164 {
    /// Reads the digits of a number that are known to carry no plus, as a database row has them.
    ///
    /// # Errors
    ///
    /// As for `str::parse`, without the plus.
    #[inline]
    pub fn from_digits(digits: &str) -> Result<Self, NumberError> {
        match digits.as_bytes() {
            [b'1'..=b'9', ..] => {
                text::digits(digits.as_bytes()).map(Self).map_or_else(|| Self::checked(digits), Ok)
            }
            _ => Self::checked(digits),
        }
    }

    /// The same, digit by digit, for texts of an unusual length and for those that are wrong.
    fn checked(digits: &str) -> Result<Self, NumberError> {
        if let Some(at) = digits.bytes().position(|byte| !byte.is_ascii_digit()) {
            return Err(NumberError::NotADigit { position: at + 1 });
        }
        match digits.len() {
            _ if digits.starts_with('0') => Err(NumberError::LeadingZero),
            SHORTEST..=LONGEST => Ok(Self(
                digits.bytes().fold(0, |number, byte| number * 10 + u64::from(byte - b'0')),
            )),
            length => Err(NumberError::Length { length }),
        }
    }

    /// The digits as a number, country code first: `971501234567`.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The digits as text, without the plus.
    #[must_use]
    pub fn digits(self) -> String {
        self.0.to_string()
    }

    /// The country code with its plus, and the rest: `("+971", "501234567")`.
    ///
    /// Zeros that open the rest (an Italian landline) move to the code, because the rest is kept in
    /// a `bigint` that could not hold them.
    #[must_use]
    pub fn split(self) -> (String, u64) {
        let digits = self.digits();
        let after_code = &digits[self.code_length()..digits.len() - 1];
        let zeros = after_code.bytes().take_while(|&digit| digit == b'0').count();
        let (code, rest) = digits.split_at(self.code_length() + zeros);
        (format!("+{code}"), rest.parse().unwrap_or(0))
    }

    /// The number with all but its country code and last two digits starred, for logs and pages.
    ///
    /// ```
    /// # use trunkline::E164;
    /// let number: E164 = "+14155550123".parse()?;
    /// assert_eq!(number.masked().to_string(), "+1********23");
    /// # Ok::<(), trunkline::NumberError>(())
    /// ```
    #[must_use]
    pub fn masked(self) -> Masked {
        Masked(self)
    }

    /// How many digits the country code has, by the ITU's list of E.164 assignments: zones 1 and 7
    /// have one digit, the codes below two, all others three.
    fn code_length(self) -> usize {
        let digits = self.digits();
        let two: u8 = digits[..2].parse().unwrap_or(0);
        match two {
            10..=19 | 70..=79 => 1,
            20
            | 27
            | 30..=34
            | 36
            | 39..=41
            | 43..=49
            | 51..=58
            | 60..=66
            | 81
            | 82
            | 84
            | 86
            | 90..=95
            | 98 => 2,
            _ => 3,
        }
    }
}

impl FromStr for E164 {
    type Err = NumberError;

    /// Reads `+` and 7 to 15 digits.
    #[inline]
    fn from_str(text: &str) -> Result<Self, NumberError> {
        match text.strip_prefix('+') {
            Some(digits) => Self::from_digits(digits).map_err(|error| error.shifted_by(1)),
            None => Err(NumberError::NoPlus),
        }
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "+{}", self.0)
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.masked(), out)
    }
}

impl Serialize for E164 {
    /// Writes the number whole, as a string with its plus.
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// Reads a string, as `str::parse` does. Errors do not repeat it.
macro_rules! deserialize_from_text {
    ($($text:ident),*) => {$(
        impl<'de> Deserialize<'de> for $text {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(from)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
deserialize_from_text!(E164, TenantId, ConfigId);

/// A number as logs may show it. See [`E164::masked`].
#[derive(Clone, Copy)]
pub struct Masked(E164);

impl fmt::Display for Masked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.digits();
        let (code, rest) = digits.split_at(self.0.code_length());
        let stars = rest.len().saturating_sub(2);
        write!(out, "+{code}{:*<stars$}{}", "", &rest[stars..])
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Why a text is no [`E164`] number. The text itself is never part of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// It does not begin with a plus.
    #[error("a number must begin with + and its country code, such as +971501234567")]
    NoPlus,
    /// Something other than 0 to 9 stands after the plus, at this place (from 1).
    #[error("character {position} is not a digit; only digits may follow the +")]
    NotADigit {
        /// Where, counted in bytes from 1.
        position: usize,
    },
    /// Too few digits or too many.
    #[error("{length} digits; a number must have 7 to 15, country code included")]
    Length {
        /// How many digits there were.
        length: usize,
    },
    /// A country code cannot begin with 0.
    #[error("a country code never begins with 0; write +44…, not +044… or 0044…")]
    LeadingZero,
}

impl NumberError {
    fn shifted_by(self, bytes: usize) -> Self {
        match self {
            Self::NotADigit { position } => Self::NotADigit { position: position + bytes },
            other => other,
        }
    }
}

/// A customer, by the UUID that the platform gave it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

/// A LiveKit config, by the UUID that the database gave it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ConfigId(pub Uuid);

/// A text that is no UUID. The message says of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be a UUID, such as 6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10")]
pub struct IdError {
    what: &'static str,
}

macro_rules! id_text {
    ($($id:ident: $what:literal),*) => {$(
        impl FromStr for $id {
            type Err = IdError;

            #[inline]
            fn from_str(text: &str) -> Result<Self, IdError> {
                match text::uuid(text.as_bytes()) {
                    Some(id) => Ok(Self(id)),
                    None => Uuid::parse_str(text).map(Self).map_err(|_| IdError { what: $what }),
                }
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }
    )*};
}
id_text!(TenantId: "a tenant", ConfigId: "a LiveKit config id");

/// What is looked up: a number within its tenant. 24 bytes, `Copy`.
///
/// ```
/// use trunkline::Caller;
///
/// let caller = Caller::parse("0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11", "+971501234567")?;
/// assert_eq!(caller.number.as_u64(), 971_501_234_567);
/// # Ok::<(), trunkline::CallerError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Whose number it is.
    pub tenant: TenantId,
    /// The number that calls.
    pub number: E164,
}

impl Hash for Caller {
    /// In two words, not byte by byte: every look-up waits for it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(*self.tenant.0.as_bytes()));
        state.write_u64(self.number.0);
    }
}

impl Caller {
    /// Joins a tenant and one of its numbers.
    #[must_use]
    pub fn new(tenant: TenantId, number: E164) -> Self {
        Self { tenant, number }
    }

    /// Reads both halves from text.
    ///
    /// # Errors
    ///
    /// [`CallerError`] says which half is wrong and what would be right.
    #[inline]
    pub fn parse(tenant: &str, number: &str) -> Result<Self, CallerError> {
        Ok(Self { tenant: tenant.parse()?, number: number.parse()? })
    }
}

/// Why a pair of texts is no [`Caller`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallerError {
    /// The tenant is no UUID.
    #[error(transparent)]
    Tenant(#[from] IdError),
    /// The number is not in E.164 form.
    #[error(transparent)]
    Number(#[from] NumberError),
}

const SHORTEST: usize = 7;
const LONGEST: usize = 15;

#[cfg(test)]
mod tests;
