//! The stage `shadow`: what the database would have answered, beside what the environment did.
//!
//! They are compared in memory, and what leaves the process is how often each field was the same. Where
//! they differ nothing is wrong: configs may well name other servers than the environment. What is
//! looked for is why the database would have had no answer.

use metrics::{Counter, counter};
use secrecy::ExposeSecret;

use crate::environment::Environment;
use crate::reason::Reason;
use crate::resolver::decision::{Chosen, Decision, Unusable};
use crate::telemetry::at_zero;
use crate::telemetry::{SHADOW_FIELDS, SHADOWED};

/// How often the database would have answered, and how often as the environment did.
pub(in crate::resolver) struct Comparisons {
    answered: Counter,
    reasons: Vec<(Reason, Counter)>,
    fields: [[Counter; 2]; FIELDS.len()],
}

impl Comparisons {
    pub(in crate::resolver) fn new() -> Self {
        let outcome = |word: &'static str| at_zero(counter!(SHADOWED, "outcome" => word));
        Self {
            answered: outcome("answer"),
            reasons: REASONS.iter().map(|&reason| (reason, outcome(reason.as_str()))).collect(),
            fields: FIELDS.map(|field| {
                ["different", "same"].map(|found| {
                    at_zero(counter!(SHADOW_FIELDS, "field" => field, "found" => found))
                })
            }),
        }
    }

    /// Counts what the database would have answered in place of the environment.
    pub(in crate::resolver) fn compare(&self, wanted: &Decision, environment: &Environment) {
        let opened = match &wanted.verdict {
            Ok(chosen) => sealed_fields(chosen, environment).map(|sealed| (chosen, sealed)),
            Err(why) => Err(why.reason()),
        };
        match opened {
            Err(reason) => {
                if let Some((_, counter)) = self.reasons.iter().find(|(of, _)| *of == reason) {
                    counter.increment(1);
                }
            }
            Ok((chosen, [url, api_key, api_secret])) => {
                self.answered.increment(1);
                let trunk = wanted.rules.rules().and_then(|rules| rules.trunk.as_deref());
                let [trunk, agent] = plain_fields(chosen, trunk, environment);
                let same = [url, api_key, api_secret, trunk, agent];
                for (counters, is_same) in self.fields.iter().zip(same) {
                    counters[usize::from(is_same)].increment(1);
                }
            }
        }
    }
}

/// Whether URL, API key and secret of a config are the environment's. Of the secret no trace is kept.
pub(super) fn sealed_fields(
    chosen: &Chosen,
    environment: &Environment,
) -> Result<[bool; 3], Reason> {
    let Chosen { config, url, ring } = chosen;
    let opened = config.open(ring).map_err(|error| Unusable::from(error).reason())?;
    let Some(theirs) = environment.credentials() else { return Ok([false; 3]) };
    let is_secret = theirs.has_secret(opened.secret.expose_secret());
    Ok([theirs.url() == url, theirs.api_key() == config.api_key, is_secret])
}

/// Whether trunk and agent would be what the environment gives.
pub(super) fn plain_fields(
    chosen: &Chosen,
    rules_trunk: Option<&str>,
    environment: &Environment,
) -> [bool; 2] {
    let facts = chosen.facts();
    let trunk = |of_config| environment.trunk(of_config, rules_trunk).map(|(trunk, _)| trunk);
    let agent = |of_config| environment.agent(of_config);
    [trunk(facts.trunk.as_deref()) == trunk(None), agent(facts.agent.as_deref()) == agent(None)]
}

/// What is compared, in this order.
pub(super) const FIELDS: [&str; 5] = ["url", "api_key", "api_secret", "trunk", "agent"];

/// Why a row may have no answer.
const REASONS: [Reason; 11] = [
    Reason::NumberUnknown,
    Reason::ConfigUnassigned,
    Reason::RulesMalformed,
    Reason::ConfigMissing,
    Reason::ConfigDisabled,
    Reason::ConfigInvalid,
    Reason::HostNotAllowed,
    Reason::SecretUnopenable,
    Reason::SecretBoundElsewhere,
    Reason::SecretNotBound,
    Reason::DatabaseNotConfigured,
];
