//! Databases that were there before, and programs of both versions at once.

use trunkline::store::Migrations;

use super::{newest, rows, told};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::live::Live;
use crate::support::postgres::{Cluster, psql};
use crate::support::{caller, config, eventually, number, ring};

/// The step before the audit.
const BEFORE: i64 = 10;

#[tokio::test]
async fn the_step_goes_up_under_programs_that_run_and_down_with_its_rows() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let database = &live.database;
        live.hears().await;
        let step = async |to| database.open.migrate(to).await.unwrap();
        step(Migrations::DownTo(BEFORE)).await;
        // As a program that knows no audit edits, and as one that looks for it without finding it.
        let id = database.store().create_config(&config(&ring(), "us")).await.unwrap();
        assert!(database.open.audit().count_unsealed(1).await.is_err());
        let report = super::program(database).run(&["audit", "list", "--json"]).failed();
        assert_eq!(report.1["error"], "not_migrated");
        step(Migrations::Up).await;
        assert!(rows(database).await.is_empty(), "it begins here");
        database.store().delete_config(id).await.unwrap();
        assert!(told(&newest(database).await).starts_with("delete config"), "{kind:?}");
        eventually("changes are heard as before", async || live.resolver.hears_changes()).await;
        step(Migrations::DownTo(0)).await;
        step(Migrations::Up).await;
    }
}

/// Tables of an ORM: rules as json with line breaks, which has no comparison, and no defaults.
const ADOPTED: &str = "
    create table voice_agent_livekit (id uuid primary key, name varchar(255), livekit_url varchar(500),
        livekit_api_key varchar(255), livekit_api_secret text, extra point);
    create table voice_agent_numbers (id uuid primary key, tenant_id uuid, country_code text,
        base_number numeric, provider text, rules json, extra xml)";

#[tokio::test]
async fn edits_of_adopted_tables_work_as_before_and_are_audited() {
    let url = Cluster::shared().database();
    psql(&url, ADOPTED);
    let database = TestDatabase::on(&url);
    database.open.migrate(Migrations::Up).await.unwrap();
    psql(&url, "insert into voice_agent_livekit values (gen_random_uuid())");
    let rules = "E'{\"a\":\\n  \"b\"}'";
    psql(
        &url,
        &format!(
            "insert into voice_agent_numbers values (gen_random_uuid(), null, null, null,
        null, {rules}, '<a/>')"
        ),
    );
    assert!(!newest(&database).await.row.text().contains('\n'), "one line of the export");
    psql(&url, "update voice_agent_numbers set extra = '<b/>'");
    assert_eq!(rows(&database).await.len(), 2, "columns that we do not know are not read");
    psql(&url, "update voice_agent_numbers set rules = '{}', base_number = 7, country_code = '+1'");
    let row = newest(&database).await.row;
    assert_eq!(row.fields(), ["base_number", "country_code", "rules"]);
    assert_eq!(row.digits.as_deref(), Some("17"));
    psql(&url, "alter schema public rename to telephony");
    psql(&url, "delete from telephony.voice_agent_numbers");
    let found = "select count(*) from telephony.trunkline_audit where operation = 'delete'";
    assert_eq!(psql(&url, found), "1", "a schema that was renamed goes on");
}

#[tokio::test]
async fn a_table_of_somebody_else_has_nothing_written_by_the_function() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    database.store().add_number(&number(caller(1, 1), None)).await.unwrap();
    psql(
        &database.url,
        "create schema theirs;
        create table theirs.voice_agent_numbers (like voice_agent_numbers);
        create trigger trunkline_audit_insert after insert on theirs.voice_agent_numbers
            referencing new table as new_rows for each statement execute function
            public.trunkline_write_audit()",
    );
    let refused = crate::support::postgres::psql_refused(
        &database.url,
        "insert into theirs.voice_agent_numbers select * from voice_agent_numbers",
    );
    assert!(refused.contains("serves the tables of its own schema"), "{refused}");
    assert_eq!(rows(&database).await.len(), 1);
}
