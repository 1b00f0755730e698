//! How long a resolution takes: warm, from text, cold on SQLite and on Postgres, joined and gathered; and
//! the cold ones beside one raw query, and beside the design that Trunkline replaces.
//!
//! Run: `cargo bench --bench resolve`. It starts a Postgres of its own, as `scripts/test` installs it. For
//! the original design, `BENCH_PYTHON` names a Python that has psycopg2 and cryptography; without it,
//! that comparison is left out and said so. Compare rows of one run only.

mod lab;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};
use tokio::runtime::Runtime;
use trunkline::{Answer, Caller, Change, ResolveError, Resolver};

use self::lab::race::{duration_nanos, f64_of, median, nanos};
use self::lab::report::{Asked, Report, is_trial};
use self::lab::server::{Server, caller};
use self::lab::{Lab, as_a_task};

const NUMBERS: usize = 1000;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let lab = Lab::on("wss://eu.example", ("APIeu", "a secret of a LiveKit server"), NUMBERS);
    resolve(&lab, &mut criterion);
    criterion.final_summary();

    let mut report = Report::new("resolve");
    let raw = lab.runtime.block_on(SqliteConnection::connect(&lab.database)).expect("it opens");
    cold(&lab.runtime, "SQLite", &lab.resolver, &lab.callers, raw, &mut report);
    let server = lab.runtime.block_on(Server::with(NUMBERS));
    let resolver = lab.runtime.block_on(server.resolver(&[]));
    let callers: Vec<_> = (0..NUMBERS).map(caller).collect();
    let raw = lab.runtime.block_on(server.connect());
    let cold = cold(&lab.runtime, "Postgres", &resolver, &callers, raw, &mut report);
    beside_the_original(&lab, &server, cold, &mut report);
    report.save();
}

fn resolve(lab: &Lab, criterion: &mut Criterion) {
    let texts: Vec<_> = lab
        .callers
        .iter()
        .map(|caller| (caller.tenant.to_string(), caller.number.to_string()))
        .collect();
    let mut turn = 0;
    let mut next = || {
        turn = (turn + 611) % lab.callers.len();
        turn
    };
    let mut group = criterion.benchmark_group("resolve");
    group.bench_function("warm, borrowed", |bench| {
        bench.iter(|| {
            let use_it = |answer: Result<&Answer, &ResolveError>| {
                answer.map_or(0, |answer| answer.api_key().len())
            };
            lab.resolver.try_resolve_with(lab.callers[next()], use_it).expect("warm")
        });
    });
    group.bench_function("warm, owned", |bench| {
        bench.iter(|| lab.resolver.try_resolve(lab.callers[next()]).expect("warm"));
    });
    group.bench_function("parse a caller", |bench| {
        bench.iter(|| {
            let (tenant, number) = &texts[next()];
            Caller::parse(tenant, number).expect("a caller")
        });
    });
    let forget = |many: usize, next: &mut dyn FnMut() -> usize| -> Vec<Caller> {
        let callers: Vec<_> = (0..many).map(|_| lab.callers[next()]).collect();
        for &caller in &callers {
            lab.resolver.invalidate(Change::Number(caller));
        }
        callers
    };
    group.bench_function("cold, SQLite", |bench| {
        let cold = |callers: Vec<Caller>| {
            lab.runtime.block_on(lab.resolver.resolve(callers[0])).expect("loaded")
        };
        bench.iter_batched(|| forget(1, &mut next), cold, BatchSize::PerIteration);
    });
    group.bench_function("joined: 100 callers, one cold number, SQLite", |bench| {
        let joined = |callers: Vec<Caller>| {
            let calls = (0..100).map(|_| lab.resolver.resolve(callers[0]));
            lab.runtime.block_on(join_all(calls))
        };
        bench.iter_batched(|| forget(1, &mut next), joined, BatchSize::PerIteration);
    });
    group.bench_function("gathered: 100 cold numbers at once, SQLite", |bench| {
        let gathered = |callers: Vec<Caller>| {
            let calls = callers.iter().map(|&caller| lab.resolver.resolve(caller));
            lab.runtime.block_on(join_all(calls))
        };
        bench.iter_batched(|| forget(100, &mut next), gathered, BatchSize::PerIteration);
    });
    group.finish();
}

/// A connection on which the same is asked by hand.
trait Raw {
    /// Reads the row of a number and that of its config, prepared, and counts the columns.
    fn ask(&mut self, caller: Caller) -> impl Future<Output = usize> + Send;
}

impl Raw for PgConnection {
    async fn ask(&mut self, caller: Caller) -> usize {
        let row = sqlx::query(
            "select n.rules::text, n.provider, c.id, c.name, c.livekit_url, c.livekit_api_key,
                c.livekit_api_secret, c.trunk_id, c.worker_name
             from voice_agent_numbers as n
             join voice_agent_livekit as c on c.id = cast(n.rules ->> 'livekit_config' as uuid)
             where ltrim(n.country_code, '+0 ') || cast(n.base_number as text) = $1 and n.tenant_id = $2",
        )
        .bind(caller.number.digits())
        .bind(caller.tenant.0)
        .fetch_one(self)
        .await;
        sqlx::Row::len(&row.expect("a row"))
    }
}

impl Raw for SqliteConnection {
    async fn ask(&mut self, caller: Caller) -> usize {
        let row = sqlx::query(
            "select n.rules, n.provider, c.id, c.name, c.livekit_url, c.livekit_api_key,
                c.livekit_api_secret, c.trunk_id, c.worker_name
             from voice_agent_numbers as n
             join voice_agent_livekit as c
                on c.id = unhex(replace(n.rules ->> 'livekit_config', '-', ''))
             where ltrim(n.country_code, '+0 ') || cast(n.base_number as text) = $1 and n.tenant_id = $2",
        )
        .bind(caller.number.digits())
        .bind(caller.tenant.0)
        .fetch_one(self)
        .await;
        sqlx::Row::len(&row.expect("a row"))
    }
}

/// Cold answers beside the raw query, and a burst beside one after the other. Returns what a cold
/// one took, in nanoseconds.
fn cold(
    runtime: &Runtime,
    kind: &str,
    resolver: &Resolver,
    callers: &[Caller],
    raw: impl Raw + Send + 'static,
    report: &mut Report,
) -> f64 {
    let (resolver, callers) = (resolver.clone(), callers.to_vec());
    let [ours, theirs, together, alone] = as_a_task(runtime, cold_times(resolver, callers, raw));
    let table = "Cold, us a number";
    for (row, nanos) in [
        ("Trunkline", ours),
        ("one raw prepared query", theirs),
        ("Trunkline, 1000 at once", together),
        ("Trunkline, 1000 one by one", alone),
    ] {
        report.figure(table, row, kind, nanos / 1e3);
    }
    let us = |nanos: f64| nanos / 1e3;
    let (mine, rival) = (("cold", us(ours)), ("one raw prepared query", us(theirs)));
    report.ratio(5, kind, mine, rival, "us", Asked::AtMost(1.15));
    let (mine, rival) = (("at once", us(together)), ("one by one", us(alone)));
    let what = format!("{kind}, a burst of {}", callers_of_a_burst());
    report.ratio(5, &what, mine, rival, "us", Asked::AtLeast(5.0));
    ours
}

/// A cold answer, the raw query, and a number of a burst at once and one by one: the medians of each.
async fn cold_times(resolver: Resolver, callers: Vec<Caller>, mut raw: impl Raw) -> [f64; 4] {
    let rounds = if is_trial() { 20 } else { 4000 };
    let mut times = [const { Vec::new() }; 4];
    for round in 0..rounds {
        let caller = callers[round * 611 % callers.len()];
        resolver.invalidate(Change::Number(caller));
        times[0].push(timed(resolver.resolve(caller)).await);
        times[1].push(timed(raw.ask(caller)).await);
    }
    let callers = &callers[..callers_of_a_burst()];
    let forget = || callers.iter().for_each(|&caller| resolver.invalidate(Change::Number(caller)));
    for _ in 0..if is_trial() { 1 } else { 15 } {
        forget();
        let all = join_all(callers.iter().map(|&caller| resolver.resolve(caller)));
        times[2].push(timed(all).await / f64_of(callers.len()));
        forget();
        let each = async {
            for &caller in callers {
                resolver.resolve(caller).await.expect("loaded");
            }
        };
        times[3].push(timed(each).await / f64_of(callers.len()));
    }
    times.map(median)
}

fn callers_of_a_burst() -> usize {
    if is_trial() { 50 } else { NUMBERS }
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the real time")]
async fn timed<T>(work: impl Future<Output = T>) -> f64 {
    let began = std::time::Instant::now();
    std::hint::black_box(work.await);
    duration_nanos(began.elapsed())
}

/// Python, two queries and a decryption a call.
fn beside_the_original(lab: &Lab, server: &Server, cold: f64, report: &mut Report) {
    let Some(python) = python() else {
        return println!("   6 LEFT OUT: BENCH_PYTHON names no Python");
    };
    let folder = server.cluster.folder.display();
    let (_, database) = server.url.rsplit_once('/').expect("it has a path");
    let callers: Vec<_> = (0..NUMBERS)
        .map(|at| (caller(at).tenant.to_string(), caller(at).number.digits()))
        .collect();
    let job = json!({
        "dsn": format!("host={folder} port={} user=owner dbname={database}", server.cluster.port),
        "key": server.key,
        "seconds": if is_trial() { 0.2 } else { 5.0 },
        "callers": callers,
    });
    let Some(original) = original(&python, &job) else {
        return println!("   6 LEFT OUT: {python} did not run benches/original.py");
    };
    let mut warm = Vec::new();
    for _ in 0..101 {
        let all = || {
            lab.callers.iter().filter(|&&caller| lab.resolver.try_resolve(caller).is_some()).count()
        };
        warm.push(nanos(all) / f64_of(NUMBERS));
    }
    let (warm, cold, original) = (median(warm) / 1e3, cold / 1e3, original);
    let table = "Beside the original design, us a call";
    for (row, us) in
        [("Trunkline, warm", warm), ("Trunkline, cold", cold), ("Python original", original)]
    {
        report.figure(table, row, "Postgres", us);
    }
    let theirs = ("Python original", original);
    report.ratio(6, "warm", ("warm", warm), theirs, "us", Asked::AtLeast(1000.0));
    report.ratio(6, "cold", ("cold", cold), theirs, "us", Asked::AtLeast(3.0));
}

#[expect(clippy::disallowed_methods, reason = "a bench has no settings")]
fn python() -> Option<String> {
    std::env::var("BENCH_PYTHON").ok()
}

/// How long a call takes there, in the middle, in microseconds.
fn original(python: &str, job: &Value) -> Option<f64> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/original.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(job.to_string().as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    let measured: Value = serde_json::from_slice(&output.stdout).ok()?;
    measured["p50_us"].as_f64()
}
