//! `livekit rotate` and its steps on a real server that holds two pairs.

use serde_json::{Value, json};

use super::{Site, call};
use crate::cli::refused;
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::livekit::Server;
use crate::support::program::Program;

/// A pair as a line of LiveKit's key file.
fn entered((key, secret): (&str, &str)) -> Vec<u8> {
    format!("{key}: {secret}\n").into_bytes()
}

/// The pairs of the config, each with its state and its key.
fn pairs(site: &Program) -> Vec<(String, String)> {
    let told = site.run(&["livekit", "pairs", "eu", "--json"]).json();
    let text = |pair: &Value, name: &str| pair[name].as_str().unwrap().to_owned();
    let told = told.as_array().unwrap().iter();
    told.map(|pair| (text(pair, "phase"), text(pair, "api_key"))).collect()
}

fn are(pairs: &[(String, String)], expected: &[(&str, &str)]) -> bool {
    let pairs: Vec<_> = pairs.iter().map(|(phase, key)| (phase.as_str(), key.as_str())).collect();
    pairs == expected
}

/// Makes the previous pair look so many days older.
async fn ages(database: &TestDatabase, days: u32) {
    let set = match database.kind {
        Kind::Postgres => format!("since = since - interval '{days} days'"),
        Kind::Sqlite => format!("since = strftime('%Y-%m-%dT%H:%M:%fZ', since, '-{days} days')"),
    };
    database.sql(&format!("update trunkline_pairs set {set} where phase = 'previous'")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_is_turned_and_turned_back_and_retired_when_nothing_needs_it() {
    let server = Server::shared();
    let [old, new] = server.keys;
    for kind in BOTH {
        let (site, id) = Site::calling(kind);
        let database = TestDatabase::at(kind, &site.variable("DATABASE_URL"));
        assert!(are(&pairs(&site), &[("current", old.0)]), "{kind:?}");
        let rotate = ["livekit", "rotate", "eu"];
        let dry = [&rotate[..], &["--dry-run", "--json"]].concat();
        assert_eq!(site.run_with(&dry, &entered(new)).json()["done"], false);
        assert!(are(&pairs(&site), &[("current", old.0)]), "nothing was done");

        let told = site.run_with(&rotate, &entered(new)).ok();
        for part in [
            &format!("the pair {} of eu is pending", new.0),
            &format!("calls of eu are placed with {}", new.0),
            &format!("the previous pair is {}", old.0),
            "give the new pair to agents",
            &format!("trunkline livekit retire {id}"),
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("canary"), "{told}");
        assert!(are(&pairs(&site), &[("current", new.0), ("previous", old.0)]), "{kind:?}");
        assert_eq!(call(&site, &[]).json()["outcome"], "placed");

        let third = entered(("APIthird", "a-secret-of-a-third-pair-0123456789"));
        refused(
            site.run_with(&[&rotate[..], &["--json"]].concat(), &third),
            6,
            "previous_pair_kept",
        );
        let back = site.run(&["livekit", "roll-back", "eu", "--json"]).json();
        assert_eq!(back["pairs"]["current"], old.0, "{back}");
        assert!(are(&pairs(&site), &[("current", old.0), ("previous", new.0)]), "{kind:?}");
        assert_eq!(call(&site, &[]).json()["outcome"], "placed");

        let retire = ["livekit", "retire", "eu", "--json"];
        let early = refused(site.run(&retire), 1, "pair_too_early");
        assert!(early["message"].as_str().unwrap().contains("may be shown until"), "{early}");
        ages(&database, 3).await;
        let longer = [&retire[..], &["--longest", "7d"]].concat();
        refused(site.run(&longer), 1, "pair_too_early");
        let look = [&retire[..], &["--dry-run"]].concat();
        assert_eq!(site.run(&look).json()["done"], false);
        let retired = site.run(&retire).json();
        assert_eq!(retired["retired"]["api_key"], new.0, "{retired}");
        assert!(are(&pairs(&site), &[("current", old.0)]), "{kind:?}");
        refused(site.run(&retire), 1, "no_previous_pair");
        refused(site.run(&["livekit", "roll-back", "eu", "--json"]), 1, "no_previous_pair");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_the_server_does_not_accept_stays_pending() {
    let server = Server::shared();
    let (old, new) = (server.keys[0], ("APInew", "a-secret-that-no-server-knows-0123456789"));
    for kind in BOTH {
        let (site, _) = Site::calling(kind);
        let rotate = ["livekit", "rotate", "eu", "--json"];
        let error = refused(site.run_with(&rotate, &entered(new)), 1, "pair_refused");
        let told = error["message"].as_str().unwrap();
        assert!(told.contains("pending") && told.contains("does not know this API key"), "{told}");
        assert!(!error.to_string().contains("no-server-knows"), "{error}");
        assert!(are(&pairs(&site), &[("current", old.0), ("pending", new.0)]), "{kind:?}");
        refused(site.run(&["livekit", "promote", "eu", "--json"]), 1, "pair_refused");
        // The same again is no other one.
        refused(site.run_with(&rotate, &entered(new)), 1, "pair_refused");
        let other = entered(("APIother", "a-secret-of-another-pair-0123456789"));
        refused(site.run_with(&rotate, &other), 6, "another_pair_pending");
        assert_eq!(call(&site, &[]).json()["outcome"], "placed", "{kind:?}");
        site.run(&["livekit", "roll-back", "eu"]).ok();
        assert!(are(&pairs(&site), &[("current", old.0)]), "{kind:?}");
        refused(site.run(&["livekit", "promote", "eu", "--json"]), 1, "no_pair_pending");
    }
}

/// Both must be accepted: else the nodes that have not heard of it yet would be refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_forgotten_the_old_pair_is_told_of() {
    let server = Server::shared();
    let site = Site::migrated(Kind::Sqlite);
    let gone = ("APIgone", "a-secret-that-the-server-has-forgotten-01");
    site.add_config_with(&server.url(), gone.0, gone.1, "eu", &[]).ok();
    let rotate = ["livekit", "rotate", "eu", "--json"];
    let error = refused(site.run_with(&rotate, &entered(server.keys[1])), 1, "pair_refused");
    let told = error["message"].as_str().unwrap();
    assert!(told.contains("the current pair APIgone is not accepted"), "{told}");
    assert!(error["hint"].as_str().unwrap().contains("--old-is-gone"), "{error}");
    site.run(&["livekit", "promote", "eu", "--old-is-gone"]).ok();
    assert!(are(&pairs(&site), &[("current", server.keys[1].0), ("previous", gone.0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_pair_has_its_own_message() {
    let server = Server::shared();
    let (site, _) = Site::calling(Kind::Sqlite);
    let (old, new) = (server.keys[0], server.keys[1]);
    let stage = |input: &[u8], more: &[&str]| {
        site.run_with(&[&["livekit", "stage", "eu", "--json"][..], more].concat(), input)
    };
    refused(stage(b"only-a-secret", &[]), 2, "pair_malformed");
    refused(stage(b"", &["--api-key", "APInew"]), 5, "empty_input");
    refused(stage(b"API new: secret", &[]), 2, "field_malformed");
    refused(stage(b"canary", &["--api-key", old.0]), 2, "pair_is_current");
    refused(site.run_with(&["livekit", "stage", "us", "--json"], b"k: s"), 1, "config_not_found");
    assert!(are(&pairs(&site), &[("current", old.0)]));
    site.run_with(&["livekit", "rotate", "eu"], &entered(new)).ok();
    refused(stage(b"canary", &["--api-key", old.0]), 2, "pair_is_previous");
    // The pairs of another server are of no use once the URL is another one.
    site.run(&["livekit", "edit", "eu", "--url", &Server::other().url()]).ok();
    refused(site.run(&["livekit", "roll-back", "eu", "--json"]), 1, "pair_of_other_server");
    let told = site.run(&["livekit", "pairs"]).ok();
    assert!(told.contains("for another server: of no use any more"), "{told}");
    site.run(&["livekit", "retire", "eu"]).ok();
    // A database from before goes on as it did.
    let database = TestDatabase::at(Kind::Sqlite, &site.variable("DATABASE_URL"));
    database.open.migrate(trunkline::store::Migrations::DownTo(14)).await.unwrap();
    refused(stage(b"k: s", &[]), 4, "not_migrated");
    site.run(&["livekit", "show", "eu"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_others_may_have_is_replaced_at_once_and_what_stays_exposed_is_told() {
    let server = Server::shared();
    let (old, new) = (server.keys[0], server.keys[1]);
    for kind in BOTH {
        let (site, _) = Site::calling(kind);
        let compromise = ["livekit", "compromise", "eu"];
        let dry = site.run(&[&compromise[..], &["--dry-run", "--json"]].concat()).json();
        assert_eq!((&dry["done"], &dry["exposure"]["api_key"]), (&json!(false), &json!(old.0)));
        let none = [&compromise[..], &["--pending", "--json"]].concat();
        refused(site.run(&none), 1, "no_pair_pending");
        let told = site.run_with(&compromise, &entered(new)).ok();
        for part in [
            &format!("calls of eu are placed with {}", new.0),
            &format!("next, at once: remove {} from the server", old.0),
            "tokens that clients were given, until",
            "calls in the air",
            "agents and other programs",
        ] {
            assert!(told.contains(part), "{kind:?} {part}: {told}");
        }
        assert!(!told.contains("canary"), "{told}");
        let told = site.run(&["livekit", "pairs"]).ok();
        assert!(told.contains("others may have it: remove it from the server"), "{told}");
        refused(site.run(&["livekit", "roll-back", "eu", "--json"]), 1, "pair_compromised");
        // Nothing needs it: it goes without waiting.
        site.run(&["livekit", "retire", "eu"]).ok();
        assert!(are(&pairs(&site), &[("current", new.0)]), "{kind:?}");
    }
}

const GUIDE: &str = include_str!("../../../../../docs/operations.md");

/// The lines of the guide turn a pair, each run as it stands there.
#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_guide_turn_a_pair() {
    let server = Server::shared();
    let block = GUIDE.split("<!-- pairs -->\n```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let lines: Vec<_> = block.lines().collect();
    assert_eq!(lines.len(), 9);
    for kind in BOTH {
        let (site, _) = Site::calling(kind);
        let folder = site.folder.path();
        std::fs::write(folder.join("pair.txt"), entered(server.keys[1])).unwrap();
        for line in &lines {
            let line = line.replacen("trunkline", env!("CARGO_BIN_EXE_trunkline"), 1);
            let run = std::process::Command::new("sh")
                .args(["-ec", &line])
                .current_dir(folder)
                .env_clear()
                .env("DATABASE_URL", site.variable("DATABASE_URL"))
                .env("STORE_DEADLINE", "20s")
                .env("LIVEKIT_SECRET_ENCRYPTION_KEY", site.variable(crate::cli::KEY))
                .output()
                .unwrap();
            assert!(run.status.success(), "{kind:?} {line}: {run:?}");
        }
        assert!(are(&pairs(&site), &[("current", server.keys[1].0)]), "{kind:?}");
    }
}

/// Calls that a client placed with it, and a node that has not heard of the last changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_previous_pair_stays_while_calls_are_in_the_air_with_it_or_a_node_uses_it() {
    let server = Server::shared();
    for kind in BOTH {
        let (site, id) = Site::calling(kind);
        let database = TestDatabase::at(kind, &site.variable("DATABASE_URL"));
        site.run_with(&["livekit", "rotate", "eu"], &entered(server.keys[1])).ok();
        ages(&database, 3).await;
        let hex = id.replace('-', "");
        let (config, some, ago, later) = match kind {
            Kind::Postgres => (
                format!("'{id}'"),
                "gen_random_uuid()",
                "clock_timestamp() - interval '1 hour'",
                "clock_timestamp()",
            ),
            Kind::Sqlite => (
                format!("x'{hex}'"),
                "randomblob(16)",
                "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hours')",
                "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
            ),
        };
        // Dialled before the pair was turned: that was a moment ago again.
        let since = format!("update trunkline_pairs set since = {later} where phase = 'previous'");
        database.sql(&since).await;
        let call = format!(
            "insert into trunkline_calls (id, client_id, idempotency_key, body_hash, tenant_id, caller, state,
                claim, expires_at, config_id, outcome, dialled_at)
             values ({some}, {some}, 'k', 'h', {some}, '971500000001', 'ended', {some}, {later}, {config},
                'placed', {ago})"
        );
        database.sql(&call).await;
        let retire = ["livekit", "retire", "eu", "--json"];
        let exposed = ["livekit", "compromise", "eu", "--dry-run", "--json"];
        assert_eq!(site.run(&exposed).json()["exposure"]["calls"], 1, "{kind:?}");
        // So old that no token is left, and the call as well.
        let older = match kind {
            Kind::Postgres => "interval '22 hours'".to_owned(),
            Kind::Sqlite => "'-22 hours'".to_owned(),
        };
        for (table, column) in [("trunkline_pairs", "since"), ("trunkline_calls", "dialled_at")] {
            let set = match kind {
                Kind::Postgres => format!("update {table} set {column} = {column} - {older}"),
                Kind::Sqlite => format!(
                    "update {table} set {column} = strftime('%Y-%m-%dT%H:%M:%fZ', {column}, {older})"
                ),
            };
            database.sql(&set).await;
        }
        let error = refused(site.run(&retire), 1, "calls_in_the_air");
        assert!(error["message"].as_str().unwrap().starts_with("1 calls"), "{error}");
        database.sql(&format!("update trunkline_calls set left_at = {later}")).await;
        let node = format!(
            "insert into trunkline_nodes (id, name, host, program, version, keys, settings, hearing, lease,
                max_stale, cached, refreshes, started_at, refreshed_at)
             values ({some}, 'deaf', 'h', 'p', '0', '', 's', 'nothing', 1, 60, 0, 1, {later}, {later})"
        );
        database.sql(&node).await;
        let error = refused(site.run(&retire), 1, "nodes_behind");
        assert!(error["message"].as_str().unwrap().contains("deaf"), "{error}");
        database.sql("delete from trunkline_nodes").await;
        site.run(&retire).json();
        assert!(are(&pairs(&site), &[("current", server.keys[1].0)]), "{kind:?}");
    }
}
