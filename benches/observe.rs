//! What observability adds to a warm resolve: the same resolver with nobody listening, and with the
//! Prometheus exporter of the daemon, turn by turn in one run.
//!
//! Run: `cargo bench --bench observe`. The ratio counts; the times are those of this machine and minute.

mod lab;

use std::hint::black_box;
use std::time::{Duration, Instant};

use trunkline::server::Exporter;

use self::lab::Lab;
use self::lab::report::{Asked, Report, is_trial};

const NUMBERS: usize = 1000;
/// Resolves of a turn.
const TURN: u32 = 20_000;

fn main() {
    let turns = if is_trial() { 3 } else { 301 };
    let new = || Lab::on("wss://eu.example", ("APIeu", "a secret of a LiveKit server"), NUMBERS);
    let exporter = Exporter::new().expect("every histogram has buckets");
    let (unseen, seen) = (new(), exporter.record(new));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..turns {
        for (lab, times) in [&unseen, &seen].into_iter().zip(&mut times) {
            times.push(turn(lab));
        }
    }
    let [unseen, seen] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e9 / f64::from(TURN)
    });
    let mut report = Report::new("observe");
    println!("a warm resolve, median of {turns} turns of {TURN}");
    for (row, nanos) in [("nobody listens", unseen), ("Prometheus exporter", seen)] {
        report.figure("What observability costs a warm answer, ns", row, "time", nanos);
    }
    let (ours, rival) = (("with the exporter", seen), ("nobody listens", unseen));
    report.ratio(4, "a warm answer, borrowed", ours, rival, "ns", Asked::AtMost(1.15));
    report.save();
    assert!(exporter.render().contains("trunkline_resolve_warm_duration_seconds_count"));
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the real time")]
fn turn(lab: &Lab) -> Duration {
    let began = Instant::now();
    let _entered = lab.runtime.enter();
    for at in 0..TURN as usize {
        let caller = lab.callers[at * 611 % lab.callers.len()];
        let length = lab
            .resolver
            .try_resolve_with(caller, |answer| answer.map_or(0, |answer| answer.api_key().len()));
        black_box(length).expect("warm");
    }
    began.elapsed()
}
