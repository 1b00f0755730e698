//! A share: read, counted and written in thousandths of a per cent, so that none is rounded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RolloutError;

/// A share, in thousandths of a per cent: from 0 to 100 000.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(into = "f64", try_from = "f64")]
pub struct Share(u32);

impl Share {
    /// Everything.
    pub const WHOLE: Self = Self(WHOLE);

    /// So many thousandths of a per cent. `None`: more than there are.
    #[must_use]
    pub fn of_thousandths(thousandths: u32) -> Option<Self> {
        (thousandths <= WHOLE).then_some(Self(thousandths))
    }

    /// It in thousandths of a per cent.
    #[must_use]
    pub fn thousandths(self) -> u32 {
        self.0
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        Self::from(share.0) / 1000.0
    }
}

impl TryFrom<f64> for Share {
    type Error = RolloutError;

    /// Of per cent; more than three decimals are refused.
    fn try_from(percent: f64) -> Result<Self, RolloutError> {
        let thousandths = percent * 1000.0;
        let rounded = thousandths.round();
        if !(0.0..=f64::from(WHOLE)).contains(&rounded) || (thousandths - rounded).abs() > 1e-6 {
            return Err(RolloutError::Share);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        Ok(Self(rounded as u32))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return write!(out, "{whole}");
        }
        let rest = format!("{rest:03}");
        write!(out, "{whole}.{}", rest.trim_end_matches('0'))
    }
}

impl FromStr for Share {
    type Err = RolloutError;

    fn from_str(text: &str) -> Result<Self, RolloutError> {
        let text = text.strip_suffix('%').unwrap_or(text).trim();
        let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !(1..=3).contains(&whole.len()) || !(1..=3).contains(&rest.len()) {
            return Err(RolloutError::Share);
        }
        if !are_digits(whole) || !are_digits(rest) {
            return Err(RolloutError::Share);
        }
        let number = |text: &str| text.parse::<u32>().map_err(|_| RolloutError::Share);
        let thousandths = number(whole)? * 1000 + number(&format!("{rest:0<3}"))?;
        Self::of_thousandths(thousandths).ok_or(RolloutError::Share)
    }
}

/// All thousandths of a per cent.
pub(super) const WHOLE: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_to_a_thousandth_and_written_as_short_as_they_are() {
        for (text, thousandths, shown) in [
            ("0", 0, "0"),
            ("10", 10_000, "10"),
            ("10%", 10_000, "10"),
            ("0.001", 1, "0.001"),
            ("12.5", 12_500, "12.5"),
            ("100", 100_000, "100"),
            ("100.0", 100_000, "100"),
        ] {
            let share: Share = text.parse().unwrap();
            assert_eq!((share.thousandths(), share.to_string().as_str()), (thousandths, shown));
            let json = serde_json::to_string(&share).unwrap();
            assert_eq!(serde_json::from_str::<Share>(&json).unwrap(), share, "{json}");
        }
        for text in ["", "-1", "100.001", "101", "1e1", "0.0001", ".5", "5.", "1,5", "ten", "+1"] {
            assert_eq!(text.parse::<Share>(), Err(RolloutError::Share), "{text:?}");
        }
        for json in ["-1", "100.001", "0.0001", "\"10\"", "1e9", "null"] {
            assert!(serde_json::from_str::<Share>(json).is_err(), "{json}");
        }
    }
}
