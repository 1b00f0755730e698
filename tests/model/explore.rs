//! Runs a scenario through many orders of steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// A model's name and what runs it.
pub(crate) type Model = (&'static str, fn());

/// What came of a scenario in one order of steps.
pub(crate) type Verdict = Result<(), &'static str>;

/// A scenario must hold in every order that is tried.
#[track_caller]
pub(crate) fn holds(scenario: impl Fn() -> Verdict + Copy + Send + Sync + 'static) {
    try_orders(ORDERS, move || {
        if let Err(broken) = scenario() {
            panic!("{broken}");
        }
    });
}

/// A naive scenario must be caught: some order breaks it.
#[track_caller]
pub(crate) fn is_caught(scenario: impl Fn() -> Verdict + Copy + Send + Sync + 'static) {
    // Told by a flag and not by a panic, so that shuttle prints nothing and leaves nothing behind.
    let caught = Arc::new(AtomicBool::new(false));
    // Some are broken by one order in thousands, and most by one of the first.
    for _ in 0..MOST_ROUNDS {
        let broken = Arc::clone(&caught);
        try_orders(ORDERS, move || {
            if !broken.load(Ordering::Relaxed) && scenario().is_err() {
                broken.store(true, Ordering::Relaxed);
            }
        });
        if caught.load(Ordering::Relaxed) {
            return;
        }
    }
    panic!("no order of steps broke the naive one");
}

/// Half of the orders by chance, half with few but well-placed preemptions.
fn try_orders(orders: usize, scenario: impl Fn() + Clone + Send + Sync + 'static) {
    run(PctScheduler::new(PREEMPTIONS, orders / 2), scenario.clone());
    run(RandomScheduler::new(orders / 2), scenario);
}

fn run(scheduler: impl Scheduler + 'static, scenario: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(scenario);
}

/// Names the models of a file.
macro_rules! models {
    ($($(#[doc = $doc:literal])* fn $name:ident() $body:block)*) => {
        pub(crate) const MODELS: &[$crate::explore::Model] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];

        $($(#[doc = $doc])* fn $name() $body)*
    };
}
pub(crate) use models;

/// How many orders are tried of what must hold.
const ORDERS: usize = 2000;
/// How many times as many of what must be caught.
const MOST_ROUNDS: usize = 200;
const PREEMPTIONS: usize = 3;
/// A debug build of the product's code needs more than shuttle's own default.
const STACK: usize = 256 << 10;
