//! Warm answers while something else goes on: numbers and configs that change, everything dropped at
//! once, a scrape, and a lease that has ended.
//!
//! Run: `cargo bench --bench under`. Each row is measured beside a quiet turn of the same run, on a
//! machine that the reader shares with what disturbs it.

mod lab;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trunkline::Change;
use trunkline::server::Exporter;

use self::lab::race::{f64_of, nanos, quantile};
use self::lab::report::{Report, is_trial};
use self::lab::{Lab, as_a_task};

const NUMBERS: usize = 10_000;
const HIT: &str = "answered at once, %";

fn main() {
    let exporter = Exporter::new().expect("every histogram has buckets");
    let new = || Lab::on("wss://eu.example", ("APIeu", "a secret of a LiveKit server"), NUMBERS);
    let lab = exporter.record(new);
    let mut report = Report::new("under");
    let config =
        lab.runtime.block_on(lab.resolver.resolve(lab.callers[0])).expect("warm").config_id();
    let config = config.expect("it is the database's");
    let number = |at: usize| Change::Number(lab.callers[at * 7919 % NUMBERS]);
    let pause = |micros| std::thread::sleep(Duration::from_micros(micros));

    measure(&lab, &mut report, "1000 numbers a second change", |at| {
        lab.resolver.invalidate(number(at));
        pause(1000);
    });
    measure(&lab, &mut report, "a config changes 10 times a second", |_| {
        lab.resolver.invalidate(Change::Config(config));
        pause(100_000);
    });
    measure(&lab, &mut report, "everything is dropped once a second", |_| {
        lab.resolver.invalidate(Change::Numbers);
        pause(1_000_000);
    });
    measure(&lab, &mut report, "100 scrapes a second", |_| {
        std::hint::black_box(exporter.render());
        pause(10_000);
    });
    report.save();
}

/// Reads by turns with and without a disturbance. What is not warm is loaded by a task, and the
/// reader goes on with the next number.
fn measure(lab: &Lab, report: &mut Report, what: &str, disturb: impl Fn(usize) + Sync) {
    let (rounds, many) = if is_trial() { (1, 1000) } else { (6, 1_000_000) };
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        read(lab, many, &mut quiet);
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut turn = 0;
                while !over.load(Ordering::Acquire) {
                    disturb(turn);
                    turn += 1;
                }
            });
            read(lab, many, &mut busy);
            over.store(true, Ordering::Release);
        });
        let (resolver, callers) = (lab.resolver.clone(), lab.callers.clone());
        as_a_task(&lab.runtime, async move {
            for caller in callers {
                let _ = resolver.resolve(caller).await;
            }
        });
    }
    for (column, times) in [("quiet", quiet), (what, busy)] {
        let mut hits: Vec<_> = times.iter().copied().filter(|time| !time.is_nan()).collect();
        hits.sort_by(f64::total_cmp);
        let all = f64_of(times.len());
        let (half, p99) = (quantile(&hits, 0.5), quantile(&hits, 0.99));
        let hit = f64_of(hits.len()) / all * 100.0;
        println!("{what}, {column}: half {half:.0} ns, 99 % {p99:.0} ns, {HIT} {hit:.2}");
        for (row, value) in [("half are below, ns", half), ("99 % are below, ns", p99), (HIT, hit)]
        {
            report.figure(&format!("Warm answers while {what}"), row, column, value);
        }
    }
}

/// How long each warm answer takes; not a number for one that has to be loaded.
fn read(lab: &Lab, many: usize, times: &mut Vec<f64>) {
    let _entered = lab.runtime.enter();
    for at in 0..many {
        let caller = lab.callers[at * 611 % NUMBERS];
        let mut warm = None;
        let took = nanos(|| warm = lab.resolver.try_resolve_with(caller, |answer| answer.is_ok()));
        times.push(if warm.is_some() { took } else { f64::NAN });
        if warm.is_none() {
            let resolver = lab.resolver.clone();
            lab.runtime.spawn(async move { resolver.resolve(caller).await.is_ok() });
        }
    }
}
