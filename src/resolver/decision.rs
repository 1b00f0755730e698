//! From rows to a decision: the number's rules, its config and its secret become an answer, or the
//! reason why there is none. Nothing here waits or reads the cache.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use secrecy::ExposeSecret;

use crate::answer::{Answer, AnswerOrigin, KnownRules};
use crate::cache::Resolution;
use crate::cache::fence::Generation;
use crate::cache::shared::Facts;
use crate::cache::{Cache, ResolveOutcome};
use crate::clock::{Clock, Moment};
use crate::credentials::Credentials;
use crate::environment::Environment;
use crate::keyring::{KeyError, KeyRing};
use crate::number::ConfigId;
use crate::reason::Reason;
use crate::rules::{Rules, RulesError};
use crate::server_url::{AllowedHosts, ServerUrl, ServerUrlError};
use crate::store::{Config, Route};

/// A decision, and the config that it depends on, whether that exists or not.
pub(super) struct Decision {
    pub(super) depends_on: Option<ConfigId>,
    /// What the number's row says, where it has one.
    pub(super) rules: KnownRules,
    pub(super) verdict: Result<Chosen, Unusable>,
    /// Whether the environment answers where the verdict is no config.
    pub(super) falls_back: bool,
    /// What it would be without the rollout, where that is to be compared.
    pub(super) shadow: Option<Box<Decision>>,
}

/// A config that can be used once its secret is opened.
pub(super) struct Chosen {
    pub(super) config: Config,
    pub(super) url: ServerUrl,
    pub(super) ring: Arc<KeyRing>,
}

/// Why the database has no answer, with the detail that a log and `--explain` show.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("USE_SELFHOST_ROUTING_TABLE is off: the environment's credentials place the call")]
    FlagOff,
    #[error(
        "the rollout has not come to this caller: the environment's credentials place the call"
    )]
    OutsideRollout,
    #[error("the rollout is at its stage shadow: the environment's credentials place the call")]
    Shadow,
    #[error("no DATABASE_URL is set")]
    NoDatabase,
    #[error("the tenant has no such number")]
    NumberUnknown,
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("the rules name no livekit_config")]
    Unassigned,
    #[error("the rules name LiveKit config {0}, which does not exist")]
    ConfigMissing(ConfigId),
    #[error("the LiveKit config {name:?} is disabled since {}", since.to_rfc3339_opts(SecondsFormat::Secs, true))]
    ConfigDisabled { name: String, since: DateTime<Utc> },
    #[error("the URL of the LiveKit config is malformed: {0}")]
    Url(#[from] ServerUrlError),
    #[error("the host of the LiveKit config's URL is not in LIVEKIT_HOSTS")]
    HostNotAllowed,
    #[error("the LiveKit config has no API key")]
    NoApiKey,
    #[error("the secret of the LiveKit config does not open: {0}")]
    Secret(#[from] KeyError),
}

impl Unusable {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::FlagOff => Reason::FlagOff,
            Self::OutsideRollout => Reason::OutsideRollout,
            Self::Shadow => Reason::Shadow,
            Self::NoDatabase => Reason::DatabaseNotConfigured,
            Self::NumberUnknown => Reason::NumberUnknown,
            Self::Rules(_) => Reason::RulesMalformed,
            Self::Unassigned => Reason::ConfigUnassigned,
            Self::ConfigMissing(_) => Reason::ConfigMissing,
            Self::ConfigDisabled { .. } => Reason::ConfigDisabled,
            Self::Url(_) | Self::NoApiKey => Reason::ConfigInvalid,
            Self::Secret(KeyError::BoundElsewhere { .. }) => Reason::SecretBoundElsewhere,
            Self::Secret(KeyError::NotBound) => Reason::SecretNotBound,
            Self::HostNotAllowed => Reason::HostNotAllowed,
            Self::Secret(_) => Reason::SecretUnopenable,
        }
    }
}

/// Checks a row, part by part.
pub(super) fn decide(
    route: Option<Route>,
    ring: Option<&Arc<KeyRing>>,
    hosts: &AllowedHosts,
) -> Decision {
    let Some(route) = route else {
        return Decision::refused(KnownRules::NoRow, Unusable::NumberUnknown);
    };
    let rules = Rules::read(route.provider.as_deref(), &route.rules);
    let (depends_on, verdict) = match (rules.credentials_wrong, rules.config) {
        (Some(error), _) => (None, Err(error.into())),
        (None, None) => (None, Err(Unusable::Unassigned)),
        (None, Some(id)) => (Some(id), choose(id, route.config, ring, hosts)),
    };
    let rules = KnownRules::Rules(Arc::new(rules));
    Decision { depends_on, verdict, ..Decision::refused(rules, Unusable::NumberUnknown) }
}

/// Checks a config, part by part.
pub(super) fn choose(
    id: ConfigId,
    config: Option<Config>,
    ring: Option<&Arc<KeyRing>>,
    hosts: &AllowedHosts,
) -> Result<Chosen, Unusable> {
    let config = config.ok_or(Unusable::ConfigMissing(id))?;
    if let Some(since) = config.disabled_at {
        return Err(Unusable::ConfigDisabled { name: config.name, since });
    }
    choose_disabled_or_not(config, ring, hosts)
}

/// The same of one that may be disabled: for what began with it.
pub(super) fn choose_disabled_or_not(
    config: Config,
    ring: Option<&Arc<KeyRing>>,
    hosts: &AllowedHosts,
) -> Result<Chosen, Unusable> {
    let url = config.url.parse()?;
    if !hosts.allow(&url) {
        return Err(Unusable::HostNotAllowed);
    }
    if config.api_key.trim().is_empty() {
        return Err(Unusable::NoApiKey);
    }
    let ring = Arc::clone(ring.ok_or(KeyError::KeyMissing)?);
    Ok(Chosen { config, url, ring })
}

impl Decision {
    pub(super) fn no_database() -> Self {
        Self::refused(KnownRules::Unknown, Unusable::NoDatabase)
    }

    /// With the flag off, or outside of the rollout, the rules of a row hold none the less. No secret is
    /// opened.
    pub(super) fn by_rules_alone(route: Option<&Route>, why: Unusable) -> Self {
        let rules = route.map_or(KnownRules::NoRow, |route| {
            KnownRules::Rules(Arc::new(Rules::read(route.provider.as_deref(), &route.rules)))
        });
        Self::refused(rules, why)
    }

    /// The same while the rollout is at its stage `shadow`: what this decides is compared.
    pub(super) fn shadowed(self) -> Self {
        let rules = self.rules.clone();
        Self { shadow: Some(Box::new(self)), ..Self::refused(rules, Unusable::Shadow) }
    }

    fn refused(rules: KnownRules, why: Unusable) -> Self {
        Self { depends_on: None, rules, verdict: Err(why), falls_back: true, shadow: None }
    }

    /// Whether an earlier outcome is the one that this decision would give.
    pub(super) fn says(&self, earlier: &ResolveOutcome, environment: &Environment) -> bool {
        let reason = match (&self.verdict, earlier) {
            (Ok(chosen), Ok(answer)) if answer.reason().is_none() => {
                return chosen.is(answer, &self.rules, environment);
            }
            // The earlier outcome was no answer: that is right only if the secret does not open.
            (Ok(chosen), _) => match chosen.config.open(&chosen.ring) {
                Ok(_) => return false,
                Err(error) => Unusable::from(error).reason(),
            },
            (Err(why), _) => why.reason(),
        };
        let (earlier_reason, earlier_rules) = match earlier {
            Ok(answer) => (answer.reason(), answer.known_rules()),
            Err(unanswered) => (unanswered.error.reason(), unanswered.rules.clone()),
        };
        earlier_reason == Some(reason) && earlier_rules == self.rules
    }
}

impl Chosen {
    fn is(&self, answer: &Answer, rules: &KnownRules, environment: &Environment) -> bool {
        let Answer { credentials, trunk, agent, origin, .. } = answer;
        let rules_trunk = rules.rules().and_then(|rules| rules.trunk.as_deref());
        let (config, facts) = (&self.config, self.facts());
        let sealed = config.api_secret.expose_secret();
        matches!(origin, AnswerOrigin::Database { id, name } if *id == config.id && *name == facts.name)
            && *trunk == environment.trunk(facts.trunk.as_deref(), rules_trunk)
            && *agent == environment.agent(facts.agent.as_deref())
            && answer.known_rules() == *rules
            && credentials.matches(self.url.as_str(), &config.api_key, sealed, &self.ring)
    }

    pub(super) fn facts(&self) -> Arc<Facts> {
        let given = |text| given(text).map(Box::from);
        Arc::new(Facts {
            name: self.config.name.as_str().into(),
            trunk: given(self.config.trunk_id.as_ref()),
            agent: given(self.config.agent.as_ref()),
            is_disabled: self.config.disabled_at.is_some(),
        })
    }

    /// Shares the credentials of the config, or opens its secret to make them.
    pub(super) fn credentials(
        &self,
        born: Generation,
        cache: &Cache,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Arc<Credentials>, Generation), Unusable> {
        let config = &self.config;
        let sealed = config.api_secret.expose_secret();
        cache.shared.join(
            config.id,
            born,
            &self.facts(),
            &cache.fence,
            |there| there.matches(self.url.as_str(), &config.api_key, sealed, &self.ring),
            || {
                let opened = config.open(&self.ring)?;
                Ok(Credentials::sealed(
                    self.url.clone(),
                    &config.api_key,
                    sealed,
                    &opened.secret,
                    Arc::clone(&self.ring),
                    Arc::clone(clock),
                ))
            },
        )
    }
}

/// An answer of the database: made from a config and the rules of a number.
pub(super) fn answer(
    credentials: Arc<Credentials>,
    id: ConfigId,
    facts: &Facts,
    rules: Option<Arc<Rules>>,
    environment: &Environment,
    loaded_at: Moment,
) -> Resolution {
    let rules_trunk = rules.as_ref().and_then(|rules| rules.trunk.as_deref());
    let trunk = environment.trunk(facts.trunk.as_deref(), rules_trunk);
    let agent = environment.agent(facts.agent.as_deref());
    let origin = AnswerOrigin::Database { id, name: Arc::clone(&facts.name) };
    Resolution::new(Answer::new(credentials, trunk, agent, origin, rules, loaded_at))
}

/// The text, unless it is blank.
pub(super) fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.trim().is_empty())
}
