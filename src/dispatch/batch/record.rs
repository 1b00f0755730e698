//! The lines of a journal, as they stand on disk.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::number::E164;

/// How a journal tells entries apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub(super) enum Version {
    /// As [`first_version`](super::first_version) says.
    First,
    /// By lines as editors count them.
    #[default]
    Second,
}

impl From<Version> for u32 {
    fn from(version: Version) -> Self {
        match version {
            Version::First => 1,
            Version::Second => 2,
        }
    }
}

impl TryFrom<u32> for Version {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, &'static str> {
        match number {
            1 => Ok(Self::First),
            2 => Ok(Self::Second),
            _ => Err("a version of the journal must be 1 or 2"),
        }
    }
}

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) batch: String,
    pub(super) version: Version,
}

/// Any other line: what became of an entry.
#[derive(Serialize, Deserialize)]
pub(super) struct JournalRecord {
    pub(super) line: u64,
    #[serde(with = "hex")]
    pub(super) digest: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<ConfigIdText>,
    #[serde(default, with = "plus", skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<E164>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) engine: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) undone: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Value>,
}

/// The line of an entry, and what tells it from another one there.
pub(super) type EntryKey = (u64, u64);

impl JournalRecord {
    pub(super) fn of((line, digest): EntryKey) -> Self {
        let (room, config, to, result) = (None, None, None, None);
        Self { line, digest, room, config, to, engine: false, undone: false, result }
    }
}

/// 64 bits as 16 hex digits, since readers of JSON may round numbers of that size.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub(super) fn serialize<S: Serializer>(number: &u64, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// A number with its plus.
mod plus {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::number::E164;

    #[expect(clippy::ref_option, reason = "serde wants it so")]
    pub(super) fn serialize<S: Serializer>(to: &Option<E164>, out: S) -> Result<S::Ok, S::Error> {
        to.serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<E164>, D::Error> {
        let text = <Option<std::borrow::Cow<'de, str>>>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// A config id as text.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ConfigIdText(pub(super) uuid::Uuid);
