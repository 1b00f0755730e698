//! A batch of 10,000 entries of mixed quality, at the rate that its limits set; and beside it the loop
//! that people write: a timer, and a task a call, without a journal.
//!
//! The server is a stand-in on this machine that answers at once and notes when each agent was sent,
//! so that what is lost is the engine's. Told are the share of what the limits allow, and where the
//! rest of the time went.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use trunkline::Settings;
use trunkline::dispatch::batch::{
    Batch, CancellationToken, Defaults, Entries, Journal, Limits, Summary,
};
use trunkline::dispatch::livekit::LiveKit;
use trunkline::dispatch::{Dial, Dispatcher, Outcome};

use super::lab::Lab;

const KEY: (&str, &str) = ("APIcampaign", "a secret of the stand-in of a bench 0123456789");
const ENTRIES: usize = 10_000;
/// Of ten entries one is wrong in itself and one is refused by the rules.
const CALLED_OF_TEN: usize = 8;
const PER_SECOND: f64 = 250.0;

/// Runs it and prints what it came to. `short`: only to see that it runs.
#[expect(clippy::disallowed_methods, reason = "a server of a bench")]
pub(crate) fn measure(short: bool) {
    let entries = if short { 100 } else { ENTRIES };
    let went = Arc::<Mutex<Vec<Instant>>>::default();
    let standin = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    standin.set_nonblocking(true).expect("it can be polled");
    let port = standin.local_addr().expect("it is bound").port();
    let lab = Lab::on(&format!("ws://127.0.0.1:{port}"), KEY, 100);
    let shared = Arc::clone(&went);
    lab.runtime.spawn(async move {
        let standin = TcpListener::from_std(standin).expect("it is bound");
        while let Ok((stream, _)) = standin.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    let livekit = LiveKit::new((&Settings::default().tuning).into());
    println!("a batch of {entries} entries, 8 of 10 of them called, at {PER_SECOND} a second");
    let began = Instant::now();
    let called = lab.runtime.block_on(batch(&lab, livekit.clone(), entries));
    told("  trunkline, each entry in a journal ", began, called, &take(&went));
    let began = Instant::now();
    lab.runtime.block_on(rival(&lab, livekit, called));
    told("  a timer and a task a call, without ", began, called, &take(&went));
}

/// The batch, from its file to its last result.
async fn batch(lab: &Lab, livekit: LiveKit, entries: usize) -> usize {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let (file, journal) = (folder.path().join("calls.csv"), folder.path().join("journal"));
    let line = |at: usize| {
        let caller = lab.callers[at % lab.callers.len()];
        let to = match at % 10 {
            3 => "12".to_owned(),
            7 => format!("+9198765{at:05},one field too many"),
            _ => format!("+9198765{at:05}"),
        };
        format!("{to},{},{}\n", caller.number, caller.tenant)
    };
    let lines: String = (0..entries).map(line).collect();
    std::fs::write(&file, format!("to,from,tenant\n{lines}")).expect("the folder is writable");
    let dispatcher = Dispatcher::new(lab.resolver.clone(), livekit);
    let limits = Limits { calls_per_second: PER_SECOND, ..Limits::default() };
    let batch = Batch::new(&dispatcher, Dial::Agent, limits, CancellationToken::new());
    let open = || Entries::open(&file, Defaults::default());
    let journal = Journal::begin(&journal).expect("the folder is writable");
    let summary: Summary = batch.run(open, journal, |_, _| {}).await.expect("it runs");
    let placed = summary.of(Outcome::Placed);
    let expected = entries / 10 * CALLED_OF_TEN;
    // What is written wrong, or may not be called, is left to be corrected.
    let left = (entries - expected) as u64;
    assert_eq!((placed, summary.left), (expected as u64, left), "{summary:?}");
    expected
}

/// The same calls by a timer.
async fn rival(lab: &Lab, livekit: LiveKit, calls: usize) {
    let dispatcher = Dispatcher::new(lab.resolver.clone(), livekit);
    let mut timer = tokio::time::interval(Duration::from_secs_f64(1.0 / PER_SECOND));
    let mut placed = tokio::task::JoinSet::new();
    for at in 0..calls {
        timer.tick().await;
        let (dispatcher, caller) = (dispatcher.clone(), lab.callers[at % lab.callers.len()]);
        let request = trunkline::dispatch::CallRequest::new(caller, format!("+9198765{at:05}"));
        placed.spawn(async move { dispatcher.call(&request).await.outcome });
    }
    while let Some(outcome) = placed.join_next().await {
        assert_eq!(outcome.expect("no panic"), Outcome::Placed);
    }
}

fn take(went: &Mutex<Vec<Instant>>) -> Vec<Instant> {
    std::mem::take(&mut *went.lock().expect("no panic"))
}

/// The share of what the limit allows, the most in any second, and where the other time went.
fn told(what: &str, began: Instant, called: usize, went: &[Instant]) {
    let took = began.elapsed();
    assert_eq!(went.len(), called, "each once");
    let (first, last) = (went[0], went[called - 1]);
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let allowed = Duration::from_secs_f64((called - 1) as f64 / PER_SECOND);
    let share = 100.0 * allowed.as_secs_f64() / took.as_secs_f64();
    let most = (0..called)
        .map(|at| went[at..].iter().take_while(|&&then| then < went[at] + A_SECOND).count())
        .max()
        .unwrap_or(0);
    println!("{what} {share:>6.2} % of what the limit allows, at most {most} in a second");
    let apart = Duration::from_secs_f64(1.0 / PER_SECOND);
    let late = went.windows(2).map(|pair| pair[1] - pair[0]);
    let stalls: Duration = late.map(|gap| gap.saturating_sub(apart + A_STALL)).sum();
    println!(
        "    {took:.2?} in all, {allowed:.2?} of it the limit's: {:.2?} before the first call, {:.2?} after \
         the last; {stalls:.2?} of stalls past {A_STALL:?}",
        first - began,
        took.saturating_sub(last - began),
    );
}

/// A server that takes every request.
async fn serve(stream: TcpStream, went: Arc<Mutex<Vec<Instant>>>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
            if first.is_empty() {
                first = line;
            }
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let answer = if first.contains("CreateDispatch") {
            went.lock().expect("no panic").push(Instant::now());
            "{\"id\":\"AD_1\"}"
        } else if first.contains("CreateRoom") {
            "{\"sid\":\"RM_1\",\"name\":\"r\"}"
        } else {
            "{\"items\":[]}"
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
        let text = format!("{head} {}\r\n\r\n{answer}", answer.len());
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

const A_SECOND: Duration = Duration::from_secs(1);
const A_STALL: Duration = Duration::from_millis(20);
