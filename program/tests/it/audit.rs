//! The audit: every change is in it, in the transaction of the change, without secrets; nobody who edits
//! can alter it; and what was altered all the same is found.

mod rights;
mod sealing;
mod side_by_side;
mod tampering;
mod written;

use serde_json::Value;
use trunkline::store::{AuditEntry, AuditFilter, Seal};

use crate::support::database::{Kind, TestDatabase};
use crate::support::program::{Program, Run};

/// Every row, the oldest first.
async fn rows(database: &TestDatabase) -> Vec<AuditEntry> {
    let audit = database.open.audit();
    let mut rows = audit.audit_page(&AuditFilter::default(), None, 10_000).await.unwrap();
    rows.reverse();
    rows
}

/// What was done, in short: `insert config name,url`.
fn told(entry: &AuditEntry) -> String {
    let row = &entry.row;
    format!("{} {} {}", row.operation, row.entity, row.fields().join(","))
}

async fn newest(database: &TestDatabase) -> AuditEntry {
    rows(database).await.pop().expect("the audit has a row")
}

/// Seals all there is, and says how many rows.
async fn seal_all(database: &TestDatabase) -> usize {
    let mut all = 0;
    loop {
        match database.open.audit().seal(100).await.unwrap() {
            Seal::Sealed { rows, more, .. } => {
                all += rows;
                if !more {
                    return all;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The program that is told of a database.
fn program(database: &TestDatabase) -> Program {
    Program::new().with("DATABASE_URL", &database.url).with("STORE_DEADLINE", "20s")
}

fn verify(database: &TestDatabase, more: &[&str]) -> Run {
    program(database).run(&[&["audit", "verify", "--json"], more].concat())
}

/// That verifying fails, and says this.
#[track_caller]
fn broken(database: &TestDatabase, more: &[&str], words: &str) {
    let (code, error) = verify(database, more).failed();
    assert_eq!((code, &error["error"]), (1, &Value::from("audit_broken")), "{error}");
    assert!(error["message"].as_str().unwrap().contains(words), "{words}: {error}");
}

/// The hash that the chain ends with.
fn head(database: &TestDatabase) -> String {
    verify(database, &[]).json()["head"].as_str().unwrap().to_owned()
}

/// Puts the guards of a file aside, as its owner can.
async fn without_guards(database: &TestDatabase) {
    if database.kind == Kind::Sqlite {
        for name in ["kept_update", "kept_delete", "kept_replace"] {
            database.sql(&format!("drop trigger if exists trunkline_audit_{name}")).await;
        }
        for name in ["chain_update", "chain_delete", "chain_insert"] {
            database.sql(&format!("drop trigger if exists trunkline_audit_{name}")).await;
        }
    }
}
