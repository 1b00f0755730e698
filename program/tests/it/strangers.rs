//! A role of the database that nobody trusts: what it makes never runs with the rights of others,
//! and it writes nothing into the change log.

use std::time::Duration;

use trunkline::store::Migrations;
use trunkline::{Change, ConfigId};
use uuid::Uuid;

use crate::support::caller;
use crate::support::database::{TestDatabase, open, settings};
use crate::support::live::Live;
use crate::support::postgres::{Cluster, psql, psql_refused};

const TRAPS: &str = include_str!("../../../tests/cases/databases/traps.sql");
const RELEASE: &str = include_str!("../../../tests/cases/databases/release-0.1.0.sql");
const FORGED: &str = include_str!("../../../tests/cases/databases/forged-log.sql");

/// A database with roles of its own: one that edits, and one that nobody trusts.
struct Lab {
    url: String,
    editor: String,
    stranger: String,
}

impl Lab {
    fn new() -> Self {
        let url = Cluster::shared().database();
        let name = url.rsplit('/').next().unwrap().to_owned();
        let (editor, stranger) = (format!("editor_of_{name}"), format!("stranger_of_{name}"));
        psql(&url, &format!("create role {editor} login; create role {stranger} login"));
        Self { url, editor, stranger }
    }

    fn as_role(&self, role: &str) -> String {
        self.url.replace("owner@", &format!("{role}@"))
    }

    fn let_edit(&self) {
        let sql = "grant usage on schema public to @;
                   grant select, insert, update, delete on voice_agent_livekit, voice_agent_numbers to @";
        psql(&self.url, &sql.replace('@', &self.editor));
    }

    /// Lets the stranger create in the schema, and has him do so.
    fn lay_traps(&self) {
        psql(&self.url, &format!("grant create on schema public to {}", self.stranger));
        psql(&self.as_role(&self.stranger), TRAPS);
        // Whoever is not careful runs into them.
        let careless = "set search_path = public; select concat_ws('/', 1.0, cast(1 as oid)),
                        format('%s', cast('a' as text)), cast('a' as varchar) = cast('b' as varchar)";
        psql(&self.url, careless);
        assert_eq!(self.loot(), "owner|3");
        psql(&self.url, "delete from public.loot");
    }

    /// Whose rights were taken, and how often.
    fn loot(&self) -> String {
        psql(&self.url, "select who, count(*) from public.loot group by who order by who")
    }

    /// Everything that the product does with a database, and edits by others.
    async fn everything_is_done(&self) {
        let live = Live::on(TestDatabase::on(&self.url)).await;
        self.let_edit();
        let (store, log) = (&live.store, live.database.log());
        store.config_named("eu").await.unwrap().unwrap();
        store.configs().await.unwrap();
        store.config_users(live.config).await.unwrap();
        store.routes(&[live.caller, caller(1, 2)]).await.unwrap();
        store.owners(live.caller.number).await.unwrap();
        store.numbers(None).await.unwrap();
        store.numbers_after(None, 10).await.unwrap();
        store.changed_lately(10).await.unwrap();
        store.assign(live.caller, Some(live.config)).await.unwrap();
        store.count_duplicate_numbers().await.unwrap();
        log.changes_after(0).await.unwrap();
        log.prune_changes(Duration::from_secs(3600)).await.unwrap();
        let editor = self.as_role(&self.editor);
        psql(&editor, "update public.voice_agent_numbers set provider = 'carrier'");
        psql(&editor, "update public.voice_agent_livekit set trunk_id = 'ST_edited'");
        live.trunk_becomes(Some("ST_edited")).await;
        psql(&editor, "delete from public.voice_agent_numbers");
    }
}

#[tokio::test]
async fn what_a_stranger_makes_in_the_schema_never_runs_with_the_rights_of_others() {
    let lab = Lab::new();
    lab.lay_traps();
    let database = TestDatabase::on(&lab.url);
    assert!(database.open.migrate(Migrations::Up).await.unwrap().is_current());
    assert_eq!(lab.loot(), "", "by migrating");
    lab.everything_is_done().await;
    assert_eq!(lab.loot(), "", "by serving and editing");
    database.open.migrate(Migrations::DownTo(0)).await.unwrap();
    assert_eq!(lab.loot(), "", "by undoing");
}

#[tokio::test]
async fn the_tables_of_the_last_release_are_guarded_by_an_upgrade_and_keep_their_rows() {
    let lab = Lab::new();
    psql(&lab.url, RELEASE);
    psql(
        &lab.url,
        "insert into voice_agent_livekit (name, livekit_url, livekit_api_key, livekit_api_secret)
         values ('old', 'wss://old.example', 'APIold', 'x');
         set trunkline.actor = 'alice'; update voice_agent_livekit set trunk_id = 'ST_old'",
    );
    lab.let_edit();
    let database = TestDatabase::on(&lab.url);
    let status = database.open.migrate(Migrations::Status).await.unwrap();
    assert!(status.is_enough() && !status.is_current(), "{status:?}");
    let log = "select seq, actor, entity, operation, fields from voice_agent_changes order by seq";
    let before = psql(&lab.url, log);
    assert!(before.contains("alice|config|update|trunk_id"), "{before}");

    lab.lay_traps();
    let status = database.open.migrate(Migrations::Up).await.unwrap();
    assert!(status.is_current(), "{status:?}");
    assert_eq!((psql(&lab.url, log), lab.loot()), (before, String::new()));
    assert_eq!(database.store().configs().await.unwrap()[0].name, "old");
    lab.everything_is_done().await;
    assert_eq!(lab.loot(), "");
    let refused = psql_refused(&lab.as_role(&lab.stranger), FORGED);
    assert!(refused.contains("permission denied for function"), "{refused}");
}

#[tokio::test]
async fn a_program_of_this_version_works_on_the_tables_of_the_last_release() {
    let lab = Lab::new();
    psql(&lab.url, RELEASE);
    lab.everything_is_done().await;
}

#[tokio::test]
async fn nobody_writes_the_change_log_through_a_table_of_his_own() {
    let lab = Lab::new();
    // No superuser: that one has the rights of every owner.
    let migrator = format!("migrator_{}", lab.editor);
    psql(
        &lab.url,
        &format!("create role {migrator} login; grant create on schema public to {migrator}"),
    );
    let migrator = lab.as_role(&migrator);
    let database = TestDatabase::on(&migrator);
    database.open.migrate(Migrations::Up).await.unwrap();
    let before = database.log().newest_change().await.unwrap();
    let stranger = lab.as_role(&lab.stranger);
    let refused = psql_refused(&stranger, FORGED);
    assert!(refused.contains("permission denied for function"), "{refused}");

    // Somebody gave the right back: the function itself looks whose table it is.
    psql(&lab.url, "grant execute on function trunkline_log_changes() to public");
    let refused = psql_refused(&stranger, FORGED);
    assert!(refused.contains("its own schema and owner only"), "{refused}");
    // A table of his in the same schema, which the real one has left.
    psql(
        &lab.url,
        &format!(
            "grant create on schema public to {}; alter table voice_agent_livekit rename to moved",
            lab.stranger
        ),
    );
    let refused =
        psql_refused(&stranger, &FORGED.replace("pg_temp.", "public.").replace("temp ", ""));
    assert!(refused.contains("its own schema and owner only"), "{refused}");
    assert_eq!(database.log().newest_change().await.unwrap(), before);
}

#[tokio::test]
async fn a_claim_stands_beside_the_login_and_cannot_look_like_two_lines() {
    let lab = Lab::new();
    let database = TestDatabase::on(&lab.url);
    database.open.migrate(Migrations::Up).await.unwrap();
    lab.let_edit();
    let insert = "insert into public.voice_agent_numbers (tenant_id, base_number)
                  values (gen_random_uuid(), 1)";
    let editor = lab.as_role(&lab.editor);
    for claim in ["", "set trunkline.actor = E'ali\\nce';", "set trunkline.actor = '';"] {
        psql(&editor, &format!("{claim} {insert}"));
    }
    let long =
        format!("select set_config('trunkline.actor', repeat('x', 100000), false); {insert}");
    psql(&editor, &long);
    let logged = psql(
        &lab.url,
        "select actor, login from voice_agent_changes where operation = 'insert' order by seq",
    );
    let (editor, long) = (&lab.editor, "x".repeat(255));
    let expected = [editor, "ali?ce", editor, &long].map(|actor| format!("{actor}|{editor}"));
    assert_eq!(logged.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_schema_that_was_renamed_goes_on_under_its_new_name() {
    let url = Cluster::shared().database();
    let migrated = open(&settings(&url, &[("DB_SCHEMA", "telephony")]));
    migrated.migrate(Migrations::Up).await.unwrap();
    psql(&url, "alter schema telephony rename to telephony_eu");
    let renamed = open(&settings(&url, &[("DB_SCHEMA", "telephony_eu")]));
    assert!(renamed.migrate(Migrations::Up).await.unwrap().is_current());
    let before = renamed.change_log().newest_change().await.unwrap();
    psql(
        &url,
        "insert into telephony_eu.voice_agent_livekit
             (id, name, livekit_url, livekit_api_key, livekit_api_secret)
         values ('00000000-0000-4000-8000-000000000001', 'eu', 'wss://eu.example', 'APIeu', 'x')",
    );
    let logged = renamed.change_log().changes_after(before).await.unwrap().unwrap();
    let id = ConfigId(Uuid::from_u128(0x4000_8000_0000_0000_0001));
    assert_eq!(logged.into_iter().map(|one| one.change).collect::<Vec<_>>(), [Change::Config(id)]);
}
