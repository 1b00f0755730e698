//! What a number costs: memory, warm-up, and whether anything else grows with how many there are.
//!
//! Run: `cargo bench --bench capacity`. It starts a Postgres of its own, as `scripts/test` installs it,
//! with a million numbers; needs about 4 GB.

mod lab;

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::runtime::Runtime;
use trunkline::clock::{Clock, Moment};
use trunkline::settings::Values;
use trunkline::{Answer, Change, KeyRing, Resolver, Rules, Settings};

use self::lab::race::{f64_of, median, nanos};
use self::lab::report::{Asked, Report, is_trial};
use self::lab::rows::Rows;
use self::lab::server::{Server, caller, ready};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let mut report = Report::new("capacity");
    let runtime = Runtime::new().expect("a runtime starts");
    let numbers = if is_trial() { 2000 } else { 1_000_000 };
    let server = runtime.block_on(Server::with(numbers));
    for many in [1000, 100_000, 1_000_000] {
        if many <= numbers {
            warm_up(&runtime, &server, many, &mut report);
        }
    }
    drop(server);
    churn(&runtime, &mut report);
    report.save();
}

/// Loads so many numbers ahead, and measures how long that took and what it left in memory.
fn warm_up(runtime: &Runtime, server: &Server, numbers: usize, report: &mut Report) {
    let column = numbers.to_string();
    let capacity = [("WARM", "all"), ("CACHE_CAPACITY", column.as_str())];
    let (mut took, mut changes, mut bytes) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..3 {
        let before = in_use();
        let mut resolver = None;
        took.push(nanos(|| resolver = Some(runtime.block_on(server.resolver(&capacity)))));
        let Some(resolver) = resolver else { return };
        assert_eq!(resolver.cached(), numbers);
        bytes = in_use() - before;
        for at in 0..1000 {
            let number = caller(at % numbers);
            changes.push(nanos(|| resolver.invalidate(Change::Number(number))));
        }
        runtime.block_on(resolver.stop(Duration::from_secs(5)));
    }
    report.figure("One change, ns", "applied", &column, median(changes));
    let per_second = f64_of(numbers) / (median(took) / 1e9);
    let per_number = bytes / f64_of(numbers);
    let moka = moka_share(numbers);
    // What the rows say of a number, opened and read, and the two counts of each `Arc`.
    let own = f64_of(size_of::<Answer>() + size_of::<Rules>() + 2 * 16);
    for (row, bytes) in [
        ("all of it", per_number),
        ("what the number says", own),
        ("moka", moka),
        ("the rest", per_number - own - moka),
    ] {
        report.figure("Memory of a number, bytes", row, &column, bytes);
    }
    report.figure("Warm-up, numbers a second", "WARM=all", &column, per_second);
    if numbers >= 1_000_000 {
        let rest = per_number - own - moka;
        report.alone(9, "beyond its own data and moka, 1M", rest, "bytes", Asked::AtMost(200.0));
        let all = "warm-up of 1M, WARM=all";
        report.alone(10, all, per_second, "numbers a second", Asked::AtLeast(500_000.0));
    }
}

/// What moka keeps of a number: a cache like the one that decides who has to go.
fn moka_share(numbers: usize) -> f64 {
    let before = in_use();
    let moka = moka::sync::Cache::builder()
        .max_capacity(numbers as u64)
        .time_to_live(Duration::from_secs(3600))
        .build_with_hasher(foldhash::fast::RandomState::default());
    for at in 0..numbers {
        moka.insert(caller(at), at as u64);
    }
    moka.run_pending_tasks();
    (in_use() - before) / f64_of(numbers)
}

/// A week of calls and changes on a clock that a bench turns: whether memory stays what it is.
fn churn(runtime: &Runtime, report: &mut Report) {
    const NUMBERS: usize = 20_000;
    const DAY: usize = 24 * 60;
    let clock = Arc::new(Hand::default());
    let key = KeyRing::generate().expect("there is randomness");
    let pairs = [("LIVEKIT_SECRET_ENCRYPTION_KEY".into(), key.to_string())];
    let settings = Settings::read(&Values::of(pairs, None)).expect("valid settings");
    let secret = settings.ring.as_ref().expect("a ring").seal(&"x".repeat(64), 0).expect("sealed");
    let rows = Rows { url: "wss://eu.example", api_key: "APIeu", secret };
    let _entered = runtime.enter();
    let resolver = Resolver::builder(settings).store(Arc::new(rows)).clock(clock.clone()).start();
    runtime.block_on(ready(&resolver));
    let days = if is_trial() { 1 } else { 7 };
    let mut after_a_day = Vec::new();
    for day in 1..=days {
        runtime.block_on(async {
            for minute in 0..DAY {
                clock.0.fetch_add(60_000_000_000, Ordering::Release);
                for call in 0..60 {
                    let at = (minute * 7919 + call * 611) % NUMBERS;
                    if call % 6 == 0 {
                        resolver.invalidate(Change::Number(caller(at)));
                    }
                    let answer = resolver.resolve(caller(at)).await;
                    assert!(answer.is_ok());
                }
                if minute % 10 == 0 {
                    // The sweep goes by the real time.
                    tokio::time::sleep(Duration::from_millis(60)).await;
                }
            }
        });
        // What is to go has gone by then.
        runtime.block_on(tokio::time::sleep(Duration::from_millis(300)));
        let kib = in_use() / 1024.0;
        report.figure(
            "Memory after days of calls and changes, KiB",
            "in use",
            &format!("day {day}"),
            kib,
        );
        after_a_day.push(kib);
    }
    let (first, last) = (after_a_day[0], after_a_day[after_a_day.len() - 1]);
    let (ours, rival) = (("after a week", last), ("after a day", first));
    report.ratio(9, "memory under churn", ours, rival, "KiB", Asked::AtMost(1.1));
}

/// A clock that is turned by hand.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Acquire))
    }

    fn unix_time(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Acquire))
    }
}

/// How many bytes are in use.
fn in_use() -> f64 {
    let stats = ALLOCATOR.stats();
    f64_of(stats.bytes_allocated - stats.bytes_deallocated)
}
