//! The encryption keys: which one seals, how far a rotation is, who could not open, and what remains.

use askama::Template;

use super::frame::Frame;
use super::page_of;
use super::parts::{When, grouped};
use super::visit::Visit;
use crate::access::Scope;
use crate::keyring::KeyId;
use crate::rotation::{Gate, KeyHome, KeyStatus, LeftSecret, Rotation, ShownKey};
use crate::server::api::{Problem, Reply};
use crate::store::KeyPhase;

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage<'k> {
    frame: &'k Frame<'k>,
    state: State,
    rows: Vec<Row>,
    /// How many secrets are under the key that seals, of how many.
    done: u64,
    all: u64,
    shown: (String, String),
    gate: Option<Closed>,
    left: Vec<Left>,
    more_left: usize,
    may_step: bool,
}

/// One sentence, and the next step.
struct State {
    level: &'static str,
    title: String,
    next: &'static str,
    /// The step that a button takes: its name, and what the button says.
    step: Option<(&'static str, &'static str)>,
}

/// A key as a row.
struct Row {
    id: String,
    phase: &'static str,
    level: &'static str,
    is_here: bool,
    secrets: String,
    nodes: String,
    since: Option<When>,
    clean: Option<When>,
    is_compromised: bool,
    /// Where it lives.
    home: String,
    /// What can be done with it: name and label.
    steps: Vec<(&'static str, &'static str)>,
}

/// Who could not open what a key is to seal.
struct Closed {
    key: String,
    lacking: Vec<String>,
    unlisted: Vec<String>,
}

struct Left {
    id: String,
    name: String,
    why: String,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Fleet)?;
    let rotation = asking.rotation()?;
    let status = rotation.status().await?;
    let gate = gate(&rotation, &status).await?;
    let under = |key: &ShownKey| if key.id == status.sealing { key.configs } else { 0 };
    let done: u64 = status.keys.iter().map(under).sum();
    let all: u64 = status.keys.iter().map(|key| key.configs).sum();
    let frame = visit.frame("Keys", "keys");
    page_of(&KeysPage {
        state: state(&status, gate.as_ref(), (done, all)),
        rows: status.keys.iter().map(|key| Row::of(key, &status, visit)).collect(),
        done,
        all: all.max(1),
        shown: (grouped(done), grouped(all)),
        gate: gate.filter(|gate| !gate.is_open()).map(|gate| Closed::of(&gate)),
        left: status.left.iter().take(NAMED).map(Left::of).collect(),
        more_left: status.left.len().saturating_sub(NAMED),
        may_step: visit.may(Scope::Keys),
        frame: &frame,
    })
}

/// Who could not open what the key seals whose turn is next.
async fn gate(rotation: &Rotation, status: &KeyStatus) -> Result<Option<Gate>, Problem> {
    let staged = status.keys.iter().find(|key| key.phase == Some(KeyPhase::Staged));
    let next = match staged {
        Some(staged) => Some(staged.id),
        None => unused(status),
    };
    Ok(match next {
        Some(key) => Some(rotation.gate(key).await?),
        None => None,
    })
}

/// The last key of the ring that the database does not know, beside one that seals.
fn unused(status: &KeyStatus) -> Option<KeyId> {
    let sealing = status.keys.iter().find(|key| key.id == status.sealing);
    // Beside one of the database that seals, a key of the settings is there to open that.
    if sealing.is_some_and(|key| key.home == Some(KeyHome::Database)) {
        return None;
    }
    let is_unused =
        |key: &&ShownKey| key.in_ring && key.phase.is_none() && key.id != status.sealing;
    status.keys.iter().rev().find(is_unused).map(|key| key.id)
}

fn state(status: &KeyStatus, gate: Option<&Gate>, (done, all): (u64, u64)) -> State {
    let say = |level, title, next, step| State { level, title, next, step };
    let of = |phase| status.keys.iter().find(move |key: &&ShownKey| key.phase == Some(phase));
    let is_exposed =
        |key: &&ShownKey| key.compromised_at.is_some() && key.phase != Some(KeyPhase::Retired);
    if let Some(key) = status.keys.iter().find(is_exposed) {
        let next = "Take it out of use at once, then replace the key pairs that were under it.";
        return say("bad", format!("Others may have key {}.", key.id), next, None);
    }
    if !status.left.is_empty() {
        let many = grouped(status.left.len() as u64);
        let next = "Bring back the key that sealed them, or enter each again.";
        return say("bad", format!("No key of this node opens {many} secrets."), next, None);
    }
    if let Some(unopened) = status.unopened.first() {
        let next =
            "What it seals does not open at this node. Add its root key, or restore its row.";
        return say("bad", format!("{unopened}.").replacen("data key", "Data key", 1), next, None);
    }
    if let Some(why) = status.turns.as_ref().and_then(|turns| turns.blocked_by.as_ref()) {
        let next = "See to it: turning by schedule forces nothing, and goes on by itself then.";
        return say("warn", format!("The schedule waits: {why}."), next, None);
    }
    if let Some(staged) = of(KeyPhase::Staged) {
        return match gate.filter(|gate| !gate.is_open()) {
            Some(gate) => {
                let next = "Give it to them and reload them; then it can be promoted.";
                let title = format!(
                    "Key {} is staged, and not everywhere: {}.",
                    staged.id,
                    gate.closed_because()
                );
                say("warn", title, next, Some(("promote", "Promote it…")))
            }
            None => {
                let title = format!("Key {} is staged, and opens everywhere.", staged.id);
                say("note", title, "Promote it: then it seals.", Some(("promote", "Promote it…")))
            }
        };
    }
    if done < all {
        let title =
            format!("{} of {} secrets are under an older key.", grouped(all - done), grouped(all));
        let next = "Seal them again under the key that seals. Calls go on meanwhile.";
        return say("warn", title, next, Some(("rotate", "Seal again…")));
    }
    if let Some(key) = unused(status) {
        let title = format!("Key {key} is in the ring and not used yet.");
        return say("note", title, "Stage it, to turn to it.", Some(("stage", "Stage it…")));
    }
    if let Some(key) = of(KeyPhase::Old).or_else(|| of(KeyPhase::Refused)) {
        let title = format!("Key {} seals nothing any more.", key.id);
        let next = "A day without a secret under it later it is refused, and retired after that.";
        return say("note", title, next, Some(("rotate", "Go on…")));
    }
    let title = format!("Key {} seals, and every secret is under it.", status.sealing);
    say("good", title, "To turn to another one, put it last into the ring of every node.", None)
}

impl Row {
    fn of(key: &ShownKey, status: &KeyStatus, visit: &Visit<'_>) -> Self {
        let when = |at: Option<_>| at.map(|at| When::new(at, visit.now));
        let is_first = key.id == status.sealing;
        let (phase, level) = match key.phase {
            Some(KeyPhase::Sealing) => ("seals", "good"),
            None if is_first => ("seals", "good"),
            Some(KeyPhase::Staged) => ("staged", ""),
            Some(KeyPhase::Old) => ("old", "warn"),
            Some(KeyPhase::Refused) => ("refused", "warn"),
            Some(KeyPhase::Retired) => ("retired", "plain"),
            None => ("not used", "plain"),
        };
        let mut steps = Vec::new();
        match key.phase {
            Some(KeyPhase::Staged) => steps.push(("retire", "Drop it…")),
            Some(KeyPhase::Old) => steps.push(("retire", "Refuse it…")),
            Some(KeyPhase::Refused) => {
                steps.extend([("retire", "Retire it…"), ("back", "Let it open again…")]);
            }
            _ => {}
        }
        if key.in_ring && key.phase != Some(KeyPhase::Retired) {
            steps.push(("compromise", "Others may have it…"));
        }
        Self {
            id: key.id.to_string(),
            phase,
            level,
            is_here: key.in_ring,
            secrets: grouped(key.configs),
            nodes: match key.nodes.len() {
                0 => "none".to_owned(),
                many if many == status.nodes.len() => format!("all {many}"),
                many => format!("{many} of {}", status.nodes.len()),
            },
            since: when(key.since),
            clean: when(key.clean_since),
            is_compromised: key.compromised_at.is_some(),
            home: match (key.home, key.root) {
                (Some(KeyHome::Database), Some(root)) => format!("the database, sealed by {root}"),
                (Some(KeyHome::Settings), _) if !key.data_keys.is_empty() => {
                    "the settings; it seals keys of the database".to_owned()
                }
                (Some(KeyHome::Settings), _) => "the settings".to_owned(),
                _ => String::new(),
            },
            steps,
        }
    }
}

impl Closed {
    fn of(gate: &Gate) -> Self {
        let unlisted = gate.unlisted.iter().map(|node| format!("{} ({})", node.name, node.role));
        Self {
            key: gate.key.to_string(),
            lacking: gate.lacking.iter().map(|node| node.name.clone()).collect(),
            unlisted: unlisted.collect(),
        }
    }
}

impl Left {
    fn of(left: &LeftSecret) -> Self {
        Self { id: left.config_id.to_string(), name: left.name.clone(), why: left.message.clone() }
    }
}

/// How many secrets are named that do not open.
const NAMED: usize = 20;
