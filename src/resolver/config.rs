//! A changed config is loaded once, however many numbers use it.
//!
//! A change of a config leaves the number's part of each answer valid. So an answer is made again
//! from that part and the new config, which the first number that needs it loads for all of them.

use std::sync::Arc;

use tracing::Instrument;

use super::Resolver;
use super::decision::answer;
use super::loaded::{Asked, HeldCredentials, LoadResult, Loaded, LoadedConfig, reason_of};
use super::loader::Loader;
use crate::answer::{KnownRules, ResolveError};
use crate::cache::Resolution;
use crate::cache::fence::Generation;
use crate::cache::shared::Facts;
use crate::cache::single_flight::Crashed;
use crate::cache::{Fresh, NumberPart, ResolveOutcome};
use crate::change::Change;
use crate::clock::Moment;
use crate::credentials::Credentials;
use crate::number::{Caller, ConfigId};
use crate::reason::Reason;
#[cfg(feature = "dispatch")]
use crate::store::StoreError;

/// A config in use by one answer.
struct Used {
    credentials: Arc<Credentials>,
    facts: Arc<Facts>,
    loaded_at: Moment,
}

impl Resolver {
    /// The credentials of one config, whatever the flag says, and disabled or not: for work that began
    /// with this config and must go on with it, such as a call that is to be ended.
    ///
    /// Credentials in memory are returned at once. Otherwise callers wait together for one statement,
    /// for `RESOLVE_DEADLINE` at the most.
    ///
    /// # Errors
    ///
    /// [`ResolveError::ConfigUnusable`]. The environment never answers here.
    pub async fn resolve_config(&self, id: ConfigId) -> Result<Resolution, ResolveError> {
        let engine = &self.engine;
        let now = engine.clock.now();
        let is_current = |born| engine.cache.fence.admits_config(id, born);
        let in_memory = || {
            engine
                .cache
                .shared
                .current(id, is_current)
                .filter(|_| engine.cache.fence.lease_is_live(now))
        };
        let used = match in_memory() {
            Some((_, credentials, facts)) => Ok(Used { credentials, facts, loaded_at: now }),
            None => {
                let config = engine.loader.config(id);
                match tokio::time::timeout(engine.tuning.resolve_deadline, config).await {
                    Ok(Ok(used)) => used,
                    Ok(Err(Crashed)) => Err(Reason::LoadPanicked),
                    Err(_) => Err(Reason::DatabaseTimeout),
                }
            }
        };
        let Used { credentials, facts, loaded_at } =
            used.map_err(|reason| ResolveError::ConfigUnusable { reason })?;
        let environment = &engine.live.running().environment;
        Ok(answer(credentials, id, &facts, None, environment, loaded_at))
    }

    /// The credentials of the environment, whatever the flag says: for work that began with them.
    ///
    /// # Errors
    ///
    /// [`ResolveError::EnvironmentIncomplete`], [`ResolveError::FallbackDenied`].
    pub fn resolve_environment(&self) -> Result<Resolution, ResolveError> {
        let running = self.engine.live.running();
        let now = self.engine.clock.now();
        Ok(running.fall_back(Reason::FlagOff, true, KnownRules::Unknown, now)?)
    }

    /// The ids of all configs.
    #[cfg(feature = "dispatch")]
    pub(crate) async fn config_ids(&self) -> Result<Vec<ConfigId>, StoreError> {
        let Some(store) = &self.engine.loader.store else { return Ok(Vec::new()) };
        Ok(store.configs().await?.into_iter().map(|config| config.id).collect())
    }

    /// Reports that a LiveKit server refused these credentials. If they are the ones in memory, they
    /// are dropped, and the next caller loads the config anew.
    pub fn credentials_refused(&self, answer: &Resolution) {
        if let Some(id) = answer.config_id()
            && self.engine.cache.shared.holds(id, &answer.credentials)
        {
            self.engine.telemetry.refused_by_server.increment(1);
            self.engine.cache.apply(Change::Config(id));
        }
    }
}

impl Loader {
    /// The answer for a number whose config has changed, if the new config is in memory.
    pub(super) fn with_new_config(&self, caller: Caller, now: Moment) -> Option<ResolveOutcome> {
        let part = self.cache.number_part(caller, now)?;
        self.remake(caller, &part, now).map(|loaded| loaded.outcome)
    }

    /// The same; loads the config first, or joins its load.
    pub(super) async fn after_config_change(self: &Arc<Self>, caller: Caller) -> Option<Loaded> {
        let now = self.clock.now();
        let part = self.cache.number_part(caller, now)?;
        let _held_until_used = self.join_or_start_config(part.config).await.ok()?.outcome.ok()?;
        self.remake(caller, &part, now)
    }

    /// Waits for a load of a config that is new enough for this question, and shares its credentials.
    async fn config(self: &Arc<Self>, id: ConfigId) -> Result<Result<Used, Reason>, Crashed> {
        let question = self.question_now();
        loop {
            let loaded = self.join_or_start_config(id).await?;
            let proven = self.cache.fence.lease_is_live(self.clock.now());
            if !loaded.answers(question, proven, &self.cache.fence, self.tuning.lease) {
                continue;
            }
            match loaded.outcome {
                Err(reason) => return Ok(Err(reason)),
                Ok((held, facts)) if held.0.acquire() => {
                    let credentials = Arc::clone(&held.0);
                    return Ok(Ok(Used { credentials, facts, loaded_at: loaded.asked.at }));
                }
                // It has changed again since, and was wiped for that.
                Ok(_) => {}
            }
        }
    }

    /// Joins the load of a config that is under way, or begins one.
    async fn join_or_start_config(self: &Arc<Self>, id: ConfigId) -> Result<LoadedConfig, Crashed> {
        let loader = Arc::clone(self);
        let span = tracing::debug_span!("load config", %id);
        let start = |born| loader.load_config(id, born).instrument(span);
        self.config_loads.join_or_start(id, &self.cache.fence, &self.lifecycle, start).await
    }

    fn remake(&self, caller: Caller, part: &NumberPart, now: Moment) -> Option<Loaded> {
        let is_current = |born| self.cache.fence.admits_config(part.config, born);
        // Before the settings are read: what a reload makes of them must outrank this answer.
        let stamp = part.stamp;
        let (born, credentials, facts) = self.cache.shared.current(part.config, is_current)?;
        if facts.is_disabled {
            return None;
        }
        let running = self.live.running();
        let outcome = Ok(answer(
            credentials,
            part.config,
            &facts,
            part.rules.clone(),
            &running.environment,
            part.loaded_at,
        ));
        let stamp = stamp.with_config_of(born);
        let fresh = Fresh::remade(outcome.clone(), stamp, part, now);
        self.log_source(caller, &outcome);
        self.cache.keep(caller, fresh, now);
        // Both parts are as new as the lease proves that was live now: as if asked for before it.
        let asked_at = now.before(self.tuning.lease);
        self.cache.fence.admits(stamp).then_some(Loaded { outcome, stamp, asked_at })
    }

    /// Asks for a config and shares its credentials.
    async fn load_config(self: Arc<Self>, id: ConfigId, born: Generation) -> LoadedConfig {
        self.telemetry.config_loads.increment(1);
        let _under_way = self.telemetry.load_started();
        let asked = Asked { born, at: self.clock.now() };
        match self.ask_for_config(id, asked).await {
            Ok((held, facts, born)) => {
                let asked = Asked { born, ..asked };
                LoadedConfig { id, asked, outcome: Ok((Arc::new(held), facts)) }
            }
            Err(reason) => LoadedConfig { id, asked, outcome: Err(reason) },
        }
    }

    async fn ask_for_config(
        &self,
        id: ConfigId,
        asked: Asked,
    ) -> Result<(HeldCredentials, Arc<Facts>, Generation), Reason> {
        let running = self.live.running();
        let store = self.store.as_ref().ok_or(Reason::DatabaseNotConfigured)?;
        let config = store.config(id).await.map_err(|error| reason_of(&error))?;
        self.watch_url(config.as_ref(), asked);
        let learned = self.knowing_key_of(config.as_ref(), &running).await;
        let running = learned.map_err(|why| why.reason())?.unwrap_or(running);
        let chosen = running.choose_begun(id, config).map_err(|why| why.reason())?;
        let (credentials, born) =
            chosen.credentials(asked.born, &self.cache, &self.clock).map_err(|why| why.reason())?;
        Ok((HeldCredentials(credentials), chosen.facts(), born))
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use serde_json::json;

    use crate::keyring::KeyRing;
    use crate::resolver::Resolver;
    use crate::settings::{Settings, Values};
    use crate::store::{Migrations, NewConfig, NewNumber, OpenStore};
    use crate::{Caller, Change};

    #[tokio::test]
    async fn an_answer_made_again_counts_as_asked_for_a_lease_ago() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyRing::generate().unwrap();
        let variables = [
            ("DATABASE_URL".into(), format!("sqlite:{}", folder.path().join("db").display())),
            ("LIVEKIT_SECRET_ENCRYPTION_KEY".into(), key.to_string()),
        ];
        let settings = Settings::read(&Values::of(variables, None)).unwrap();
        let opened = OpenStore::new(settings.database.as_ref().unwrap(), &settings.tuning);
        opened.migrate(Migrations::Up).await.unwrap();
        let store = opened.admin();
        let config = NewConfig {
            name: "eu".into(),
            description: None,
            url: "wss://eu.example".parse().unwrap(),
            api_key: "APIeu".into(),
            trunk_id: None,
            agent: None,
            api_secret: KeyRing::parse(&key).unwrap().seal("a secret", 0).unwrap(),
        };
        let id = store.create_config(&config).await.unwrap();
        let caller =
            Caller::parse("6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10", "+971501234567").unwrap();
        store
            .add_number(&NewNumber { caller, provider: None, rules: json!({"livekit_config": id}) })
            .await
            .unwrap();

        // Without a change feed: only this test reports changes.
        let resolver = Resolver::builder(settings).store(store).start();
        resolver.resolve(caller).await.unwrap();
        resolver.invalidate(Change::Config(id));
        let loader = &resolver.engine.loader;
        let generation = loader.cache.fence.generation();
        let _held = loader.clone().load_config(id, generation).await;
        let now = loader.clock.now();
        let part = loader.cache.number_part(caller, now).unwrap();
        let remade = loader.remake(caller, &part, now).unwrap();
        assert_eq!(remade.asked_at, now.before(loader.tuning.lease));
    }
}
