//! How version 1 of the journal identified entries, so that a batch that it began can be resumed.
//!
//! It knew headings by their exact names, and the last of two members with one name won.

use std::collections::BTreeMap;

use serde_json::Value;

use super::digest::hash;

/// What told an entry of CSV from another one on its line.
pub(super) fn of_csv(headings: &[String], fields: &[String]) -> u64 {
    let values = headings.iter().zip(fields).filter(|(_, value)| !value.is_empty());
    digest(values.map(|(heading, value)| (ours(heading.trim()), Value::from(value.as_str()))))
}

/// The same of a JSON line.
pub(super) fn of_json(members: &[(String, Value)]) -> u64 {
    let last: BTreeMap<_, _> = members.iter().map(|(name, value)| (name, value)).collect();
    digest(last.into_iter().map(|(name, value)| (ours(name), value.clone())))
}

fn digest<'a>(members: impl Iterator<Item = (&'a str, Value)>) -> u64 {
    let sorted: BTreeMap<_, _> = members.collect();
    hash(&serde_json::to_string(&sorted).unwrap_or_default())
}

fn ours(name: &str) -> &str {
    match name {
        "to_number" => "to",
        "from_number" => "from",
        "tenant_id" => "tenant",
        "job_id" => "job",
        name => name,
    }
}
