//! What the engine adds to a call: the part of a dispatch with warm credentials that is not spent
//! waiting for LiveKit, on a real server on this machine. And how fast a batch of 10,000 entries goes,
//! as a share of what its limits allow, on a stand-in that answers at once.
//!
//! Run: `TRUNKLINE_TEST_LIVEKIT=path/of/livekit-server cargo bench --bench dispatch`; `scripts/test`
//! builds the server and runs this. A server on the same machine is the hardest case: any network
//! in between adds to the part that is waited for.

#[path = "lab/campaign.rs"]
mod campaign;
mod lab;

use std::hint::black_box;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use trunkline::dispatch::livekit::LiveKit;
use trunkline::dispatch::{CallRequest, Dispatcher, Outcome};
use trunkline::{Settings, VideoGrant};

use self::lab::Lab;

const KEY: (&str, &str) = ("APIbench", "a secret of the server of a bench 0123456789");
const CALLS: usize = 1000;

#[expect(clippy::disallowed_methods, reason = "a bench reads the real time")]
fn main() {
    campaign::measure(std::env::args().any(|argument| argument == "--test"));
    let Some(program) = std::env::var_os("TRUNKLINE_TEST_LIVEKIT") else {
        println!("NOT RUN: TRUNKLINE_TEST_LIVEKIT names no LiveKit server");
        return;
    };
    // `cargo bench -- --test` only looks whether it runs.
    let calls = if std::env::args().any(|argument| argument == "--test") { 20 } else { CALLS };
    let server = Server::start(Path::new(&program));
    let lab = Lab::on(&server.url(), KEY, 100);
    let livekit = LiveKit::new((&Settings::default().tuning).into());
    wait(&lab, &livekit);
    let dispatcher = Dispatcher::new(lab.resolver.clone(), livekit);
    let mut outside = Vec::with_capacity(calls);
    let mut share = Vec::with_capacity(calls);
    let (mut all, mut ours) = (Duration::ZERO, Duration::ZERO);
    for at in 0..calls + calls / 10 {
        let request = CallRequest::new(lab.callers[at % lab.callers.len()], "+919876543210");
        let report = lab.runtime.block_on(dispatcher.call(&request));
        assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
        // The first ones open connections.
        if at < calls / 10 {
            continue;
        }
        all += report.took;
        // The client mints its tokens while the report counts as waiting; that is the engine's, too.
        let began = Instant::now();
        for _ in 0..2 {
            let rights = VideoGrant::create();
            let answer = report.resolution.as_ref().expect("it was placed with credentials");
            black_box(answer.token(&rights.into()).expect("minted"));
        }
        let minting = began.elapsed();
        let engine = report.took.saturating_sub(report.waited) + minting;
        ours += engine;
        outside.push(engine);
        share.push(engine.as_secs_f64() / report.took.as_secs_f64());
    }
    outside.sort();
    share.sort_by(f64::total_cmp);
    let p = |part: usize| (calls - 1) * part / 100;
    let whole = ours.as_secs_f64() / all.as_secs_f64();
    println!("{calls} calls, one after the other, with warm credentials, two requests each");
    println!(
        "  a call                          {:>9.1?} on average",
        all / u32::try_from(calls).unwrap_or(1)
    );
    println!(
        "  of it outside of the round trips {:>8.1?} at p50, {:.1?} at p99",
        outside[p(50)],
        outside[p(99)]
    );
    println!(
        "  share                           {:>8.2} % of all time, {:.2} % at p50, {:.2} % at p99 of calls",
        whole * 100.0,
        share[p(50)] * 100.0,
        share[p(99)] * 100.0
    );
    let verdict = if whole < 0.05 { "at most 5 %" } else { "MISSED: at most 5 %" };
    println!("  outside of LiveKit               {verdict}");
}

/// A LiveKit server without Redis.
struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let [port, tcp, udp] = [free_port(), free_port(), free_port()];
        let config = format!(
            "port: {port}\nbind_addresses: [\"127.0.0.1\"]\nlogging: {{level: error}}\n\
             rtc: {{tcp_port: {tcp}, udp_port: {udp}, use_external_ip: false, node_ip: 127.0.0.1}}\n\
             keys: {{{}: {}}}\n",
            KEY.0, KEY.1
        );
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, config).expect("the folder is writable");
        let child = Command::new(program)
            .arg("--config")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        Self { child, port, _folder: folder }
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }
}

/// Waits until the server answers.
fn wait(lab: &Lab, livekit: &LiveKit) {
    let answer = lab.resolver.try_resolve(lab.callers[0]).expect("warm").expect("credentials");
    lab.runtime.block_on(async {
        for _ in 0..400 {
            if livekit.rooms(&answer, &["none"]).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not answer");
    });
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    bound.local_addr().expect("it is bound").port()
}
