//! A step of a rotation: first what it would do, then the step, with the password given again.

use askama::Template;
use chrono::{DateTime, Utc};

use super::frame::Frame;
use super::page_of;
use super::parts::exact;
use super::rules;
use super::visit::Visit;
use crate::access::Scope;
use crate::keyring::KeyId;
use crate::rotation::{Census, Exposure, Gate, LeftSecret, Promoted, Retiring, Staged};
use crate::server::api::keys::{self as api, Rotated, Step};
use crate::server::api::{Asking, Problem, Reply};
use crate::store::KeyPhase;

#[derive(Template)]
#[template(path = "key-step.html")]
struct StepPage<'s> {
    frame: &'s Frame<'s>,
    name: String,
    key: String,
    label: &'static str,
    /// What it would do, or did.
    lines: Vec<String>,
    is_done: bool,
    refused: Option<(String, Option<&'static str>)>,
    wrong: Option<String>,
    options: Vec<Choice>,
    backups: Option<String>,
    asks_password: bool,
}

/// A box that can be ticked.
struct Choice {
    name: &'static str,
    label: &'static str,
    is_on: bool,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Keys)?;
    let name = visit.form.get("do");
    let Some((_, label, options)) = STEPS.iter().find(|(step, ..)| *step == name) else {
        return Err(Problem::field("field_malformed", "do", "is nothing that is done"));
    };
    let mut step = step_of(visit)?;
    let (mut wrong, mut is_done) = (None, false);
    if visit.form.get("take") == "yes" {
        match visit.confirmed(&asking).await {
            Ok(()) => step.preview = false,
            Err(problem) => wrong = Some(problem.message().to_owned()),
        }
    }
    let taken = !step.preview;
    let (lines, refused) = match told(&asking, &name, &step).await {
        Ok(lines) => {
            is_done = taken;
            (lines, None)
        }
        Err(problem) => (Vec::new(), Some((problem.message().to_owned(), problem.hint_text()))),
    };
    let ticked = |option: &&'static str| visit.form.get(option) == "yes";
    let options = OPTIONS
        .iter()
        .filter(|(name, _)| options.contains(name))
        .map(|(name, label)| Choice { name, label, is_on: ticked(name) });
    let frame = visit.frame(label, "keys");
    let status = match (&refused, &wrong) {
        (Some(_), _) => 409,
        (None, Some(_)) => 403,
        _ => 200,
    };
    let reply = page_of(&StepPage {
        key: step.key.map(|key| key.to_string()).unwrap_or_default(),
        label,
        lines,
        is_done,
        refused,
        wrong,
        options: options.collect(),
        backups: matches!(&*name, "rotate" | "retire").then(|| visit.form.get("backups")),
        asks_password: asking.needs_confirmation().is_err(),
        name,
        frame: &frame,
    })?;
    Ok(reply.code(status))
}

fn step_of(visit: &Visit<'_>) -> Result<Step, Problem> {
    let key = visit.form.given("key").map(|key| key.parse::<KeyId>()).transpose();
    let day = visit.form.given("backups").map(|day| format!("{day}T00:00:00Z"));
    let day = day.map(|day| DateTime::parse_from_rfc3339(&day)).transpose();
    let is_on = |name| visit.form.get(name) == "yes";
    Ok(Step {
        wrapped: false,
        root: None,
        key: key.map_err(|_| Problem::field("field_malformed", "key", "is no id of a key"))?,
        readers_confirmed: is_on("readers"),
        force: is_on("force"),
        now: is_on("now"),
        back: visit.form.get("do") == "back",
        backups_from: day
            .map_err(|_| Problem::field("field_malformed", "backups", "must be a day"))?
            .map(|day| day.to_utc()),
        preview: true,
    })
}

/// What a step would do, or did, in words.
async fn told(asking: &Asking<'_>, name: &str, step: &Step) -> Result<Vec<String>, Problem> {
    let would = step.preview;
    Ok(match name {
        "stage" => staged(&api::stage(asking, step).await?, would),
        "promote" => promoted(&api::promote(asking, step).await?, would),
        "rotate" => rotated(&api::rotate(asking, step).await?, would),
        "verify" => verified(&api::verify(asking).await?),
        "compromise" => exposed(&api::compromise(asking, step).await?, would),
        _ => retired(&api::retire(asking, step).await?, would),
    })
}

fn staged(staged: &Staged, would: bool) -> Vec<String> {
    let is = if would { "would be" } else { "is" };
    let mut lines =
        vec![format!("Key {} {is} staged; key {} goes on sealing.", staged.key, staged.sealing)];
    lines.extend(closed(&staged.gate));
    if !staged.readers_confirmed {
        lines.push(
            "Readers that have a single key, such as the Python service, do not survive a rotation: they \
             cannot open what the new key seals. Before it is promoted, say that none is left."
                .to_owned(),
        );
    }
    lines
}

fn closed(gate: &Gate) -> Option<String> {
    (!gate.is_open()).then(|| format!("Not everywhere yet: {}.", gate.closed_because()))
}

fn promoted(promoted: &Promoted, would: bool) -> Vec<String> {
    let seals = if would { "would seal" } else { "seals" };
    let mut lines = vec![format!("Key {} {seals} what is written from now on.", promoted.key)];
    lines.extend(promoted.old.map(|old| format!("Key {old} goes on opening what it sealed.")));
    lines.extend(closed(&promoted.gate));
    lines
}

fn rotated(done: &Rotated, would: bool) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(done.staged.iter().flat_map(|one| staged(one, would)));
    lines.extend(done.promoted.iter().flat_map(|one| promoted(one, would)));
    let is = if would { "would be" } else { "were" };
    lines.push(format!("{} {is} sealed again.", secrets(done.resealing.resealed)));
    if !done.is_whole {
        lines.push("There are more: go on with the next press.".to_owned());
    }
    if done.resealing.busy > 0 {
        lines.push(format!("{} are being edited at this moment.", secrets(done.resealing.busy)));
    }
    lines.extend(left(&done.resealing.left));
    lines.extend(done.retired.iter().flat_map(|one| retired(one, would)));
    lines.extend(done.waiting.iter().map(|one| format!("Key {} waits: {}.", one.key, one.why)));
    lines
}

fn verified(census: &Census) -> Vec<String> {
    let under =
        census.by_key.iter().map(|(key, many)| format!("{} under key {key}.", secrets(*many)));
    under.chain(left(&census.left)).collect()
}

fn left(left: &[LeftSecret]) -> impl Iterator<Item = String> + '_ {
    left.iter().map(|left| format!("“{}” is left as it is: {}.", left.name, left.message))
}

fn retired(retiring: &Retiring, would: bool) -> Vec<String> {
    let is = if would { "would be" } else { "is" };
    let key = retiring.key;
    let mut lines = vec![match retiring.phase {
        KeyPhase::Refused => {
            format!(
                "Key {key} {is} refused: it opens nothing, on any node, though it is still there."
            )
        }
        KeyPhase::Retired => format!("Key {key} {is} retired. It is never taken again."),
        phase => format!("Key {key} {is} {} again: it opens what it sealed.", phase.as_str()),
    }];
    if retiring.phase == KeyPhase::Retired && !retiring.nodes.is_empty() {
        lines.push(format!("Take it out of the ring of {}.", retiring.nodes.join(", ")));
    }
    if let Some(need) = &retiring.backups {
        let day = |at: Option<DateTime<Utc>>| at.map_or_else(|| "ever".to_owned(), exact);
        lines.push(format!(
            "Keep a copy in your secret store: backups from {} to {} need it.",
            day(need.from),
            day(need.to)
        ));
    }
    lines
}

fn exposed(exposure: &Exposure, would: bool) -> Vec<String> {
    let key = exposure.key;
    let mut lines = vec![if would {
        format!("Another key would seal at once, and key {key} would open nothing any more.")
    } else {
        format!("Key {key} opens nothing any more.")
    }];
    let many = exposure.configs.len();
    lines.push(format!(
        "{} may have been read in the table: replace each key pair at its server, then enter it here.",
        secrets(many as u64)
    ));
    if many > 0 {
        let named = exposure.configs.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = many.saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("They are: {named}{more}."));
    }
    lines.push(
        "Tokens that were signed with them stay good until they expire, and calls in the air may be ended \
         with them until the pairs are replaced."
            .to_owned(),
    );
    let since = exposure.backups_since.map_or_else(|| "ever".to_owned(), exact);
    lines.push(format!("Backups, replicas and archived logs hold secrets under it since {since}."));
    let until = exact(exposure.memory_until);
    lines.push(format!("Answers in memory may hold what it sealed until {until} at the latest."));
    if !exposure.nodes.is_empty() {
        lines.push(format!("Take it out of the ring of {}.", exposure.nodes.join(", ")));
    }
    lines
}

fn secrets(many: u64) -> String {
    rules::counted(many, "secret")
}

/// Each step: its name, what it is called, and what can be ticked.
const STEPS: &[(&str, &str, &[&str])] = &[
    ("stage", "Stage a key", &["readers"]),
    ("promote", "Promote a key", &["readers", "force"]),
    ("rotate", "Rotate the keys", &["readers", "force", "now"]),
    ("verify", "Verify every secret", &[]),
    ("retire", "Retire a key", &["now"]),
    ("back", "Let a key open again", &[]),
    ("compromise", "Others may have a key", &[]),
];

const OPTIONS: [(&str, &str); 3] = [
    ("readers", "No reader is left that is not among the nodes and has one key only"),
    ("force", "Go on without the nodes that do not have the key: what they read fails there"),
    ("now", "Do not wait, in an emergency"),
];

/// How many configs are named.
const NAMED: usize = 20;
