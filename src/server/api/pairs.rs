//! `/v1/configs/{id}/pair`: the key pairs of a LiveKit config, and the steps that turn them. A secret goes in
//! and never comes out.
//!
//! Servers are asked as a check of the config asks them, so nobody looks into this network by it.

mod table;

use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::configs::missing;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use crate::dispatch::check::{PairsAtServers, Reach};
use crate::keyring::{KeyError, Secret};
use crate::number::ConfigId;
use crate::rotation::{EnteredPair, PairError, PairStep, Pairs, RetireTerms};
use crate::server_url::AllowedHosts;
use crate::store::ShownPair;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entered {
    api_key: String,
    api_secret: String,
    #[serde(default)]
    old_is_gone: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    #[serde(default)]
    old_is_gone: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retirement {
    #[serde(default)]
    now: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replacement {
    api_key: Option<String>,
    api_secret: Option<String>,
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let id = question.id().ok_or_else(missing)?;
    let turning = Turning::of(asking, id)?;
    match operation {
        Operation::Read => {
            let (pairs, step) = turning.look().await?;
            let pairs: Vec<_> = pairs.iter().map(shown).collect();
            Ok(Reply::json(&json!({"pairs": pairs, "retire_from": step.retire_from})))
        }
        Operation::Rotate => {
            let Entered { api_key, api_secret, old_is_gone } = question.body()?;
            let step = turning.rotate(entered(api_key, api_secret), old_is_gone).await?;
            turning.told(step_json(&step)).await
        }
        Operation::Promote => {
            let Promotion { old_is_gone } = question.body()?;
            let step = turning.promote(old_is_gone).await?;
            turning.told(step_json(&step)).await
        }
        Operation::RollBack => {
            let Nothing {} = question.body()?;
            let step = turning.roll_back().await?;
            turning.told(step_json(&step)).await
        }
        Operation::Retire => {
            let Retirement { now } = question.body()?;
            let retired = turning.retire(now).await?;
            turning.told(json!({"api_key": retired})).await
        }
        Operation::Compromise => {
            let Replacement { api_key, api_secret } = question.body()?;
            let new = match (api_key, api_secret) {
                (Some(key), Some(secret)) => Some(entered(key, secret)),
                (None, None) => None,
                (key, _) => {
                    let field = if key.is_some() { "api_secret" } else { "api_key" };
                    return Err(Problem::field("field_missing", field, "belongs to the other one"));
                }
            };
            turning.told(turning.compromise(new).await?).await
        }
    }
}

/// The pairs of a config that somebody may turn.
pub(in crate::server) struct Turning<'a> {
    asking: &'a Asking<'a>,
    id: ConfigId,
    pairs: Pairs,
    hosts: AllowedHosts,
    now: u64,
}

impl<'a> Turning<'a> {
    pub(in crate::server) fn of(asking: &'a Asking<'a>, id: ConfigId) -> Result<Self, Problem> {
        asking.needs_all()?;
        let resolver = asking.resolver;
        let database = resolver.database().ok_or_else(Problem::no_database)?;
        let ring = resolver.ring().ok_or(KeyError::KeyMissing)?;
        let pairs = Pairs::new(database, &ring, resolver.tuning()).on_behalf(asking.behalf());
        let (hosts, now) = (resolver.hosts(), resolver.unix_time().as_secs());
        Ok(Self { asking, id, pairs, hosts, now })
    }

    fn server(&self) -> PairsAtServers<'_> {
        let timeouts = self.asking.resolver.tuning().into();
        PairsAtServers { timeouts, reach: Reach::OnlyTo(&self.hosts) }
    }

    /// The pairs, and how they stand.
    pub(in crate::server) async fn look(&self) -> Result<(Vec<ShownPair>, PairStep), Problem> {
        let step = self.pairs.step(self.id).await?;
        Ok((self.pairs.list(Some(self.id)).await?, step))
    }

    /// Keeps a new pair and places calls with it. Where its server does not accept it, it stays pending.
    pub(in crate::server) async fn rotate(
        &self,
        new: EnteredPair,
        old_is_gone: bool,
    ) -> Result<PairStep, Problem> {
        self.pairs.stage(self.id, new, self.now, false).await?;
        self.promote(old_is_gone).await
    }

    pub(in crate::server) async fn promote(&self, old_is_gone: bool) -> Result<PairStep, Problem> {
        Ok(self.pairs.promote(self.id, &self.server(), old_is_gone, self.now, false).await?)
    }

    pub(in crate::server) async fn roll_back(&self) -> Result<PairStep, Problem> {
        Ok(self.pairs.roll_back(self.id, &self.server(), false, self.now, false).await?)
    }

    /// Returns the key that its server may forget.
    pub(in crate::server) async fn retire(&self, now: bool) -> Result<String, Problem> {
        let terms = RetireTerms { now, ..RetireTerms::default() };
        Ok(self.pairs.retire(self.id, &self.server(), terms).await?.api_key)
    }

    async fn compromise(&self, new: Option<EnteredPair>) -> Result<Value, Problem> {
        let server = self.server();
        let replaced = self.pairs.compromise(self.id, new, &server, self.now, false).await?;
        let exposure = &replaced.exposure;
        Ok(json!({
            "current": replaced.current,
            "exposed": {
                "api_key": exposure.api_key,
                "tokens_until": exposure.tokens_until,
                "calls": exposure.calls,
                "calls_until": exposure.calls_until,
                "also": exposure.also,
            },
        }))
    }

    /// The answer to a step that is committed.
    async fn told(&self, answer: Value) -> Result<Reply, Problem> {
        let written = self.asking.rows()?.newest_written().await?;
        Ok(self.asking.written(answer, written).await)
    }
}

pub(in crate::server) fn entered(api_key: String, api_secret: String) -> EnteredPair {
    EnteredPair { api_key, api_secret: Secret::new(Box::new(api_secret)) }
}

fn shown(pair: &ShownPair) -> Value {
    json!({
        "state": pair.phase,
        "api_key": pair.api_key,
        "of_this_server": pair.is_here,
        "added_at": pair.added_at,
        "checked_at": pair.checked_at,
        "since": pair.since,
        "compromised_at": pair.compromised_at,
    })
}

fn step_json(step: &PairStep) -> Value {
    json!({
        "current": step.current,
        "previous": step.previous,
        "retire_from": step.retire_from,
    })
}

impl From<PairError> for Problem {
    fn from(error: PairError) -> Self {
        let (code, message, hint) = (error.code(), error.to_string(), error.hint());
        let problem = match error {
            PairError::Store(error) => return error.into(),
            PairError::Key(error) => return error.into(),
            PairError::Fields(errors) => return errors.into(),
            PairError::NoConfig { .. } => return missing(),
            PairError::Refused { .. } => Self::unprocessable(code, message),
            _ => Self::conflict(code, message),
        };
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
