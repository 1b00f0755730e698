//! Problems of settings, and warnings about valid ones.

use std::fmt;

use crate::keyring::KeyError;

/// Every problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which variable.
    pub variable: String,
    /// What is wrong, and what would be right. Never contains the value.
    pub message: String,
    /// The error of the key ring, where it is about that.
    pub key: Option<KeyError>,
}

/// Something odd about settings that are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Which variable, or `.env`.
    pub variable: String,
    /// What is unusual, and what would be right. Never contains the value.
    pub message: String,
    /// Whether it is unsafe to leave it so.
    pub unsafe_so: bool,
}

impl Warning {
    pub(super) fn new(variable: &str, message: impl Into<String>) -> Self {
        Self { variable: variable.to_owned(), message: message.into(), unsafe_so: false }
    }

    /// Logs it.
    pub fn log(&self) {
        tracing::warn!("{self}");
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.variable, self.message)
    }
}

impl SettingsError {
    /// The error of the key ring, if that is all that is wrong.
    #[must_use]
    pub fn only_key(&self) -> Option<&KeyError> {
        match self.problems.as_slice() {
            [Problem { key, .. }] => key.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the settings are not valid")?;
        for Problem { variable, message, .. } in &self.problems {
            write!(out, "\n  {variable}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}
