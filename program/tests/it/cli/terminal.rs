//! What rows and files hold is shown, and never obeyed by a terminal; and what is made on disk is
//! its owner's.

use serde_json::Value;

use super::{NUMBER, Site, TENANT, refused};
use crate::support::database::Kind;
use crate::support::secret_of;

/// Clears the screen, turns the order around, ends the line, hides.
const WICKED: &str = "eu\u{1b}[2J\u{202e}\u{9b}1m\n\u{200b}x";
const SHOWN: &str = "eu\\u{1b}[2J\\u{202e}\\u{9b}1m\\u{a}\\u{200b}x";

fn is_hidden(character: char) -> bool {
    character.is_control() && character != '\n' || "\u{202e}\u{200b}".contains(character)
}

/// A config whose texts are wicked, with a number.
async fn wicked() -> Site {
    let (site, _) = Site::with_route(Kind::Sqlite);
    let url = site.variable("DATABASE_URL");
    let mut database = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let edit = "update voice_agent_livekit set name = ?1, description = ?1, livekit_api_key = ?1, \
                trunk_id = ?1, worker_name = ?1";
    sqlx::query(edit).bind(WICKED).execute(&mut database).await.unwrap();
    let edit = "update voice_agent_numbers set provider = ?1";
    sqlx::query(edit).bind(WICKED).execute(&mut database).await.unwrap();
    site
}

#[tokio::test]
async fn what_rows_hold_is_shown_by_number_everywhere() {
    let site = wicked().await;
    let other = site.with("LIVEKIT_SECRET_ENCRYPTION_KEY", &super::new_key());
    for run in [
        site.run(&["livekit", "list"]),
        site.run(&["livekit", "show", WICKED]),
        site.run(&["number", "list"]),
        site.run(&["resolve", "--tenant", TENANT, "--from", NUMBER]),
        site.run(&["resolve", "--tenant", TENANT, "--from", NUMBER, "--explain"]),
        other.run(&["doctor"]),
        other
            .clone()
            .with("RUST_LOG", "debug")
            .run(&["resolve", "--tenant", TENANT, "--from", NUMBER]),
        other
            .clone()
            .with("LOG_FORMAT", "json")
            .with("RUST_LOG", "debug")
            .run(&["resolve", "--tenant", TENANT, "--from", NUMBER]),
        site.run(&["livekit", "show", &format!("no {WICKED}")]),
    ] {
        for text in [&run.out, &run.err] {
            assert!(!text.contains(is_hidden), "{text:?}");
        }
    }
    let list = site.run(&["livekit", "list"]).ok();
    assert!(list.contains(SHOWN), "{list}");
    let number = site.run(&["number", "list"]).ok();
    assert_eq!(number.lines().count(), 2, "a line break in a row ends no line: {number}");
}

#[tokio::test]
async fn json_holds_the_same_text_with_nothing_hidden() {
    let site = wicked().await;
    let out = site.run(&["livekit", "list", "--json"]).ok();
    assert!(!out.contains(is_hidden), "{out:?}");
    let configs: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(configs[0]["name"], WICKED);
}

#[test]
fn names_with_what_cannot_be_seen_are_refused() {
    let site = Site::new();
    for (name, hidden) in [("line", "\n"), ("order", "\u{202e}"), ("joined", "\u{200b}")] {
        let name = format!("{name}{hidden}");
        let arguments = [
            "livekit",
            "add",
            "--name",
            &name,
            "--url",
            "wss://a.example",
            "--api-key",
            "APIk",
            "--json",
        ];
        let run = site.run_with(&arguments, secret_of("a").as_bytes());
        let error = refused(run, 2, "field_malformed");
        assert!(!error.to_string().contains(hidden), "{error}");
        let arguments = [
            "number",
            "add",
            "--tenant",
            TENANT,
            "--number",
            NUMBER,
            "--provider",
            &name,
            "--json",
        ];
        refused(site.run(&arguments), 2, "field_malformed");
    }
    assert_eq!(site.configs().as_array().unwrap().len(), 0);
}

#[test]
fn a_secret_is_printed_as_it_is() {
    let site = Site::new();
    let sealed = site.run_with(&["secret", "seal"], "a\u{202e}\tb".as_bytes()).ok();
    assert_eq!(site.run_with(&["secret", "open"], sealed.as_bytes()).ok(), "a\u{202e}\tb\n");
}
