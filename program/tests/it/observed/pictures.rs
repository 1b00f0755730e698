//! Draws the dashboards from real data: ten minutes of calls, edits, a batch and an outage, seen by a
//! real Prometheus. Run it by `cargo test --test it draws_the_dashboards -- --ignored`, with
//! `TRUNKLINE_TEST_PYTHON` naming a Python that has matplotlib; then `scripts/dashboards readme`.

use std::time::Duration;

use serde_json::json;
use tokio::time::{interval, sleep};
use trunkline::dispatch::batch::{Batch, CancellationToken, Defaults, Entries, Journal, Limits};
use trunkline::dispatch::{CallRequest, Dial, Dispatcher, EngineDial};
use trunkline::server::{Exporter, Server};
use trunkline::store::{ConfigEdit, Migrations, NewNumber};

use super::alerts::Watchers;
use crate::support::caller;
use crate::support::database::TestDatabase;
use crate::support::livekit::{client, config_on};
use crate::support::postgres::Cluster;
use crate::support::standin::{FarEnd, StandIn};

const KEY: (&str, &str) = ("APIpictures", "a secret of the stand-in 0123456789 0123456789");
const NUMBERS: u64 = 500;
const MINUTES: u32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "draws pictures, for ten minutes"]
#[expect(clippy::disallowed_methods, reason = "programs start beside the load")]
#[expect(clippy::too_many_lines, reason = "a scene, told from beginning to end")]
async fn draws_the_dashboards() {
    let stand_in = StandIn::start(&[KEY]).await;
    stand_in.trunk("ST_1", &["*"]);
    stand_in.trunk("ST_2", &["*"]);
    let mut cluster = Cluster::start();
    let database = TestDatabase::on(&cluster.database());
    database.open.migrate(Migrations::Up).await.unwrap();
    let keys = [(); 2].map(|()| trunkline::KeyRing::generate().unwrap().to_string());
    let rings = keys.each_ref().map(|key| trunkline::KeyRing::parse(key).unwrap());
    let store = database.store();
    let mut configs = Vec::new();
    for (name, ring) in [("eu", &rings[0]), ("in", &rings[0]), ("us", &rings[1])] {
        let config = config_on(ring, &stand_in.url(), KEY, name);
        configs.push(store.create_config(&config).await.unwrap());
    }
    for at in 0..NUMBERS {
        let id = configs[usize::try_from(at % 3).unwrap()];
        let rules = json!({"livekit_config": id, "outbound_trunk_id": "ST_1"});
        let number = NewNumber { caller: caller(1, at), provider: Some("etisalat".into()), rules };
        store.add_number(&number).await.unwrap();
    }
    let both = keys.join(",");
    let url = stand_in.url();
    let settings = database.settings(&[
        ("LIVEKIT_SECRET_ENCRYPTION_KEY", &both),
        ("LIVEKIT_URL", &url),
        ("LIVEKIT_API_KEY", KEY.0),
        ("LIVEKIT_API_SECRET", KEY.1),
        ("CACHE_TTL", "20s"),
        ("RESOLVE_DEADLINE", "500ms"),
        ("STORE_DEADLINE", "1s"),
    ]);
    let exporter = Exporter::new().unwrap();
    let (resolver, dispatcher) = exporter.record(|| {
        let resolver = trunkline::Resolver::builder(settings).start();
        (resolver.clone(), Dispatcher::new(resolver, client()))
    });
    let any = ([127, 0, 0, 1], 0).into();
    let server = Server::builder(resolver.clone(), exporter.clone());
    let server = server.database(Some(database.open.clone())).bind(any).await.unwrap();
    let port = server.address().unwrap().port();

    let resolving = async {
        let mut tick = interval(Duration::from_millis(2));
        for at in 0_u64.. {
            tick.tick().await;
            // A few numbers are called most, and some are nobody's.
            let number =
                if at % 40 == 0 { NUMBERS + 1 } else { (at * at) % 97 * (at % 5) % NUMBERS };
            let _ = resolver.resolve(caller(1, number)).await;
        }
    };
    let says = |code, text, status, twirp| FarEnd::Says {
        code,
        text,
        status,
        twirp,
        words: "INVITE failed",
    };
    let far_ends = [
        FarEnd::Answers,
        FarEnd::Answers,
        FarEnd::Answers,
        says(486, "Busy Here", "429 Too Many Requests", "resource_exhausted"),
        FarEnd::Answers,
        says(603, "Decline", "403 Forbidden", "permission_denied"),
        FarEnd::Answers,
        says(503, "Service Unavailable", "412 Precondition Failed", "failed_precondition"),
    ];
    let calling = async {
        let mut tick = interval(Duration::from_millis(400));
        for at in 0_u64.. {
            tick.tick().await;
            let to = format!("+9198765{:05}", at % 8);
            stand_in.at(&to, far_ends[usize::try_from(at % 8).unwrap()].clone());
            let ringing = Duration::from_secs(1);
            let dial = Dial::Engine(EngineDial { ringing, ..EngineDial::default() });
            let request = CallRequest { dial, ..CallRequest::new(caller(1, at % NUMBERS), to) };
            dispatcher.call(&request).await;
        }
    };
    let editing = async {
        let mut tick = interval(Duration::from_secs(2));
        for at in 0_usize.. {
            tick.tick().await;
            let trunk = Some(format!("ST_{}", at % 2 + 1));
            let edit = ConfigEdit { trunk_id: Some(trunk), ..ConfigEdit::default() };
            let _ = store.update_config(configs[at % 3], &edit).await;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let batching = async {
        sleep(Duration::from_secs(60)).await;
        let line =
            |at: u64| format!("+9198765{at:05},{},{}", caller(1, 1).number, caller(1, 1).tenant);
        let lines: Vec<_> = (0..900).map(|at| line(at % 8)).collect();
        let file = folder.path().join("leads.csv");
        std::fs::write(&file, format!("to,from,tenant\n{}\n", lines.join("\n"))).unwrap();
        let limits = Limits { calls_per_second: 2.5, allow_duplicates: true, ..Limits::default() };
        let batch = Batch::new(&dispatcher, Dial::Agent, limits, CancellationToken::new());
        let journal = Journal::begin(&folder.path().join("journal")).unwrap();
        // Its gauges are made where it runs.
        let running = batch.run(|| Entries::open(&file, Defaults::default()), journal, |_, _| {});
        let mut running = std::pin::pin!(running);
        std::future::poll_fn(|context| exporter.record(|| running.as_mut().poll(context)))
            .await
            .unwrap();
        std::future::pending::<()>().await;
    };
    let watching = async {
        let watchers = tokio::task::spawn_blocking(move || Watchers::start(port, 9, false));
        let watchers = watchers.await.unwrap();
        sleep(Duration::from_secs(u64::from(MINUTES) * 60 * 6 / 10)).await;
        cluster.stop();
        sleep(Duration::from_secs(45)).await;
        cluster.restart();
        sleep(Duration::from_secs(u64::from(MINUTES) * 60 * 4 / 10 - 45)).await;
        let (good, said) = watchers.tool("check", MINUTES).await;
        println!("{said}");
        assert!(good, "{said}");
        let (good, said) = watchers.tool("pictures", MINUTES).await;
        println!("{said}");
        assert!(good, "{said}");
    };
    tokio::select! {
        () = watching => {}
        () = resolving => {}
        () = calling => {}
        () = editing => {}
        () = batching => {}
        ended = server.serve(std::future::pending()) => panic!("the server ended: {ended:?}"),
    }
}
