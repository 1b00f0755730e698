//! Seals many secrets again under another key, beside readers and editors: how long it takes by the size of
//! a batch, how long an edit waits meanwhile, and whether any question fails.
//!
//! Run: `cargo bench --bench rotation -- CONFIGS BATCH...`, by default of 100,000 configs in batches of 16,
//! 64 and 256. It starts a Postgres of its own, as `scripts/test` installs it. The rotation, the server, a
//! reader and an editor share the machine. It prints what it finds, and is no part of `docs/performance.md`.

mod lab;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tokio::time::Instant;
use trunkline::rotation::Rotation;
use trunkline::store::OpenStore;
use trunkline::{KeyRing, Resolver};

use self::lab::race::{duration_nanos, quantile};
use self::lab::report::is_trial;
use self::lab::server::{Server, caller};

/// How many numbers are asked for, each of a config of its own.
const READ: usize = 1000;

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|given| given.parse().ok()).collect();
    let (configs, batches) = match given.split_first() {
        Some((configs, batches)) if !batches.is_empty() => (*configs, batches.to_vec()),
        _ if is_trial() => (2000, vec![16]),
        _ => (100_000, vec![16, 64, 256]),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(measure(configs, &batches));
}

async fn measure(configs: usize, batches: &[usize]) {
    let server = Server::with(READ).await;
    let new = KeyRing::generate().expect("there is randomness");
    let keys = format!("{},{}", server.key, *new);
    sow(&server, configs).await;
    let variables = [("LIVEKIT_SECRET_ENCRYPTION_KEY", keys.as_str()), ("WARM", "all")];
    let settings = server.settings(&variables);
    let database =
        OpenStore::new(settings.database.as_ref().expect("it is named"), &settings.tuning);
    let ring = settings.ring.as_ref().expect("two keys");
    let rotation = Rotation::new(&database, ring, &settings.tuning);
    let resolver = server.resolver(&variables).await;
    println!(
        "{configs} configs; batch, seconds, secrets a second, edits: p99 ms, slowest ms; questions, failed"
    );
    for (round, &batch) in batches.iter().enumerate() {
        // Back and forth between the two.
        let key = ring.key_ids()[(round + 1) % 2];
        rotation.stage(Some(key), true, false).await.expect("it is staged");
        // The sessions of this bench are those of programs whose keys nobody knows.
        rotation.promote(Some(key), true, true, false).await.expect("it is promoted");
        let (stop, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        // Each in a thread of its own: sealing does not give way.
        let editing = apart(edits(server.url.clone(), Arc::clone(&stop)));
        let reading = apart(questions(resolver.clone(), Arc::clone(&stop)));
        let done = rotation.reseal(batch, 1, false, |_| {}).await.expect("all are sealed again");
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        let mut edits = editing.join().expect("it edits to the end");
        let (asked, failed) = reading.join().expect("it asks to the end");
        edits.sort_by(f64::total_cmp);
        let millis = |part| quantile(&edits, part) / 1e6;
        let rate = f64::from(u32::try_from(done.resealed).unwrap_or(u32::MAX)) / took.as_secs_f64();
        println!(
            "{batch}, {:.1}, {rate:.0}, {:.1}, {:.1}, {asked}, {failed} (passes {}, left {})",
            took.as_secs_f64(),
            millis(0.99),
            millis(1.0),
            done.passes,
            done.left.len(),
        );
    }
}

/// Runs this on a thread of its own.
fn apart<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(work)
    })
}

/// So many configs with the secret of the one that is there, and a config of its own for each number.
async fn sow(server: &Server, configs: usize) {
    server
        .sql(&format!(
            "insert into voice_agent_livekit (name, livekit_url, livekit_api_key, livekit_api_secret)
             select 'c' || at, livekit_url, livekit_api_key, livekit_api_secret
             from voice_agent_livekit, generate_series(2, {configs}) as at;
             update voice_agent_numbers as n set rules = jsonb_build_object('livekit_config', c.id)
             from (select id, row_number() over () as place from voice_agent_livekit) as c
             where n.base_number - 500000000 = c.place - 1"
        ))
        .await;
    server.sql("vacuum analyze").await;
}

/// Edits one config after the other, and how long each took.
async fn edits(url: String, stop: Arc<AtomicBool>) -> Vec<f64> {
    let mut connection = PgConnection::connect(&url).await.expect("the server is there");
    let (mut took, mut at) = (Vec::new(), 0_usize);
    while !stop.load(Ordering::Relaxed) {
        at = (at * 31 + 17) % 1999 + 2;
        let edit =
            format!("update voice_agent_livekit set trunk_id = 'ST_{at}' where name = 'c{at}'");
        let began = Instant::now();
        connection.execute(sqlx::AssertSqlSafe(edit)).await.expect("an edit");
        took.push(duration_nanos(began.elapsed()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    took
}

/// Asks for one number after the other; how many questions, and how many the database did not answer.
async fn questions(resolver: Resolver, stop: Arc<AtomicBool>) -> (usize, usize) {
    let (mut asked, mut failed) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let answer = resolver.resolve(caller(asked % READ)).await;
        failed += usize::from(!answer.is_ok_and(|answer| answer.reason().is_none()));
        asked += 1;
        if asked % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    (asked, failed)
}
