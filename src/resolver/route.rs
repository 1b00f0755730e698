//! Routing with what a resolver knows: the caller's rules are part of its cached answer.

use super::Resolver;
use crate::cache::Resolution;
use crate::number::Caller;
use crate::routing::CallRouting;

impl Resolver {
    /// Whether `caller` may call a destination, and what is dialled then. Resolves the caller; that
    /// there are no credentials for it does not matter here.
    pub async fn route(&self, caller: Caller, to: &str) -> CallRouting {
        let reading = self.reading();
        match self.outcome(caller).await {
            Ok(answer) => self.route_with(&answer, caller, to),
            Err(unanswered) => {
                let (rules, reason) = (unanswered.rules.as_deref(), unanswered.error.reason());
                CallRouting::decide(caller.number, to, rules, reason, reading)
            }
        }
    }

    /// The same for an answer that is there already.
    #[must_use]
    pub fn route_with(&self, answer: &Resolution, caller: Caller, to: &str) -> CallRouting {
        let (rules, reason) = (answer.rules(), answer.reason());
        CallRouting::decide(caller.number, to, rules, reason, self.reading())
    }
}
