//! The warm-up: loads the numbers that `WARM` names before anybody asks for them.
//!
//! Configs are read once and numbers page by page, each stamped with the generation in which it was
//! read. So the fence refuses whatever was read before a change, as for any other load.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Engine;
use super::decision::answer;
use super::live::Running;
use super::loaded::{Asked, HeldCredentials};
use super::loader::Loader;
use crate::answer::Source;
use crate::cache::Fresh;
use crate::cache::fence::{Generation, Stamp};
use crate::cache::shared::Facts;
use crate::number::{Caller, ConfigId, E164};
use crate::rollout::{Rollout, Side, Standing};
use crate::rules::Rules;
use crate::settings::Warm;
use crate::store::{Config, Number, Route, Store, StoreError};

/// Loads what `WARM` names, once the lease is live. Holds the loader for one page at a time, so that
/// a resolver that nobody needs any more can be dropped.
pub(super) async fn warm_up(engine: Weak<Engine>) {
    let Some(loader) = engine.upgrade().map(|engine| Arc::downgrade(&engine.loader)) else {
        return;
    };
    let (began, warm) = loop {
        let Some(loader) = loader.upgrade() else { return };
        let now = loader.clock.now();
        if loader.cache.fence.lease_is_live(now) {
            break (now, loader.tuning.warm);
        }
        drop(loader);
        sleep(LOOK).await;
    };
    let warmed = match warm {
        Warm::Recent => warm_recent(&loader).await,
        Warm::All => warm_all(&loader).await,
        Warm::None => Ok(()),
    };
    let Some(engine) = engine.upgrade() else { return };
    let (numbers, took) = (engine.cache.len(), engine.clock.now().since(began));
    match warmed {
        Ok(()) => tracing::info!(numbers, ?took, "numbers are warm"),
        Err(error) => tracing::warn!(%error, numbers, "not all numbers could be warmed"),
    }
    engine.health_state.warmed.store(true, Ordering::Release);
}

async fn warm_recent(loader: &Weak<Loader>) -> Result<(), StoreError> {
    let begin = |loader: Arc<Loader>| Some((loader.store.clone()?, loader.room()));
    let Some((store, room)) = loader.upgrade().and_then(begin) else { return Ok(()) };
    let callers = store.changed_lately(room.min(MOST_RECENT)).await?;
    for callers in callers.chunks(ROUTES) {
        let Some(asked) = loader.upgrade().map(|loader| loader.question_now()) else {
            return Ok(());
        };
        let routes = match store.routes(callers).await {
            // One row cannot be read. It is left to its callers; the others are loaded one by one.
            Err(StoreError::Row { .. }) => {
                let each = callers.iter().map(|&caller| store.route(caller));
                join_all(each).await.into_iter().map(|route| route.ok().flatten()).collect()
            }
            routes => routes?,
        };
        let Some(loader) = loader.upgrade() else { return Ok(()) };
        // After the rows: a change of it that comes later outdates them.
        let Ok(rollout) = loader.rollout.known().await else { return Ok(()) };
        for (&caller, route) in callers.iter().zip(routes) {
            loader.warm_route(caller, route, asked, &rollout);
        }
    }
    Ok(())
}

async fn warm_all(loader: &Weak<Loader>) -> Result<(), StoreError> {
    let begin = |loader: Arc<Loader>| {
        let (store, room) = (loader.store.clone()?, loader.room());
        let next = loader.page(&store, None, room.min(PAGE));
        Some((store, room, next, loader.question_now()))
    };
    let Some((store, mut room, mut next, asked)) = loader.upgrade().and_then(begin) else {
        return Ok(());
    };
    let configs = store.configs().await?;
    let open = |loader: Arc<Loader>| {
        let running = loader.live.running();
        (loader.open_all(configs, asked, &running), running)
    };
    let Some((configs, running)) = loader.upgrade().map(open) else { return Ok(()) };
    loop {
        let Some(page) = next.await else {
            tracing::error!("a page of the warm-up crashed; the rest is left to callers");
            return Ok(());
        };
        let Page { numbers, asked } = page?;
        let Some(loader) = loader.upgrade() else { return Ok(()) };
        let Some(last) = numbers.last() else { return Ok(()) };
        room -= numbers.len().min(room);
        // Read while this page is cached.
        next = loader.page(&store, Some(last.clone()), room.min(PAGE));
        let Ok(rollout) = loader.rollout.known().await else { return Ok(()) };
        loader.cache.reserve(numbers.len());
        // Of several rows with one number, the first one answers.
        for rows in
            numbers.chunk_by(|one, next| (one.tenant, &one.digits) == (next.tenant, &next.digits))
        {
            loader.warm(&rows[0], &configs, &running, asked, &rollout);
        }
    }
}

/// The configs that can be used, by their ids.
type Configs = HashMap<ConfigId, OpenConfig>;

/// A config whose secret is open, for as long as this is held.
struct OpenConfig {
    credentials: HeldCredentials,
    facts: Arc<Facts>,
    born: Generation,
}

/// Numbers, and when they were read.
struct Page {
    numbers: Vec<Number>,
    asked: Asked,
}

impl Loader {
    /// Caches the answer for a number, if there is one. Whatever else is left to its callers.
    fn warm_route(&self, caller: Caller, route: Option<Route>, asked: Asked, rollout: &Rollout) {
        let running = self.live.running();
        self.watch_url(route.as_ref().and_then(|route| route.config.as_ref()), asked);
        let decision = running.decide(Standing::of(rollout, caller), route);
        if decision.verdict.is_err() || self.is_warm(caller) {
            return;
        }
        let stamp = Stamp::new(asked.born, caller, decision.depends_on);
        let (outcome, config_born) = self.open(decision, asked, &running);
        if matches!(&outcome, Ok(answer) if answer.source() == Source::Database) {
            let stamp = stamp.with_config_of(config_born);
            let fresh = Fresh::from_database(caller, outcome, stamp, asked.at, &self.lifetimes);
            self.cache.keep(caller, fresh, self.clock.now());
        }
    }

    /// Whether a caller has loaded it already: that answer may be newer.
    fn is_warm(&self, caller: Caller) -> bool {
        self.cache.proven(caller, self.clock.now()).is_some()
    }

    /// Begins to read a page. `None`: the task that reads it has crashed.
    fn page(
        &self,
        store: &Arc<dyn Store>,
        after: Option<Number>,
        most: usize,
    ) -> impl Future<Output = Option<Result<Page, StoreError>>> + use<> {
        let asked = self.question_now();
        let (store, (send, page)) = (Arc::clone(store), oneshot::channel());
        self.lifecycle.spawn("warm-up page", async move {
            let numbers = store.numbers_after(after.as_ref(), most).await;
            let _stopped = send.send(numbers.map(|numbers| Page { numbers, asked }));
        });
        async { page.await.ok() }
    }

    /// How many more answers there is room for.
    fn room(&self) -> usize {
        let capacity = usize::try_from(self.tuning.capacity).unwrap_or(usize::MAX);
        capacity.saturating_sub(self.cache.len())
    }

    fn open_all(&self, configs: Vec<Config>, asked: Asked, running: &Running) -> Configs {
        let open = |config: Config| {
            let id = config.id;
            self.watch_url(Some(&config), asked);
            let chosen = running.choose(id, Some(config)).ok()?;
            let (credentials, born) =
                chosen.credentials(asked.born, &self.cache, &self.clock).ok()?;
            Some((
                id,
                OpenConfig {
                    credentials: HeldCredentials(credentials),
                    facts: chosen.facts(),
                    born,
                },
            ))
        };
        configs.into_iter().filter_map(open).collect()
    }

    /// Caches the answer of a number's row with one of these configs.
    fn warm(
        &self,
        number: &Number,
        configs: &Configs,
        running: &Running,
        asked: Asked,
        rollout: &Rollout,
    ) {
        let Ok(digits) = E164::from_digits(&number.digits) else { return };
        let caller = Caller::new(number.tenant, digits);
        if rollout.side(caller) != Side::Inside {
            return;
        }
        let rules = Rules::read(number.provider.as_deref(), &number.rules);
        let (None, Some(id)) = (rules.credentials_wrong, rules.config) else { return };
        let Some(OpenConfig {
            credentials: HeldCredentials(credentials),
            facts,
            born: config_born,
        }) = configs.get(&id)
        else {
            return;
        };
        if self.is_warm(caller) || !credentials.acquire() {
            return;
        }
        let (credentials, rules) = (Arc::clone(credentials), Some(Arc::new(rules)));
        let outcome = Ok(answer(credentials, id, facts, rules, &running.environment, asked.at));
        let stamp = Stamp::new(asked.born, caller, Some(id)).with_config_of(*config_born);
        let fresh = Fresh::from_database(caller, outcome, stamp, asked.at, &self.lifetimes);
        self.cache.keep(caller, fresh, self.clock.now());
    }
}

const LOOK: Duration = Duration::from_millis(10);
/// How many numbers one statement reads, which must end within its deadline.
const PAGE: usize = 5000;
const ROUTES: usize = 1000;
const MOST_RECENT: usize = 100_000;
