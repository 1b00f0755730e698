//! One field of a draft, and what can be wrong with it.

use std::fmt;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::access::{NumberPrefixError, RoomPatternError, Scope, UnknownRole, UnknownScope};
use crate::keyring::KeyError;
use crate::number::{IdError, NumberError};
use crate::rules::RulesError;
use crate::server_url::ServerUrlError;

/// A field that is wrong: its name as JSON has it, such as `api_key`, and why.
///
/// Shown as `api_key: must not be empty`. Never holds what was entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
#[non_exhaustive]
pub struct FieldError {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

impl FieldError {
    pub(super) fn new(field: &'static str, problem: impl Into<FieldProblem>) -> Self {
        Self { field, problem: problem.into() }
    }

    /// The URL of a config, which leads to where no LiveKit server is. Only who looks its host up
    /// knows that.
    #[must_use]
    pub fn off_limits() -> Self {
        Self::new("url", FieldProblem::OffLimits)
    }

    /// The URL of a config, which came over the API and leads into a private network.
    #[must_use]
    pub fn address_private() -> Self {
        Self::new("url", FieldProblem::AddressPrivate)
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldProblem {
    /// There is nothing in it but white space.
    #[error("must not be empty")]
    Empty,
    /// It is too long.
    #[error("must have at most {longest} characters")]
    TooLong {
        /// How many characters it may have.
        longest: usize,
    },
    /// It holds a control character, or one that nobody sees.
    #[error("must hold no character that cannot be seen, such as a line break")]
    Hidden,
    /// It holds white space, and must be one word.
    #[error("must hold no white space")]
    WhiteSpace,
    /// It is a secret with white space around it.
    #[error("must not begin or end with white space, such as a second line break")]
    Padded,
    /// It is not the URL of a server.
    #[error(transparent)]
    Url(#[from] ServerUrlError),
    /// It is the URL of a host that `LIVEKIT_HOSTS` does not name.
    #[error("its host is not in LIVEKIT_HOSTS, so no call would use it")]
    HostNotAllowed,
    /// It is, or leads to, an address where no LiveKit server is.
    #[error(
        "its host is, or leads to, a link-local address or one where a cloud tells machines about \
         themselves; no LiveKit server is there"
    )]
    OffLimits,
    /// It came from elsewhere, and leads into a network that nobody named for that.
    #[error("its host is, or leads to, an address of a private network or of this machine")]
    AddressPrivate,
    /// The secret cannot be sealed, or does not open.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It is not a tenant.
    #[error(transparent)]
    Tenant(#[from] IdError),
    /// It is not a number.
    #[error(transparent)]
    Number(#[from] NumberError),
    /// They are not rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Nothing says for which tenants, or two things do.
    #[error("must name tenants, or all of them, and not both")]
    WhichTenants,
    /// It is not the beginning of numbers.
    #[error(transparent)]
    NumberPrefix(#[from] NumberPrefixError),
    /// It is not what a client may ask.
    #[error(transparent)]
    Scope(#[from] UnknownScope),
    /// A scope is there without the one that it is nothing without.
    #[error("must have {needed} beside {scope}")]
    ScopeAlone {
        /// Which scope.
        scope: Scope,
        /// The one that it needs.
        needed: Scope,
    },
    /// It is not a pattern of rooms.
    #[error(transparent)]
    Room(#[from] RoomPatternError),
    /// It is a right on rooms, and no room is named.
    #[error("needs a room, such as call-*")]
    RoomMissing,
    /// It is not a time, or out of bounds.
    #[error("must be a time from {least} to {most}, such as 30s, 5m, 1h or 90d")]
    Time {
        /// The shortest.
        least: &'static str,
        /// The longest.
        most: &'static str,
    },
    /// A scope is given to a client that is limited, and is not of its tenants and numbers alone.
    #[error("must not have {scope} for some tenants or numbers: it is of all")]
    ScopeOfAll {
        /// Which scope.
        scope: Scope,
    },
    /// It is not the name of a user.
    #[error("must be letters, digits and . _ - + @, beginning with a letter or digit")]
    UserName,
    /// It is not a name for a client.
    #[error("must not begin with user:, as the names of people do in the audit")]
    ClientName,
    /// It is a UUID, and would be taken for the tenant's own.
    #[error("must not be a UUID, which stands for the tenant with that id")]
    LabelIsId,
    /// It is not a role.
    #[error(transparent)]
    Role(#[from] UnknownRole),
    /// It cannot be a password.
    #[error("must have 12 characters or more, at most 256 bytes, and no control character")]
    Password,
    /// It holds a NUL character, which Postgres does not store.
    #[error("must hold no NUL character")]
    Nul,
}

impl FieldProblem {
    /// A stable `snake_case` name for the problem, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty
            | Self::TooLong { .. }
            | Self::Hidden
            | Self::WhiteSpace
            | Self::WhichTenants
            | Self::NumberPrefix(_)
            | Self::Scope(_)
            | Self::ScopeAlone { .. }
            | Self::Room(_)
            | Self::RoomMissing
            | Self::ScopeOfAll { .. }
            | Self::UserName
            | Self::ClientName
            | Self::LabelIsId
            | Self::Role(_)
            | Self::Time { .. } => "field_malformed",
            Self::Padded => "secret_malformed",
            Self::Password => "password_malformed",
            Self::Url(_) => "url_malformed",
            Self::HostNotAllowed => "host_not_allowed",
            Self::OffLimits => "off_limits",
            Self::AddressPrivate => "address_private",
            Self::Key(error) => error.code(),
            Self::Tenant(_) => "tenant_malformed",
            Self::Number(_) => "number_malformed",
            Self::Rules(_) | Self::Nul => "rules_malformed",
        }
    }
}

/// Every field of a draft that is wrong, in the order of its fields; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Nothing to say where all fields are right.
    pub(super) fn of<'a>(
        errors: impl IntoIterator<Item = Option<&'a FieldError>>,
    ) -> Result<(), Self> {
        let errors: Vec<_> = errors.into_iter().flatten().cloned().collect();
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// Both, or every error of either.
    pub(super) fn both<T, U>(
        first: Result<T, Self>,
        second: Result<U, FieldError>,
    ) -> Result<(T, U), Self> {
        match (first, second) {
            (Ok(first), Ok(second)) => Ok((first, second)),
            (Ok(_), Err(error)) => Err(error.into()),
            (Err(errors), Ok(_)) => Err(errors),
            (Err(mut errors), Err(error)) => {
                errors.0.push(error);
                Err(errors)
            }
        }
    }

    /// The first one.
    #[must_use]
    pub fn first(&self) -> &FieldError {
        &self.0[0]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &FieldError> {
        self.0.iter()
    }
}

impl From<FieldError> for FieldErrors {
    fn from(error: FieldError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(out, "{}{error}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}

/// A text with something in it, all of which can be seen.
pub(super) fn text(field: &'static str, text: &str, longest: usize) -> Result<String, FieldError> {
    let problem = if text.trim().is_empty() {
        FieldProblem::Empty
    } else if text.chars().count() > longest {
        FieldProblem::TooLong { longest }
    } else if text.contains(is_hidden) {
        FieldProblem::Hidden
    } else {
        return Ok(text.to_owned());
    };
    Err(FieldError::new(field, problem))
}

/// A text without white space.
pub(super) fn word(field: &'static str, word: &str) -> Result<String, FieldError> {
    let word = text(field, word, SHORT)?;
    if word.contains(char::is_whitespace) {
        return Err(FieldError::new(field, FieldProblem::WhiteSpace));
    }
    Ok(word)
}

/// Whether a terminal might obey a character, or a person overlook it: control characters, and those
/// that nobody sees or that turn the order of others around.
///
/// ```
/// use trunkline::draft::is_hidden;
///
/// assert!("eu\u{202e}".contains(is_hidden) && !"خدمة العملاء 7".contains(is_hidden));
/// ```
#[must_use]
pub fn is_hidden(character: char) -> bool {
    !character.is_ascii_graphic()
        && character != ' '
        && matches!(
            character.general_category(),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
        )
}

/// How many characters the columns of names take.
pub(super) const SHORT: usize = 255;
