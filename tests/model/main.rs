//! Models: the cache's own files, run through thousands of orders of steps.
//!
//! `cache.rs` and all below it, the credentials, their tokens and the doorbell are compiled here once more, with
//! shuttle's locks and atomics for the names in `crate::sync`. A scheduler then decides at every
//! step which thread goes on. What a model says must hold in every order tried; beside each stands
//! the naive order, which must be caught, or the model would prove nothing.
//!
//! The loader is a stand-in (`lab.rs`), because the real one waits for a database; so are moka and
//! the spawning of tasks. Everything else is the real thing. shuttle treats every atomic operation
//! as sequentially consistent. What rests on a weaker order is shown under loom (`weak.rs`), of the
//! steps in question alone.
//!
//! `cargo test --test model` runs all of them, `cargo test --test model -- flight` those with
//! `flight` in their name. A failure prints its schedule, which `shuttle::replay` takes.

mod explore;
mod fence;
mod lab;
mod lease;
mod relay;
mod single_flight;
mod sync;
mod table;
mod weak;
mod wipe;

use std::num::NonZero;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use self::explore::Model;
use self::real::{answer, cache, credentials, token};
pub(crate) use trunkline::clock;

/// The files of the product.
#[path = "../../src"]
#[expect(dead_code, unreachable_pub, reason = "the rest of the product uses more of it")]
#[expect(unused_imports, reason = "without a harness, the unit tests in them are left out")]
mod real {
    pub(crate) mod answer;
    pub(crate) mod cache;
    pub(crate) mod credentials;
    pub(crate) mod token;
}

/// The doorbell and the lease, without those who listen and read.
#[path = "../../src/changes/doorbell.rs"]
#[expect(dead_code, reason = "the rest of the product uses more of it")]
#[expect(unused_imports, reason = "without a harness, its unit tests are left out")]
mod doorbell;

/// What a stream of messages proves.
#[path = "../../src/changes/relay/evidence.rs"]
#[expect(dead_code, reason = "without a harness, its unit tests are left out")]
mod evidence;

// What those files find under `crate` and the library shows to everybody.
mod change {
    pub(crate) use trunkline::Change;
}
mod keyring {
    pub(crate) use trunkline::{KeyError, KeyRing, Secret};
}
mod number {
    pub(crate) use trunkline::{Caller, ConfigId};
    // For unit tests, which are left out.
    pub(crate) use trunkline::{E164, TenantId};
}
mod reason {
    pub(crate) use trunkline::Reason;
}
mod rules {
    pub(crate) use trunkline::{Rules, RulesStatus};
}
mod server_url {
    pub(crate) use trunkline::ServerUrl;
}

/// Tasks, on shuttle's executor.
mod lifecycle {
    use std::sync::{Mutex, PoisonError};

    use shuttle::future::JoinHandle;

    #[derive(Default)]
    pub(crate) struct Lifecycle {
        tasks: Mutex<Vec<JoinHandle<()>>>,
    }

    impl Lifecycle {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn spawn(&self, _: &str, task: impl Future<Output = ()> + Send + 'static) {
            let task = shuttle::future::spawn(task);
            self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        }

        /// Waits until every task has ended.
        pub(crate) async fn rest(&self) {
            let next = || self.tasks.lock().unwrap_or_else(PoisonError::into_inner).pop();
            while let Some(task) = next() {
                task.await.expect("no task of ours is aborted");
            }
        }
    }
}

fn main() -> ExitCode {
    let wanted: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |(name, _): &Model| {
        wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()))
    };
    let models = [
        fence::MODELS,
        single_flight::MODELS,
        lease::MODELS,
        relay::MODELS,
        wipe::MODELS,
        table::MODELS,
        weak::MODELS,
    ];
    let models = models.concat();
    let models = Mutex::new(models.into_iter().filter(is_wanted));
    let failed = AtomicBool::new(false);
    // Each on a thread of its own, of which there are as many as the machine can run.
    thread::scope(|threads| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            threads.spawn(|| {
                let next = || models.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some((name, model)) = next() {
                    let passed = catch_unwind(model).is_ok();
                    failed.fetch_or(!passed, Ordering::Relaxed);
                    let verdict = if passed { "ok" } else { "FAILED" };
                    println!("{} ... {verdict}", name.trim_start_matches("model::"));
                }
            });
        }
    });
    if failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
