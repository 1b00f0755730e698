//! What criterion has measured, read from the files that it leaves.

use std::path::PathBuf;

use serde_json::Value;

/// The median of a function that has just run, in nanoseconds.
pub(crate) fn median(group: &str, function: &str) -> f64 {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(target).join("criterion");
    let file = folder.join(group).join(function).join("new/estimates.json");
    let text = std::fs::read(&file)
        .unwrap_or_else(|error| panic!("criterion has left no {}: {error}", file.display()));
    let estimates: Value = serde_json::from_slice(&text).expect("criterion writes JSON");
    estimates["median"]["point_estimate"].as_f64().expect("a median")
}
