//! Routing with what a resolver knows: the caller's rules are part of its cached answer.

use super::Resolver;
use crate::cache::Resolution;
use crate::number::Caller;
use crate::reason::Reason;
use crate::routing::CallRouting;
use crate::rules::Rules;

impl Resolver {
    /// Whether `caller` may call a destination, and what is dialled then. Resolves the caller; that
    /// there are no credentials for it does not matter here.
    pub async fn route(&self, caller: Caller, to: &str) -> CallRouting {
        match self.outcome(caller).await {
            Ok(answer) => self.route_with(&answer, caller, to),
            Err(unanswered) => {
                let (rules, reason) = (unanswered.rules.as_deref(), unanswered.error.reason());
                self.decide(caller, to, rules, reason)
            }
        }
    }

    /// The same for an answer that is there already.
    #[must_use]
    pub fn route_with(&self, answer: &Resolution, caller: Caller, to: &str) -> CallRouting {
        self.decide(caller, to, answer.rules(), answer.reason())
    }

    /// By the settings that hold now.
    fn decide(
        &self,
        caller: Caller,
        to: &str,
        rules: Option<&Rules>,
        reason: Option<Reason>,
    ) -> CallRouting {
        let reading = &self.engine.live.running().routing;
        CallRouting::decide(caller.number, to, rules, reason, reading)
    }
}
