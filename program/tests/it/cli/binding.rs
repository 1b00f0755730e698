//! Secrets bound to their configs: whoever edits rows without the key opens nothing by it.

use serde_json::{Value, json};

use super::{KEY, NUMBER, Site, TENANT, refused, with_environment};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::program::Program;

const SECRET: &[u8] = b"canary-secret-of-us";

/// A site whose number goes through `eu`, with another config beside it, both bound.
fn bound(kind: Kind) -> (Site, TestDatabase) {
    let (site, _) = Site::with_route(kind);
    let add = ["livekit", "add", "--name", "us", "--url", "wss://us.example", "--api-key", "APIus"];
    site.run_with(&add, SECRET).ok();
    site.run(&["key", "bind", "--all"]).ok();
    let database = TestDatabase::at(kind, &site.variable("DATABASE_URL"));
    (site, database)
}

fn resolve(program: &Program) -> Value {
    let what = ["resolve", "--json", "--tenant", TENANT, "--from", NUMBER];
    with_environment(program.clone()).run(&what).json()
}

fn outcomes(program: &Program, what: &[&str]) -> Vec<String> {
    let run = program.run(&[what, &["--json"]].concat());
    let told = run.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    told.map(|told| told["outcome"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_edited_or_swapped_without_the_key_opens_nothing() {
    for kind in BOTH {
        let (site, database) = bound(kind);
        assert_eq!(resolve(&site)["source"], "database");
        let secret_of_us = "(select livekit_api_secret from voice_agent_livekit where name = 'us')";
        for (attack, undo) in [
            ("livekit_url = 'wss://evil.example'", "livekit_url = 'wss://eu.example'"),
            ("livekit_api_key = 'APIevil'", "livekit_api_key = 'APIkey'"),
        ] {
            database
                .sql(&format!("update voice_agent_livekit set {attack} where name = 'eu'"))
                .await;
            let answer = resolve(&site);
            assert_eq!(answer["reason"], "secret_bound_elsewhere", "{kind:?} {attack}");
            assert_ne!(answer["url"], "wss://evil.example");
            let edit = ["livekit", "edit", "eu", "--url", "wss://fine.example"];
            refused(site.run(&[&edit[..], &["--json"]].concat()), 5, "secret_bound_elsewhere");
            database.sql(&format!("update voice_agent_livekit set {undo} where name = 'eu'")).await;
            assert_eq!(resolve(&site)["source"], "database", "{kind:?}");
        }
        let swap = format!("livekit_api_secret = {secret_of_us}");
        database.sql(&format!("update voice_agent_livekit set {swap} where name = 'eu'")).await;
        assert_eq!(resolve(&site)["reason"], "secret_bound_elsewhere", "{kind:?}");
        let told = site.run(&["doctor", "--json"]).out;
        assert!(told.contains("was sealed for another config"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_key_edits_on_and_goes_back() {
    for kind in BOTH {
        let (site, _) = bound(kind);
        assert_eq!(outcomes(&site, &["key", "bind", "--all"]), ["unchanged", "unchanged"]);
        for edit in [
            &["--url", "wss://eu2.example"][..],
            &["--api-key", "APIeu2", "--name", "eu"],
            &["--description", "by night"],
        ] {
            site.run(&[&["livekit", "edit", "eu"], edit].concat()).ok();
            assert_eq!(resolve(&site)["source"], "database", "{kind:?} {edit:?}");
        }
        let new = ["livekit", "edit", "eu", "--secret-stdin"];
        site.run_with(&new, b"canary-another-secret").ok();
        assert_eq!(resolve(&site)["url"], "wss://eu2.example");
        assert_eq!(outcomes(&site, &["key", "bind", "eu", "--dry-run"]), ["unchanged"]);

        assert_eq!(outcomes(&site, &["key", "unbind", "eu", "--dry-run"]), ["unbound"]);
        assert_eq!(outcomes(&site, &["key", "unbind", "eu"]), ["unbound"]);
        assert_eq!(outcomes(&site, &["key", "unbind", "eu"]), ["unchanged"]);
        assert_eq!(resolve(&site)["source"], "database");
        let none = site.run(&["key", "bind", "nobody", "--json"]);
        refused(none, 1, "config_not_found");
    }
}

/// A copy of a secret from before it was bound, such as in an old dump, is of no use then.
#[tokio::test(flavor = "multi_thread")]
async fn only_bound_secrets_may_be_asked_for() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let strict = site.with("BOUND_SECRETS_ONLY", "true");
        assert_eq!(resolve(&strict)["reason"], "secret_not_bound", "{kind:?}");
        assert_eq!(outcomes(&strict, &["key", "bind", "--all"]), ["bound"]);
        assert_eq!(resolve(&strict)["source"], "database");
        let add = ["livekit", "add", "--name", "us", "--url", "wss://us.example", "--api-key", "k"];
        strict.run_with(&add, SECRET).ok();
        assert_eq!(outcomes(&strict, &["key", "bind", "--all"]), ["unchanged", "unchanged"]);
        site.run(&["number", "assign", "--tenant", TENANT, "--number", NUMBER, "--livekit", "us"])
            .ok();
        assert_eq!(resolve(&strict)["source"], "database", "{kind:?}");
    }
}

/// What no key opens is told and left alone; the rest is done.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_open_is_left_and_told() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let database = TestDatabase::at(kind, &site.variable("DATABASE_URL"));
        let plain =
            "update voice_agent_livekit set livekit_api_secret = 'never-sealed', name = 'a'";
        database.sql(plain).await;
        let add = ["livekit", "add", "--name", "us", "--url", "wss://us.example", "--api-key", "k"];
        site.run_with(&add, SECRET).ok();
        let run = site.run(&["key", "bind", "--all", "--json"]);
        assert_eq!(outcomes(&site, &["key", "bind", "--all"]), ["unopenable", "unchanged"]);
        assert_eq!(run.code, 1);
        let error: Value = serde_json::from_str(&run.err).unwrap();
        assert_eq!(error["error"], json!("secrets_left"));
        assert!(!format!("{}{}", run.out, run.err).contains("never-sealed"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_is_opened_for_a_person_and_says_whose_it_is() {
    let (site, database) = bound(Kind::Sqlite);
    let configs = database.store().configs().await.unwrap();
    let us = configs.iter().find(|config| config.name == "us").unwrap();
    let sealed = trunkline::ExposeSecret::expose_secret(&us.api_secret).as_bytes();
    let opened = Program::new()
        .with(KEY, &site.variable(KEY))
        .run_with(&["secret", "open", "--json"], sealed);
    assert!(opened.err.contains("wss://us.example") && opened.err.contains("APIus"));
    assert_eq!(opened.json()["secret"], "canary-secret-of-us");
}
