//! The tables come, go and come again; tables that stood there before stay what they were.

use trunkline::store::Migrations;
use trunkline::{ConfigId, Resolver};

use crate::support::database::{BOTH, Kind, TestDatabase, open, settings};
use crate::support::postgres::{Cluster, psql};
use crate::support::{caller, config, eventually, number, ring};

#[tokio::test]
async fn up_down_and_up_again_on_both() {
    for kind in BOTH {
        let database = TestDatabase::empty(kind);
        for _ in 0..2 {
            let status = database.open.migrate(Migrations::Up).await.unwrap();
            assert!(status.is_current(), "{status:?}");
            let again = database.open.migrate(Migrations::Up).await.unwrap();
            assert_eq!(again, status);
            let id = database.store().create_config(&config(&ring(), "eu")).await.unwrap();
            database.store().add_number(&number(caller(1, 1), Some(id))).await.unwrap();
            let versions = status.migrations.iter().map(|(version, ..)| *version);
            let below: Vec<_> = std::iter::once(0).chain(versions).collect();
            for &version in below[..below.len() - 1].iter().rev() {
                let status = database.open.migrate(Migrations::DownTo(version)).await.unwrap();
                assert_eq!(status.newest_applied(), version, "{kind:?}");
            }
            let status = database.open.migrate(Migrations::Status).await.unwrap();
            assert!(!status.is_current() && status.newest_applied() == 0);
        }
    }
    let database = TestDatabase::empty(Kind::Postgres);
    database.open.migrate(Migrations::Up).await.unwrap();
    database.open.migrate(Migrations::DownTo(0)).await.unwrap();
    let left = psql(
        &database.url,
        "select relname from pg_class where relnamespace = 'public'::regnamespace
             and relname not like 'trunkline_migrations%'
         union all
         select proname from pg_proc where pronamespace = 'public'::regnamespace",
    );
    assert_eq!(left, "", "the way down leaves only the book of migrations");
}

/// What a deployment of the Python service has, with its own trigger and index, and a column and a
/// table that are none of ours.
const EXISTING: &str = "
    create schema lad_dev;
    set search_path = lad_dev;
    create table voice_agent_livekit (
        id uuid primary key default gen_random_uuid(), name varchar(255) not null unique,
        description text, livekit_url varchar(500) not null, livekit_api_key varchar(255) not null,
        livekit_api_secret text not null, trunk_id varchar(255), region text default 'me',
        created_at timestamp default now(), updated_at timestamp default now());
    create index idx_livekit_name on voice_agent_livekit (name);
    create function update_livekit_updated_at() returns trigger language plpgsql as
        $$begin new.updated_at = now(); return new; end$$;
    create trigger trigger_update_livekit before update on voice_agent_livekit
        for each row execute function update_livekit_updated_at();
    create table voice_agent_numbers (
        id uuid primary key default gen_random_uuid(), tenant_id uuid,
        country_code text default '+971', base_number bigint, provider text, rules jsonb);
    create table _sqlx_migrations (version bigint primary key);
    insert into _sqlx_migrations values (20200101);
    insert into voice_agent_livekit (name, livekit_url, livekit_api_key, livekit_api_secret)
        values ('old', 'wss://old.example', 'APIold', '@sealed');
    insert into voice_agent_numbers (tenant_id, country_code, base_number, rules) values
        ('00000000-0000-0000-0000-000000000001', '+971', 500000001,
            jsonb_build_object('livekit_config', (select id from voice_agent_livekit))),
        ('00000000-0000-0000-0000-000000000001', '971', 500000002, null),
        ('00000000-0000-0000-0000-000000000001', '00971', 500000003,
            jsonb_build_object('livekit_config', (select id from voice_agent_livekit))),
        (null, '+1', 5550100, '{}');";

/// Everything that the deployment owns: its rows, columns, indexes, triggers, functions, tables.
const OWNED: &str = "
    set search_path = lad_dev;
    select 'row', to_jsonb(v) - 'worker_name' - 'trunkline_disabled_at' from voice_agent_livekit v
    union all select 'row', to_jsonb(v) from voice_agent_numbers v
    union all select 'row', to_jsonb(v) from _sqlx_migrations v
    union all select 'column', to_jsonb(c) from (
        select table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        from information_schema.columns where table_schema = 'lad_dev'
            and table_name in ('voice_agent_livekit', 'voice_agent_numbers', '_sqlx_migrations')
            and column_name not in ('worker_name', 'trunkline_disabled_at')) c
    union all select 'index', to_jsonb(i.indexdef) from pg_indexes i
        where schemaname = 'lad_dev' and indexname not like 'trunkline%'
            and tablename <> 'voice_agent_changes' and tablename <> 'trunkline_migrations'
    union all select 'trigger', to_jsonb(t.tgname) from pg_trigger t
        where not tgisinternal and tgname not like 'trunkline%'
    order by 1, 2";

#[tokio::test]
async fn tables_of_an_existing_deployment_are_adopted_with_their_rows_and_left_as_they_were() {
    let ring = ring();
    let url = Cluster::shared().database();
    let sealed = ring.seal("the old secret", crate::support::NOW).unwrap();
    psql(&url, &EXISTING.replace("@sealed", sealed.as_str()));
    let before = psql(&url, OWNED);
    let mut settings = settings(&url, &[("DB_SCHEMA", "lad_dev")]);
    settings.ring = Some(std::sync::Arc::new(ring));
    let database = open(&settings);
    for _ in 0..2 {
        assert!(database.migrate(Migrations::Up).await.unwrap().is_current());
        assert_eq!(psql(&url, OWNED), before);
        let elsewhere = "select count(*) from pg_class where relnamespace = 'public'::regnamespace";
        assert_eq!(psql(&url, elsewhere), "0", "nothing outside of DB_SCHEMA");
        database.migrate(Migrations::DownTo(0)).await.unwrap();
        assert_eq!(psql(&url, OWNED), before, "the way down takes only what the way up brought");
        let added = "select count(*) from information_schema.columns
                     where table_schema = 'lad_dev' and column_name in ('worker_name', 'trunkline_disabled_at')";
        assert_eq!(psql(&url, added), "0");
    }
    database.migrate(Migrations::Up).await.unwrap();

    let store = database.admin();
    let config = store.config_named("old").await.unwrap().unwrap();
    assert!(config.updated_at.is_some());
    assert_eq!(store.numbers(Some(caller(1, 1).tenant)).await.unwrap().len(), 3);
    let resolver = Resolver::builder(settings).start();
    for at in [1, 3] {
        let answer = resolver.resolve(caller(1, at)).await.unwrap();
        assert_eq!(answer.config_name(), Some("old"), "country code written the {at}. way");
    }
    eventually("changes are heard", async || resolver.hears_changes()).await;
    // A role that may write these tables, and has no right on ours, still can.
    psql(
        &url,
        "create role app login; grant usage on schema lad_dev to app;
        grant select, update on all tables in schema lad_dev to app;
        revoke all on lad_dev.voice_agent_changes from app",
    );
    let as_app = url.replace("owner@", "app@");
    psql(&as_app, "update lad_dev.voice_agent_livekit set livekit_api_key = 'APInew'");
    eventually("the edit of the application is used", async || {
        resolver.resolve(caller(1, 1)).await.unwrap().api_key() == "APInew"
    })
    .await;
    let actor = psql(
        &url,
        "select actor, entity, fields from lad_dev.voice_agent_changes order by seq desc limit 1",
    );
    assert_eq!(actor, "app|config|livekit_api_key");
}

#[tokio::test]
async fn a_number_that_stands_twice_in_an_adopted_table_is_counted_and_answered_the_same_each_time()
{
    let url = Cluster::shared().database();
    psql(&url, &EXISTING.replace("@sealed", "x"));
    psql(
        &url,
        "insert into lad_dev.voice_agent_numbers (id, tenant_id, country_code, base_number, rules)
        values ('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001',
            '+971', 500000001, '{\"outbound_trunk_id\": \"ST_lowest\"}')",
    );
    let database = open(&settings(&url, &[("DB_SCHEMA", "lad_dev")]));
    database.migrate(Migrations::Up).await.unwrap();
    let store = database.admin();
    assert_eq!(store.count_duplicate_numbers().await.unwrap(), 1);
    // Its owner may go on as before; we add no second one.
    psql(
        &url,
        "insert into lad_dev.voice_agent_numbers (tenant_id, country_code, base_number)
        values ('00000000-0000-0000-0000-000000000001', '+971', 500000002)",
    );
    assert_eq!(store.count_duplicate_numbers().await.unwrap(), 2);
    let refused = store.add_number(&number(caller(1, 2), None)).await.unwrap_err();
    assert_eq!(refused.code(), "number_taken");
    for _ in 0..3 {
        let route = store.route(caller(1, 1)).await.unwrap().unwrap();
        assert_eq!(route.rules["outbound_trunk_id"], "ST_lowest");
    }
}

#[tokio::test]
async fn two_schemas_of_one_database_do_not_hear_each_other() {
    let url = Cluster::shared().database();
    let schemas = ["lad_dev", "lad-prod"];
    let mut stores = Vec::new();
    for schema in schemas {
        let settings = settings(&url, &[("DB_SCHEMA", schema)]);
        let database = open(&settings);
        database.migrate(Migrations::Up).await.unwrap();
        stores.push((database.admin(), database.change_log()));
    }
    let ((dev, _), (prod, log)) = (&stores[0], &stores[1]);
    let before = log.newest_change().await.unwrap();
    let id: ConfigId = dev.create_config(&config(&ring(), "eu")).await.unwrap();
    assert!(prod.config(id).await.unwrap().is_none());
    assert_eq!(log.newest_change().await.unwrap(), before);
    let channels = psql(
        &url,
        "select count(distinct md5(nspname)) from pg_namespace
        where nspname in ('lad_dev', 'lad-prod')",
    );
    assert_eq!(channels, "2");
}

#[tokio::test]
async fn a_table_that_cannot_be_adopted_is_refused_with_column_and_type() {
    let partitioned = "create table voice_agent_numbers (
            id uuid, tenant_id uuid, country_code text, base_number bigint, provider text, rules jsonb
        ) partition by hash (id)";
    for (tables, why) in [
        (
            include_str!("../../../tests/cases/databases/id-serial.sql"),
            "voice_agent_livekit.id must be uuid, and is integer",
        ),
        (
            include_str!("../../../tests/cases/databases/tenant-text.sql"),
            "voice_agent_numbers.tenant_id must be uuid, and is text",
        ),
        (partitioned, "voice_agent_numbers must be a plain table, and is a partitioned table"),
        (
            "create table base (); create table voice_agent_numbers (id uuid) inherits (base)",
            "voice_agent_numbers must be a plain table, and is part of an inheritance",
        ),
    ] {
        let url = Cluster::shared().database();
        psql(&url, tables);
        let error = open(&settings(&url, &[])).migrate(Migrations::Up).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        let made = "select count(*) from pg_class where relname like 'trunkline%'";
        assert_eq!(psql(&url, made), "0", "nothing was made");
    }
}

#[tokio::test]
async fn rules_of_the_type_json_and_base_numbers_of_text_are_adopted() {
    let database = TestDatabase::empty(Kind::Postgres);
    database.sql(include_str!("../../../tests/cases/databases/rules-json.sql")).await;
    database.sql("alter table voice_agent_numbers alter base_number type varchar(20)").await;
    database.open.migrate(Migrations::Up).await.unwrap();
    assert_eq!(database.open.misfits().await.unwrap(), []);
    let (store, log) = (database.store(), database.log());
    let id = store.create_config(&config(&ring(), "eu")).await.unwrap();
    store.add_number(&number(caller(1, 1), None)).await.unwrap();
    store.import(&[number(caller(1, 2), None)]).await.unwrap();
    for wanted in [Some(id), None] {
        let before = log.newest_change().await.unwrap();
        assert!(store.assign(caller(1, 1), wanted).await.unwrap());
        let route = store.route(caller(1, 1)).await.unwrap().unwrap();
        assert_eq!(route.config.map(|config| config.id), wanted);
        assert_eq!(route.rules["outbound"], true, "the other rules stay");
        let logged = log.changes_after(before).await.unwrap().unwrap();
        assert_eq!(logged.len(), 1, "{logged:?}");
    }
    database.sql("update voice_agent_numbers set provider = 'carrier', rules = '[]'").await;
    database.sql("delete from voice_agent_numbers where base_number = '501234567'").await;
    assert_eq!(store.numbers(None).await.unwrap().len(), 2);
}
