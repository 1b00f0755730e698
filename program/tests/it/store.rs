//! The store keeps configs and numbers, on Postgres and on SQLite alike.

mod trouble;

use secrecy::ExposeSecret;
use serde_json::json;
use trunkline::store::{ConfigEdit, NewNumber, StoreError, Taken};
use trunkline::{Change, ConfigId};
use uuid::Uuid;

use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::{caller, config, eventually, number, ring, secret_of};

#[tokio::test]
async fn a_config_is_created_with_a_uuid_and_read_back() {
    for kind in BOTH {
        let (database, ring) = (TestDatabase::migrated(kind).await, ring());
        let store = database.store();
        let mut new = config(&ring, "eu");
        new.description = Some("the first".into());
        let id = store.create_config(&new).await.unwrap();
        assert_eq!(id.0.get_version_num(), 4, "{kind:?}");
        assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);

        let read = store.config(id).await.unwrap().unwrap();
        assert_eq!(
            (read.id, read.name.as_str(), read.url.as_str()),
            (id, "eu", "wss://eu.example")
        );
        assert_eq!(
            (read.api_key.as_str(), read.description.as_deref()),
            ("APIeu", Some("the first"))
        );
        assert_eq!((read.trunk_id, read.agent), (None, None));
        let opened = ring.open(read.api_secret.expose_secret()).unwrap();
        assert_eq!(opened.secret.expose_secret(), &secret_of("eu"));
        assert!(read.created_at.is_some() && read.updated_at == read.created_at);
        assert_eq!(store.config_named("eu").await.unwrap().unwrap().id, id);
        assert!(store.config(ConfigId(Uuid::nil())).await.unwrap().is_none());
        assert!(store.config_named("us").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn an_update_changes_the_fields_it_names_and_updated_at_moves_by_itself() {
    for kind in BOTH {
        let (database, ring) = (TestDatabase::migrated(kind).await, ring());
        let store = database.store();
        let mut new = config(&ring, "eu");
        new.trunk_id = Some("ST_1".into());
        let id = store.create_config(&new).await.unwrap();
        let before = store.config(id).await.unwrap().unwrap();

        let edit = ConfigEdit {
            url: Some("wss://eu2.example".parse().unwrap()),
            trunk_id: Some(None),
            agent: Some(Some("closer".into())),
            ..ConfigEdit::default()
        };
        // SQLite's time stamps have milliseconds.
        eventually("a later time stamp", async || {
            assert!(store.update_config(id, &edit).await.unwrap());
            let again = ConfigEdit { agent: Some(Some("x".into())), ..ConfigEdit::default() };
            assert!(store.update_config(id, &again).await.unwrap());
            store.config(id).await.unwrap().unwrap().updated_at > before.updated_at
        })
        .await;
        assert!(store.update_config(id, &edit).await.unwrap());
        let after = store.config(id).await.unwrap().unwrap();
        assert_eq!(after.url, "wss://eu2.example");
        assert_eq!((after.trunk_id.as_deref(), after.agent.as_deref()), (None, Some("closer")));
        assert_eq!((after.name, after.api_key), (before.name, before.api_key));
        assert_eq!(after.api_secret.expose_secret(), before.api_secret.expose_secret());
        assert_eq!(after.created_at, before.created_at, "{kind:?}");
        assert!(!store.update_config(ConfigId(Uuid::nil()), &edit).await.unwrap());
    }
}

#[tokio::test]
async fn a_name_is_unique_and_a_second_one_is_a_typed_conflict() {
    for kind in BOTH {
        let (database, ring) = (TestDatabase::migrated(kind).await, ring());
        let store = database.store();
        store.create_config(&config(&ring, "eu")).await.unwrap();
        let us = store.create_config(&config(&ring, "us")).await.unwrap();
        let taken = |error| matches!(error, StoreError::Conflict { taken: Taken::Name });
        assert!(taken(store.create_config(&config(&ring, "eu")).await.unwrap_err()), "{kind:?}");
        let rename = ConfigEdit { name: Some("eu".into()), ..ConfigEdit::default() };
        assert!(taken(store.update_config(us, &rename).await.unwrap_err()));
        let names: Vec<_> =
            store.configs().await.unwrap().into_iter().map(|config| config.name).collect();
        assert_eq!(names, ["eu", "us"]);
    }
}

#[tokio::test]
async fn a_conflict_is_of_what_was_written_whatever_an_index_is_called() {
    for kind in BOTH {
        let (database, ring) = (TestDatabase::migrated(kind).await, ring());
        let store = database.store();
        database.sql("create unique index one_a_number on voice_agent_livekit (lower(name))").await;
        let index =
            "create unique index one_a_name on voice_agent_numbers (tenant_id, (base_number + 1))";
        database.sql(index).await;
        store.create_config(&config(&ring, "eu")).await.unwrap();
        let name = store.create_config(&config(&ring, "EU")).await.unwrap_err();
        assert!(matches!(name, StoreError::Conflict { taken: Taken::Name }), "{kind:?}: {name}");
        let us = store.create_config(&config(&ring, "us")).await.unwrap();
        let rename = ConfigEdit { name: Some("Eu".into()), ..ConfigEdit::default() };
        let name = store.update_config(us, &rename).await.unwrap_err();
        assert!(matches!(name, StoreError::Conflict { taken: Taken::Name }), "{kind:?}: {name}");
        store.add_number(&number(caller(1, 1), None)).await.unwrap();
        let taken = store.import(&[number(caller(1, 1), None)]).await.unwrap_err();
        assert!(
            matches!(taken, StoreError::Conflict { taken: Taken::Number }),
            "{kind:?}: {taken}"
        );
    }
}

#[tokio::test]
async fn a_config_is_deleted_once() {
    for kind in BOTH {
        let (database, ring) = (TestDatabase::migrated(kind).await, ring());
        let store = database.store();
        let id = store.create_config(&config(&ring, "eu")).await.unwrap();
        store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
        assert_eq!(store.config_users(id).await.unwrap(), 1);
        assert!(store.delete_config(id).await.unwrap());
        assert!(!store.delete_config(id).await.unwrap(), "{kind:?}");
        assert!(store.configs().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_number_is_added_assigned_listed_and_removed_within_its_tenant() {
    for kind in BOTH {
        let (database, ring) = (TestDatabase::migrated(kind).await, ring());
        let store = database.store();
        let id = store.create_config(&config(&ring, "eu")).await.unwrap();
        let (ours, theirs) = (caller(1, 1), caller(2, 1));
        store.add_number(&number(ours, None)).await.unwrap();
        store.add_number(&number(theirs, None)).await.unwrap();
        let again = store.add_number(&number(ours, None)).await.unwrap_err();
        assert!(
            matches!(again, StoreError::Conflict { taken: Taken::Number }),
            "{kind:?} {again:?}"
        );

        assert!(store.assign(ours, Some(id)).await.unwrap());
        let read = store.number(ours).await.unwrap().unwrap();
        assert_eq!(read.rules, json!({"outbound": true, "livekit_config": id}));
        assert_eq!(
            (read.tenant, format!("+{}", read.digits)),
            (ours.tenant, ours.number.to_string())
        );
        assert_eq!(store.number(theirs).await.unwrap().unwrap().rules, json!({"outbound": true}));
        assert!(store.assign(ours, None).await.unwrap());
        assert_eq!(store.number(ours).await.unwrap().unwrap().rules, json!({"outbound": true}));

        assert_eq!(store.numbers(None).await.unwrap().len(), 2);
        assert_eq!(store.numbers(Some(ours.tenant)).await.unwrap().len(), 1);
        assert_eq!(store.owners(ours.number).await.unwrap().len(), 2);
        assert!(
            store.remove_number(ours).await.unwrap() && !store.remove_number(ours).await.unwrap()
        );
        assert_eq!(store.owners(ours.number).await.unwrap(), [theirs.tenant]);
        assert!(!store.assign(ours, Some(id)).await.unwrap());
    }
}

#[tokio::test]
async fn an_import_adds_all_numbers_or_none() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let store = database.store();
        let many: Vec<NewNumber> = (0..1234).map(|at| number(caller(1, at), None)).collect();
        assert_eq!(store.import(&many).await.unwrap(), 1234);
        assert_eq!(store.numbers(None).await.unwrap().len(), 1234);
        let more: Vec<_> = (1200..3000).rev().map(|at| number(caller(1, at), None)).collect();
        let refused = store.import(&more).await.unwrap_err();
        assert!(matches!(refused, StoreError::Conflict { taken: Taken::Number }), "{kind:?}");
        assert_eq!(store.numbers(None).await.unwrap().len(), 1234);
        assert_eq!(store.import(&[]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn one_statement_joins_a_number_with_its_config_whatever_its_rules_hold() {
    for kind in BOTH {
        let (database, ring) = (TestDatabase::migrated(kind).await, ring());
        let store = database.store();
        let mut new = config(&ring, "eu");
        new.trunk_id = Some("ST_eu".into());
        let id = store.create_config(&new).await.unwrap();
        let text = id.to_string();
        let joined = [
            json!({"livekit_config": text}),
            json!({"livekit_config": text.to_uppercase()}),
            json!({"livekit_config": text.replace('-', "")}),
            json!({"livekit_config": format!("{{{text}}}")}),
        ];
        let alone = [
            json!({}),
            json!({"livekit_config": "no uuid"}),
            json!({"livekit_config": ""}),
            json!({"livekit_config": 7}),
            json!({"livekit_config": null}),
            json!({"livekit_config": format!("{text}0")}),
            json!({"livekit_config": Uuid::nil()}),
            json!([text]),
            json!("text"),
            json!(7),
            json!(null),
        ];
        for (at, rules) in joined.iter().chain(&alone).enumerate() {
            let caller = caller(1, at as u64);
            let new = NewNumber { caller, provider: None, rules: rules.clone() };
            store.add_number(&new).await.unwrap();
            let route = store.route(caller).await.unwrap().unwrap();
            assert_eq!(&route.rules, rules, "{kind:?}");
            assert_eq!(route.config.is_some(), at < joined.len(), "{kind:?} {rules}");
            if let Some(config) = route.config {
                assert_eq!((config.id, config.trunk_id.as_deref()), (id, Some("ST_eu")));
            }
        }
        assert!(store.route(caller(2, 0)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn every_change_of_what_a_resolution_depends_on_is_logged_and_no_other() {
    for kind in BOTH {
        let (database, ring) = (TestDatabase::migrated(kind).await, ring());
        let (store, log) = (database.store(), database.log());
        let changes = async |after| -> Vec<Change> {
            let logged = log.changes_after(after).await.unwrap().unwrap();
            logged.into_iter().map(|logged| logged.change).collect()
        };
        let before = log.newest_change().await.unwrap();
        let id = store.create_config(&config(&ring, "eu")).await.unwrap();
        let ours = caller(1, 1);
        store.add_number(&number(ours, Some(id))).await.unwrap();
        assert_eq!(changes(before).await, [Change::Config(id), Change::Number(ours)], "{kind:?}");

        let after = log.newest_change().await.unwrap();
        let described =
            ConfigEdit { description: Some(Some("about".into())), ..ConfigEdit::default() };
        store.update_config(id, &described).await.unwrap();
        database.sql("update voice_agent_livekit set name = name, trunk_id = trunk_id").await;
        database.sql("update voice_agent_numbers set provider = provider, rules = rules").await;
        assert_eq!(changes(after).await, [], "{kind:?}");

        database.sql("update voice_agent_livekit set trunk_id = 'ST_2'").await;
        assert_eq!(changes(after).await, [Change::Config(id)]);
        let after = log.newest_change().await.unwrap();
        // A number that moves is two: the one it was and the one it is.
        database.sql("update voice_agent_numbers set base_number = base_number + 1").await;
        let mut moved = changes(after).await;
        moved.sort_by_key(|change| format!("{change:?}"));
        assert_eq!(moved, [Change::Number(ours), Change::Number(caller(1, 2))]);

        let after = log.newest_change().await.unwrap();
        store.remove_number(caller(1, 2)).await.unwrap();
        store.delete_config(id).await.unwrap();
        assert_eq!(changes(after).await, [Change::Number(caller(1, 2)), Change::Config(id)]);
    }
}

#[tokio::test]
async fn on_postgres_a_statement_that_touches_many_is_one_change() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    let (store, log, ring) = (database.store(), database.log(), ring());
    let id = store.create_config(&config(&ring, "eu")).await.unwrap();
    let sixteen: Vec<_> = (0..16).map(|at| number(caller(1, at), Some(id))).collect();
    let changes = async |after| log.changes_after(after).await.unwrap().unwrap();
    let after = log.newest_change().await.unwrap();
    store.import(&sixteen).await.unwrap();
    assert_eq!(changes(after).await.len(), 16);
    let after = log.newest_change().await.unwrap();
    store.import(&[number(caller(2, 1), None)]).await.unwrap();
    database.sql("update voice_agent_numbers set provider = 'carrier'").await;
    let logged: Vec<_> = changes(after).await.into_iter().map(|logged| logged.change).collect();
    assert_eq!(logged, [Change::Number(caller(2, 1)), Change::Numbers]);
    for (statement, change) in [
        ("truncate voice_agent_numbers", Change::Numbers),
        ("truncate voice_agent_livekit", Change::All),
    ] {
        let after = log.newest_change().await.unwrap();
        database.sql(statement).await;
        assert_eq!(changes(after).await[0].change, change, "{statement}");
    }
    let actor = crate::support::postgres::psql(
        &database.url,
        "select distinct actor, fields from voice_agent_changes where operation = 'update'",
    );
    assert_eq!(actor, "owner|voice_agent_numbers");
}

#[tokio::test]
async fn on_sqlite_a_row_that_is_replaced_is_a_change_of_what_it_was() {
    let (database, ring) = (TestDatabase::migrated(Kind::Sqlite).await, ring());
    let (store, log) = (database.store(), database.log());
    let id = store.create_config(&config(&ring, "eu")).await.unwrap();
    let after = log.newest_change().await.unwrap();
    database
        .sql(
            "insert or replace into voice_agent_livekit
                  (name, livekit_url, livekit_api_key, livekit_api_secret)
              values ('eu', 'wss://other.example', 'APIother', 'x')",
        )
        .await;
    let logged = log.changes_after(after).await.unwrap().unwrap();
    assert_eq!(logged[0].change, Change::Config(id));
    assert!(store.config(id).await.unwrap().is_none());
}
