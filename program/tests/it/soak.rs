//! Staleness, measured: writers change configs all the time, readers ask all the time, faults come
//! and go by a seed, and every answer is judged against the times of the commits.
//!
//! **The rule.** An answer that is not marked stale must have in it every change whose commit had
//! returned a lease before the call began. A warm number never fails. The plain loop of
//! [`rival`] runs beside it, through the same proxy, and is judged by the same rule.
//!
//! The quick run is a test like all others. The long one: `scripts/soak --minutes N`, with `--nodes N`
//! for several resolvers on one database, of which each call asks any.

mod faults;
mod history;
mod judge;
mod readers;
mod rival;
mod table;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;
use trunkline::store::{Migrations, NewConfig};
use trunkline::{KeyRing, Resolver};

use self::faults::{Fault, Harm, Weather};
use self::history::History;
use self::judge::{Judge, Tally};
use self::readers::{Dice, Ours, Scene, Subject, start_readers, start_writers};
use self::rival::Rival;
use crate::support::counters::Counters;
use crate::support::database::TestDatabase;
use crate::support::postgres::Cluster;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::{caller, config, number, panics};

#[test]
fn no_unmarked_answer_is_older_than_the_lease_whatever_breaks() {
    let faults = [Fault::Terminated, Fault::BlackHoleOpen, Fault::Refused, Fault::Deaf];
    let soak = Soak::start(SEED, "2s", 1, None);
    let rows = soak.run(Duration::from_millis(1500), |round| faults.get(round).copied());
    assert_promises(&rows);
}

#[test]
fn nor_where_nodes_hear_of_changes_from_each_other() {
    let faults = [Fault::Nothing, Fault::RelayKilled, Fault::RelayStopped, Fault::RelayCut];
    let soak = Soak::start(SEED, "2s", 5, Some(Redis::start()));
    let rows = soak.run(Duration::from_millis(1500), |round| faults.get(round).copied());
    assert_promises(&rows);
}

#[ignore = "runs for minutes: scripts/soak"]
#[test]
fn a_long_soak() {
    let (minutes, seed) = (setting("SOAK_MINUTES", 5), setting("SOAK_SEED", SEED));
    let nodes = usize::try_from(setting("SOAK_NODES", 1)).expect("a number of nodes").max(1);
    let redis = (setting("SOAK_RELAY", 0) > 0).then(Redis::start);
    let with = if redis.is_some() { " with a relay" } else { "" };
    eprintln!("soaking {nodes} nodes{with} for {minutes} minutes with seed {seed}");
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let (mut dice, mut left) = (Dice(seed), Vec::new());
    let of_relay = if redis.is_some() { &Fault::OF_RELAYS[..] } else { &[] };
    let soak = Soak::start(seed, "2s", nodes, redis);
    let rows = soak.run(Duration::from_secs(5), |_| {
        if Instant::now() >= until {
            return None;
        }
        // All of them in an order of its own, and then again in another.
        if left.is_empty() {
            left.extend(Fault::ALL.iter().chain(of_relay));
        }
        Some(left.swap_remove(dice.below(left.len())))
    });
    assert_promises(&rows);
}

/// Holds what was counted of the resolver against what is promised of it.
fn assert_promises(rows: &[(Fault, Tally, Tally)]) {
    let broken: Vec<_> = rows.iter().flat_map(|(fault, ours, _)| broken(*fault, ours)).collect();
    assert!(broken.is_empty(), "\n{}\n{:?}", broken.join("\n"), panics::of_the_product());
}

fn broken(fault: Fault, ours: &Tally) -> Vec<String> {
    let first = ours.first_failure.as_deref().unwrap_or_default();
    let promises = [
        (ours.reads > 0, "nobody asked".into()),
        (ours.violations == 0, format!("{} unmarked answers past the lease", ours.violations)),
        (ours.failures == 0, format!("{} warm numbers failed, first {first}", ours.failures)),
        (ours.mismarked == 0, format!("{} answers marked for no reason", ours.mismarked)),
        (ours.panics == 0, format!("{} panics", ours.panics)),
        (ours.back.is_some_and(|back| back < BACK), format!("back after {:?}", ours.back)),
    ];
    let broken = promises.into_iter().filter(|(holds, _)| !holds);
    broken.map(|(_, what)| format!("{}: {what}", fault.name())).collect()
}

/// A resolver and its rival, and those who ask and write.
struct Soak {
    scene: Arc<Scene>,
    harm: Harm,
    ours: Arc<Ours>,
    rival: Arc<Rival>,
    our_judge: Arc<Judge>,
    rival_judge: Arc<Judge>,
    our_runtime: Runtime,
    rival_runtime: Runtime,
    writers: Runtime,
}

impl Soak {
    /// `deadline`: how long one who asks waits, and a statement.
    fn start(seed: u64, deadline: &str, nodes: usize, redis: Option<Redis>) -> Self {
        panics::watch();
        // The sessions that a black hole leaves behind in the server must not fill it.
        let most = format!("max_connections={}", 120 + 30 * nodes);
        let cluster = Cluster::start_with(&[&most, "log_statement=none"]);
        let writers = runtime("writers");
        let database = cluster.database_name();
        let direct = TestDatabase::on(&cluster.url(&database));
        let key = KeyRing::generate().expect("there is randomness").to_string();
        let (configs, numbers) = writers.block_on(fill(&direct, &key));
        let history = Arc::new(History::of(configs.len()));
        let weather = RwLock::new(Weather::new(Fault::Nothing));
        let (quiet, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let scene = Scene { seed, numbers, configs, history, weather, quiet, over };

        let proxy = Proxy::before(cluster.port);
        let url = proxy.url(&database);
        let relay = redis.as_ref().map(Redis::url);
        let mut variables = vec![
            ("LIVEKIT_SECRET_ENCRYPTION_KEY", key.as_str()),
            ("RESOLVE_DEADLINE", deadline),
            ("STORE_DEADLINE", deadline),
        ];
        variables.extend(relay.iter().map(|url| ("RELAY_URL", url.as_str())));
        let (our_runtime, rival_runtime) = (runtime("ours"), runtime(panics::RIVAL));
        let entered = our_runtime.enter();
        let start =
            |_| Counters::of(Resolver::builder(TestDatabase::on(&url).settings(&variables)));
        let ours = Arc::new(Ours((0..nodes).map(start).collect()));
        drop(entered);
        let entered = rival_runtime.enter();
        let rival = Rival::new(&url).expect("its URL is good");
        rival_runtime.spawn(Arc::clone(&rival).listen(url));
        drop(entered);

        let judge =
            |nodes| Arc::new(Judge::new(Arc::clone(&scene.history), nodes * scene.numbers.len()));
        let (our_judge, rival_judge) = (judge(nodes), judge(1));
        let (scene, harm) = (Arc::new(scene), Harm::new(cluster, proxy, database, redis));
        start_writers(&writers, &scene, &direct.url);
        start_readers(&our_runtime, &scene, &ours, &our_judge);
        start_readers(&rival_runtime, &scene, &rival, &rival_judge);
        Self {
            scene,
            harm,
            ours,
            rival,
            our_judge,
            rival_judge,
            our_runtime,
            rival_runtime,
            writers,
        }
    }

    /// Runs one fault after the other, prints the table, and returns its rows.
    fn run(
        mut self,
        time: Duration,
        mut faults: impl FnMut(usize) -> Option<Fault>,
    ) -> Vec<(Fault, Tally, Tally)> {
        // What happens before all is warm is nobody's fault.
        self.back();
        let mut seen = Vec::new();
        for fault in (0..).map_while(&mut faults) {
            self.phase(fault, time);
            if !seen.contains(&fault) {
                seen.push(fault);
            }
        }
        self.scene.over.store(true, Ordering::SeqCst);
        // Dropping them would wait for loads that hang.
        for runtime in [self.our_runtime, self.rival_runtime, self.writers] {
            runtime.shutdown_background();
        }
        let (ours, theirs) = (self.our_judge.tallies(), self.rival_judge.tallies());
        let row = |fault| (fault, ours[fault as usize].clone(), theirs[fault as usize].clone());
        let rows: Vec<_> = seen.into_iter().map(row).collect();
        table::print(&rows);
        rows
    }

    /// One fault, from its beginning until all is well again.
    fn phase(&mut self, fault: Fault, time: Duration) {
        let loads = (self.ours.loads(), self.rival.loads());
        let panicked = (panics::of_the_product().len(), panics::of_the_rival().len());
        let weather = self.set(Weather::new(fault));
        if !fault.leaves_a_path() {
            // What was just changed is heard and loaded first, so that hot numbers are warm.
            self.scene.quiet.store(true, Ordering::SeqCst);
            std::thread::sleep(QUIET);
        }
        self.harm.begin(fault, &self.writers);
        let weather = self.set(weather.complete());
        self.scene.quiet.store(false, Ordering::SeqCst);
        let until = Instant::now() + time;
        while Instant::now() < until {
            std::thread::sleep(AGAIN.min(until - Instant::now()));
            self.harm.again(fault);
        }
        let weather = self.set(weather.healed());
        self.harm.heal(fault);
        let weather = self.set(weather.healed());
        let back = self.back();
        // The next fault is not to be blamed for what this one left.
        while !weather.has_long_been_answering(Instant::now()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.our_judge.count(weather, |tally| {
            tally.loads += self.ours.loads() - loads.0;
            tally.panics += panics::of_the_product().len() - panicked.0;
            tally.back = tally.back.max(Some(back));
        });
        self.rival_judge.count(weather, |tally| {
            tally.loads += self.rival.loads() - loads.1;
            tally.panics += panics::of_the_rival().len() - panicked.1;
        });
    }

    fn set(&self, weather: Weather) -> Weather {
        *self.scene.weather.write().unwrap_or_else(PoisonError::into_inner) = weather;
        weather
    }

    /// Waits until every node's answers are proven and as new as the database is now, and says
    /// how long that took.
    fn back(&self) -> Duration {
        let began = Instant::now();
        let numbers = &self.scene.numbers[..self.scene.configs.len()];
        let all = (0..self.ours.nodes()).flat_map(|node| numbers.iter().map(move |it| (node, it)));
        for (node, &(caller, config)) in all {
            let newest = self.scene.history.newest_returned(config);
            while began.elapsed() < PATIENCE {
                let said = self.our_runtime.block_on(self.ours.ask(node, caller));
                if said.is_ok_and(|said| !said.stale && said.version >= newest) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        began.elapsed()
    }
}

/// Makes configs and numbers that use them.
async fn fill(
    direct: &TestDatabase,
    key: &str,
) -> (Vec<trunkline::ConfigId>, Vec<(trunkline::Caller, usize)>) {
    direct.open.migrate(Migrations::Up).await.expect("an empty database is migrated");
    let (ring, store) = (KeyRing::parse(key).expect("it was just made"), direct.store());
    let mut configs = Vec::new();
    for at in 0..CONFIGS {
        let config =
            NewConfig { trunk_id: Some("ST_0".into()), ..config(&ring, &format!("config-{at}")) };
        configs.push(store.create_config(&config).await.expect("the database is well"));
    }
    let numbers: Vec<_> = (0..NUMBERS).map(|at| (caller(1, at as u64), at % CONFIGS)).collect();
    let rows: Vec<_> =
        numbers.iter().map(|&(at, config)| number(at, Some(configs[config]))).collect();
    store.import(&rows).await.expect("the database is well");
    (configs, numbers)
}

fn runtime(name: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

/// A number that the long run is told by the environment.
#[expect(clippy::disallowed_methods, reason = "settings of the test, and not of the program")]
fn setting(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}"))
}

/// The lease that settings have by default.
const LEASE: Duration = Duration::from_secs(1);
/// How long a caller waits.
const DEADLINE: Duration = Duration::from_secs(2);
/// How soon all is promised to be well, and what a busy machine may add.
const BACK: Duration = Duration::from_millis(3500);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is quiet before the database goes away.
const QUIET: Duration = Duration::from_millis(600);
const AGAIN: Duration = Duration::from_secs(1);
const SEED: u64 = 4;
const CONFIGS: usize = 4;
const NUMBERS: usize = 2000;
