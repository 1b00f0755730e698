//! Every way of editing leaves its row, in the same transaction, with what was before and after.

use serde_json::{Value, json};
use trunkline::store::ConfigEdit;

use super::{newest, rows, told};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::postgres::psql;
use crate::support::{caller, config, number, ring, secret_of};

#[tokio::test]
async fn each_change_is_a_row_with_what_was_before_and_after() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let (store, ring) = (database.store(), ring());
        let id = store.create_config(&config(&ring, "eu")).await.unwrap();
        let made = newest(&database).await.row;
        assert_eq!((made.before.as_ref(), made.row_id), (None, Some(id.to_string())));
        let after: Value = serde_json::from_str(made.after.as_deref().unwrap()).unwrap();
        assert_eq!((&after["name"], &after["livekit_api_secret"]), (&json!("eu"), &json!("set")));

        let edit = ConfigEdit {
            description: Some(Some("Notes.".into())),
            api_secret: Some(ring.seal("another", 0).unwrap()),
            ..ConfigEdit::default()
        };
        store.update_config(id, &edit).await.unwrap();
        let changed = newest(&database).await.row;
        assert_eq!(changed.fields(), ["description", "livekit_api_secret"], "{kind:?}");
        assert_eq!(changed.before()["livekit_api_secret"], "set");
        assert_eq!(changed.after()["livekit_api_secret"], "changed");
        assert_eq!(
            (&changed.before()["description"], &changed.after()["description"]),
            (&Value::Null, &json!("Notes.")),
            "a column that no call depends on is audited, too"
        );

        store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
        store.assign(caller(1, 1), None).await.unwrap();
        let assigned = newest(&database).await.row;
        assert_eq!(assigned.digits.as_deref(), Some("971500000001"));
        assert_eq!(assigned.tenant_id, Some(caller(1, 1).tenant.to_string()));
        assert_eq!(assigned.fields(), ["rules"]);
        assert_eq!(assigned.before()["rules"]["livekit_config"], id.to_string());
        store.remove_number(caller(1, 1)).await.unwrap();
        store.delete_config(id).await.unwrap();
        let gone = newest(&database).await.row;
        assert_eq!((gone.after.as_ref(), &gone.before()["name"]), (None, &json!("eu")));
        let told: Vec<_> = rows(&database).await.iter().map(told).collect();
        assert_eq!(told[3], "update number rules", "{told:?}");
        assert!(told[4].starts_with("delete number") && told[5].starts_with("delete config"));
        assert_eq!(told.len(), 6);
        assert_eq!(database.store().count_duplicate_numbers().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn clients_are_audited_without_their_tokens() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let program = super::program(&database);
        let token =
            program.run(&["client", "add", "--name", "c", "--all-tenants", "--may", "fleet"]);
        let token = token.ok().trim().to_owned();
        let hash = database.value("select token_hash from trunkline_clients").await;
        program.run(&["client", "rotate", "c"]).ok();
        assert_eq!(told(&newest(&database).await), "update client token_hash");
        program.run(&["client", "revoke", "c"]).ok();
        assert_eq!(told(&newest(&database).await), "update client revoked_at");
        program.run(&["client", "remove", "c"]).ok();
        let all = format!("{:?}", rows(&database).await);
        assert!(all.contains("fleet") && !all.contains(&token) && !all.contains(&hash), "{all}");
    }
}

#[tokio::test]
async fn users_are_audited_without_their_passwords_and_logins_are_not() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let program = super::program(&database);
        let add = ["user", "add", "alice", "--role", "admin", "--generate"];
        let password = program.run(&add).ok().trim().to_owned();
        let hash = database.value("select password_hash from trunkline_users").await;
        let made = newest(&database).await;
        assert_eq!(made.row.after()["password_hash"], "set", "{kind:?}");
        program.run(&["user", "add", "bob", "--role", "admin", "--link-only"]).ok();
        for (edit, told_as) in [
            (&["role", "alice", "viewer"][..], "update user role"),
            (&["password", "alice", "--generate"], "update user password_hash"),
            (&["disable", "alice"], "update user disabled_at"),
            (&["link", "bob"], "update user link_hash"),
        ] {
            program.run(&[&["user"], edit].concat()).ok();
            assert_eq!(told(&newest(&database).await), told_as, "{kind:?}");
        }
        let before = rows(&database).await;
        let changes = database.log().newest_change().await.unwrap();
        let login = "update trunkline_users set failures = 3, last_login_at = created_at";
        database.sql(login).await;
        assert_eq!(rows(&database).await, before, "a login is no change");
        assert_eq!(database.log().newest_change().await.unwrap(), changes);
        program.run(&["user", "remove", "alice"]).ok();
        assert!(told(&newest(&database).await).starts_with("delete user"));
        let all = format!("{:?}", rows(&database).await);
        assert!(!all.contains(&password) && !all.contains(&hash) && !all.contains("tll_"), "{all}");
    }
}

#[tokio::test]
async fn what_is_rolled_back_or_changes_nothing_is_not_in_it() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        database.store().create_config(&config(&ring(), "eu")).await.unwrap();
        let before = rows(&database).await;
        database.sql("begin; update voice_agent_livekit set name = 'us'; rollback").await;
        database.sql("update voice_agent_livekit set name = name, description = description").await;
        database.sql("delete from voice_agent_numbers").await;
        assert_eq!(rows(&database).await, before, "{kind:?}");
    }
}

#[tokio::test]
async fn no_secret_is_in_it_sealed_or_not() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let ring = ring();
        let id = database.store().create_config(&config(&ring, "eu")).await.unwrap();
        database
            .sql("update voice_agent_livekit set livekit_api_secret = 'canary-in-the-clear'")
            .await;
        database.sql("update voice_agent_livekit set livekit_api_secret = ''").await;
        assert_eq!(newest(&database).await.row.after()["livekit_api_secret"], Value::Null);
        database.store().delete_config(id).await.unwrap();
        let all = format!("{:?}", rows(&database).await);
        assert!(!all.contains("canary") && !all.contains("dev-s-t-"), "{all}");
        assert!(!all.contains(&secret_of("eu")));
        let printed = super::program(&database).run(&["audit", "list", "--json"]).ok();
        assert!(printed.contains("livekit_api_secret") && !printed.contains("canary"), "{printed}");
    }
}

#[tokio::test]
async fn a_session_is_known_by_its_login_and_what_else_it_says_is_a_claim() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    database.store().create_config(&config(&ring(), "eu")).await.unwrap();
    let ours = newest(&database).await.row;
    assert_eq!(ours.login.as_deref(), Some("owner"));
    assert!(ours.claimed()["application"].as_str().unwrap().starts_with("trunkline/"));
    assert_eq!(ours.claimed().get("actor"), None);
    psql(
        &database.url,
        "set trunkline.actor = E'ann\\nroot'; set trunkline.client = 'c';
        set application_name = 'x'; update voice_agent_livekit set name = 'us'",
    );
    let row = newest(&database).await.row;
    assert_eq!(row.login.as_deref(), Some("owner"), "whatever it claims");
    let claimed = json!({"actor": "ann?root", "client": "c", "application": "x"});
    assert_eq!(Value::Object(row.claimed()), claimed);
    assert_eq!(row.address, None, "it came over a socket");
    psql(&database.url, "update voice_agent_livekit set name = 'eu'");
    assert_eq!(
        Value::Object(newest(&database).await.row.claimed()),
        json!({"application": "psql"})
    );

    let found = |arguments: &[&str]| {
        let arguments = [&["audit", "list", "--json"], arguments].concat();
        super::program(&database).run(&arguments).ok().lines().count()
    };
    assert_eq!((found(&[]), found(&["--who", "ann?root"]), found(&["--who", "owner"])), (3, 1, 3));
    assert_eq!((found(&["--since", "1h"]), found(&["--until", "1h"])), (3, 0));
    assert_eq!((found(&["--entity", "number"]), found(&["--operation", "insert"])), (0, 1));
    assert_eq!(found(&["--limit", "2"]), 2);
}

#[tokio::test]
async fn truncate_is_one_row_and_a_huge_value_is_told_by_its_length() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    database
        .sql(
            "insert into voice_agent_numbers (tenant_id, base_number)
        select gen_random_uuid(), 500000000 + n from generate_series(1, 40) as n",
        )
        .await;
    assert_eq!(rows(&database).await.len(), 40, "each row of a statement, however many");
    database.sql("truncate voice_agent_numbers").await;
    assert_eq!(told(&newest(&database).await), "truncate number ");
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        database.store().create_config(&config(&ring(), "eu")).await.unwrap();
        let long = "x".repeat(16_385);
        database.sql(&format!("update voice_agent_livekit set description = '{long}'")).await;
        let row = newest(&database).await.row;
        assert_eq!(row.after()["description"]["bytes"], 16_385, "{kind:?}");
        let short = "x".repeat(16_000);
        database.sql(&format!("update voice_agent_livekit set description = '{short}'")).await;
        assert_eq!(newest(&database).await.row.after()["description"], short, "{kind:?}");
    }
}

#[tokio::test]
async fn a_row_that_replaces_others_tells_of_them_and_one_that_gets_another_id_of_both() {
    let sqlite = TestDatabase::migrated(Kind::Sqlite).await;
    sqlite.store().create_config(&config(&ring(), "eu")).await.unwrap();
    sqlite
        .sql(
            "insert or replace into voice_agent_livekit (name, livekit_url, livekit_api_key,
        livekit_api_secret) values ('eu', 'wss://x', 'k', 's')",
        )
        .await;
    let operations: Vec<_> = rows(&sqlite).await.into_iter().map(|e| e.row.operation).collect();
    assert_eq!(operations, ["insert", "delete", "insert"]);
    let postgres = TestDatabase::migrated(Kind::Postgres).await;
    let id = postgres.store().create_config(&config(&ring(), "eu")).await.unwrap();
    let other = "00000000-0000-0000-0000-000000000007";
    postgres.sql(&format!("update voice_agent_livekit set id = '{other}'")).await;
    let mut moved: Vec<_> = rows(&postgres).await.split_off(1);
    moved.sort_by_key(|entry| entry.row.after.is_some());
    assert_eq!(moved[0].row.row_id, Some(id.to_string()));
    assert_eq!((moved[1].row.row_id.as_deref(), &moved[1].row.before), (Some(other), &None));
}
