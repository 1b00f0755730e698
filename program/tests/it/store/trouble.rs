//! Rows, connections and servers that are not as they should be: each is its own trouble.

use secrecy::ExposeSecret;
use sqlx::Connection;
use trunkline::Change;
use trunkline::store::StoreError;

use crate::support::database::{BOTH, Kind, TestDatabase, open, settings};
use crate::support::{caller, config, eventually, number, ring};

#[tokio::test]
async fn a_database_that_is_away_not_migrated_or_wrong_is_a_typed_error_without_values() {
    let refused = settings("postgres://canary:canary@127.0.0.1:1/x", &[]);
    let error = open(&refused).store().configs().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("canary"));
    let missing = settings("sqlite:/no/such/folder/x.db", &[]);
    let error = open(&missing).store().configs().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");

    for kind in BOTH {
        let database = TestDatabase::empty(kind);
        if kind == Kind::Sqlite {
            // A file that is there, and empty.
            std::fs::write(database.url.trim_start_matches("sqlite:"), "").unwrap();
        }
        let error = database.store().configs().await.unwrap_err();
        assert!(matches!(error, StoreError::NotMigrated { .. }), "{kind:?} {error:?}");

        let database = TestDatabase::migrated(kind).await;
        let mut long = config(&ring(), "eu");
        long.name = "canary".repeat(60);
        let error = database.store().create_config(&long).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{kind:?} {error:?}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_table_that_was_altered_under_a_held_connection_is_read_at_once() {
    let (database, ring) = (TestDatabase::migrated(Kind::Postgres).await, ring());
    let store = database.store();
    let id = store.create_config(&config(&ring, "eu")).await.unwrap();
    store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
    for length in [300, 400] {
        for _ in 0..3 {
            assert!(store.route(caller(1, 1)).await.unwrap().unwrap().config.is_some());
        }
        let wider = "alter table voice_agent_livekit alter column trunk_id type varchar";
        database.sql(&format!("{wider}({length})")).await;
    }
    assert!(store.route(caller(1, 1)).await.unwrap().unwrap().config.is_some());
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_ends_in_the_server_too() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    let quick = open(&database.settings(&[("STORE_DEADLINE", "200ms")])).store();
    let mut lock = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("begin; lock table voice_agent_numbers").execute(&mut lock).await.unwrap();
    let late = quick.route(caller(1, 1)).await.unwrap_err();
    assert!(matches!(late, StoreError::Timeout { .. }), "{late:?}");
    eventually("nobody waits for the lock", async || {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut lock).await.unwrap();
        count == 0
    })
    .await;
}

#[tokio::test]
async fn one_row_that_cannot_be_read_is_its_own_trouble() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    let (store, log) = (database.store(), database.log());
    store.add_number(&number(caller(1, 1), None)).await.unwrap();
    store.add_number(&number(caller(1, 2), None)).await.unwrap();
    database
        .sql(
            "update voice_agent_numbers set rules = rules || '{\"x\": 1e999}'
              where base_number % 10 = 1",
        )
        .await;
    assert_eq!(store.numbers(None).await.unwrap().len(), 2);
    let route = store.route(caller(1, 1)).await.unwrap().unwrap();
    assert!(trunkline::Rules::read(None, &route.rules).check().is_err());
    let after = log.newest_change().await.unwrap();
    database
        .sql(
            "insert into voice_agent_numbers (tenant_id, country_code, base_number)
              values (gen_random_uuid(), '+971', 44)",
        )
        .await;
    let logged = log.changes_after(after).await.unwrap().unwrap();
    assert_eq!(logged[0].change, Change::Numbers, "no config is in doubt for it");
}

#[tokio::test]
async fn connections_that_died_while_idle_are_replaced_without_an_error() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    let store = database.store();
    for _ in 0..20 {
        let reads = [(); 4].map(|()| store.configs());
        for read in futures_util::future::join_all(reads).await {
            read.unwrap();
        }
        database
            .sql(
                "select pg_terminate_backend(pid) from pg_stat_activity
                  where application_name like 'trunkline%' and datname = current_database()",
            )
            .await;
    }
    let count = "select count(*) from pg_stat_activity
                 where application_name like 'trunkline%' and datname = current_database()";
    store.configs().await.unwrap();
    let open = crate::support::postgres::psql(&database.url, count);
    assert!(open.parse::<u32>().unwrap() <= 4, "{open} connections");
}

#[tokio::test]
async fn a_huge_value_is_not_fetched_and_hinders_no_other_row() {
    for kind in BOTH {
        let (database, ring) = (TestDatabase::migrated(kind).await, ring());
        let store = database.store();
        let (huge, sound) = (caller(1, 1), caller(1, 2));
        let names = ["huge", "sound"];
        for (caller, name) in [huge, sound].into_iter().zip(names) {
            let id = store.create_config(&config(&ring, name)).await.unwrap();
            store.add_number(&number(caller, Some(id))).await.unwrap();
        }
        let long = "A".repeat(2000);
        let text = match kind {
            Kind::Postgres => "repeat('A', 20000000)",
            Kind::Sqlite => "replace(hex(zeroblob(10000000)), '0', 'A')",
        };
        let of_huge = "where country_code || base_number = '+971500000001'";
        database
            .sql(&format!(
                "update voice_agent_livekit set livekit_api_secret = {text}, description = {text}
                     where name = 'huge';
                 update voice_agent_numbers set provider = {text} {of_huge};
                 insert into voice_agent_numbers (tenant_id, country_code, base_number)
                     select tenant_id, '{long}', 7 from voice_agent_numbers {of_huge}"
            ))
            .await;
        let lengths = |route: &trunkline::store::Route| {
            let secret =
                route.config.as_ref().map(|config| config.api_secret.expose_secret().len());
            (route.provider.as_ref().map(String::len), secret)
        };
        let routes = store.routes(&[huge, sound]).await.unwrap();
        let routes: Vec<_> = routes.into_iter().flatten().collect();
        assert_eq!(lengths(&routes[0]), (None, Some(0)), "{kind:?}");
        assert_eq!(routes[1].config.as_ref().unwrap().name, "sound");
        assert!(store.configs().await.unwrap().iter().all(|one| one.description.is_none()));
        let mut sealed = Vec::new();
        while let [page] =
            &store.sealed_secrets(sealed.last().map(|&(id, _)| id), 1).await.unwrap()[..]
        {
            sealed.push(page.clone());
        }
        assert_eq!(sealed.len(), store.configs().await.unwrap().len(), "each once, page by page");
        assert!(sealed.iter().all(|(_, secret)| secret.expose_secret().len() < 1000));
        let page = store.numbers_after(None, 10).await.unwrap();
        assert_eq!(page.len(), 2, "what is no number is not warmed: {kind:?}");
        assert_eq!(store.numbers(None).await.unwrap().len(), 3);
        assert!(store.changed_lately(10).await.unwrap().contains(&sound));

        let rules = match kind {
            Kind::Postgres => format!("jsonb_build_object('x', {text})"),
            Kind::Sqlite => format!("json_object('x', {text})"),
        };
        database.sql(&format!("update voice_agent_numbers set rules = {rules} {of_huge}")).await;
        let route = store.route(huge).await.unwrap().unwrap();
        assert!(route.rules.is_string(), "no rules that could be followed: {kind:?}");
        assert!(store.number(huge).await.unwrap().unwrap().rules.is_string());
        let read = database.log().changes_after(0).await.unwrap().unwrap();
        assert!(read.len() > 4, "{kind:?}");
    }
}
