//! Who else resolves from the database: silent nodes, nodes that differ from each other or from these
//! settings, and whether a node of this role can be listed.

use std::collections::BTreeMap;

use trunkline::nodes::{Node, NodeState, Nodes};
use trunkline::store::{Access, Inspection, MissingGrant, OpenStore, StoreError};
use trunkline::{KeyId, Settings};

use super::{DoctorFinding, failed, good, warning};

pub(super) async fn look(
    database: &OpenStore,
    inspection: Option<&Inspection>,
    settings: &Settings,
    ring: &[KeyId],
) -> Vec<DoctorFinding> {
    let lacks = inspection.map(|inspection| inspection.lacks(Access::Node)).unwrap_or_default();
    if !lacks.is_empty() {
        let privileges: Vec<_> = lacks.iter().map(|lack| lack.privilege).collect();
        let (role, on) = (&lacks[0].role, &lacks[0].on);
        let found = format!(
            "a node with the role {role} is not listed: it lacks {} on {on}",
            privileges.join(", ")
        );
        let grants: Vec<_> = lacks.iter().map(MissingGrant::grant).collect();
        return vec![warning("nodes", found, Some(&grants.join("; ")))];
    }
    let nodes = match Nodes::of(database).list().await {
        Ok(nodes) => nodes,
        // The check of migrations says so.
        Err(StoreError::NotMigrated { .. }) => return Vec::new(),
        Err(error) => return vec![failed("nodes", error)],
    };
    let (live, silent): (Vec<_>, Vec<_>) =
        nodes.into_iter().partition(|node| node.state == NodeState::Live);
    let mut findings = vec![good("nodes", format!("{} live", live.len()))];
    if !silent.is_empty() {
        let found = format!("silent: {}", names(silent.iter()));
        let hint = "each counts until its MAX_STALE is over, since it may go on answering; see whether it \
                    runs and reaches the database";
        findings.push(warning("nodes", found, Some(hint)));
    }
    findings.extend(differences(&live, settings, ring));
    findings
}

/// What live nodes do not have in common with each other or with these settings.
fn differences(live: &[Node], settings: &Settings, ring: &[KeyId]) -> Vec<DoctorFinding> {
    if live.is_empty() {
        return Vec::new();
    }
    let ring: Vec<_> = ring.iter().map(ToString::to_string).collect();
    let version = env!("CARGO_PKG_VERSION");
    let findings = [
        differ(live, "key rings", |node| node.keys.join(","), &ring.join(","), KEYS_HINT),
        differ(
            live,
            "settings",
            |node| node.settings.clone(),
            settings.fingerprint(),
            SETTINGS_HINT,
        ),
        differ(live, "versions", |node| node.version.clone(), version, VERSIONS_HINT),
    ];
    findings.into_iter().flatten().collect()
}

fn differ(
    live: &[Node],
    what: &str,
    of: fn(&Node) -> String,
    here: &str,
    hint: &str,
) -> Option<DoctorFinding> {
    let mut variants = BTreeMap::<String, Vec<&Node>>::from([(here.to_owned(), Vec::new())]);
    for node in live {
        variants.entry(of(node)).or_default().push(node);
    }
    if variants.len() < 2 {
        return None;
    }
    let told = variants.iter().map(|(variant, nodes)| {
        let mut whose = names(nodes.iter().copied());
        if variant == here {
            whose = if whose.is_empty() { "here".to_owned() } else { format!("here, {whose}") };
        }
        format!("{} ({whose})", if variant.is_empty() { "none" } else { variant })
    });
    let found = format!("{what} differ: {}", told.collect::<Vec<_>>().join("; "));
    Some(warning("nodes", found, Some(hint)))
}

fn names<'n>(nodes: impl ExactSizeIterator<Item = &'n Node>) -> String {
    let many = nodes.len();
    let mut names: Vec<_> = nodes.take(NAMED).map(|node| node.name.clone()).collect();
    if many > NAMED {
        names.push(format!("{} more", many - NAMED));
    }
    names.join(", ")
}

/// How many a finding names.
const NAMED: usize = 5;
const KEYS_HINT: &str =
    "a secret that one of them seals may not open on another: see \"Keys\" in docs/operations.md";
const SETTINGS_HINT: &str = "compare what `trunkline settings show` prints on each";
const VERSIONS_HINT: &str = "versions may run side by side for a while: go on with the upgrade";
