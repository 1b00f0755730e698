//! A warm answer from text, beside a cached hit of AWS's own caching client for Secrets Manager.
//!
//! Run: `cargo run --release --manifest-path benches/aws/Cargo.toml --target-dir target/aws`.
//! Compare rows of one run only; machines differ, and so do the minutes of one machine.
//!
//! Both take turns on one thread, with ids in uniformly random order, out of texts that lie in the
//! order of their use. Each number has a config, each secret a value of its own. Ours parses tenant
//! and number, resolves, and reads the API key of the answer where it stands. Theirs takes tenant
//! and number as the one id of a secret, and hands out an owned value, whose length is read.
//!
//! *Independent* calls may overlap in the processor; of *dependent* ones, each waits for the result
//! of the last.
//!
//! What the two do not have in common:
//!
//! - Theirs has one `RwLock` around everything. A hit copies the id, and clones the whole output:
//!   its strings, one by one. What was updated longest ago has to go first, used or not. Callers who
//!   miss at once all ask AWS; a change is seen when the TTL is over. Nothing is counted in a release.
//! - Ours compares fence and lease at every hit, so that no answer outlives a change, or the
//!   connection that would have told of it; it counts every hit, and one load serves all who wait.
//!   What it hands out is shared, ready to sign tokens with, and wiped when it is withdrawn. The store
//!   here tells of no change, so the lease never ends; it is compared all the same.
//! - Their value is JSON that the caller would have to read at every hit; that is not measured here.
//!   Nor is a wake-up: their futures are ready at once, and one `block_on` is around a whole turn.

#[path = "../../lab/report.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod report;
#[path = "../../lab/rows.rs"]
mod rows;

use std::fmt::Write;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use aws_secretsmanager_caching::SecretsManagerCachingClient;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::task::unconstrained;
use trunkline::settings::Values;
use trunkline::{Answer, Caller, KeyRing, ResolveError, Resolver, Settings, TenantId};
use uuid::Uuid;

use self::report::{Asked, Report, is_trial};
use self::rows::Rows;

fn main() {
    let mut report = Report::run_by(COMMAND.to_owned(), "aws");
    for (numbers, size) in [(1000, "1k"), (100_000, "100k")] {
        let lab = Lab::with(numbers);
        for calls in [Calls::Independent, Calls::Dependent] {
            let (ours, theirs) = lab.race(calls);
            if calls == Calls::Independent {
                let what = format!("from text, {size} uniform");
                let rival = ("aws_secretsmanager_caching get_secret_value", theirs);
                report.ratio(2, &what, ("Trunkline", ours), rival, "ns", Asked::AtLeast(5.0));
            }
            let column = format!("{size} uniform, {}", calls.name());
            for (row, nanos) in [("Trunkline", ours), ("aws_secretsmanager_caching", theirs)] {
                println!("     {column}: {row} {nanos:.1} ns");
                report.figure(TABLE, row, &column, nanos);
            }
        }
    }
    report.save();
}

/// How calls follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    Independent,
    Dependent,
}

impl Calls {
    fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Dependent => "dependent",
        }
    }

    /// A bound for what a call may add to the place of the next: nothing, and either the compiler
    /// knows that, or the result has to be waited for.
    fn link<const DEPENDENT: bool>() -> usize {
        if DEPENDENT { black_box(0) } else { 0 }
    }
}

/// The two, with all that is asked for in memory.
struct Lab {
    runtime: Runtime,
    resolver: Resolver,
    client: SecretsManagerCachingClient,
    texts: Texts,
}

impl Lab {
    fn with(numbers: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let client = client(numbers);
        let resolver = runtime.block_on(async {
            let resolver = resolver();
            // One after the other, so that neither lies scattered among what the other one keeps.
            for at in 0..numbers {
                resolver.resolve(caller(at)).await.expect("the store has every number");
            }
            for at in 0..numbers {
                let id = id_of(caller(at));
                client.get_secret_value(&id, None, None, false).await.expect("mocked");
            }
            resolver
        });
        let lab = Self { runtime, resolver, client, texts: Texts::uniform(numbers) };
        assert_eq!(lab.ours::<true>(0), API_KEY.len(), "the answer of the store");
        assert_eq!(lab.theirs::<true>(0), secret_string().len(), "the answer of the mock");
        lab
    }

    /// Lets both have a turn, over and over: the medians in nanoseconds a call, ours first.
    fn race(&self, calls: Calls) -> (f64, f64) {
        let (ours, theirs): (Turn, Turn) = match calls {
            Calls::Independent => (Self::ours::<false>, Self::theirs::<false>),
            Calls::Dependent => (Self::ours::<true>, Self::theirs::<true>),
        };
        let rounds = if is_trial() { 2 } else { ROUNDS };
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            // Nobody reads a text that the other one has just read.
            for (at, turn) in [ours, theirs].into_iter().enumerate() {
                let from = (2 * round + at) * TURN % ORDER;
                times[at].push(nanos_of_a_call(|| turn(self, from)));
            }
        }
        let [ours, theirs] = times.map(median);
        (ours, theirs)
    }

    fn ours<const DEPENDENT: bool>(&self, from: usize) -> usize {
        let (mut last, link) = (0, Calls::link::<DEPENDENT>());
        for at in from..from + TURN {
            let (tenant, number) = self.texts.halves(at + (last & link));
            let caller = Caller::parse(tenant, number).expect("a caller");
            let length = |answer: Result<&Answer, &ResolveError>| {
                answer.map_or(0, |answer| black_box(answer.api_key()).len())
            };
            last = self.resolver.try_resolve_with(caller, length).expect("warm");
        }
        last
    }

    fn theirs<const DEPENDENT: bool>(&self, from: usize) -> usize {
        let (mut last, link) = (0, Calls::link::<DEPENDENT>());
        // Else tokio would have them yield every so many calls.
        self.runtime.block_on(unconstrained(async {
            for at in from..from + TURN {
                let id = self.texts.id(at + (last & link));
                let value = self.client.get_secret_value(id, None, None, false).await;
                let value = value.expect("cached").secret_string.expect("a text");
                last = black_box(value.as_str()).len();
            }
        }));
        last
    }
}

/// So many calls from this place on; the result of the last one.
type Turn = fn(&Lab, usize) -> usize;

/// The ids in the order of their use, one behind the other.
struct Texts(String);

impl Texts {
    fn uniform(numbers: u64) -> Self {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut text = String::with_capacity(ORDER * WIDTH);
        for _ in 0..ORDER {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            text.push_str(&id_of(caller((seed >> 11) % numbers)));
        }
        assert_eq!(text.len(), ORDER * WIDTH, "all ids have the same width");
        Self(text)
    }

    fn id(&self, at: usize) -> &str {
        &self.0[at * WIDTH..][..WIDTH]
    }

    fn halves(&self, at: usize) -> (&str, &str) {
        let id = self.id(at);
        (&id[..TENANT], &id[TENANT + 1..])
    }
}

fn resolver() -> Resolver {
    let key = KeyRing::generate().expect("there is randomness");
    let pairs = [("LIVEKIT_SECRET_ENCRYPTION_KEY", key.as_str()), ("CACHE_TTL", "7d")];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::read(&Values::of(pairs, None)).expect("valid settings");
    let ring = settings.ring.as_ref().expect("a ring");
    let secret = ring.seal(API_SECRET, 0).expect("sealed");
    Resolver::builder(settings).store(Arc::new(Rows { url: URL, api_key: API_KEY, secret })).start()
}

/// Of a Secrets Manager that has every secret, without a network.
fn client(numbers: u64) -> SecretsManagerCachingClient {
    let value = mock!(Client::get_secret_value).then_compute_output(|request| {
        let name = request.secret_id().unwrap_or_default();
        GetSecretValueOutput::builder()
            .arn(format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-a1b2c3"))
            .name(name)
            .version_id("3f1e6c1a-9c0b-4d0f-8a55-2b7d7a4f9e10")
            .version_stages("AWSCURRENT")
            .secret_string(secret_string())
            .build()
    });
    let client = mock_client!(aws_sdk_secretsmanager, RuleMode::MatchAny, &[value]);
    let size = usize::try_from(numbers).ok().and_then(NonZeroUsize::new).expect("some numbers");
    SecretsManagerCachingClient::new(client, size, WEEK, false).expect("a client")
}

fn secret_string() -> String {
    json!({ "url": URL, "api_key": API_KEY, "api_secret": API_SECRET }).to_string()
}

fn caller(at: u64) -> Caller {
    let number = format!("+{}", 971_500_000_000 + at).parse().expect("a number");
    Caller::new(TenantId(Uuid::from_u128(u128::from(at % 7))), number)
}

fn id_of(Caller { tenant, number }: Caller) -> String {
    let mut id = String::with_capacity(WIDTH);
    write!(id, "{tenant}/{number}").expect("a string takes everything");
    id
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the real time")]
#[expect(clippy::cast_precision_loss, reason = "53 bits are enough")]
fn nanos_of_a_call<T>(turn: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    black_box(turn());
    began.elapsed().as_secs_f64() * 1e9 / TURN as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

const COMMAND: &str =
    "cargo run --release --manifest-path benches/aws/Cargo.toml --target-dir target/aws";
const TABLE: &str = "Beside aws_secretsmanager_caching, one thread, ns";
const URL: &str = "wss://eu.example";
const API_KEY: &str = "APIeu";
const API_SECRET: &str = "a secret of a LiveKit server";
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many characters a tenant has, and an id of both halves.
const TENANT: usize = 36;
const WIDTH: usize = TENANT + "/+971500000000".len();
const ROUNDS: usize = 31;
const TURN: usize = 1 << 15;
/// How many calls there are before they come again; whole turns.
const ORDER: usize = 1 << 20;
