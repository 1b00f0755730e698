//! A config that changed is asked for once, however many numbers point at it.
//!
//! What a number says outlives a change of its config. So its answer is made again of that and of
//! what the config says now, which the first number that needs it has loaded for all of them.

use std::sync::Arc;

use tracing::Instrument;

use super::Resolver;
use super::decision::{answer, choose};
use super::loader::{Landed, Loader, Visit, reason_of};
use crate::answer::{KnownRules, ResolveError};
use crate::cache::Resolution;
use crate::cache::fence::Generation;
use crate::cache::{Fresh, NumberPart, Outcome};
use crate::change::Change;
use crate::clock::Moment;
use crate::number::{Caller, ConfigId};
use crate::reason::Reason;
#[cfg(feature = "dispatch")]
use crate::store::StoreError;

impl Resolver {
    /// The credentials of one config, whichever numbers use it and whatever the flag says: for what
    /// was begun with that config and must go on with it, such as a call that is to be ended.
    ///
    /// # Errors
    ///
    /// [`ResolveError::ConfigUnusable`]. The environment never answers here.
    pub async fn resolve_config(&self, id: ConfigId) -> Result<Resolution, ResolveError> {
        let engine = &self.engine;
        let (now, born) = (engine.clock.now(), engine.cache.fence.generation());
        let running = engine.live.running();
        let answer = |credentials, facts: &_| {
            answer(credentials, id, facts, None, &running.environment, now)
        };
        let counts = |born| engine.cache.fence.admits_config(id, born);
        if engine.cache.fence.lease_is_live(now)
            && let Some((_, credentials, facts)) = engine.cache.shared.current(id, counts)
        {
            return Ok(answer(credentials, &facts));
        }
        let unusable = |reason| ResolveError::ConfigUnusable { reason };
        let Some(store) = &engine.loader.store else {
            return Err(unusable(Reason::DatabaseNotConfigured));
        };
        let config = store.config(id).await.map_err(|error| unusable(reason_of(&error)))?;
        let chosen = choose(id, config, running.ring.as_ref());
        let opened = chosen.and_then(|chosen| {
            let (credentials, _) = chosen.credentials(born, &engine.cache, &engine.clock)?;
            Ok(answer(credentials, &chosen.facts()))
        });
        opened.map_err(|why| unusable(why.reason()))
    }

    /// The credentials of the environment, whatever the flag says: for what was begun with them.
    ///
    /// # Errors
    ///
    /// [`ResolveError::EnvironmentIncomplete`], [`ResolveError::FallbackDenied`].
    pub fn resolve_environment(&self) -> Result<Resolution, ResolveError> {
        let running = self.engine.live.running();
        Ok(running.without_database(
            Reason::FlagOff,
            KnownRules::Unknown,
            self.engine.clock.now(),
        )?)
    }

    /// The ids of all configs.
    #[cfg(feature = "dispatch")]
    pub(crate) async fn config_ids(&self) -> Result<Vec<ConfigId>, StoreError> {
        let Some(store) = &self.engine.loader.store else { return Ok(Vec::new()) };
        Ok(store.configs().await?.into_iter().map(|config| config.id).collect())
    }

    /// A server refused these credentials. If they are those that callers are answered with, they
    /// are dropped, and the next caller loads what the config says now.
    pub fn refused(&self, answer: &Resolution) {
        if let Some(id) = answer.config_id()
            && self.engine.cache.shared.holds(id, &answer.credentials)
        {
            self.engine.telemetry.refused_by_server.increment(1);
            self.engine.cache.apply(Change::Config(id));
        }
    }
}

impl Loader {
    /// The answer for a number whose config has changed, if what that says now is known.
    pub(super) fn with_new_config(&self, caller: Caller, now: Moment) -> Option<Outcome> {
        let part = self.cache.number_part(caller, now)?;
        self.made_again(caller, &part, now).map(|landed| landed.outcome)
    }

    /// The same, and loads what the config says now, unless somebody does so already.
    pub(super) async fn after_config_change(self: &Arc<Self>, caller: Caller) -> Option<Landed> {
        let now = self.clock.now();
        let part = self.cache.number_part(caller, now)?;
        let (loader, id) = (Arc::clone(self), part.config);
        let span = tracing::debug_span!("load config", %id);
        let take_off = |born| loader.load_config(id, born).instrument(span);
        let flight = self.config_flights.board(id, &self.cache.fence, &self.lifecycle, take_off);
        let _held_until_used = flight.await.ok()??;
        self.made_again(caller, &part, now)
    }

    fn made_again(&self, caller: Caller, part: &NumberPart, now: Moment) -> Option<Landed> {
        let counts = |born| self.cache.fence.admits_config(part.config, born);
        // Before the settings are read: what a reload makes of them must outrank this answer.
        let stamp = part.stamp;
        let (born, credentials, facts) = self.cache.shared.current(part.config, counts)?;
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
        self.tell(caller, &outcome);
        self.cache.keep(caller, fresh, now);
        // Both parts are as new as the lease proves that was live now: as if asked for before it.
        let asked_at = now.before(self.tuning.lease);
        self.cache.fence.admits(stamp).then_some(Landed { outcome, stamp, asked_at })
    }

    /// Asks for a config and shares its credentials. `None`: there is none that can be used, or no
    /// database; each number then finds out for itself why.
    async fn load_config(self: Arc<Self>, id: ConfigId, born: Generation) -> Option<Arc<Visit>> {
        self.telemetry.config_loads.increment(1);
        let _under_way = self.telemetry.take_off();
        let running = self.live.running();
        let config = self.store.as_ref()?.config(id).await.ok()??;
        let chosen = choose(id, Some(config), running.ring.as_ref()).ok()?;
        let (credentials, _) = chosen.credentials(born, &self.cache, &self.clock).ok()?;
        Some(Arc::new(Visit(credentials)))
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

        // Nobody else tells of changes then.
        let resolver = Resolver::builder(settings).store(store).start();
        resolver.resolve(caller).await.unwrap();
        resolver.invalidate(Change::Config(id));
        let loader = &resolver.engine.loader;
        let generation = loader.cache.fence.generation();
        let _held = loader.clone().load_config(id, generation).await.unwrap();
        let now = loader.clock.now();
        let part = loader.cache.number_part(caller, now).unwrap();
        let landed = loader.made_again(caller, &part, now).unwrap();
        assert_eq!(landed.asked_at, now.before(loader.tuning.lease));
    }
}
