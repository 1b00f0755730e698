//! A resolver behind a proxy, numbers that are warm, and the questions that every fault is asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use trunkline::store::{AdminStore, ConfigEdit, Migrations, NewConfig};
use trunkline::{Caller, ConfigId, KeyRing, Resolution, ResolveError, Resolver, Source};

use crate::support::counters::Counters;
use crate::support::database::TestDatabase;
use crate::support::postgres::{Cluster, tcp_url};
use crate::support::proxy::Proxy;
use crate::support::{caller, config, eventually, number, panics};

/// The lease that settings have by default.
pub const LEASE: Duration = Duration::from_secs(1);
/// The deadline of a caller that settings have by default.
pub const DEADLINE: Duration = Duration::from_millis(500);
/// How soon all is well again after the database is.
pub const RECOVERY: Duration = Duration::from_secs(2);
/// What a busy machine may add to a figure.
pub const SLACK: Duration = Duration::from_millis(1500);

/// A resolver that reaches its database through a proxy only, and a way around that proxy.
pub struct Lab {
    pub proxy: Proxy,
    pub resolver: Resolver,
    pub counters: Counters,
    /// The name of the database.
    pub database: String,
    /// Around the proxy.
    pub store: Arc<dyn AdminStore>,
    pub config: ConfigId,
    /// All of them use the config, and are warm.
    pub callers: Vec<Caller>,
    version: AtomicU64,
}

/// A change, and when its commit had returned.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    pub version: u64,
    pub at: Instant,
}

impl Lab {
    /// A resolver whose database is on this cluster.
    pub async fn start(cluster: &Cluster) -> Self {
        Self::start_before(cluster, cluster.port).await
    }

    /// A resolver whose database is filled on this cluster and reached on this port: that of a
    /// pooler or of a replica.
    pub async fn start_before(cluster: &Cluster, port: u16) -> Self {
        Self::start_with(cluster, port, &[]).await
    }

    /// The same, with these variables.
    pub async fn start_with(cluster: &Cluster, port: u16, variables: &[(&str, &str)]) -> Self {
        let lab = Self::cold(cluster, port, variables).await;
        lab.warm_up().await;
        eventually("changes are heard", async || lab.resolver.hears_changes()).await;
        // Whatever the first life made of the answers that were there before it.
        lab.warm_up().await;
        lab
    }

    async fn cold(cluster: &Cluster, port: u16, more: &[(&str, &str)]) -> Self {
        panics::watch();
        let database = cluster.database_name();
        let direct = TestDatabase::on(&cluster.url(&database));
        direct.open.migrate(Migrations::Up).await.unwrap();
        let key = KeyRing::generate().unwrap().to_string();
        let ring = KeyRing::parse(&key).unwrap();
        let store = direct.store();
        let first = NewConfig { trunk_id: Some(trunk(0)), ..config(&ring, "eu") };
        let config = store.create_config(&first).await.unwrap();
        let callers: Vec<_> = (0..NUMBERS).map(|at| caller(1, at)).collect();
        let numbers: Vec<_> = callers.iter().map(|&at| number(at, Some(config))).collect();
        store.import(&numbers).await.unwrap();

        let proxy = Proxy::before(port);
        // The deadlines of production, and nothing of the environment to fall back to.
        let mut variables = vec![
            ("LIVEKIT_SECRET_ENCRYPTION_KEY", key.as_str()),
            ("RESOLVE_DEADLINE", "500ms"),
            ("STORE_DEADLINE", "2s"),
        ];
        variables.extend(more);
        let settings = TestDatabase::on(&tcp_url(proxy.port, &database)).settings(&variables);
        let (resolver, counters) = Counters::of(Resolver::builder(settings));
        let version = AtomicU64::new(0);
        Self { proxy, resolver, counters, database, store, config, callers, version }
    }

    /// Asks for every number until it is answered.
    async fn warm_up(&self) {
        for &caller in &self.callers {
            // A replica may not have the numbers yet, and a busy machine may keep a load too long.
            eventually("the number is known", async || {
                version_of(&self.resolver.resolve(caller).await).is_some()
            })
            .await;
        }
    }

    /// Waits until every change so far has been heard of, and then until every number is warm: what
    /// comes next finds nothing known to be outdated.
    pub async fn settle(&self) {
        let then = Instant::now() + LEASE;
        // A lease that is live by then was renewed after now.
        let heard = async || Instant::now() > then && self.resolver.hears_changes();
        eventually("everything is heard", heard).await;
        self.warm_up().await;
    }

    /// The database of the engine is on this cluster now.
    pub fn move_to(&mut self, cluster: &Cluster) {
        self.proxy.aim(cluster.port);
        self.store = TestDatabase::on(&cluster.url(&self.database)).store();
    }

    /// Changes the config that all numbers use.
    pub async fn commit(&self) -> Commit {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let edit = ConfigEdit { trunk_id: Some(Some(trunk(version))), ..ConfigEdit::default() };
        assert!(self.store.update_config(self.config, &edit).await.unwrap());
        Commit { version, at: Instant::now() }
    }

    /// Waits until a warm number's answer has this change in it and is proven. Until then no answer
    /// is a failure, and none that is not marked stale is older than the lease.
    pub async fn used(&self, what: &str, commit: Commit, within: Duration) -> Duration {
        loop {
            let asked = Instant::now();
            let answer = self.resolver.resolve(self.callers[0]).await;
            let version = version_of(&answer);
            let Some(version) = version else { panic!("{what}: a warm number has {answer:?}") };
            let stale = answer.is_ok_and(|answer| answer.stale());
            if version >= commit.version && !stale {
                let took = commit.at.elapsed();
                eprintln!("{what}: used {} ms after the commit", took.as_millis());
                return took;
            }
            let age = asked.saturating_duration_since(commit.at);
            assert!(stale || age <= LEASE, "{what}: unmarked, and {age:?} old");
            assert!(age < within, "{what}: not used after {age:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Makes a change and waits until it is used.
    pub async fn change_is_used(&self, what: &str, within: Duration) -> Duration {
        let commit = self.commit().await;
        self.used(what, commit, within).await
    }

    /// Waits until a warm number's answer is proven again.
    pub async fn proven_again(&self, what: &str, since: Instant, within: Duration) {
        loop {
            let answer = self.resolver.resolve(self.callers[0]).await;
            assert!(version_of(&answer).is_some(), "{what}: a warm number has {answer:?}");
            let took = since.elapsed();
            if answer.is_ok_and(|answer| !answer.stale()) {
                return eprintln!("{what}: proven again after {} ms", took.as_millis());
            }
            assert!(took < within, "{what}: still marked stale after {took:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until answers are marked stale, which is when the lease has ended.
    pub async fn marked_stale(&self) {
        eventually("answers are marked stale", async || {
            self.resolver.resolve(self.callers[0]).await.is_ok_and(|answer| answer.stale())
        })
        .await;
    }

    /// Asks for all numbers, over and over, until the watch is ended.
    pub fn watch(&self) -> Watch {
        let ended = Arc::new(AtomicBool::new(false));
        let (resolver, callers, until) =
            (self.resolver.clone(), self.callers.clone(), Arc::clone(&ended));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut seen = Seen::default();
            for caller in callers.into_iter().cycle() {
                if until.load(Ordering::SeqCst) {
                    break;
                }
                let asked = Instant::now();
                let answer = resolver.resolve(caller).await;
                seen.note(asked.elapsed(), answer);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            seen
        });
        Watch { task, ended }
    }
}

/// Warm numbers that are asked for while something happens.
pub struct Watch {
    task: JoinSet<Seen>,
    ended: Arc<AtomicBool>,
}

impl Watch {
    pub async fn end(mut self) -> Seen {
        self.ended.store(true, Ordering::SeqCst);
        self.task.join_next().await.expect("there is one").expect("a watch never panics")
    }

    /// Ends it, and holds what it saw against the promise: no failure, and nothing panicked.
    pub async fn end_without_failure(self, what: &str) -> Seen {
        let seen = self.end().await;
        eprintln!("{what}: {seen:?}");
        assert!(seen.reads > 0 && seen.failures == 0, "{what}: {seen:?}");
        assert_eq!(panics::of_the_product(), [""; 0], "{what}");
        seen
    }
}

/// What a watch saw.
#[derive(Default)]
pub struct Seen {
    pub reads: u64,
    pub stale: u64,
    pub failures: u64,
    pub slowest: Duration,
    pub first_failure: Option<String>,
    took: Vec<Duration>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, stale, failures, slowest, .. } = self;
        write!(out, "{reads} reads, {stale} stale, {failures} failed, slowest {slowest:?}")?;
        self.first_failure.as_ref().map_or(Ok(()), |first| write!(out, ", first {first}"))
    }
}

impl Seen {
    fn note(&mut self, took: Duration, answer: Result<Resolution, ResolveError>) {
        self.reads += 1;
        self.took.push(took);
        self.slowest = self.slowest.max(took);
        if version_of(&answer).is_none() {
            self.failures += 1;
            self.first_failure.get_or_insert_with(|| format!("{answer:?}"));
        } else if answer.is_ok_and(|answer| answer.stale()) {
            self.stale += 1;
        }
    }

    /// How long the answer took that this share of all were faster than, in a thousand.
    pub fn permille(&self, share: usize) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        took.get(took.len() * share / 1000).copied().unwrap_or_default()
    }
}

/// The change that an answer has in it. `None`: it is not the database's answer.
pub fn version_of(answer: &Result<Resolution, ResolveError>) -> Option<u64> {
    let answer = answer.as_ref().ok().filter(|answer| answer.source() == Source::Database)?;
    answer.trunk_id()?.strip_prefix("ST_")?.parse().ok()
}

fn trunk(version: u64) -> String {
    format!("ST_{version}")
}

const NUMBERS: u64 = 20;
