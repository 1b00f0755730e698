//! `call`, `call end`, `batch run` and `livekit check` on a real LiveKit server.

mod batch;

use serde_json::{Value, json};

use super::{NUMBER, Site, TENANT, refused};
use crate::support::database::{BOTH, Kind};
use crate::support::livekit::{Server, make_trunk};
use crate::support::program::{Program, Run};

const TO: &str = "+91 98765 43210";

impl Site {
    /// Adds a config of a server, with that key of its.
    fn add_config_on(&self, server: &Server, name: &str, key: usize) -> String {
        let (key, secret) = server.keys[key];
        self.add_config_with(&server.url(), key, secret, name, &[]).ok().trim_end().to_owned()
    }

    fn add_config_with(
        &self,
        url: &str,
        key: &str,
        secret: &str,
        name: &str,
        more: &[&str],
    ) -> Run {
        let arguments = ["livekit", "add", "--name", name, "--url", url, "--api-key", key];
        self.run_with(&[&arguments, more].concat(), secret.as_bytes())
    }

    /// With a config of the server that tests share, and a number that uses it.
    fn calling(kind: Kind) -> (Self, String) {
        let site = Self::migrated(kind);
        let id = site.add_config_on(Server::shared(), "eu", 0);
        site.add_number(TENANT, NUMBER, Some("eu"));
        (site, id)
    }
}

fn call(program: &Program, more: &[&str]) -> Run {
    let ask = ["call", "--json", "--tenant", TENANT, "--from", NUMBER, "--to", TO];
    program.run(&[&ask, more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_placed_and_ended() {
    let server = Server::shared();
    for kind in BOTH {
        let (site, id) = Site::calling(kind);
        let placed = call(&site, &["--job", "j1", "--metadata", r#"{"lead": 7}"#]).json();
        let room = placed["room"].as_str().unwrap().to_owned();
        assert!(room.starts_with("call-j1-"), "{placed}");
        assert_eq!(
            (&placed["outcome"], &placed["source"], &placed["config_id"]),
            (&json!("placed"), &json!("database"), &json!(id))
        );
        let told = server.look().told(&room).await;
        assert_eq!((told.len(), &told[0]["lead"]), (1, &json!(7)), "{told:?}");
        assert_eq!(told[0]["phone_number"], "+919876543210");

        // The number moves to another server; the call is still found and ended.
        site.add_config_on(Server::other(), "other", 0);
        site.run(&[
            "number",
            "assign",
            "--tenant",
            TENANT,
            "--number",
            NUMBER,
            "--livekit",
            "other",
        ])
        .ok();
        let ended = site.run(&["call", "end", &room, "--json"]).json();
        assert_eq!(ended, json!({"ended": room, "config_id": id}), "{kind:?}");
        assert!(!server.look().has(&room).await);
        for which in [&[][..], &["--livekit", "eu"]] {
            let again = site.run(&[&["call", "end", &room, "--json"], which].concat());
            refused(again, 1, "room_not_found");
        }
    }
}

#[test]
fn a_person_reads_what_was_done() {
    let (site, _) = Site::calling(Kind::Sqlite);
    let ask = ["call", "--tenant", TENANT, "--from", NUMBER, "--to", TO];
    let out = site.run(&ask).ok();
    for words in ["placed", "call-", "+919876543210", "eu", "database"] {
        assert!(out.contains(words), "no {words}: {out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_all_and_does_nothing() {
    let server = Server::shared();
    let (site, _) = Site::calling(Kind::Sqlite);
    let told = call(&site, &["--dry-run", "--job", "dry"]).json();
    assert_eq!((&told["outcome"], &told["room"]), (&json!("would_be_placed"), &Value::Null));
    assert_eq!(told["metadata"]["job_id"], "dry");
    let look = server.look();
    let rooms = look.livekit.rooms(&look.with, &[]).await.unwrap();
    assert!(rooms.iter().all(|room| !room.name.starts_with("call-dry-")), "{rooms:?}");
}

#[test]
fn a_call_that_is_not_placed_says_why() {
    let (site, _) = Site::calling(Kind::Sqlite);
    for (more, exit, error) in [
        (&["--metadata", "{"][..], 2, "metadata_malformed"),
        (&["--metadata", r#"{"job_id": 1}"#], 2, "call_malformed"),
        (&["--job", "a b"], 2, "call_malformed"),
        (&["--engine-dials"], 1, "trunk_unknown"),
        (&["--ringing", "5"], 2, "usage"),
    ] {
        refused(call(&site, more), exit, error);
    }
    let to = |to| site.run(&["call", "--json", "--tenant", TENANT, "--from", NUMBER, "--to", to]);
    refused(to("12"), 1, "not_allowed");
    let elsewhere = ["call", "--json", "--tenant", TENANT, "--from", "+14155550123", "--to", TO];
    refused(site.run(&elsewhere), 1, "no_credentials");
    refused(site.run(&["call", "--json"]), 2, "usage");

    let (key, _) = Server::shared().keys[0];
    let wrong = ["livekit", "edit", "eu", "--api-key", key, "--secret-stdin"];
    let edited = site.run_with(&wrong, b"a secret that the server does not know");
    assert_eq!(edited.code, 0, "{edited:?}");
    let run = call(&site, &[]);
    assert!(!format!("{run:?}").contains("eyJ"), "{run:?}");
    refused(run, 5, "credentials_refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_engine_dials_needs_a_sip_service() {
    let server = Server::shared();
    let (site, _) = Site::calling(Kind::Sqlite);
    let trunk = make_trunk(server, &[NUMBER]).await;
    site.run(&["livekit", "edit", "eu", "--trunk", &trunk]).ok();
    let error = refused(call(&site, &["--engine-dials"]), 1, "no_sip_service");
    assert!(error["hint"].as_str().unwrap().contains("livekit check"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_whether_a_config_would_place_calls() {
    let server = Server::shared();
    let (site, id) = Site::calling(Kind::Sqlite);
    let trunk = make_trunk(server, &[NUMBER]).await;
    site.run(&["livekit", "edit", "eu", "--trunk", &trunk]).ok();
    let good = site.run(&["livekit", "check", "eu", "--json"]).json();
    assert_eq!((&good["ok"], &good["config_id"]), (&json!(true), &json!(id)), "{good}");
    let out = site.run(&["livekit", "check", &id]).ok();
    assert!(out.contains("carries the number"), "{out}");
    let other = site.run(&["livekit", "check", "eu", "--from", "+14155550123", "--json"]);
    assert_eq!(other.code, 1);
    let found: Value = serde_json::from_str(&other.out).unwrap();
    let last = found["checks"].as_array().unwrap().last().unwrap();
    assert_eq!(last["code"], "number_not_on_trunk", "{found}");

    // Beside a bad one, the good one still has its line; the whole is a failure.
    let (_, secret) = server.keys[0];
    site.add_config_with(&server.url(), "APInobody", secret, "bad", &[]).ok();
    let run = site.run(&["livekit", "check", "--all", "--json"]);
    let lines: Vec<Value> =
        run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ok: Vec<_> = lines.iter().map(|line| (line["name"].clone(), line["ok"].clone())).collect();
    assert_eq!(ok, [(json!("bad"), json!(false)), (json!("eu"), json!(true))]);
    refused(run, 1, "check_failed");
    for wrong in [&["livekit", "check"][..], &["livekit", "check", "eu", "--all"]] {
        assert_eq!(site.run(wrong).code, 2);
    }
}

#[test]
fn a_config_that_would_not_place_calls_is_not_added_with_check() {
    let server = Server::shared();
    let site = Site::migrated(Kind::Sqlite);
    let (key, secret) = server.keys[0];
    let add = |key, secret| {
        site.add_config_with(&server.url(), key, secret, "eu", &["--check", "--json"])
    };
    let error = refused(add(key, "another secret, which is long enough too"), 1, "secret_wrong");
    assert!(error["message"].as_str().unwrap().ends_with("nothing was added"), "{error}");
    refused(add("APInobody", secret), 1, "key_unknown");
    assert_eq!(site.configs(), json!([]));
    add(key, secret).ok();
    assert_eq!(site.configs().as_array().unwrap().len(), 1);
}
