//! The words of a rollout: its stages, and what a share is a share of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RolloutError;

/// How far the rollout has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The environment answers everybody.
    Off,
    /// The environment answers everybody, and what the database would have answered is compared.
    Shadow,
    /// The database answers a share of the tenants or numbers.
    Percent,
    /// The database answers everybody, and the environment where it cannot.
    Live,
    /// The database answers everybody, and the environment nobody.
    Complete,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 5] = [Self::Off, Self::Shadow, Self::Percent, Self::Live, Self::Complete];

    /// Whether the environment answers a caller for whom the database cannot.
    #[must_use]
    pub const fn falls_back(self) -> bool {
        !matches!(self, Self::Complete)
    }

    /// Its name in rows, on the command line and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Percent => "percent",
            Self::Live => "live",
            Self::Complete => "complete",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Stage {
    type Err = RolloutError;

    fn from_str(word: &str) -> Result<Self, RolloutError> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word).ok_or(RolloutError::Stage)
    }
}

/// What a share is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Of the tenants: all numbers of one are on the same side.
    #[default]
    Tenant,
    /// Of the numbers.
    Number,
}

impl Unit {
    /// Its name in rows and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Number => "number",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Unit {
    type Err = RolloutError;

    fn from_str(word: &str) -> Result<Self, RolloutError> {
        match word {
            "tenant" => Ok(Self::Tenant),
            "number" => Ok(Self::Number),
            _ => Err(RolloutError::Unit),
        }
    }
}
