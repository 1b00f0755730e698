//! `nodes`, and what `doctor` and `/readyz` say of nodes: with daemons that run, stand still and are
//! killed.

use std::process::Command;

use serde_json::Value;
use trunkline::store::Migrations;

use super::{KEY, NUMBER, Running, Site, TENANT, new_key, refused};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::eventually;
use crate::support::http::get;
use crate::support::postgres::psql;
use crate::support::program::{Program, Run};

/// A daemon of this name, which hears changes.
async fn daemon(program: &Program, name: &str) -> (Running, u16) {
    let program = program.clone().with("NODE_NAME", name);
    let daemon = Running::start(program.command(&["serve", "--listen", "127.0.0.1:0"]));
    let line = daemon.line();
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(':').next());
    let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    eventually("it hears", async || readiness(port).await["lease"] == true).await;
    (daemon, port)
}

async fn readiness(port: u16) -> Value {
    serde_json::from_str(&get(port, "/readyz").await.body).unwrap_or_default()
}

fn signal(daemon: &Running, signal: &str) {
    let pid = daemon.child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

/// The nodes that are listed, by name.
fn listed(site: &Site) -> Vec<Value> {
    let nodes = site.run(&["nodes", "list", "--json"]).json();
    let nodes = nodes.as_array().unwrap().iter();
    nodes.filter(|node| node["state"] != "unlisted").cloned().collect()
}

fn names(site: &Site) -> Vec<String> {
    listed(site).iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

/// Adds a number and returns the place of that change, as an operator would look it up.
fn change(site: &Site, number: &str) -> String {
    site.add_number(TENANT, number, None);
    newest(site)
}

fn newest(site: &Site) -> String {
    let run = site.run(&["nodes", "wait", "--change", "1000000", "--timeout", "1ms", "--json"]);
    let object = refused(run, 1, "change_not_found");
    let message = object["message"].as_str().unwrap();
    let newest = message.split("goes up to ").nth(1).and_then(|rest| rest.split(':').next());
    newest.unwrap_or_else(|| panic!("{message}")).to_owned()
}

fn findings_of_nodes(run: &Run, state: &str) -> Vec<String> {
    let findings = run.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = findings.filter(|finding| finding["check"] == "nodes" && finding["state"] == state);
    ours.map(|finding| finding["found"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_are_listed_waited_for_and_missed() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let empty = site.run(&["nodes", "list"]);
        assert_eq!((empty.code, empty.out.as_str()), (0, ""), "{empty:?}");
        assert!(empty.err.contains("trunkline serve"), "{empty:?}");
        let (first, _) = daemon(&site.program, "eu-1").await;
        let (second, _) = daemon(&site.program, "eu-2").await;
        eventually("both have looked", async || {
            let nodes = listed(&site);
            nodes.len() == 2 && nodes.iter().all(|node| node["applied"].is_string())
        })
        .await;
        let nodes = listed(&site);
        assert_eq!((&nodes[0]["name"], &nodes[1]["name"]), (&"eu-1".into(), &"eu-2".into()));
        for node in &nodes {
            assert_eq!(node["program"], "trunkline serve", "{node}");
            assert_eq!(node["keys"].as_array().unwrap().len(), 1, "{node}");
            assert_eq!((&node["state"], &node["lease"]), (&"live".into(), &1.0.into()), "{node}");
        }
        let people = site.run(&["nodes", "list"]).ok();
        assert!(people.contains("eu-1") && people.contains("trunkline serve"), "{people}");

        // Whoever edits is told, a script is not.
        let add =
            ["livekit", "add", "--name", "eu", "--url", "wss://eu.example", "--api-key", "APIeu"];
        let patient = site.with("LEASE", "20s");
        let run = patient.run_with(&add, b"canary-of-eu");
        assert!(run.err.contains("seen by 2 of 2 nodes after "), "{run:?}");
        assert_eq!(run.ok().trim_end().len(), 36, "stdout is as it was");
        let edit = ["livekit", "edit", "eu", "--trunk", "ST_eu", "--json"];
        let run = patient.run(&edit);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");

        let place = change(&site, NUMBER);
        let wait = ["nodes", "wait", "--change", &place, "--timeout", "20s"];
        let said = site.run(&wait).ok();
        assert!(said.starts_with("seen by 2 of 2 nodes after "), "{said}");
        let object = site.run(&[&wait[..], &["--json"]].concat()).json();
        assert_eq!((&object["seen"], &object["of"]), (&2.into(), &2.into()), "{object}");

        // One that stands still has not seen the next one.
        signal(&second, "-STOP");
        let place = change(&site, "+971501234568");
        let run = site.run(&["nodes", "wait", "--change", &place, "--timeout", "3s", "--json"]);
        let object = refused(run, 1, "not_seen_by_all");
        let message = object["message"].as_str().unwrap();
        assert!(message.contains("seen by 1 of 2 nodes"), "{message}");
        assert!(message.contains("not by eu-2 (") && !message.contains("eu-1"), "{message}");
        assert!(object["hint"].as_str().unwrap().contains("for eu-2"), "{object}");
        signal(&second, "-CONT");
        site.run(&["nodes", "wait", "--change", &place, "--timeout", "20s"]).ok();

        // One that is killed counts, since it might only be cut off; one that ends well does not.
        signal(&second, "-KILL");
        drop(second);
        assert_eq!(names(&site), ["eu-1", "eu-2"], "{kind:?}");
        assert_eq!(first.end_by("-TERM"), Some(0));
        assert_eq!(names(&site), ["eu-2"], "{kind:?}");
    }
}

#[test]
fn what_cannot_be_waited_for_is_told() {
    let site = Site::new();
    let wait = |change: &str| site.run(&["nodes", "wait", "--json", "--change", change]);
    let object = refused(wait("7"), 1, "change_not_found");
    assert!(object["message"].as_str().unwrap().contains("no change 7"), "{object}");
    for malformed in ["0", "-1", "x", "9223372036854775808"] {
        assert_eq!(wait(malformed).code, 2, "{malformed}");
    }
    site.add_number(TENANT, NUMBER, None);
    let nobody = site.run(&["nodes", "wait", "--change", &newest(&site)]).ok();
    assert!(nobody.starts_with("seen by 0 of 0 nodes"), "{nobody}");
    let old = Site::empty(Kind::Postgres);
    refused(old.run(&["nodes", "list", "--json"]), 4, "not_migrated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_watched_is_printed_again_until_ctrl_c() {
    let site = Site::new();
    let (_daemon, _) = daemon(&site.program, "eu-1").await;
    let watching = Running::start(site.command(&["nodes", "list", "--watch", "--json"]));
    for _ in 0..2 {
        let line = watching.line();
        let nodes: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(nodes[0]["name"], "eu-1", "{line}");
    }
    assert_eq!(watching.end_by("-INT"), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_nodes_that_are_silent_and_what_they_do_not_have_in_common() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let run = site.run(&["doctor", "--json"]);
        assert_eq!(findings_of_nodes(&run, "ok"), ["0 live"], "{}", run.out);
        let (first, _) = daemon(&site.program, "eu-1").await;
        let (second, _) = daemon(&site.with(KEY, &new_key()).with("MAX_STALE", "2h"), "eu-2").await;
        eventually("both are listed", async || names(&site).len() == 2).await;
        let run = site.run(&["doctor", "--json"]);
        assert_eq!(findings_of_nodes(&run, "ok"), ["2 live"], "{}", run.out);
        let odd = findings_of_nodes(&run, "warn");
        assert_eq!(odd.len(), 2, "{odd:?}");
        for (found, what) in odd.iter().zip(["key rings differ: ", "settings differ: "]) {
            assert!(found.starts_with(what), "{odd:?}");
            assert!(found.contains("(here, eu-1)") && found.contains("(eu-2)"), "{odd:?}");
        }
        assert_eq!(second.end_by("-TERM"), Some(0));
        if kind == Kind::Postgres {
            signal(&first, "-STOP");
            let earlier = "update trunkline_nodes set refreshed_at = now() - interval '1 minute'";
            psql(&site.variable("DATABASE_URL"), earlier);
            let run = site.run(&["doctor", "--json"]);
            assert_eq!(findings_of_nodes(&run, "warn"), ["silent: eu-1"], "{}", run.out);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_cannot_be_listed_says_why() {
    let site = Site::migrated(Kind::Postgres);
    // Without the table of nodes.
    let database = TestDatabase::on(&site.variable("DATABASE_URL"));
    database.open.migrate(Migrations::DownTo(4)).await.unwrap();
    let (old, port) = daemon(&site.program, "old").await;
    eventually("it says so", async || {
        let report = readiness(port).await;
        report["ready"] == true
            && report["unlisted"].as_str().is_some_and(|why| why.contains("trunkline db migrate"))
    })
    .await;
    let metrics = get(port, "/metrics").await.body;
    assert!(metrics.contains("trunkline_node_listed 0"), "{metrics}");
    site.run(&["db", "migrate"]).ok();
    // It reads its settings anew, and tries again.
    signal(&old, "-HUP");
    eventually("it is listed", async || names(&site) == ["old"]).await;
    eventually("it says so", async || readiness(port).await["unlisted"].is_null()).await;
    eventually("it counts itself", async || {
        let metrics = get(port, "/metrics").await.body;
        metrics.contains("trunkline_node_listed 1")
    })
    .await;
}
