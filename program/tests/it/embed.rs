//! The example on the crate's front page is short, runs, and says what happened.

use std::process::Command;

use crate::support::database::{Kind, TestDatabase};
use crate::support::{config, number};

#[tokio::test]
async fn the_embedding_example_resolves_and_mints_a_token() {
    let source = include_str!("../../../examples/embed.rs");
    let code = source.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(code < 25, "{code} lines");

    let database = TestDatabase::migrated(Kind::Sqlite).await;
    let key = trunkline::KeyRing::generate().unwrap();
    let ring = trunkline::KeyRing::parse(&key).unwrap();
    let store = database.store();
    let id = store.create_config(&config(&ring, "eu")).await.unwrap();
    let caller = trunkline::Caller::parse("0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11", "+971501234567");
    store.add_number(&number(caller.unwrap(), Some(id))).await.unwrap();

    let example = std::env::current_exe().unwrap();
    let example = example.parent().unwrap().parent().unwrap().join("examples/embed");
    let out = Command::new(example)
        .env_clear()
        .env("DATABASE_URL", &database.url)
        .env("LIVEKIT_SECRET_ENCRYPTION_KEY", key.as_str())
        .output()
        .expect("`cargo test` builds the example; `cargo build --example embed` does, too");
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.starts_with("wss://eu.example from Database, trunk None\na token of"), "{said}");
}
