//! `Resolver::explain`: the steps of a resolution and the reason for each.

use serde::Serialize;

use super::Resolver;
use super::decision::{Chosen, Decision, given};
use super::live::Running;
use super::loader::Loader;
use crate::answer::ResolveError;
use crate::cache::{Resolution, ResolveOutcome, ThreadCache};
use crate::number::Caller;
use crate::rollout::{Rollout, Share, Side, Stage};
use crate::rules::RulesStatus;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was looked at.
    pub step: &'static str,
    /// What was found, and what follows from it. Holds no secret.
    pub found: String,
}

/// The steps of a resolution, and what they came to.
#[derive(Debug)]
pub struct Explanation {
    /// In the order in which they were taken.
    pub steps: Vec<Step>,
    /// What the last one came to.
    pub outcome: Result<Resolution, ResolveError>,
}

impl Resolver {
    /// Resolves without the cache and returns each step with its reason. Asks the database each time,
    /// and waits for it for `STORE_DEADLINE` at the most.
    pub async fn explain(&self, caller: Caller) -> Explanation {
        let (engine, loader) = (&self.engine, &self.engine.loader);
        let running = engine.live.running();
        let whose = format!("{:?} of tenant {}", caller.number, caller.tenant);
        let mut steps = vec![Step::new("caller", whose)];
        steps.push(Step::new("flag", running.flag()));
        if let Some(entry) = running.without_asking() {
            return Explanation { steps, outcome: entry.outcome().map_err(Into::into) };
        }
        steps.extend(loader.rollout_step(caller, &running).await);
        let asked = loader.question_now();
        let hit = engine.cache.hit(caller, asked.at, false, &ThreadCache::default(), |_| ());
        let cached = if hit.is_ok() { "would answer" } else { "has none" };
        steps.push(Step::new("cache", format!("{cached}; it is passed over here")));

        // A load like any other: its answer is cached.
        let last = engine.cache.last_good(caller, asked.at);
        let outcome = match loader.decide(caller, asked, &running).await {
            Ok(decision) => {
                steps.extend(decision.steps());
                loader.keep_decision(caller, asked, asked.at, &running, decision).outcome
            }
            Err(error) => {
                steps.push(Step::new("database", error.to_string()));
                loader.note_undecided(caller, &error);
                loader.without_database(caller, last, error.reason())
            }
        };
        steps.extend(last_steps(&outcome, &running));
        Explanation { steps, outcome: outcome.map_err(Into::into) }
    }
}

impl Loader {
    /// What the rollout makes of a caller. `None`: nothing that needs a word, as nobody rolls anything out.
    async fn rollout_step(&self, caller: Caller, running: &Running) -> Option<Step> {
        if !running.uses_configs() || self.store.is_none() {
            return None;
        }
        let rollout = match self.rollout.known().await {
            Ok(rollout) if rollout.version == 0 => return None,
            Ok(rollout) => rollout,
            Err(reason) => return Some(Step::new("rollout", format!("cannot be read: {reason}"))),
        };
        let Rollout { stage, percent, unit, .. } = &*rollout;
        let side = match rollout.side(caller) {
            Side::Inside => "the database answers",
            Side::Outside => "the environment answers",
            Side::Shadow => "the environment answers, and the database's answer is compared",
        };
        let place = match stage {
            Stage::Percent if rollout.deny.contains(&caller.tenant) => {
                " the tenant is denied;".to_owned()
            }
            Stage::Percent if rollout.allow.contains(&caller.tenant) => {
                " the tenant is allowed;".to_owned()
            }
            Stage::Percent => {
                let bucket = Share::of_thousandths(rollout.bucket(caller)).unwrap_or_default();
                format!(" {percent} % of the {unit}s, and this one is at {bucket} %;")
            }
            _ => String::new(),
        };
        Some(Step::new("rollout", format!("stage {stage};{place} {side}")))
    }
}

impl Step {
    fn new(step: &'static str, found: impl Into<String>) -> Self {
        Self { step, found: found.into() }
    }
}

impl Decision {
    /// What was looked at, one thing after the other.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut say = |step, found: String| steps.push(Step::new(step, found));
        match self.rules.rules_status() {
            RulesStatus::Rules => say("number", "has a row".into()),
            RulesStatus::NoRow => say("number", "has no row".into()),
            RulesStatus::Unknown => {}
        }
        if let Some(trunk) = self.rules.rules().and_then(|rules| rules.trunk.as_deref()) {
            say("rules", format!("name trunk {trunk}"));
        }
        if let Some(id) = self.depends_on {
            say("rules", format!("name LiveKit config {id}"));
        }
        match &self.verdict {
            Ok(Chosen { config, url, ring }) => {
                say("config", format!("\"{}\" at {url}", config.name));
                let trunk = given(config.trunk_id.as_ref());
                say("trunk", names(trunk, "the rules', else OUTBOUND_TRUNK_ID"));
                say("agent", names(given(config.agent.as_ref()), "VOICE_AGENT_NAME"));
                let opened = config.open(ring);
                say(
                    "secret",
                    match opened {
                        Ok(opened) => format!("opens with key {}", opened.key),
                        Err(error) => error.to_string(),
                    },
                );
            }
            Err(why) => say("database", why.to_string()),
        }
        steps
    }
}

fn names(given: Option<&str>, otherwise: &str) -> String {
    match given {
        Some(given) => format!("the config names {given}"),
        None => format!("the config names none: {otherwise}"),
    }
}

/// What it came to.
fn last_steps(outcome: &ResolveOutcome, running: &Running) -> Vec<Step> {
    let (reason, answer) = match outcome {
        Ok(answer) if answer.stale() => (None, "the last good one of the database".to_owned()),
        Ok(answer) if answer.reason().is_none() => (None, "from the database".to_owned()),
        Ok(answer) => (answer.reason(), "from the environment".to_owned()),
        Err(unanswered) => (unanswered.error.reason(), unanswered.error.to_string()),
    };
    let fallback = reason.map(|reason| {
        let denied = running.environment.policy().denies(reason);
        let policy = if denied { "denies" } else { "allows" };
        Step::new("fallback", format!("reason {reason}, which FALLBACK_DENY {policy}"))
    });
    fallback.into_iter().chain([Step::new("answer", answer)]).collect()
}
