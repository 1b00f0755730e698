//! A database of one number's row and one config's row, and a loader without a network.

use std::sync::LazyLock;
use std::time::Duration;

use uuid::Uuid;

use crate::answer::{Answer, AnswerOrigin, ResolveError, TrunkOrigin};
use crate::cache::fence::{Generation, Stamp};
use crate::cache::shared::Facts;
use crate::cache::{
    Cache, CacheEntry, Fresh, LastGood, Lifetimes, Resolution, ResolveOutcome, ThreadCache,
};
use crate::change::Change;
use crate::clock::{Clock, Moment};
use crate::credentials::{CredentialError, Credentials};
use crate::keyring::{KeyRing, Secret};
use crate::number::{Caller, ConfigId};
use crate::reason::Reason;
use crate::rules::Rules;
use crate::sync::{Arc, Mutex};
use crate::token::TokenRequest;

/// What the rows say, by version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) config: u64,
    pub(crate) number: u64,
}

/// What a load came to.
pub(crate) struct LoadResult {
    pub(crate) outcome: ResolveOutcome,
    pub(crate) stamp: Stamp,
}

/// The real cache, and a database to fill it from.
pub(crate) struct Lab {
    pub(crate) cache: Arc<Cache>,
    database: Mutex<Rows>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::keeping(8)
    }

    /// One whose keeper keeps so many answers.
    pub(crate) fn keeping(capacity: u64) -> Self {
        Self {
            cache: Arc::new(Cache::new(capacity, LATER.since(NOW), LATER.since(NOW))),
            database: Mutex::new(Rows { config: 1, number: 1 }),
        }
    }

    /// One statement: both rows as of one moment.
    pub(crate) fn read(&self) -> Rows {
        *self.database.lock().unwrap()
    }

    /// Commits what a change is about. Nobody is told.
    pub(crate) fn commit(&self, change: Change) {
        let mut rows = self.database.lock().unwrap();
        rows.config += u64::from(matches!(change, Change::Config(_) | Change::All));
        rows.number += u64::from(!matches!(change, Change::Config(_)));
    }

    /// Commits it and tells of it.
    pub(crate) fn change(&self, change: Change) {
        self.commit(change);
        self.cache.apply(change);
    }

    /// A whole load: the generation first, then the rows.
    pub(crate) fn load(&self, caller: Caller) -> LoadResult {
        self.load_until(caller, LATER)
    }

    /// The same, for an answer that is fresh until then.
    pub(crate) fn load_until(&self, caller: Caller, until: Moment) -> LoadResult {
        let born = self.cache.fence.generation();
        let rows = self.read();
        self.keep_decision(caller, born, rows, until)
    }

    /// Makes an answer of rows and keeps it, as the resolver does when a load lands.
    pub(crate) fn keep_decision(
        &self,
        caller: Caller,
        born: Generation,
        rows: Rows,
        until: Moment,
    ) -> LoadResult {
        let (outcome, config_born) = self.answer(born, rows);
        let stamp = Stamp::new(born, caller, Some(CONFIG)).with_config_of(config_born);
        let lifetimes = Lifetimes { ttl: until.since(NOW), ..LIFETIMES };
        let fresh = Fresh::from_database(caller, outcome.clone(), stamp, NOW, &lifetimes);
        self.cache.keep(caller, fresh, NOW);
        LoadResult { outcome, stamp }
    }

    /// Keeps the error of a caller that waited in vain, as the resolver does.
    pub(crate) fn fall_back(&self, caller: Caller) {
        self.fall_back_from(caller, self.cache.fence.generation());
    }

    /// The same by settings that were read after that generation.
    pub(crate) fn fall_back_from(&self, caller: Caller, born: Generation) {
        let outcome = Err(ResolveError::FallbackDenied { reason: Reason::DatabaseTimeout }.into());
        let stamp = Stamp::new(born, caller, None);
        let fresh = Fresh::substitute(outcome, stamp, NOW, LATER);
        self.cache.keep(caller, fresh, NOW);
    }

    /// Lets the last good answer serve on, as the resolver does for a caller that waited in vain.
    pub(crate) fn keep_last_good(&self, caller: Caller, last: &LastGood) -> Option<ResolveOutcome> {
        self.cache.keep_last_good(caller, last, self.cache.fence.generation(), NOW, LATER)
    }

    fn answer(&self, born: Generation, rows: Rows) -> (ResolveOutcome, Generation) {
        let (key, sealed) = (rows.config.to_string(), format!("sealed {}", rows.config));
        let facts =
            Arc::new(Facts { name: "config".into(), trunk: None, agent: None, is_disabled: false });
        let joined = self.cache.shared.join::<ResolveError>(
            CONFIG,
            born,
            &facts,
            &self.cache.fence,
            |there| there.matches(URL, &key, &sealed, &RING),
            || {
                let url = URL.parse().expect("a URL");
                let opened = Secret::new(Box::new(sealed.clone()));
                Ok(Credentials::sealed(url, &key, &sealed, &opened, RING.clone(), Arc::new(Still)))
            },
        );
        let (credentials, config_born) = joined.expect("a URL is all it takes");
        let trunk = Some((rows.number.to_string().into(), TrunkOrigin::Rules));
        let origin = AnswerOrigin::Database { id: CONFIG, name: facts.name.clone() };
        (Ok(answer(credentials, trunk, origin)), config_born)
    }

    /// Makes an answer again of what its number says and of what its config says by now, as the
    /// resolver does after a change of the config, with a stamp of this generation, given that in
    /// which the config was read.
    pub(crate) fn make_again_of(
        &self,
        caller: Caller,
        config_born: impl FnOnce(Generation) -> Generation,
    ) -> Option<LoadResult> {
        let part = self.cache.number_part(caller, NOW)?;
        let counts = |born| self.cache.fence.admits_config(CONFIG, born);
        let (born, credentials, facts) = self.cache.shared.current(CONFIG, counts)?;
        let trunk = part.rules.as_ref().and_then(|rules| rules.trunk.clone());
        let trunk = trunk.map(|trunk| (trunk, TrunkOrigin::Rules));
        let origin = AnswerOrigin::Database { id: CONFIG, name: facts.name.clone() };
        let stamp = part.stamp.with_config_of(config_born(born));
        let outcome = Ok(answer(credentials, trunk, origin));
        let fresh = Fresh::remade(outcome.clone(), stamp, &part, NOW);
        self.cache.keep(caller, fresh, NOW);
        Some(LoadResult { outcome, stamp })
    }

    /// What the cache would serve.
    pub(crate) fn hit(&self, caller: Caller) -> Option<ResolveOutcome> {
        self.hit_in(&ThreadCache::default(), caller)
    }

    /// What it would serve a thread that has this for itself.
    pub(crate) fn hit_in(
        &self,
        thread_cache: &ThreadCache,
        caller: Caller,
    ) -> Option<ResolveOutcome> {
        self.cache.hit(caller, NOW, true, thread_cache, CacheEntry::outcome).ok()
    }

    /// What a thread has for itself after it has asked for a caller a few times.
    pub(crate) fn thread_cache(&self, caller: Caller) -> ThreadCache {
        let thread_cache = ThreadCache::default();
        (0..5).for_each(|_| drop(self.hit_in(&thread_cache, caller)));
        thread_cache
    }

    /// What stands in the cache, whether it would be served or not.
    pub(crate) fn standing(&self, caller: Caller) -> Option<ResolveOutcome> {
        self.cache.peek(caller)
    }
}

fn answer(
    credentials: Arc<Credentials>,
    trunk: Option<(Box<str>, TrunkOrigin)>,
    origin: AnswerOrigin,
) -> Resolution {
    let mut rules = Rules::read(None, &serde_json::Value::Null);
    rules.trunk = trunk.as_ref().map(|(trunk, _)| trunk.clone());
    let rules = Some(Arc::new(rules));
    Resolution::new(Answer::new(credentials, trunk, "agent".into(), origin, rules, NOW))
}

/// Which rows an answer was made of. `None`: of none.
pub(crate) fn rows_of(outcome: &ResolveOutcome) -> Option<Rows> {
    let answer = outcome.as_ref().ok()?;
    let version = |text: &str| text.parse().expect("a version");
    Some(Rows { config: version(answer.api_key()), number: version(answer.trunk_id()?) })
}

/// Whether an answer can still sign.
pub(crate) fn signs(outcome: &ResolveOutcome) -> bool {
    let Ok(answer) = outcome else { return false };
    !matches!(answer.token(&TokenRequest::default()), Err(CredentialError::Wiped))
}

/// A number that uses [`CONFIG`]; there are some of those.
pub(crate) fn caller(number: u64) -> Caller {
    Caller::parse(TENANT, &format!("+{}", 971_500_000_000 + number)).expect("a caller")
}

/// A clock that stands at [`NOW`].
struct Still;

impl Clock for Still {
    fn now(&self) -> Moment {
        NOW
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

pub(crate) const CONFIG: ConfigId = ConfigId(Uuid::from_u128(9));
pub(crate) const NOW: Moment = Moment(0);
/// When answers are no longer fresh.
pub(crate) const LATER: Moment = Moment(1_000_000_000);
/// When they are not even the last good ones.
pub(crate) const MUCH_LATER: Moment = Moment(2_000_000_000);
/// How long answers last, from [`NOW`] to [`LATER`] and [`MUCH_LATER`].
const LIFETIMES: Lifetimes = Lifetimes {
    ttl: Duration::from_secs(1),
    negative_ttl: Duration::from_secs(1),
    max_stale: Duration::from_secs(2),
    jitter: 0.0,
};
const TENANT: &str = "0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11";
const URL: &str = "wss://calls.example";
static RING: LazyLock<Arc<KeyRing>> = LazyLock::new(|| {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    Arc::new(KeyRing::parse(key).expect("a key"))
});
