//! Who edits cannot alter the audit, and what reading, sealing and pruning it take is granted.

use sqlx::Connection;
use trunkline::store::{Grants, Seal};

use super::{newest, rows, seal_all};
use crate::support::database::{Kind, TestDatabase};
use crate::support::postgres::{Cluster, psql, psql_refused};
use crate::support::{caller, number};

struct Lab {
    cluster: Cluster,
    database: TestDatabase,
}

impl Lab {
    /// A cluster of its own, whose roles nobody else makes.
    async fn new(prune: bool, audit: bool) -> Self {
        let cluster = Cluster::start();
        let database = TestDatabase::on(&cluster.database());
        psql(
            &database.url,
            "create role nosy login; alter default privileges grant all on tables to nosy",
        );
        database.open.migrate(trunkline::store::Migrations::Up).await.unwrap();
        let grants = Grants {
            service: "service".into(),
            editor: "editor".into(),
            prune,
            edit: false,
            calls: false,
            people: false,
            audit,
            keys: false,
        };
        assert!(database.open.grant(&grants).await.unwrap());
        psql(&database.url, "alter role service login; alter role editor login");
        Self { cluster, database }
    }

    fn url(&self, role: &str) -> String {
        assert!(self.cluster.port > 0);
        self.database.url.replace("owner@", &format!("{role}@"))
    }
}

const ALTERATIONS: [&str; 8] = [
    "update trunkline_audit set operation = 'none'",
    "delete from trunkline_audit",
    "truncate trunkline_audit",
    "insert into trunkline_audit (at, entity, operation) values (now(), 'config', 'insert')",
    "update trunkline_audit_chain set hash = ''",
    "delete from trunkline_audit_chain",
    "alter table voice_agent_numbers disable trigger trunkline_audit_insert",
    "create temp table t (id int);
        create trigger t after insert on t for each statement execute function trunkline_write_audit()",
];

#[tokio::test]
async fn an_editor_is_audited_and_can_neither_read_nor_alter_it() {
    let lab = Lab::new(false, true).await;
    let editor = lab.url("editor");
    psql(
        &editor,
        "insert into voice_agent_numbers (tenant_id, base_number)
        values (gen_random_uuid(), 501234567)",
    );
    let row = newest(&lab.database).await.row;
    assert_eq!((row.login.as_deref(), &*row.operation), (Some("editor"), "insert"));
    seal_all(&lab.database).await;
    for harm in ALTERATIONS.iter().chain(&["select * from trunkline_audit"]) {
        let words = psql_refused(&editor, harm);
        assert!(words.contains("permission denied") || words.contains("must be owner"), "{words}");
    }
    let nosy = lab.url("nosy");
    for harm in ALTERATIONS.iter().chain(&["select * from trunkline_audit"]) {
        let words = psql_refused(&nosy, harm);
        assert!(words.contains("permission denied") || words.contains("must be owner"), "{words}");
    }
    assert_eq!(rows(&lab.database).await.len(), 1);
}

#[tokio::test]
async fn a_service_reads_and_seals_where_that_was_granted_and_alters_nothing() {
    for (prune, audit) in [(false, false), (false, true), (true, true)] {
        let lab = Lab::new(prune, audit).await;
        lab.database.store().add_number(&number(caller(1, 1), None)).await.unwrap();
        psql(&lab.database.url, "update trunkline_audit set at = at - interval '31 days'");
        let service = lab.url("service");
        let as_service = TestDatabase::at(Kind::Postgres, &service).open.audit();
        let sealed = as_service.seal(10).await;
        if audit {
            assert!(matches!(sealed, Ok(Seal::Sealed { rows: 1, .. })), "{sealed:?}");
        } else {
            assert!(sealed.unwrap_err().to_string().contains("permission denied"));
        }
        let pruned = as_service.prune_audit(std::time::Duration::ZERO, 10).await;
        assert_eq!(pruned.is_ok_and(|rows| rows == 1), prune);
        for harm in ALTERATIONS {
            psql_refused(&service, harm);
        }
        let doctor = super::program(&lab.database).with("DATABASE_URL", &service);
        let doctor = doctor.run(&["doctor"]).out;
        let told = if audit { "sealed up to position 1" } else { "this role may not read it" };
        assert!(doctor.contains(told), "{doctor}");
    }
}

#[tokio::test]
async fn a_trigger_that_is_missing_or_disabled_is_told_and_made_again() {
    for kind in crate::support::database::BOTH {
        let database = TestDatabase::migrated(kind).await;
        let program = super::program(&database);
        program.run(&["db", "status"]).ok();
        assert!(program.run(&["doctor"]).out.contains("nothing is sealed yet"));
        let (dropped, place) = match kind {
            Kind::Postgres => {
                ("drop trigger trunkline_audit_update on trunkline_clients", "trunkline_clients")
            }
            Kind::Sqlite => ("drop trigger trunkline_audit_kept_update", "trunkline_audit"),
        };
        database.sql(dropped).await;
        let (code, error) = program.run(&["db", "status", "--json"]).failed_last();
        assert_eq!((code, &error["error"]), (1, &"not_audited".into()));
        assert!(error["message"].as_str().unwrap().contains(place), "{error}");
        let doctor = program.run(&["doctor"]).out;
        assert!(doctor.contains("not audited") && doctor.contains(place), "{doctor}");
        program.run(&["db", "migrate"]).ok();
        program.run(&["db", "status"]).ok();
    }
    let database = TestDatabase::migrated(Kind::Postgres).await;
    database.sql("alter table voice_agent_numbers disable trigger trunkline_audit_delete").await;
    let missing = database.open.audit().unaudited().await.unwrap();
    assert_eq!(missing, [("voice_agent_numbers".to_owned(), "delete".to_owned())]);
}

#[tokio::test]
async fn in_a_file_triggers_keep_what_was_written() {
    let database = TestDatabase::migrated(Kind::Sqlite).await;
    database.store().add_number(&number(caller(1, 1), None)).await.unwrap();
    seal_all(&database).await;
    let mut connection = sqlx::SqliteConnection::connect(&database.url).await.unwrap();
    for harm in [
        "update trunkline_audit set operation = 'none'",
        "delete from trunkline_audit",
        "insert or replace into trunkline_audit (id, entity, operation) values (1, 'a', 'b')",
        "update trunkline_audit_chain set hash = ''",
        "delete from trunkline_audit_chain",
        "insert into trunkline_audit_chain (position, audit_id, hash) values (7, 7, '')",
    ] {
        let refused = sqlx::raw_sql(harm).execute(&mut connection).await.unwrap_err().to_string();
        assert!(refused.contains("audit"), "{harm}: {refused}");
    }
    super::verify(&database, &[]).ok();
}
