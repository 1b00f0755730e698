//! What the commands on keys have in common: their arguments, and how times and gates are told.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;
use serde_json::{Value, json};
use trunkline::KeyId;
use trunkline::rotation::Gate;

/// What is known of readers that are not among the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum UnseenReaders {
    /// None is left that has one key only.
    None,
}

pub(super) fn time(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

pub(super) fn gate_json(gate: &Gate) -> Value {
    json!({"open": gate.is_open(), "lacking": gate.lacking, "unlisted": gate.unlisted})
}

/// A number of secrets, in words.
pub(super) fn secrets(many: u64) -> String {
    if many == 1 { "1 secret".to_owned() } else { format!("{many} secrets") }
}

/// Data keys, by their ids.
pub(super) fn data_keys(ids: &[KeyId]) -> String {
    let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let what = if ids.len() == 1 { "data key" } else { "data keys" };
    format!("{what} {}", names.join(", "))
}

/// What readers meet that know the keys of the settings alone.
pub(super) const SETTINGS_ONLY: &str = "readers that know the keys of the settings alone, such as the Python \
     service and trunkline before step 19 of the database, cannot open what a data key seals, and it cannot be \
     given to them";

/// What readers with one key meet.
pub(super) const SINGLE_KEYS: &str = "readers that have a single key, such as the Python service, do not survive \
     a rotation: they cannot open what the new key seals";
