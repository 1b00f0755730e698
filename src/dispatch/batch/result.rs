//! Results, and the members that all of them have.

use serde_json::{Value, json};

use super::record::EntryKey;
use crate::dispatch::{CallRequest, Outcome, Report};

/// The result of an entry that was tried.
pub(super) fn result(
    key: EntryKey,
    request: &CallRequest,
    report: &Report,
    attempts: u64,
) -> Value {
    let mut result = whose(key.0, request);
    if let (Value::Object(result), Ok(Value::Object(report))) =
        (&mut result, serde_json::to_value(report))
    {
        result.extend(report);
    }
    result["attempts"] = json!(attempts);
    result
}

/// The result of an entry that was not tried, since its place was given up.
pub(super) fn held_back(line: u64, request: &CallRequest, what: &str) -> Value {
    let mut result = whose(line, request);
    result["outcome"] = json!(Outcome::HeldBack);
    result["message"] = json!(format!("{what} failed for too long"));
    result
}

/// The result of an entry that would call the same person as another one.
pub(super) fn duplicate(line: u64, request: &CallRequest, first: u64, left: bool) -> Value {
    let mut result = whose(line, request);
    let more = if left { ", and is left" } else { "" };
    result["outcome"] = json!(Outcome::Duplicate);
    result["message"] = json!(format!("line {first} calls the same person{more}"));
    result["duplicate_of"] = json!(first);
    result
}

/// The members that say whose result it is.
pub(super) fn whose(line: u64, request: &CallRequest) -> Value {
    json!({
        "line": line,
        "job_id": request.job,
        "tenant_id": request.caller.tenant,
        "from": request.caller.number,
        "to": request.to,
    })
}
