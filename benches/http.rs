//! The API beside a bare axum handler that answers with the same bodies, on sockets of the same kind,
//! turn by turn in one run: how many questions a second are answered. And how long a page of 100 of 10,000
//! numbers takes, as JSON and as the admin page, which goal is 50 ms.
//!
//! Run: `cargo bench --bench http`. The ratio counts; the rates are those of this machine and minute.

mod lab;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use trunkline::Settings;
use trunkline::access::ClientToken;
use trunkline::draft::ClientDraft;
use trunkline::server::{Api, Exporter};
use trunkline::settings::Values;
use trunkline::store::OpenStore;

use self::lab::Lab;
use self::lab::report::is_trial;

const NUMBERS: usize = 10_000;
/// Connections that ask at once, each on a thread of its own.
const CLIENTS: usize = 4;

fn main() {
    let exporter = Exporter::new().expect("every histogram has buckets");
    let lab = exporter
        .record(|| Lab::on("wss://eu.example", ("APIeu", "a secret of a LiveKit server"), NUMBERS));
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let (ours, bare) = (folder.path().join("ours"), folder.path().join("bare"));
    let token = serve_ours(&lab, &exporter, &ours);
    let caller = lab.callers[7];
    let whose = format!("\"tenant\":\"{}\",\"from\":\"{}\"", caller.tenant, caller.number);
    let tokens = format!("{{{whose},\"grants\":{{\"room\":\"call-7\",\"identity\":\"dialler\"}}}}");
    for (path, body) in [("/v1/tokens", tokens), ("/v1/resolve", format!("{{{whose}}}"))] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            token.as_str(),
            body.len()
        );
        let answered = ask(&mut connect(&ours), &request);
        let stop = serve_bare(&lab, &bare, path, answered);
        compare(path, &request, &ours, &bare);
        stop.cancel();
    }
    for (path, what) in [
        ("/v1/numbers?limit=100", "as JSON"),
        ("/numbers", "as a page"),
        ("/numbers?sort=-number", "as a page, the last ones first"),
        ("/numbers?country=AE", "as a page, of one country"),
        ("/numbers?state=in_use&sort=tenant", "as a page, by state and tenant"),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
            token.as_str()
        );
        page(path, what, &request, &ours);
    }
}

/// How long a page of a list takes, asked for one after the other.
#[expect(clippy::disallowed_methods, reason = "a bench reads the real time")]
fn page(path: &str, what: &str, request: &str, socket: &Path) {
    let mut connection = connect(socket);
    let answer = ask(&mut connection, request);
    let answer = String::from_utf8(answer).expect("an answer is text");
    let rows = ["<tr id=\"number-", "\"provider\":"].map(|row| answer.matches(row).count());
    assert_eq!(rows.iter().sum::<usize>(), 100, "{path} is a page of 100");
    let times = (0..if is_trial() { 3 } else { 200 }).map(|_| {
        let asked = Instant::now();
        std::hint::black_box(ask(&mut connection, request));
        asked.elapsed().as_secs_f64() * 1e3
    });
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{path}: 100 of {NUMBERS} numbers {what}, {:.1} ms, 99 % within {:.1} ms (goal 50 ms)",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
}

/// Answers clients from a warm resolver, and returns the token of one.
fn serve_ours(lab: &Lab, exporter: &Exporter, socket: &Path) -> ClientToken {
    let token = ClientToken::generate().expect("there is randomness");
    let draft = ClientDraft {
        name: "bench".into(),
        all_tenants: true,
        may: ["tokens", "resolve", "numbers", "edit_numbers"].map(String::from).into(),
        room: Some("*".into()),
        ..ClientDraft::default()
    };
    // The rate is counted and never reached.
    let pairs = [
        ("DATABASE_URL", lab.database.as_str()),
        ("HTTP_SOCKET", socket.to_str().expect("text")),
        ("API_RATE", "1000000"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::read(&Values::of(pairs, None)).expect("valid settings");
    let database = settings.database.as_ref().expect("a database");
    let store = OpenStore::new(database, &settings.tuning).clients();
    lab.runtime.block_on(async {
        let client = draft.check(0).expect("a client");
        store.create_client(&client, &token.hash()).await.expect("added");
        let api = Api::bind(&settings.api, Vec::new(), lab.resolver.clone(), exporter);
        let api = api.await.expect("bound").expect("a socket");
        lab.runtime.spawn(api.serve(CancellationToken::new()));
    });
    token
}

/// Answers whoever asks this path with the same body, having read what was asked.
fn serve_bare(lab: &Lab, socket: &Path, path: &str, body: Vec<u8>) -> CancellationToken {
    let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
    let body = Bytes::from(body);
    let answer = async move |asked: Bytes| {
        std::hint::black_box(asked.len());
        ([(CONTENT_TYPE, "application/json")], body.clone()).into_response()
    };
    let router = Router::new().route(path, post(answer));
    let _ = std::fs::remove_file(socket);
    let listener = lab.runtime.block_on(async { tokio::net::UnixListener::bind(socket) });
    let listener = listener.expect("bound");
    let (runtime, ends) = (lab.runtime.handle().clone(), stop.clone());
    lab.runtime.spawn(ends.run_until_cancelled_owned(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            runtime.spawn(stopped.clone().run_until_cancelled_owned(serving));
        }
    }));
    stop
}

fn compare(path: &str, request: &str, ours: &PathBuf, bare: &PathBuf) {
    let rounds = if is_trial() { 2 } else { 15 };
    let mut rates = [Vec::new(), Vec::new()];
    let mut slowest = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((socket, rates), slowest) in [ours, bare].into_iter().zip(&mut rates).zip(&mut slowest)
        {
            let (rate, p99) = turn(socket, request);
            rates.push(rate);
            slowest.push(p99);
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let [ours, bare] = rates.map(median);
    let [our_p99, bare_p99] = slowest.map(median);
    println!(
        "{path}: ours {ours:.0} a second, 99 % within {our_p99:.0} us; bare axum {bare:.0}, \
         {bare_p99:.0} us; ours is {:.1} % of it",
        ours / bare * 100.0
    );
}

/// How many questions a second are answered, and the 99th percentile in microseconds.
#[expect(clippy::disallowed_methods, reason = "a bench reads the real time")]
#[expect(clippy::cast_precision_loss, reason = "nobody asks 2^53 questions")]
fn turn(socket: &Path, request: &str) -> (f64, f64) {
    let lasts = Duration::from_millis(if is_trial() { 50 } else { 500 });
    let mut times: Vec<f64> = std::thread::scope(|threads| {
        let client = || {
            let mut connection = connect(socket);
            let (began, mut times) = (Instant::now(), Vec::new());
            while began.elapsed() < lasts {
                let asked = Instant::now();
                std::hint::black_box(ask(&mut connection, request));
                times.push(asked.elapsed().as_secs_f64() * 1e6);
            }
            times
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| threads.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("it was answered")).collect()
    });
    times.sort_by(f64::total_cmp);
    (times.len() as f64 / lasts.as_secs_f64(), times[times.len() * 99 / 100])
}

fn connect(socket: &Path) -> UnixStream {
    UnixStream::connect(socket).expect("it listens")
}

/// Asks, and returns the body of the answer.
fn ask(connection: &mut UnixStream, request: &str) -> Vec<u8> {
    connection.write_all(request.as_bytes()).expect("it was sent");
    let (mut answer, mut chunk) = (Vec::with_capacity(2048), [0; 4096]);
    loop {
        let read = connection.read(&mut chunk).expect("it is answered");
        assert!(read > 0, "the connection broke off");
        answer.extend_from_slice(&chunk[..read]);
        let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&answer[..head]).expect("a head is text");
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
        if answer.len() >= head + 4 + length {
            return answer.split_off(head + 4);
        }
    }
}
