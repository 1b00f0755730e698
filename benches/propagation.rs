//! From a commit in Postgres to its use: how long after the commit returned the number is answered
//! with what it says, at several rates of changes; what readers notice of that; and what the
//! triggers cost who writes.
//!
//! Run: `cargo bench --bench propagation`. It starts a Postgres of its own, as `scripts/test` installs
//! it. Writer, server and reader share the machine.

mod lab;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{Executor, PgConnection};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};
use trunkline::Resolver;

use self::lab::as_a_task;
use self::lab::race::{duration_nanos, median, nanos, quantile};
use self::lab::report::{Asked, Report, is_trial};
use self::lab::server::{Server, caller};

/// How many numbers change, one after the other.
const CHANGING: usize = 200;
/// How many are asked for meanwhile, which do not.
const READ: usize = 1000;

fn main() {
    let mut report = Report::new("propagation");
    let runtime = Runtime::new().expect("a runtime starts");
    let numbers = if is_trial() { 2000 } else { 100_000 };
    let server = runtime.block_on(Server::with(numbers));
    let resolver = runtime.block_on(server.resolver(&[("WARM", "all")]));
    let mut writer = runtime.block_on(server.connect());

    for (rate, changes) in [(1, 20), (100, 1000), (1000, 5000)] {
        let changes = if is_trial() { 2 } else { changes };
        let mut delays;
        (delays, writer) = as_a_task(&runtime, delays_of(resolver.clone(), writer, rate, changes));
        delays.sort_by(f64::total_cmp);
        let millis = |part| quantile(&delays, part) / 1e6;
        let column = format!("{rate} a second");
        for (row, part) in [("half are below", 0.5), ("99 % are below", 0.99), ("the last", 1.0)] {
            report.figure("From commit to use, ms", row, &column, millis(part));
        }
        let alone = |part, name: &str| (format!("{name}, {column}"), millis(part));
        let (p50, p99) = (alone(0.5, "p50"), alone(0.99, "p99"));
        report.alone(8, &p50.0, p50.1, "ms", Asked::AtMost(1.0));
        report.alone(8, &p99.0, p99.1, "ms", Asked::AtMost(5.0));
    }

    let (quiet, busy) = readers(&runtime, &resolver, &mut writer);
    for (column, times) in [("quiet", &quiet), ("1000 changes a second", &busy)] {
        for (row, part) in [("half are below", 0.5), ("99 % are below", 0.99)] {
            report.figure("Warm answers meanwhile, ns", row, column, quantile(times, part));
        }
    }
    let (quiet, busy) = (quantile(&quiet, 0.99), quantile(&busy, 0.99));
    let (ours, rival) = (("at 1000 changes a second", busy), ("quiet", quiet));
    report.ratio(8, "p99 of a reader", ours, rival, "ns", Asked::AtMost(1.2));

    let (with, without) = runtime.block_on(update_all(&mut writer));
    let (ours, rival) = (("with triggers", with), ("without", without));
    let what = format!("an update of {numbers} rows");
    report.ratio(8, &what, ours, rival, "ms", Asked::AtMost(1.2));
    report.save();
}

/// Commits so many changes at a rate, and waits for each to be used.
async fn delays_of(
    resolver: Resolver,
    mut writer: PgConnection,
    rate: u32,
    changes: usize,
) -> (Vec<f64>, PgConnection) {
    let (mut delays, mut next) = (Vec::new(), Instant::now());
    for change in 0..changes {
        next += Duration::from_secs(1) / rate;
        sleep_until(next).await;
        let at = change % CHANGING;
        let trunk = format!("ST_{rate}_{change}");
        set_trunk(&mut writer, at, &trunk).await;
        let committed = Instant::now();
        while !carries(&resolver, at, &trunk).await {
            breathe().await;
        }
        delays.push(duration_nanos(committed.elapsed()));
    }
    (delays, writer)
}

/// Leaves the processor to those whose work is measured, for as short as it can be left.
async fn breathe() {
    #[expect(clippy::disallowed_methods, reason = "a bench waits for what it starts")]
    let blocking = tokio::task::spawn_blocking::<_, ()>;
    let sleep = || std::thread::sleep(Duration::from_micros(20));
    blocking(sleep).await.expect("a sleep does not panic");
}

async fn carries(resolver: &Resolver, at: usize, trunk: &str) -> bool {
    let answer = resolver.resolve(caller(at)).await.expect("credentials");
    answer.trunk_id() == Some(trunk)
}

async fn set_trunk(writer: &mut PgConnection, at: usize, trunk: &str) {
    let number = caller(at);
    sqlx::query(
        "update voice_agent_numbers
         set rules = jsonb_set(rules, '{outbound_trunk_id}', to_jsonb($1::text))
         where ltrim(country_code, '+0 ') || cast(base_number as text) = $2 and tenant_id = $3",
    )
    .bind(trunk)
    .bind(number.number.digits())
    .bind(number.tenant.0)
    .execute(writer)
    .await
    .expect("updated");
}

/// How long single warm answers take on a thread of its own, by turns with and without changes.
fn readers(
    runtime: &Runtime,
    resolver: &Resolver,
    writer: &mut PgConnection,
) -> (Vec<f64>, Vec<f64>) {
    let read = |times: &mut Vec<f64>, many: usize| {
        for at in 0..many {
            let caller = caller(CHANGING + at * 611 % READ);
            times.push(nanos(|| resolver.try_resolve_with(caller, |answer| answer.is_ok())));
        }
    };
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    let (rounds, many) = if is_trial() { (1, 1000) } else { (10, 1_000_000) };
    for round in 0..rounds {
        read(&mut quiet, many);
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                read(&mut busy, many);
                over.store(true, Ordering::Release);
            });
            runtime.block_on(async {
                let (mut next, mut change) = (Instant::now(), 0);
                while !over.load(Ordering::Acquire) {
                    next += Duration::from_millis(1);
                    sleep_until(next).await;
                    change += 1;
                    set_trunk(writer, change % CHANGING, &format!("ST_{round}_{change}")).await;
                }
            });
        });
    }
    for times in [&mut quiet, &mut busy] {
        times.sort_by(f64::total_cmp);
    }
    (quiet, busy)
}

/// How long an update of all rows takes, with the triggers and without, in milliseconds.
async fn update_all(writer: &mut PgConnection) -> (f64, f64) {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..if is_trial() { 1 } else { 7 } {
        for (triggers, times) in ["enable", "disable"].into_iter().zip(&mut times) {
            let set =
                format!("alter table voice_agent_numbers {triggers} trigger user; checkpoint");
            writer.execute(sqlx::AssertSqlSafe(set)).await.expect("set");
            let update = format!("update voice_agent_numbers set provider = 'carrier {round}'");
            let began = Instant::now();
            writer.execute(sqlx::AssertSqlSafe(update)).await.expect("updated");
            times.push(duration_nanos(began.elapsed()) / 1e6);
            writer.execute("vacuum voice_agent_numbers").await.expect("vacuumed");
        }
    }
    writer.execute("alter table voice_agent_numbers enable trigger user").await.expect("set");
    times.map(median).into()
}
