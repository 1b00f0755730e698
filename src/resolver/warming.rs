//! Numbers that are loaded before anyone asks for them: what `WARM` says.
//!
//! Configs are read once and numbers page by page, each stamped with the generation in which it was
//! read. So whatever changes meanwhile, the fence refuses what was read before it, as for any load.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::config::Visit;
use super::decision::{answer, choose, decide};
use super::{Engine, Running};
use crate::cache::fence::{Generation, Stamp};
use crate::cache::shared::Facts;
use crate::clock::Moment;
use crate::credentials::Source;
use crate::number::{Caller, ConfigId, E164};
use crate::rules::Rules;
use crate::settings::Warm;
use crate::store::{Number, Store, StoreError};

/// Loads what `WARM` names, once it is proven that changes are heard.
pub(super) async fn warm_up(engine: Weak<Engine>) {
    loop {
        let Some(engine) = engine.upgrade() else { return };
        if engine.cache.fence.lease_is_live(engine.clock.now()) {
            return engine.warm_up().await;
        }
        drop(engine);
        sleep(LOOK).await;
    }
}

/// The configs that can be used, by their ids.
type Configs = HashMap<ConfigId, Opened>;

/// A config whose secret is open, for as long as this is held.
struct Opened {
    credentials: Visit,
    facts: Arc<Facts>,
    born: Generation,
}

/// Numbers, and when they were read.
struct Page {
    numbers: Vec<Number>,
    born: Generation,
    asked_at: Moment,
}

impl Engine {
    async fn warm_up(&self) {
        let Some(store) = &self.store else { return };
        let began = self.clock.now();
        let warmed = match self.tuning.warm {
            Warm::None => Ok(()),
            Warm::Recent => self.warm_recent(&**store).await,
            Warm::All => self.warm_all(store).await,
        };
        let (numbers, took) = (self.cache.len(), self.clock.now().since(began));
        match warmed {
            Ok(()) => tracing::info!(numbers, ?took, "numbers are warm"),
            Err(error) => tracing::warn!(%error, numbers, "not all numbers could be warmed"),
        }
        self.upkeep.warmed.store(true, Ordering::Release);
    }

    async fn warm_recent(&self, store: &dyn Store) -> Result<(), StoreError> {
        let callers = store.changed_lately(self.room().min(MOST_RECENT)).await?;
        for callers in callers.chunks(ROUTES) {
            let (born, asked_at) = (self.cache.fence.generation(), self.clock.now());
            let running = self.running.load_full();
            for (&caller, route) in callers.iter().zip(store.routes(callers).await?) {
                let decision = decide(route, running.ring.as_ref());
                if decision.verdict.is_err() {
                    continue;
                }
                let stamp = Stamp::new(born, caller, decision.depends_on);
                let (outcome, config_born) = decision.outcome(born, self, &running, asked_at);
                if matches!(&outcome, Ok(answer) if answer.source() == Source::Database) {
                    let stamp = stamp.with_config_of(config_born);
                    let fresh = self.fresh(caller, outcome, stamp, (asked_at, asked_at));
                    self.cache.keep(caller, fresh, self.clock.now());
                }
            }
        }
        Ok(())
    }

    async fn warm_all(&self, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        let running = self.running.load_full();
        let configs = self.open_all(&**store, &running).await?;
        let mut room = self.room();
        let mut next = self.page(store, None, room.min(PAGE));
        while let Some(page) = next.await {
            let Page { numbers, born, asked_at } = page?;
            let Some(last) = numbers.last() else { break };
            room -= numbers.len().min(room);
            // It is read while this one is kept.
            next = self.page(store, Some(last.clone()), room.min(PAGE));
            self.cache.reserve(numbers.len());
            // Of several rows with one number, the first one answers.
            for rows in numbers
                .chunk_by(|one, next| (one.tenant, &one.digits) == (next.tenant, &next.digits))
            {
                self.warm(&rows[0], &configs, &running, (born, asked_at));
            }
        }
        Ok(())
    }

    /// Begins to read a page. `None`: whoever reads it has crashed.
    fn page(
        &self,
        store: &Arc<dyn Store>,
        after: Option<Number>,
        most: usize,
    ) -> impl Future<Output = Option<Result<Page, StoreError>>> + use<> {
        let (born, asked_at) = (self.cache.fence.generation(), self.clock.now());
        let (store, (send, page)) = (Arc::clone(store), oneshot::channel());
        self.lifecycle.spawn("warm-up page", async move {
            let numbers = store.numbers_after(after.as_ref(), most).await;
            let _stopped = send.send(numbers.map(|numbers| Page { numbers, born, asked_at }));
        });
        async { page.await.ok() }
    }

    /// How many more answers there is room for.
    fn room(&self) -> usize {
        let capacity = usize::try_from(self.tuning.capacity).unwrap_or(usize::MAX);
        capacity.saturating_sub(self.cache.len())
    }

    async fn open_all(&self, store: &dyn Store, running: &Running) -> Result<Configs, StoreError> {
        let born = self.cache.fence.generation();
        let open = |config: crate::store::Config| {
            let id = config.id;
            let chosen = choose(id, Some(config), running.ring.as_ref()).ok()?;
            let (credentials, born) = chosen.credentials(born, &self.cache, &self.clock).ok()?;
            Some((id, Opened { credentials: Visit(credentials), facts: chosen.facts(), born }))
        };
        Ok(store.configs().await?.into_iter().filter_map(open).collect())
    }

    /// Keeps the answer for a number, if there is one: callers find out what else there is.
    fn warm(
        &self,
        number: &Number,
        configs: &Configs,
        running: &Running,
        (born, asked_at): (Generation, Moment),
    ) {
        let Ok(digits) = E164::from_digits(&number.digits) else { return };
        let caller = Caller::new(number.tenant, digits);
        let rules = Rules::read(number.provider.as_deref(), &number.rules);
        let (None, Some(id)) = (rules.credentials_wrong, rules.config) else { return };
        let Some(Opened { credentials: Visit(credentials), facts, born: config_born }) =
            configs.get(&id)
        else {
            return;
        };
        if !credentials.acquire() {
            return;
        }
        let (credentials, rules) = (Arc::clone(credentials), Some(Arc::new(rules)));
        let outcome = Ok(answer(credentials, id, facts, rules, &running.environment, asked_at));
        let stamp = Stamp::new(born, caller, Some(id)).with_config_of(*config_born);
        let fresh = self.fresh(caller, outcome, stamp, (asked_at, asked_at));
        self.cache.keep(caller, fresh, self.clock.now());
    }
}

const LOOK: Duration = Duration::from_millis(10);
/// Numbers that are read by one statement, which has to end within its deadline.
const PAGE: usize = 5000;
const ROUTES: usize = 1000;
const MOST_RECENT: usize = 100_000;
