//! Which key opens which secret. No secret is told, nor what it was sealed as.

use std::collections::BTreeMap;

use trunkline::KeyRing;
use trunkline::store::Config;

use super::{DoctorFinding, failed, good, warning};
use crate::cli::failure::Failure;

/// How many secrets each key opens, those under an older key, and which ones none does.
pub(super) fn look(configs: &[Config], ring: &KeyRing) -> Vec<DoctorFinding> {
    let mut by_key = BTreeMap::<_, u64>::new();
    let mut findings = Vec::new();
    for config in configs {
        match config.open(ring) {
            Ok(opened) => *by_key.entry(opened.key).or_default() += 1,
            Err(error) => {
                let mut failure = Failure::from(error);
                failure.message = format!("of \"{}\": {}", config.name, failure.message);
                findings.push(failed("secrets", failure));
            }
        }
    }
    let first = match ring.sealing_id() {
        Ok(key) => Some(key),
        Err(error) => {
            findings.push(failed("secrets", error));
            None
        }
    };
    findings.extend(by_key.into_iter().map(|(key, count)| {
        if Some(key) == first {
            return good("secrets", format!("{count} open with key {key}"));
        }
        let found =
            format!("{count} open with the older key {key} and not with the one that seals");
        let hint = "`trunkline key rotate` seals them again; do that before you remove that key";
        warning("secrets", found, Some(hint))
    }));
    findings
}
