//! What a resolver and a dispatcher record: every series from the start, and each where it belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trunkline::server::{Api, Exporter, Server};
use trunkline::store::ConfigEdit;
use trunkline::telemetry::{Kind, METRICS};
use trunkline::{Change, ResolverBuilder};

use crate::support::database::{BOTH, Kind as Database, TestDatabase};
use crate::support::{caller, config, eventually, number, ring};

/// Series and their values, as a scrape reads them.
pub(super) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    pub(super) fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(series.collect())
    }

    /// The sum of the series of this name whose labels hold all of these words.
    pub(super) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let ours = |series: &&String| {
            let (base, with) = series.split_once('{').unwrap_or((series, ""));
            base == name && labels.iter().all(|label| with.contains(label))
        };
        let found: Vec<_> = self.0.iter().filter(|(series, _)| ours(series)).collect();
        assert!(!found.is_empty(), "no series {name} {labels:?}");
        found.iter().map(|(_, value)| **value).sum()
    }

    pub(super) fn series(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

/// Started so that it records to an exporter of its own.
fn observed(builder: ResolverBuilder) -> (trunkline::Resolver, Exporter) {
    let exporter = Exporter::new().unwrap();
    (exporter.record(|| builder.start()), exporter)
}

fn environment<'a>(key: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let all = [
        ("LIVEKIT_SECRET_ENCRYPTION_KEY", key),
        ("LIVEKIT_URL", "wss://env.example"),
        ("LIVEKIT_API_KEY", "APIenv"),
        ("LIVEKIT_API_SECRET", "canary-secret-of-env"),
    ];
    all.iter().chain(more).copied().collect()
}

#[tokio::test]
async fn every_answer_is_counted_by_source_and_by_where_it_came_from() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let (key, store) = (trunkline::KeyRing::generate().unwrap(), database.store());
        let ring = trunkline::KeyRing::parse(&key).unwrap();
        let id = store.create_config(&config(&ring, "eu")).await.unwrap();
        store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
        let settings = database.settings(&environment(&key, &[]));
        let (resolver, exporter) = observed(trunkline::Resolver::builder(settings));
        eventually("changes are heard", async || resolver.hears_changes()).await;

        for _ in 0..200 {
            resolver.resolve(caller(1, 1)).await.unwrap();
            resolver.resolve(caller(1, 2)).await.unwrap();
        }
        // Warm answers are added up twenty times a second.
        eventually("all are counted", async || {
            Scrape::of(&exporter.render()).sum("trunkline_resolutions_total", &["index"]) >= 199.0
        })
        .await;
        let scrape = Scrape::of(&exporter.render());
        let answers = |source: &str, from: &str| {
            let labels = [format!("source=\"{source}\""), format!("from=\"{from}\"")];
            scrape.sum("trunkline_resolutions_total", &labels.each_ref().map(String::as_str))
        };
        assert_eq!((answers("database", "loaded"), answers("database", "index")), (1.0, 199.0));
        assert_eq!(
            (answers("environment", "loaded"), answers("environment", "negative")),
            (1.0, 199.0)
        );
        let fallbacks = scrape.sum("trunkline_fallbacks_total", &["reason=\"number_unknown\""]);
        assert_eq!((fallbacks, scrape.sum("trunkline_fallbacks_total", &[])), (200.0, 200.0));
        assert_eq!(scrape.sum("trunkline_loads_total", &[]), 2.0);
        assert_eq!(scrape.sum("trunkline_loads_in_flight", &[]), 0.0);
        let routes = "trunkline_store_query_duration_seconds_count";
        assert_eq!(scrape.sum(routes, &["statement=\"route\""]), 2.0, "{kind:?}");
        assert_eq!(scrape.sum("trunkline_resolve_cold_duration_seconds_count", &[]), 2.0);
        let sampled = scrape.sum("trunkline_resolve_warm_duration_seconds_count", &[]);
        assert!(
            (4.0..=8.0).contains(&sampled),
            "398 / 64, give or take a hit elsewhere: {sampled}"
        );
        assert_eq!(scrape.sum("trunkline_store_connections", &["state=\"max\""]), 4.0);

        // A change: its delay, its place, and that it was applied.
        let edit = ConfigEdit { trunk_id: Some(Some("ST_2".into())), ..ConfigEdit::default() };
        store.update_config(id, &edit).await.unwrap();
        eventually("the change is used", async || {
            resolver.resolve(caller(1, 1)).await.unwrap().trunk_id() == Some("ST_2")
        })
        .await;
        let scrape = Scrape::of(&exporter.render());
        assert_eq!(scrape.sum("trunkline_changes_applied_total", &[]), 1.0, "{kind:?}");
        assert_eq!(scrape.sum("trunkline_config_loads_total", &[]), 1.0);
        assert_eq!(scrape.sum("trunkline_change_delay_seconds_count", &[]), 1.0);
        let delay = scrape.sum("trunkline_change_delay_seconds_sum", &[]);
        assert!((0.0..10.0).contains(&delay), "{delay} s");
        assert!(scrape.sum("trunkline_change_last_sequence", &[]) >= 3.0);
        let invalidations =
            scrape.sum("trunkline_cache_invalidations_total", &["trigger=\"change\""]);
        assert_eq!(invalidations, 1.0);
        resolver.invalidate(Change::All);
        let scrape = Scrape::of(&exporter.render());
        assert_eq!(
            scrape.sum("trunkline_cache_invalidations_total", &["trigger=\"embedder\""]),
            1.0
        );
    }
}

#[tokio::test]
async fn a_config_whose_url_alone_was_changed_is_counted() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let (key, store) = (trunkline::KeyRing::generate().unwrap(), database.store());
        let ring = trunkline::KeyRing::parse(&key).unwrap();
        let id = store.create_config(&config(&ring, "eu")).await.unwrap();
        for at in [1, 2] {
            store.add_number(&number(caller(1, at), Some(id))).await.unwrap();
        }
        let settings = database.settings(&environment(&key, &[]));
        let (resolver, exporter) = observed(trunkline::Resolver::builder(settings));
        eventually("changes are heard", async || resolver.hears_changes()).await;
        let counted =
            || Scrape::of(&exporter.render()).sum("trunkline_config_urls_changed_total", &[]);
        let moves = async |edit: ConfigEdit| {
            let url = edit.url.clone().unwrap();
            store.update_config(id, &edit).await.unwrap();
            eventually("the change is used", async || {
                let answers = [
                    resolver.resolve(caller(1, 1)).await.unwrap(),
                    resolver.resolve(caller(1, 2)).await.unwrap(),
                ];
                answers.iter().all(|answer| *answer.url() == url)
            })
            .await;
        };
        let to = |url: &str| ConfigEdit { url: Some(url.parse().unwrap()), ..Default::default() };
        moves(to("wss://eu.example")).await;
        assert_eq!(counted(), 0.0, "it is where it was");
        moves(to("wss://elsewhere.example")).await;
        assert_eq!(counted(), 1.0, "{kind:?}: once, though two numbers use it");
        let sealed = ring.seal("another", crate::support::NOW).unwrap();
        moves(ConfigEdit { api_secret: Some(sealed), ..to("wss://new.example") }).await;
        moves(ConfigEdit { api_key: Some("APInew".into()), ..to("wss://newer.example") }).await;
        assert_eq!(counted(), 1.0, "{kind:?}: a server with a pair of its own");
    }
}

#[tokio::test]
async fn one_in_64_warm_answers_is_timed_whatever_it_says() {
    let database = TestDatabase::migrated(Database::Sqlite).await;
    let key = trunkline::KeyRing::generate().unwrap();
    let settings = database.settings(&environment(&key, &[]));
    let builder = trunkline::Resolver::builder(settings).store(database.store());
    let (resolver, exporter) = observed(builder);
    for _ in 0..=640 {
        // The database has no such number, which is in memory from the second time on.
        assert!(resolver.resolve(caller(1, 1)).await.unwrap().reason().is_some());
    }
    let sampled =
        Scrape::of(&exporter.render()).sum("trunkline_resolve_warm_duration_seconds_count", &[]);
    assert_eq!(sampled, 10.0);
}

#[tokio::test]
async fn a_secret_that_does_not_open_and_a_flag_that_is_off_are_counted() {
    let database = TestDatabase::migrated(Database::Sqlite).await;
    let (key, store) = (trunkline::KeyRing::generate().unwrap(), database.store());
    let id = store.create_config(&config(&ring(), "eu")).await.unwrap();
    store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
    let variables = environment(&key, &[]);
    let (resolver, exporter) =
        observed(trunkline::Resolver::builder(database.settings(&variables)));
    resolver.resolve(caller(1, 1)).await.unwrap();
    let scrape = Scrape::of(&exporter.render());
    assert_eq!(scrape.sum("trunkline_secrets_unopenable_total", &["reason=\"no_key_fits\""]), 1.0);
    assert_eq!(scrape.sum("trunkline_secrets_unopenable_total", &[]), 1.0);

    let off = environment(&key, &[("USE_SELFHOST_ROUTING_TABLE", "false")]);
    resolver.reload(database.settings(&off)).unwrap();
    resolver.resolve(caller(1, 1)).await.unwrap();
    let scrape = Scrape::of(&exporter.render());
    let by_settings = scrape.sum("trunkline_resolutions_total", &["from=\"settings\""]);
    assert_eq!(by_settings, 1.0);
    assert_eq!(scrape.sum("trunkline_settings_last_reload_successful", &[]), 1.0);

    let refusing = environment(&key, &[("FALLBACK_DENY", "secret_unopenable")]);
    resolver.reload(database.settings(&refusing)).unwrap();
    resolver.resolve(caller(1, 1)).await.unwrap_err();
    let scrape = Scrape::of(&exporter.render());
    assert_eq!(scrape.sum("trunkline_refusals_total", &["reason=\"secret_unopenable\""]), 1.0);
}

#[tokio::test]
async fn those_who_wait_for_one_load_and_those_who_leave_memory_are_counted() {
    let database = TestDatabase::migrated(Database::Sqlite).await;
    let (key, store) = (trunkline::KeyRing::generate().unwrap(), database.store());
    let ring = trunkline::KeyRing::parse(&key).unwrap();
    let id = store.create_config(&config(&ring, "eu")).await.unwrap();
    for at in 1..=200 {
        store.add_number(&number(caller(1, at), Some(id))).await.unwrap();
    }
    let variables = environment(&key, &[("CACHE_CAPACITY", "100"), ("CACHE_TTL", "1s")]);
    let gated = crate::support::stores::Gated::new(store);
    let builder = trunkline::Resolver::builder(database.settings(&variables));
    let (resolver, exporter) = observed(builder.store(gated.clone() as _));
    gated.set(crate::support::stores::Fault::Held);
    let mut herd: Vec<_> = (0..50).map(|_| Box::pin(resolver.resolve(caller(1, 1)))).collect();
    for call in &mut herd {
        assert!(futures_util::poll!(call).is_pending());
    }
    eventually("the load is under way", async || gated.routes() == 1).await;
    assert_eq!(Scrape::of(&exporter.render()).sum("trunkline_loads_in_flight", &[]), 1.0);
    gated.set(crate::support::stores::Fault::None);
    gated.open();
    for call in herd {
        call.await.unwrap();
    }
    let scrape = Scrape::of(&exporter.render());
    assert_eq!(scrape.sum("trunkline_loads_joined_total", &[]), 49.0);
    for at in 1..=200 {
        resolver.resolve(caller(1, at)).await.unwrap();
    }
    eventually("some had to go", async || {
        let scrape = Scrape::of(&exporter.render());
        let gone = |cause: &str| scrape.sum("trunkline_cache_evictions_total", &[cause]);
        let entries = scrape.sum("trunkline_cache_entries", &[]);
        gone("cause=\"capacity\"") > 0.0
            && gone("cause=\"expired\"") + gone("cause=\"idle\"") > 0.0
            && entries <= 100.0
    })
    .await;
}

/// Also what no label may hold, and that a process has few series.
#[tokio::test]
async fn every_series_is_there_from_the_start_at_zero() {
    let database = TestDatabase::migrated(Database::Postgres).await;
    let key = trunkline::KeyRing::generate().unwrap();
    let settings = database.settings(&environment(&key, &[("API_LISTEN", "127.0.0.1:0")]));
    let (exporter, places) = (Exporter::new().unwrap(), settings.api.clone());
    let resolver = exporter.record(|| trunkline::Resolver::builder(settings).start());
    let open = Some(database.open.clone());
    let any = ([127, 0, 0, 1], 0).into();
    let server = Server::builder(resolver.clone(), exporter.clone()).database(open);
    let _server = server.bind(any).await.unwrap();
    let many = Scrape::of(&exporter.render()).series().count();
    assert!(many < 370, "{many} series where no client is answered");
    let _api = Api::bind(&places, Vec::new(), resolver.clone(), &exporter).await.unwrap();
    let text = exporter.render();
    assert!(!text.contains(" summary"), "a histogram without buckets");
    let scrape = Scrape::of(&text);
    let bases: BTreeSet<_> =
        scrape.series().map(|series| series.split('{').next().unwrap()).collect();
    for metric in METRICS {
        let name = match metric.kind {
            Kind::Histogram(_) => format!("{}_bucket", metric.name),
            Kind::Counter | Kind::Gauge => metric.name.to_owned(),
        };
        assert!(bases.contains(name.as_str()), "{name} is missing");
        let labels: BTreeSet<_> = scrape
            .series()
            .filter(|series| series.split('{').next() == Some(metric.name))
            .flat_map(|series| labels_of(series))
            .collect();
        let known: BTreeSet<_> = metric.labels.iter().map(|&label| label.to_owned()).collect();
        assert!(labels.is_subset(&known), "{name}: {labels:?} {known:?}");
        if metric.kind == Kind::Counter {
            assert_eq!(scrape.sum(metric.name, &[]), 0.0, "{name}");
        }
    }
    let with_clients = scrape.series().count();
    println!(
        "{many} series of a process that has just begun, {with_clients} if it answers clients"
    );
}

fn labels_of(series: &str) -> Vec<String> {
    let Some((_, labels)) = series.trim_end_matches('}').split_once('{') else { return Vec::new() };
    let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
    labels.map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test]
async fn keys_are_counted_by_what_they_open() {
    let database = TestDatabase::migrated(Database::Sqlite).await;
    let store = database.store();
    let keys: Vec<_> =
        (0..3).map(|_| trunkline::KeyRing::generate().unwrap().to_string()).collect();
    let rings: Vec<_> = keys.iter().map(|key| trunkline::KeyRing::parse(key).unwrap()).collect();
    for (at, ring) in [(0, &rings[0]), (1, &rings[1]), (2, &rings[1]), (3, &rings[2])] {
        let config = config(ring, &format!("c{at}"));
        store.create_config(&config).await.unwrap();
    }
    let both = format!("{},{}", keys[0], keys[1]);
    let exporter = Exporter::new().unwrap();
    let settings = database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", &both)]);
    let resolver = exporter.record(|| trunkline::Resolver::builder(settings).start());
    let any = ([127, 0, 0, 1], 0).into();
    let open = Some(database.open.clone());
    let server =
        Server::builder(resolver.clone(), exporter.clone()).database(open).bind(any).await.unwrap();
    let serving = server.serve(std::future::pending());
    let counted = eventually("the keys are counted", async || {
        let scrape = Scrape::of(&exporter.render());
        let of = |role: &str| scrape.sum("trunkline_sealed_secrets", &[role]);
        (of("role=\"first\""), of("role=\"older\""), of("role=\"none\"")) == (1.0, 2.0, 1.0)
    });
    tokio::select! {
        () = counted => {}
        _ = serving => panic!("it ended"),
    }
    let text = exporter.render();
    let id = rings[0].key_ids()[0].to_string();
    assert!(text.contains(&format!("key=\"{id}\",role=\"first\"")), "{text}");
    assert!(!keys.iter().any(|key| text.contains(key.as_str())));
}

#[tokio::test]
async fn keys_are_told_by_age_and_state() {
    let database = TestDatabase::migrated(Database::Sqlite).await;
    let keys = [(); 2].map(|()| trunkline::KeyRing::generate().unwrap().to_string());
    let ids = keys.each_ref().map(|key| trunkline::KeyRing::parse(key).unwrap().key_ids()[0]);
    let both = keys.join(",");
    let settings = database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", &both)]);
    let ring = settings.ring.clone().unwrap();
    let rotation = trunkline::rotation::Rotation::new(&database.open, &ring, &settings.tuning);
    rotation.stage(None, true, false).await.unwrap();
    rotation.promote(None, true, true, false).await.unwrap();
    let earlier = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1000000 seconds')";
    database.sql(&format!("update trunkline_known_keys set since = {earlier}")).await;
    for (keys, missing) in [(&both, 0), (&keys[0], 1)] {
        let exporter = Exporter::new().unwrap();
        let settings = database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", keys)]);
        let resolver = exporter.record(|| trunkline::Resolver::builder(settings).start());
        let any = ([127, 0, 0, 1], 0).into();
        let open = Some(database.open.clone());
        let server = Server::builder(resolver.clone(), exporter.clone());
        let server = server.database(open).bind(any).await.unwrap();
        let serving = server.serve(std::future::pending());
        let [old, sealing] = [(ids[0], "old"), (ids[1], "sealing")].map(|(key, state)| {
            format!("trunkline_key_state_age_seconds{{key=\"{key}\",state=\"{state}\"}} 1000")
        });
        let counted = eventually("the ages are told", async || {
            let text = exporter.render();
            text.contains(&old)
                // Of a key that is not in the ring a gauge comes later, to the recorder of the process.
                && (missing == 1 || text.contains(&sealing))
                && text.contains(&format!("trunkline_sealing_key_missing {missing}"))
        });
        tokio::select! {
            () = counted => {}
            _ = serving => panic!("it ended"),
        }
    }
}

/// A store error has its kind, and a call its outcome.
#[tokio::test]
async fn failures_are_counted_by_kind_and_calls_by_outcome() {
    let settings = crate::support::database::settings("postgres://x@127.0.0.1:1/x", &[]);
    let exporter = Exporter::new().unwrap();
    let (resolver, dispatcher) = exporter.record(|| {
        let resolver = trunkline::Resolver::builder(settings).start();
        let livekit = crate::support::livekit::client();
        (resolver.clone(), trunkline::dispatch::Dispatcher::new(resolver, livekit))
    });
    let request = trunkline::dispatch::CallRequest::new(caller(1, 1), "+919876543210");
    dispatcher.call(&request).await;
    let scrape = Scrape::of(&exporter.render());
    assert!(scrape.sum("trunkline_store_errors_total", &["kind=\"unreachable\""]) >= 1.0);
    assert_eq!(scrape.sum("trunkline_calls_total", &["outcome=\"no_credentials\""]), 1.0);
    assert_eq!(scrape.sum("trunkline_call_duration_seconds_count", &["part=\"total\""]), 1.0);
    resolver.stop(Duration::from_secs(1)).await;
}
