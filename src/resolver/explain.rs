//! Each step of a resolution and why it went that way, for a person who asks.

use serde::Serialize;

use super::Resolver;
use super::decision::{decide, given};
use super::loading::reason_of;
use crate::answer::ResolveError;
use crate::cache::Near;
use crate::cache::Resolution;
use crate::number::Caller;
use crate::reason::Reason;

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
    /// Loads anew and tells each step and why. Asks the database each time and waits for it, for
    /// `STORE_DEADLINE` at the most.
    pub async fn explain(&self, caller: Caller) -> Explanation {
        let engine = &self.engine;
        let running = engine.running.load_full();
        let now = engine.clock.now();
        let born = engine.cache.fence.generation();
        let mut steps = Vec::new();
        let mut say = |step, found: String| steps.push(Step { step, found });

        say("caller", format!("{:?} of tenant {}", caller.number, caller.tenant));
        if !running.enabled {
            say("flag", "USE_SELFHOST_ROUTING_TABLE is off: the environment answers".into());
            return Explanation { steps, outcome: running.off.outcome().map_err(Into::into) };
        }
        say("flag", "USE_SELFHOST_ROUTING_TABLE is on: the database is asked first".into());
        let cached = if engine.cache.hit(caller, now, false, &Near::default(), |_| ()).is_ok() {
            "would answer"
        } else {
            "has none"
        };
        say("cache", format!("{cached}; it is passed over here"));

        let refuse = |reason: Reason| (running.without_database(reason, now), reason);
        let (outcome, fell_back) = match &engine.store {
            None => {
                say("database", "no DATABASE_URL is set".into());
                refuse(Reason::DatabaseNotConfigured)
            }
            Some(store) => match store.route(caller).await {
                Err(error) => {
                    say("database", error.to_string());
                    refuse(reason_of(&error))
                }
                Ok(route) => {
                    let found = route.is_some();
                    say("number", if found { "has a row" } else { "has no row" }.into());
                    let decision = decide(route, running.ring.as_ref());
                    if let Some(trunk) =
                        decision.rules.as_ref().and_then(|rules| rules.trunk.as_deref())
                    {
                        say("rules", format!("name trunk {trunk}"));
                    }
                    if let Some(id) = decision.depends_on {
                        say("rules", format!("name LiveKit config {id}"));
                    }
                    if let Ok(chosen) = &decision.verdict {
                        let config = &chosen.config;
                        say("config", format!("\"{}\" at {}", config.name, chosen.url));
                        say(
                            "trunk",
                            match given(config.trunk_id.as_ref()) {
                                Some(trunk) => format!("the config names {trunk}"),
                                None => "the config names none: the rules', else OUTBOUND_TRUNK_ID"
                                    .into(),
                            },
                        );
                        say(
                            "agent",
                            match given(config.agent.as_ref()) {
                                Some(agent) => format!("the config names {agent}"),
                                None => "the config names none: VOICE_AGENT_NAME".into(),
                            },
                        );
                        let sealed = secrecy::ExposeSecret::expose_secret(&config.api_secret);
                        say(
                            "secret",
                            match chosen.ring.open(sealed) {
                                Ok(opened) => format!("opens with key {}", opened.key),
                                Err(error) => error.to_string(),
                            },
                        );
                    }
                    let why =
                        decision.verdict.as_ref().err().map(|why| (why.reason(), why.to_string()));
                    // A load like any other: what it found is kept.
                    let landed = engine.land(caller, born, (now, now), &running, decision);
                    let outcome = landed.outcome;
                    let reason = match &outcome {
                        Ok(answer) => answer.reason(),
                        Err(unanswered) => unanswered.error.reason(),
                    };
                    if let Some((_, why)) = why {
                        say("database", why);
                    }
                    match reason {
                        None => {
                            say("answer", "from the database".into());
                            return Explanation { steps, outcome: outcome.map_err(Into::into) };
                        }
                        Some(reason) => (outcome, reason),
                    }
                }
            },
        };
        let policy =
            if running.environment.policy().denies(fell_back) { "denies" } else { "allows" };
        say("fallback", format!("reason {fell_back}, which FALLBACK_DENY {policy}"));
        match &outcome {
            Ok(_) => say("answer", "from the environment".into()),
            Err(unanswered) => say("answer", unanswered.error.to_string()),
        }
        Explanation { steps, outcome: outcome.map_err(Into::into) }
    }
}
