//! The credentials of the environment: when they answer, why, and when they must not.
//!
//! The three `LIVEKIT_*` values are one unit. Either all three are set and make credentials, or the
//! answer is an error that names the missing ones. A URL from one source is never used with a key
//! from another.

use std::fmt;
use std::sync::Arc;

use crate::answer::{Answer, KnownRules, ResolveError, TrunkOrigin, Unanswered};
use crate::clock::{Clock, Moment};
use crate::credentials::Credentials;
use crate::keyring::Secret;
use crate::reason::Reason;
use crate::server_url::{AllowedHosts, ServerUrl};

/// Which reasons may not fall back to the environment. By default every reason may, and a number may
/// call without its rules where those are unknown.
///
/// ```
/// use trunkline::{FallbackPolicy, Reason};
///
/// let policy = FallbackPolicy::denying([Reason::SecretUnopenable]).denying_unknown_rules();
/// assert!(policy.denies(Reason::SecretUnopenable) && !policy.denies(Reason::ConfigMissing));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FallbackPolicy {
    denied: Vec<Reason>,
    unknown_rules: bool,
}

impl FallbackPolicy {
    /// Denies these reasons: then they are an error instead of another account's key. Those that the
    /// rollout gives are no faults, and are left out.
    #[must_use]
    pub fn denying(denied: impl IntoIterator<Item = Reason>) -> Self {
        let denied = denied.into_iter().filter(|reason| !reason.is_by_rollout());
        Self { denied: denied.collect(), unknown_rules: false }
    }

    /// Denies calls from a number of whose rules nothing is known, too. Resolving it stays possible.
    #[must_use]
    pub fn denying_unknown_rules(self) -> Self {
        Self { unknown_rules: true, ..self }
    }

    /// Whether nobody is called from a number of whose rules nothing is known.
    #[must_use]
    pub fn denies_unknown_rules(&self) -> bool {
        self.unknown_rules
    }

    /// Whether this reason is an error.
    #[must_use]
    pub fn denies(&self, reason: Reason) -> bool {
        self.denied.contains(&reason)
    }
}

/// What the environment has to offer.
pub struct Environment {
    credentials: Result<Arc<Credentials>, Vec<&'static str>>,
    trunk: Option<Box<str>>,
    agent: Arc<str>,
    policy: FallbackPolicy,
    hosts: Arc<AllowedHosts>,
}

/// The values that [`Environment`] is made of, as the settings read them.
#[derive(Default)]
pub struct EnvironmentValues {
    /// `LIVEKIT_URL`.
    pub url: Option<ServerUrl>,
    /// `LIVEKIT_API_KEY`.
    pub api_key: Option<String>,
    /// `LIVEKIT_API_SECRET`.
    pub api_secret: Option<Arc<Secret>>,
    /// `OUTBOUND_TRUNK_ID`.
    pub trunk: Option<String>,
    /// `VOICE_AGENT_NAME`; `inbound-agent` when absent.
    pub agent: Option<String>,
    /// `FALLBACK_DENY`.
    pub policy: FallbackPolicy,
    /// `LIVEKIT_HOSTS`.
    pub hosts: Arc<AllowedHosts>,
}

impl fmt::Debug for EnvironmentValues {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EnvironmentValues")
            .field("url", &self.url)
            .field("api_key", &self.api_key)
            .field("api_secret", &self.api_secret)
            .field("trunk", &self.trunk)
            .field("agent", &self.agent)
            .field("policy", &self.policy)
            .field("hosts", &self.hosts)
            .finish()
    }
}

impl EnvironmentValues {
    /// Which of the three variables are missing; empty when the environment can answer.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let variables = [
            ("LIVEKIT_URL", self.url.is_none()),
            ("LIVEKIT_API_KEY", self.api_key.is_none()),
            ("LIVEKIT_API_SECRET", self.api_secret.is_none()),
        ];
        variables.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect()
    }

    /// Whether `LIVEKIT_HOSTS` keeps the environment from answering.
    #[must_use]
    pub fn host_is_refused(&self) -> bool {
        self.url.as_ref().is_some_and(|url| !self.hosts.allow(url))
    }
}

impl Environment {
    /// Joins the values. Missing ones are no error until the environment has to answer.
    #[must_use]
    pub fn new(values: EnvironmentValues, clock: Arc<dyn Clock>) -> Self {
        let missing = values.missing();
        let credentials = match (values.url, values.api_key, values.api_secret) {
            (Some(url), Some(key), Some(secret)) => {
                Ok(Arc::new(Credentials::held(url, &key, secret, clock)))
            }
            _ => Err(missing),
        };
        Self {
            credentials,
            trunk: values.trunk.map(Into::into),
            agent: values.agent.as_deref().unwrap_or(DEFAULT_AGENT).into(),
            policy: values.policy,
            hosts: values.hosts,
        }
    }

    /// Answers for a reason, with what the number's rules say where those are known.
    ///
    /// # Errors
    ///
    /// [`ResolveError::FallbackDenied`] by policy, [`ResolveError::EnvironmentIncomplete`] when
    /// there is nothing to fall back to, [`ResolveError::HostNotAllowed`] when its host is refused.
    pub(crate) fn answer(
        &self,
        reason: Reason,
        rules: KnownRules,
        now: Moment,
    ) -> Result<Answer, Unanswered> {
        let credentials = match &self.credentials {
            _ if self.policy.denies(reason) => Err(ResolveError::FallbackDenied { reason }),
            Err(missing) => {
                Err(ResolveError::EnvironmentIncomplete { reason, missing: missing.clone() })
            }
            Ok(credentials) if !self.hosts.allow(credentials.url()) => {
                Err(ResolveError::HostNotAllowed { reason })
            }
            Ok(credentials) => Ok(Arc::clone(credentials)),
        };
        let credentials = match credentials {
            Ok(credentials) => credentials,
            Err(error) => return Err(Unanswered { error, rules }),
        };
        let rules_trunk = rules.rules().and_then(|rules| rules.trunk.as_deref());
        let trunk = self.trunk(None, rules_trunk);
        let agent = self.agent.clone();
        Ok(Answer::of_environment(credentials, trunk, agent, reason, &rules, now))
    }

    /// Its credentials, where they are complete.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_deref().ok()
    }

    /// The trunk by precedence: the config's, else the rules', else `OUTBOUND_TRUNK_ID`.
    pub(crate) fn trunk(
        &self,
        config: Option<&str>,
        rules: Option<&str>,
    ) -> Option<(Box<str>, TrunkOrigin)> {
        config
            .map(|trunk| (trunk, TrunkOrigin::Config))
            .or(rules.map(|trunk| (trunk, TrunkOrigin::Rules)))
            .or(self.trunk.as_deref().map(|trunk| (trunk, TrunkOrigin::Environment)))
            .map(|(trunk, origin)| (trunk.into(), origin))
    }

    /// The agent by precedence: the config's worker name, else `VOICE_AGENT_NAME`.
    pub(crate) fn agent(&self, config: Option<&str>) -> Arc<str> {
        config.map_or_else(|| self.agent.clone(), Into::into)
    }

    /// Whether it gives the same answers as another one.
    pub(crate) fn answers_like(&self, other: &Self) -> bool {
        let credentials = match (&self.credentials, &other.credentials) {
            (Ok(ours), Ok(theirs)) => ours.held_like(theirs),
            (Err(ours), Err(theirs)) => ours == theirs,
            _ => false,
        };
        credentials
            && (&self.trunk, &self.agent, &self.policy)
                == (&other.trunk, &other.agent, &other.policy)
    }

    /// Which of the three variables are missing; empty when the environment can answer.
    #[must_use]
    pub fn missing(&self) -> &[&'static str] {
        self.credentials.as_ref().err().map_or(&[], Vec::as_slice)
    }

    /// Which hosts LiveKit servers may be at.
    pub(crate) fn hosts(&self) -> &AllowedHosts {
        &self.hosts
    }

    /// Which reasons may not end here.
    #[must_use]
    pub fn policy(&self) -> &FallbackPolicy {
        &self.policy
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Environment")
            .field("missing", &self.missing())
            .field("trunk", &self.trunk)
            .field("agent", &self.agent)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The word of `FALLBACK_DENY` that is no [`Reason`].
pub(crate) const RULES_UNKNOWN: &str = "rules_unknown";
const DEFAULT_AGENT: &str = "inbound-agent";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn environment(values: EnvironmentValues) -> Environment {
        Environment::new(values, Arc::new(SystemClock::default()))
    }

    fn complete() -> EnvironmentValues {
        EnvironmentValues {
            url: Some("wss://env.example".parse().unwrap()),
            api_key: Some("APIenv".into()),
            api_secret: Some(Arc::new(Secret::new(Box::new("canary-env".into())))),
            ..EnvironmentValues::default()
        }
    }

    #[test]
    fn trunk_precedence_is_config_then_rules_then_environment() {
        for (config, rules, env, expected) in [
            (None, None, None, None),
            (None, None, Some("e"), Some(("e", TrunkOrigin::Environment))),
            (None, Some("r"), None, Some(("r", TrunkOrigin::Rules))),
            (None, Some("r"), Some("e"), Some(("r", TrunkOrigin::Rules))),
            (Some("c"), None, None, Some(("c", TrunkOrigin::Config))),
            (Some("c"), None, Some("e"), Some(("c", TrunkOrigin::Config))),
            (Some("c"), Some("r"), None, Some(("c", TrunkOrigin::Config))),
            (Some("c"), Some("r"), Some("e"), Some(("c", TrunkOrigin::Config))),
        ] {
            let values =
                EnvironmentValues { trunk: env.map(Into::into), ..EnvironmentValues::default() };
            let trunk = environment(values).trunk(config, rules);
            let trunk = trunk.as_ref().map(|(trunk, origin)| (&**trunk, *origin));
            assert_eq!(trunk, expected, "{config:?} {rules:?} {env:?}");
        }
    }

    #[test]
    fn an_incomplete_environment_names_what_is_missing_and_all_three() {
        let values = EnvironmentValues { api_key: None, ..complete() };
        let error = environment(values)
            .answer(Reason::NumberUnknown, KnownRules::Unknown, Moment(0))
            .unwrap_err()
            .error;
        let ResolveError::EnvironmentIncomplete { missing, .. } = &error else { panic!() };
        assert_eq!(missing, &["LIVEKIT_API_KEY"]);
        for name in ["LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"] {
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_host_that_is_not_allowed_answers_nobody_and_says_so() {
        let hosts = Arc::new("elsewhere.example".parse().unwrap());
        let values = EnvironmentValues { hosts, ..complete() };
        assert!(values.host_is_refused() && !complete().host_is_refused());
        let answer = |reason| {
            let values = EnvironmentValues { hosts: Arc::clone(&values.hosts), ..complete() };
            environment(values).answer(reason, KnownRules::Unknown, Moment(0)).unwrap_err().error
        };
        let error = answer(Reason::FlagOff);
        assert_eq!(error, ResolveError::HostNotAllowed { reason: Reason::FlagOff });
        assert_eq!(error.reason(), Some(Reason::HostNotAllowed));
        assert!(!error.is_temporary() && answer(Reason::DatabaseTimeout).is_temporary());
    }

    #[test]
    fn a_denied_reason_is_an_error_and_the_others_are_answered() {
        let policy = FallbackPolicy::denying([Reason::SecretUnopenable]);
        let environment = environment(EnvironmentValues { policy, ..complete() });
        let denied = environment
            .answer(Reason::SecretUnopenable, KnownRules::Unknown, Moment(0))
            .unwrap_err()
            .error;
        assert_eq!(denied, ResolveError::FallbackDenied { reason: Reason::SecretUnopenable });
        let answer = environment.answer(Reason::FlagOff, KnownRules::Unknown, Moment(0)).unwrap();
        assert_eq!(
            (answer.source(), answer.agent_name()),
            (crate::Source::Environment, "inbound-agent")
        );
        assert!(!format!("{answer:?} {environment:?} {:?}", complete()).contains("canary-env"));
    }
}
