//! Those who ask, those who write, and whom they ask.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};
use trunkline::{Caller, ConfigId, Resolver};

use super::faults::Weather;
use super::history::History;
use super::judge::{Judge, Said};
use crate::support::counters::Counters;

/// Who is asked.
pub trait Subject: Send + Sync + 'static {
    /// How many nodes of it there are, each with a memory of its own.
    fn nodes(&self) -> usize {
        1
    }

    /// Asks a node as a call does. An error says why there is no answer.
    fn ask(&self, node: usize, caller: Caller)
    -> impl Future<Output = Result<Said, String>> + Send;

    /// How often it has asked the database.
    fn loads(&self) -> u64;
}

/// The resolver under test, on so many nodes.
pub struct Ours(pub Vec<(Resolver, Counters)>);

impl Subject for Ours {
    fn nodes(&self) -> usize {
        self.0.len()
    }

    async fn ask(&self, node: usize, caller: Caller) -> Result<Said, String> {
        let answer = self.0[node].0.resolve(caller).await;
        let version = crate::faults::version_of(&answer).ok_or_else(|| format!("{answer:?}"))?;
        Ok(Said { version, stale: answer.is_ok_and(|answer| answer.stale()) })
    }

    fn loads(&self) -> u64 {
        self.0.iter().map(|(_, counters)| counters.loads()).sum()
    }
}

/// What the tasks of a soak share.
pub struct Scene {
    pub seed: u64,
    /// Each number, and its config.
    pub numbers: Vec<(Caller, usize)>,
    pub configs: Vec<ConfigId>,
    pub history: Arc<History>,
    pub weather: RwLock<Weather>,
    /// Whether nobody is to write.
    pub quiet: AtomicBool,
    pub over: AtomicBool,
}

impl Scene {
    pub fn weather(&self) -> Weather {
        *self.weather.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }
}

/// Starts those who ask: most of them for few numbers, some for any.
pub fn start_readers<S: Subject>(
    runtime: &Runtime,
    scene: &Arc<Scene>,
    subject: &Arc<S>,
    judge: &Arc<Judge>,
) {
    for reader in 0..READERS {
        let numbers = if reader < HOT_READERS { HOT_NUMBERS } else { scene.numbers.len() };
        let (scene, subject, judge) = (Arc::clone(scene), Arc::clone(subject), Arc::clone(judge));
        let mut dice = Dice(scene.seed ^ (reader << 32));
        runtime.spawn(async move {
            while scene.goes_on() {
                let (node, number) = (dice.below(subject.nodes()), dice.below(numbers));
                let (caller, config) = scene.numbers[number];
                let (weather, asked) = (scene.weather(), Instant::now());
                // A panic ends the call and not the reader.
                let said = AssertUnwindSafe(subject.ask(node, caller)).catch_unwind().await;
                judge.judge(
                    (node * scene.numbers.len() + number, config),
                    asked,
                    weather,
                    said.unwrap_or(Err("a panic".into())),
                );
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
}

/// Starts those who write: one a config, around the proxy.
pub fn start_writers(runtime: &Runtime, scene: &Arc<Scene>, url: &str) {
    for config in 0..scene.configs.len() {
        let (scene, url) = (Arc::clone(scene), url.to_owned());
        runtime.spawn(async move {
            let mut dice = Dice(scene.seed ^ ((config as u64) << 48));
            while scene.goes_on() {
                // Whatever ends a session ends its writing; the next one goes on.
                if write(&scene, config, &url, &mut dice).await.is_err() {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
}

async fn write(
    scene: &Scene,
    config: usize,
    url: &str,
    dice: &mut Dice,
) -> Result<(), sqlx::Error> {
    let mut session = PgConnection::connect(url).await?;
    while scene.goes_on() {
        if scene.quiet.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        let trunk = format!("ST_{}", scene.history.next(config));
        let mut transaction = session.begin().await?;
        sqlx::query("update voice_agent_livekit set trunk_id = $1 where id = $2")
            .bind(trunk)
            .bind(scene.configs[config].0)
            .execute(&mut *transaction)
            .await?;
        scene.history.sending(config, Instant::now());
        transaction.commit().await?;
        scene.history.returned(config, Instant::now());
        // Often soon, sometimes after longer than a lease.
        let pause = if dice.below(8) == 0 { 2500 } else { 500 };
        sleep(Duration::from_millis(20 + dice.below(pause) as u64)).await;
    }
    session.close().await
}

/// Numbers that follow from a seed: splitmix64 of Steele, Lea and Flood, OOPSLA 2014.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("it is below a usize")
    }
}

const READERS: u64 = 8;
const HOT_READERS: u64 = 6;
const HOT_NUMBERS: usize = 16;
