//! Routing with what a resolver knows: the caller's rules are part of its cached answer.

use super::Resolver;
use crate::answer::Unanswered;
use crate::cache::Resolution;
use crate::number::Caller;
use crate::reason::Reason;
use crate::routing::{CallRouting, Refusal};
use crate::rules::{Rules, RulesStatus};

impl Resolver {
    /// Whether `caller` may call a destination, and what is dialled then. Resolves the caller; that
    /// there are no credentials for it does not matter here.
    pub async fn route(&self, caller: Caller, to: &str) -> CallRouting {
        match self.outcome(caller).await {
            Ok(answer) => self.route_with(&answer, caller, to),
            Err(Unanswered { rules, error }) => {
                let (rules, known) = (rules.rules().map(|rules| &**rules), rules.rules_status());
                self.by_rules(caller, to, rules, known, error.reason())
            }
        }
    }

    /// The same for an answer that is there already.
    #[must_use]
    pub fn route_with(&self, answer: &Resolution, caller: Caller, to: &str) -> CallRouting {
        self.by_rules(caller, to, answer.rules(), answer.rules_status(), answer.reason())
    }

    fn by_rules(
        &self,
        caller: Caller,
        to: &str,
        rules: Option<&Rules>,
        known: RulesStatus,
        reason: Option<Reason>,
    ) -> CallRouting {
        let engine = &self.engine;
        let running = engine.live.running();
        let mut routing = CallRouting::decide(caller.number, to, rules, known, &running.routing);
        if known == RulesStatus::Unknown && routing.allowed() {
            if running.environment.policy().denies_unknown_rules() {
                routing.verdict = Err(Refusal::RulesUnknown);
            } else {
                let now = engine.clock.now();
                engine.loader.source_log.log_without_rules(caller.number, reason, now);
            }
        }
        routing
    }
}
