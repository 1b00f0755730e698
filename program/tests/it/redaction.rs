//! A secret is never seen: not in a `Debug`, a log line at trace level, an error or a panic.

use std::cell::Cell;
use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine;
use tracing_subscriber::EnvFilter;
use trunkline::store::{ConfigEdit, NewNumber};
use trunkline::{ExposeSecret, KeyRing, Reason, Resolver, TokenRequest};

use crate::support::database::{BOTH, TestDatabase};
use crate::support::{caller, config, eventually, number, ring, secret_of};

thread_local!(static WALKS: Cell<bool> = const { Cell::new(false) });

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_canary_is_in_no_log_line_debug_text_error_or_panic_message() {
    let log = Log::default();
    let writer = log.clone();
    // For the whole process, since a subscriber of one thread alone may miss what other tests have
    // touched before; what their threads log is thrown away.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("trace"))
        .with_writer(move || Log(if WALKS.get() { Arc::clone(&writer.0) } else { Arc::default() }))
        .init();
    let panics = Log::default();
    let panicked = panics.clone();
    let default_hook = std::panic::take_hook();
    let mut told = String::new();
    let key = KeyRing::generate().unwrap().to_string();
    WALKS.set(true);
    // On this thread, so that everything it does is logged here.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(walk(&key, &mut told));
    std::panic::set_hook(Box::new(move |info| writeln!(panicked.clone(), "{info}").unwrap()));
    let wrong = ring();
    let caught =
        std::panic::catch_unwind(|| wrong.open(config(&ring(), "eu").api_secret.as_str()).unwrap());
    std::panic::set_hook(default_hook);
    assert!(caught.is_err());

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let panicked = String::from_utf8(panics.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("Using LiveKit credentials from database"), "the log was caught");
    assert!(logged.contains("Falling back to environment variables"), "{logged}");
    assert!(panicked.contains("NoKeyFits"), "{panicked}");
    for text in [&logged, &told, &panicked] {
        for secret in
            [secret_of("eu"), secret_of("new"), "canary-secret-of-env".into(), key.clone()]
        {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&secret);
            let hex = hex(&secret);
            for form in [&secret, encoded.trim_end_matches('='), &hex] {
                assert!(!text.contains(form), "found {form}");
            }
        }
        assert!(!text.contains("+971500000001"), "a whole number");
    }
    assert!(logged.contains("+971*******01"));
}

/// Goes through everything that handles a secret, and keeps what it says of itself.
async fn walk(key: &str, told: &mut String) {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let ring = KeyRing::parse(key).unwrap();
        let store = database.store();
        let new = config(&ring, "eu");
        let id = store.create_config(&new).await.unwrap();
        let twice = store.create_config(&new).await.unwrap_err();
        let ours = number(caller(1, 1), Some(id));
        store.add_number(&ours).await.unwrap();
        let row = store.config(id).await.unwrap();
        let route = store.route(caller(1, 1)).await.unwrap();
        let settings = database.settings(&[
            ("LIVEKIT_SECRET_ENCRYPTION_KEY", key),
            ("LIVEKIT_URL", "wss://env.example"),
            ("LIVEKIT_API_KEY", "APIenv"),
            ("LIVEKIT_API_SECRET", "canary-secret-of-env"),
        ]);
        tell(told, &format!("{settings:?} {ring:?} {new:?} {twice:?} {twice} {row:?} {route:?}"));
        let builder = Resolver::builder(settings);
        tell(told, &format!("{builder:?}"));
        let resolver = builder.start();
        eventually("changes are heard", async || resolver.hears_changes()).await;
        let answer = resolver.resolve(caller(1, 1)).await.unwrap();
        let secret = answer.api_secret().unwrap();
        assert_eq!(secret.expose_secret(), &secret_of("eu"));
        let token = answer.token(&TokenRequest::default()).unwrap();
        let explanation = resolver.explain(caller(1, 1)).await;
        tell(told, &format!("{resolver:?} {answer:?} {secret:?} {token:?} {explanation:?}"));
        tell(told, &format!("{:?}", resolver.resolve(caller(1, 2)).await));

        let edit = ConfigEdit {
            api_secret: Some(ring.seal(&secret_of("new"), crate::support::NOW).unwrap()),
            ..ConfigEdit::default()
        };
        tell(told, &format!("{edit:?}"));
        store.update_config(id, &edit).await.unwrap();
        // Bound to its config, and the row edited by somebody without the key.
        let row = store.config(id).await.unwrap().unwrap();
        let bound = ring.seal_for(&secret_of("new"), &row.binding(), crate::support::NOW).unwrap();
        assert!(store.reseal(&row, &bound).await.unwrap());
        database.sql("update voice_agent_livekit set livekit_url = 'wss://other.example'").await;
        eventually("the edited row is refused", async || {
            let answer = resolver.resolve(caller(1, 1)).await.unwrap();
            tell(told, &format!("{answer:?}"));
            answer.reason() == Some(Reason::SecretBoundElsewhere)
        })
        .await;
        let edited = store.config(id).await.unwrap().unwrap();
        let opened = [edited.open(&ring), row.open(&ring), ring.open(bound.as_str())];
        tell(told, &format!("{bound:?} {opened:?} {:?}", row.binding()));
        tell(told, &format!("{:?}", resolver.explain(caller(1, 1)).await));

        database
            .sql("update voice_agent_livekit set livekit_api_secret = 'canary-secret-of-eu'")
            .await;
        eventually("the plaintext row is refused", async || {
            let answer = resolver.resolve(caller(1, 1)).await.unwrap();
            tell(told, &format!("{answer:?}"));
            answer.reason().is_some()
        })
        .await;
        tell(told, &format!("{:?}", store.configs().await.unwrap()));
        let bad = NewNumber { rules: serde_json::json!("x"), ..ours };
        tell(told, &format!("{:?}", store.add_number(&bad).await));
        tell(told, &format!("{:?}", resolver.explain(caller(1, 1)).await));
    }
}

fn tell(told: &mut String, said: &str) {
    told.push_str(said);
}

fn hex(secret: &str) -> String {
    secret.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
