//! What a rollout would do to every number of the database: who moves, and what the database would
//! answer. Read page by page; nothing is cached, and no number is asked for by itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::comparison::{FIELDS, plain_fields, sealed_fields};
use crate::number::{Caller, ConfigId, E164, TenantId};
use crate::reason::Reason;
use crate::resolver::Resolver;
use crate::resolver::live::Running;
use crate::rollout::{Rollout, Side};
use crate::rules::Rules;
use crate::store::{Config, Number, Route, StoreError};

/// What a rollout would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RolloutSurvey {
    /// How many numbers there are.
    pub numbers: u64,
    /// Of how many tenants.
    pub tenants: u64,
    /// Numbers that the database answers now.
    pub inside_now: u64,
    /// Numbers that it would answer.
    pub inside_then: u64,
    /// Who moves from the environment to the database.
    pub moving_in: Moving,
    /// Who moves from the database to the environment.
    pub moving_out: Moving,
    /// Of all numbers: for how many the database has an answer.
    pub answered: u64,
    /// Of all numbers: for how many it has none, by reason.
    pub unanswered: BTreeMap<&'static str, u64>,
    /// Of those that would be inside: how many it has no answer for.
    pub unanswered_inside: u64,
    /// Of those with an answer: how many fields are as the environment has them, and how many are not.
    pub fields: BTreeMap<&'static str, Compared>,
    /// Rows whose digits are no number: nobody is answered by them.
    pub unreadable: u64,
}

impl RolloutSurvey {
    /// What stands against the stage `complete`: numbers that would get an error.
    #[must_use]
    pub fn objection(&self) -> Option<String> {
        let Self { unanswered_inside: many, numbers, .. } = self;
        (*many > 0).then(|| {
            format!("the database has no answer for {many} of {numbers} numbers, which would get an error")
        })
    }
}

/// Who moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Moving {
    /// How many numbers.
    pub numbers: u64,
    /// How many tenants have such a number.
    pub tenants: u64,
}

/// How often a field is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Compared {
    /// As the environment has it.
    pub same: u64,
    /// Otherwise.
    pub different: u64,
}

impl Resolver {
    /// Looks through every number of the database, with the flag on and by the settings in force, at what
    /// another rollout would do. `missing` is told of each number that has no answer.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn survey_rollout(
        &self,
        now: &Rollout,
        then: &Rollout,
        mut missing: impl FnMut(Caller, Reason),
    ) -> Result<RolloutSurvey, StoreError> {
        let engine = &self.engine;
        let Some(store) = &engine.loader.store else { return Ok(RolloutSurvey::default()) };
        let running = engine.live.running();
        let configs = store.configs().await?.into_iter().map(|config| (config.id, config));
        let mut looking = Looking::new(configs.collect(), &running, [now, then]);
        let mut after: Option<Number> = None;
        loop {
            let page = store.numbers_after(after.as_ref(), PAGE).await?;
            let rows =
                page.chunk_by(|one, next| (one.tenant, &one.digits) == (next.tenant, &next.digits));
            for rows in rows {
                // Of several rows with one number, the first one answers; it may be of the page before.
                let is_repeated = after.as_ref().is_some_and(|last| {
                    (last.tenant, &last.digits) == (rows[0].tenant, &rows[0].digits)
                });
                if !is_repeated {
                    looking.at(&rows[0], &mut missing);
                }
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(looking.end()),
            }
        }
    }
}

/// A look through all numbers.
struct Looking<'l> {
    configs: HashMap<ConfigId, Config>,
    /// What the secret of each says: whether URL, API key and secret are the environment's, or why it
    /// does not open. Each is opened once.
    opened: HashMap<ConfigId, Result<[bool; 3], Reason>>,
    running: &'l Running,
    rollouts: [&'l Rollout; 2],
    tenants: [HashSet<TenantId>; 3],
    survey: RolloutSurvey,
}

impl<'l> Looking<'l> {
    fn new(
        configs: HashMap<ConfigId, Config>,
        running: &'l Running,
        rollouts: [&'l Rollout; 2],
    ) -> Self {
        let fields = FIELDS.map(|field| (field, Compared::default())).into();
        Self {
            configs,
            opened: HashMap::new(),
            running,
            rollouts,
            tenants: Default::default(),
            survey: RolloutSurvey { fields, ..RolloutSurvey::default() },
        }
    }

    fn at(&mut self, number: &Number, missing: &mut impl FnMut(Caller, Reason)) {
        let Ok(digits) = E164::from_digits(&number.digits) else {
            self.survey.unreadable += 1;
            return;
        };
        let caller = Caller::new(number.tenant, digits);
        let [all, moving_in, moving_out] = &mut self.tenants;
        self.survey.numbers += 1;
        all.insert(caller.tenant);
        let [now, then] = self.rollouts.map(|rollout| rollout.side(caller) == Side::Inside);
        self.survey.inside_now += u64::from(now);
        self.survey.inside_then += u64::from(then);
        match (now, then) {
            (false, true) => {
                self.survey.moving_in.numbers += 1;
                moving_in.insert(caller.tenant);
            }
            (true, false) => {
                self.survey.moving_out.numbers += 1;
                moving_out.insert(caller.tenant);
            }
            _ => {}
        }
        match self.answer(number) {
            Ok(same) => {
                self.survey.answered += 1;
                for (field, is_same) in FIELDS.into_iter().zip(same) {
                    let compared = self.survey.fields.entry(field).or_default();
                    *(if is_same { &mut compared.same } else { &mut compared.different }) += 1;
                }
            }
            Err(reason) => {
                *self.survey.unanswered.entry(reason.as_str()).or_default() += 1;
                self.survey.unanswered_inside += u64::from(then);
                missing(caller, reason);
            }
        }
    }

    /// Which fields of its answer are the environment's, in the order of [`FIELDS`].
    fn answer(&mut self, number: &Number) -> Result<[bool; FIELDS.len()], Reason> {
        let rules = Rules::read(number.provider.as_deref(), &number.rules);
        let config = rules.config.and_then(|id| self.configs.get(&id)).cloned();
        let route =
            Route { provider: number.provider.clone(), rules: number.rules.clone(), config };
        let decision = self.running.decide_inside(Some(route));
        let chosen = decision.verdict.map_err(|why| why.reason())?;
        let environment = &self.running.environment;
        let opened = self.opened.entry(chosen.config.id);
        let [url, api_key, api_secret] =
            (*opened.or_insert_with(|| sealed_fields(&chosen, environment)))?;
        let [trunk, agent] = plain_fields(&chosen, rules.trunk.as_deref(), environment);
        Ok([url, api_key, api_secret, trunk, agent])
    }

    fn end(self) -> RolloutSurvey {
        let [all, moving_in, moving_out] = self.tenants.map(|tenants| tenants.len() as u64);
        let mut survey = self.survey;
        survey.tenants = all;
        survey.moving_in.tenants = moving_in;
        survey.moving_out.tenants = moving_out;
        survey
    }
}

const PAGE: usize = 5000;
