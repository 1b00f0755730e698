//! `call`, `call end`, `batch run` and `livekit check` on a real LiveKit server.

mod batch;
mod pair;

use std::process::Command;

use serde_json::{Value, json};

use super::{NUMBER, Site, TENANT, refused};
use crate::support::database::{BOTH, Kind};
use crate::support::eventually;
use crate::support::livekit::{Server, make_trunk};
use crate::support::program::{Program, Run};
use crate::support::standin::{FarEnd, StandIn};

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

    /// With a config of a stand-in that has a carrier, and a number that uses it.
    async fn with_carrier() -> (Self, StandIn) {
        let keys = [("APIstandin", "canary-of-the-stand-in-0123456789-0123456789")];
        let stand_in = StandIn::start(&keys).await;
        stand_in.trunk("ST_own", &[NUMBER]);
        let site = Self::migrated(Kind::Sqlite);
        let (key, secret) = keys[0];
        let trunk = ["--trunk", "ST_own"];
        site.add_config_with(&stand_in.url(), key, secret, "eu", &trunk).ok();
        site.add_number(TENANT, NUMBER, Some("eu"));
        (site, stand_in)
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
    for words in
        ["placed: the agent was sent", "call-", "phone-919876543210", "+919876543210", "eu"]
    {
        assert!(out.contains(words), "no {words}: {out}");
    }
}

/// First what became of it and what the carrier said, then where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_first_what_became_of_a_call() {
    let (site, stand_in) = Site::with_carrier().await;
    let busy = FarEnd::Says {
        code: 486,
        text: "Busy Here",
        status: "429 Too Many Requests",
        twirp: "resource_exhausted",
        words: "INVITE failed",
    };
    let ask = ["call", "--tenant", TENANT, "--from", NUMBER, "--to", TO, "--engine-dials"];
    for (far_end, first, error) in [
        (FarEnd::Answers, "placed: the phone was answered", ""),
        (busy, "busy: 486 Busy Here", "error: busy: 486 Busy Here"),
        (FarEnd::WantsPassword, "carrier trouble", "error: the carrier wants another user"),
    ] {
        stand_in.at("+919876543210", far_end);
        let run = site.run(&[&ask[..], &["--header", "X-Lead=7"]].concat());
        let lines: Vec<_> = run.out.lines().map(str::trim_start).collect();
        assert!(lines[0].starts_with("outcome") && lines[0].contains(first), "{run:?}");
        assert!(lines[1].starts_with("room") && lines[1].contains("call-"), "{run:?}");
        assert!(
            lines[2].starts_with("phone") && lines[2].contains("phone-919876543210"),
            "{run:?}"
        );
        assert!(run.err.contains("\nroom call-") && run.err.contains(error), "{run:?}");
        assert_eq!(run.code == 0, error.is_empty(), "{run:?}");
    }
    assert_eq!(stand_in.dialled()[0]["headers"], json!({"X-Lead": "7"}));
    let spliced = site.run(&[&ask[..], &["--json", "--header", "X-Lead=7\r\nTo: you"]].concat());
    refused(spliced, 2, "phone_malformed");
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
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("livekit-sip") && hint.contains("livekit check"), "{error}");
}

/// Ctrl-C ends a call that rings, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_call_that_rings() {
    let (site, stand_in) = Site::with_carrier().await;
    stand_in.at("+919876543210", FarEnd::Rings);
    let ask = ["call", "--json", "--tenant", TENANT, "--from", NUMBER, "--to", TO];
    let child = site.command(&[&ask[..], &["--engine-dials"]].concat()).spawn().unwrap();
    eventually("it rings", async || stand_in.ringing() == 1).await;
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["outcome"], &told["room"]), (&json!("cancelled"), &Value::Null), "{told}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((stand_in.ringing(), stand_in.rooms().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_whether_a_config_would_place_calls() {
    let (site, stand_in) = Site::with_carrier().await;
    let id = site.configs()[0]["id"].as_str().unwrap().to_owned();
    let good = site.run(&["livekit", "check", "eu", "--json"]).json();
    assert_eq!((&good["ok"], &good["config_id"]), (&json!(true), &json!(id)), "{good}");
    let out = site.run(&["livekit", "check", &id]).ok();
    assert!(out.contains("carries the number") && out.contains("a SIP service runs"), "{out}");
    let other = site.run(&["livekit", "check", "eu", "--from", "+14155550123", "--json"]);
    assert_eq!(other.code, 1);
    let found: Value = serde_json::from_str(&other.out).unwrap();
    let last = found["checks"].as_array().unwrap().last().unwrap();
    assert_eq!(last["code"], "number_not_on_trunk", "{found}");

    // Beside a bad one, the good one still has its line; the whole is a failure.
    site.add_config_with(&stand_in.url(), "APInobody", &"x".repeat(40), "bad", &[]).ok();
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
