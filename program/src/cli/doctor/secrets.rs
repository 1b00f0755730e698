//! Which key opens which secret. No secret is told, nor what it was sealed as.

use std::collections::BTreeMap;

use trunkline::KeyRing;
use trunkline::store::{Config, KeptPair};

use super::{DoctorFinding, bad, failed, good, warning};
use crate::cli::failure::Failure;

/// The keys that rest in the database, and those of them that do not open here.
pub(super) fn data_keys(ring: &KeyRing) -> Vec<DoctorFinding> {
    let many = ring.key_ids().len() - ring.root_ids().len();
    let open = (many > 0).then(|| good("data keys", format!("{many} open here")));
    let unopened = ring.unopened().iter().map(|key| {
        let hint = if key.is_damaged {
            "restore its row from a backup; without it, enter each secret again that it sealed"
        } else {
            "add its root key to LIVEKIT_SECRET_ENCRYPTION_KEY, after a comma"
        };
        bad("data keys", key.to_string(), hint)
    });
    open.into_iter().chain(unopened).collect()
}

/// How many secrets each key opens, those under an older key, and which ones none does. Those of pairs that are
/// pending or previous are among them.
pub(super) fn look(configs: &[Config], others: &[KeptPair], ring: &KeyRing) -> Vec<DoctorFinding> {
    let mut by_key = BTreeMap::<_, u64>::new();
    let mut findings = Vec::new();
    let of_configs = configs.iter().map(|config| (config, String::new()));
    let of_pairs =
        others.iter().map(|pair| (&pair.config, format!(" ({} pair)", pair.phase.as_str())));
    for (config, which) in of_configs.chain(of_pairs) {
        match config.open(ring) {
            Ok(opened) => *by_key.entry(opened.key).or_default() += 1,
            Err(error) => {
                let mut failure = Failure::from(error);
                failure.message = format!("of \"{}\"{which}: {}", config.name, failure.message);
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
