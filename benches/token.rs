//! How long a LiveKit access token takes to mint: from a resolution, beside the official crate's
//! `AccessToken::to_jwt` (`livekit_api::access_token` is `livekit-token`), with the same rights.
//!
//! Run: `cargo bench --bench token`. The ratio counts; the times are those of this machine and minute.

#[path = "lab/estimates.rs"]
mod estimates;
#[path = "lab/report.rs"]
#[expect(dead_code, reason = "each bench reports with what it needs of it")]
mod report;

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use livekit_token::{SIPGrants, TokenVerifier, VideoGrants};
use tokio::runtime::Runtime;
use trunkline::settings::Values;
use trunkline::{AccessToken, Caller, Resolution, Resolver, Settings, SipGrant, TokenRequest};

use self::report::{Asked, Report};

const KEY: &str = "APIwJ7n2QpZkX4t";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const MINT: &str = "mint a token";
const TTL: Duration = Duration::from_secs(60);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    mint(&mut criterion);
    criterion.final_summary();
    if !report::is_trial() {
        tell();
    }
}

fn mint(criterion: &mut Criterion) {
    let resolution = resolution();
    let verifier = TokenVerifier::with_api_key(KEY, SECRET);
    let read = |token: &str| {
        let claims = verifier.verify(token).expect("verifies");
        (claims.exp - claims.nbf, claims.sub, claims.video, claims.sip)
    };
    assert_eq!(read(ours(&resolution, "call-1").as_str()), read(&theirs("call-1")));

    let mut group = criterion.benchmark_group(MINT);
    group.bench_function("ours", |bench| bench.iter(|| ours(&resolution, black_box("call-1"))));
    group.bench_function("official", |bench| bench.iter(|| theirs(black_box("call-1"))));
    group.finish();
}

fn ours(resolution: &Resolution, room: &str) -> AccessToken {
    let mut request = TokenRequest::join(room, "dialler");
    request.ttl = TTL;
    request.sip = SipGrant::call();
    resolution.token(&request).expect("not wiped")
}

fn theirs(room: &str) -> String {
    let video = VideoGrants { room_join: true, room: room.to_owned(), ..VideoGrants::default() };
    livekit_token::AccessToken::with_api_key(black_box(KEY), black_box(SECRET))
        .with_ttl(TTL)
        .with_identity("dialler")
        .with_grants(video)
        .with_sip_grants(SIPGrants { admin: false, call: true })
        .to_jwt()
        .expect("rights that go together")
}

/// Credentials of the environment: a token does not depend on where they came from.
fn resolution() -> Resolution {
    let pairs = [
        ("LIVEKIT_URL", "wss://eu.example"),
        ("LIVEKIT_API_KEY", KEY),
        ("LIVEKIT_API_SECRET", SECRET),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::read(&Values::of(pairs, None)).expect("valid settings");
    let caller = Caller::parse("0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11", "+971501234567");
    Runtime::new().expect("a runtime starts").block_on(async {
        let resolver = Resolver::builder(settings).start();
        resolver.resolve(caller.expect("a caller")).await.expect("credentials")
    })
}

fn tell() {
    let (ours, official) = (estimates::median(MINT, "ours"), estimates::median(MINT, "official"));
    let mut report = Report::new("token");
    println!("a token");
    let (mine, rival) = (("ours", ours), ("livekit-api", official));
    report.ratio(7, "minting a token", mine, rival, "ns", Asked::AtLeast(3.0));
    report.figure("Minting a LiveKit access token, ns", "Trunkline", "time", ours);
    report.figure("Minting a LiveKit access token, ns", "livekit-api", "time", official);
    report.save();
}
