//! Traces reach a collector: spans of both flows, with numbers masked and without a secret.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::database::{Kind, TestDatabase};
use crate::support::program::Program;
use crate::support::{caller, config, number, secret_of};

/// Takes what is posted, whatever it is.
#[expect(clippy::disallowed_methods, reason = "a server of a test")]
async fn collector() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::<Mutex<Vec<u8>>>::default();
    let keep = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let keep = Arc::clone(&keep);
            tokio::spawn(async move {
                let mut piece = vec![0; 1 << 16];
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    keep.lock().unwrap().extend_from_slice(&piece[..length]);
                    let done = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                    if stream.write_all(done.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the program runs beside the collector")]
async fn spans_reach_a_collector_and_hold_no_secret() {
    let database = TestDatabase::migrated(Kind::Sqlite).await;
    let key = trunkline::KeyRing::generate().unwrap();
    let ring = trunkline::KeyRing::parse(&key).unwrap();
    let store = database.store();
    let id = store.create_config(&config(&ring, "eu")).await.unwrap();
    store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
    let (port, taken) = collector().await;
    let program = Program::new()
        .with("DATABASE_URL", &database.url)
        .with("LIVEKIT_SECRET_ENCRYPTION_KEY", &key)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://127.0.0.1:{port}"));
    let who = caller(1, 1);
    let (tenant, from) = (who.tenant.to_string(), who.number.to_string());
    let ask = ["resolve", "--tenant", &tenant, "--from", &from].map(ToOwned::to_owned);
    let run = move || program.run(&ask.each_ref().map(String::as_str));
    tokio::task::spawn_blocking(run).await.unwrap().ok();
    let text = String::from_utf8_lossy(&taken.lock().unwrap()).into_owned();
    assert!(text.starts_with("POST /v1/traces "), "{text}");
    for word in
        ["resolve", "load", "statement", "route", "trunkline", &who.number.masked().to_string()]
    {
        assert!(text.contains(word), "no {word} in {text:?}");
    }
    for secret in [&secret_of("eu"), key.as_str(), &from] {
        assert!(!text.contains(secret), "{secret} in {text:?}");
    }
}

#[test]
fn a_collector_that_is_none_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("x.db").display());
    let program =
        Program::new().with("DATABASE_URL", &url).with("OTEL_EXPORTER_OTLP_ENDPOINT", "canary");
    let run = program.run(&["db", "migrate"]);
    assert!(run.err.contains("nothing is traced") && !run.err.contains("canary"), "{run:?}");
    run.ok();
}
