//! A config that is disabled answers for none of its numbers, and what began with it goes on.

use std::time::Duration;

use trunkline::store::{Migrations, StoreError};
use trunkline::{Reason, ResolveError, Resolver, Source};

use crate::support::database::{BOTH, Kind, TestDatabase, open, settings};
use crate::support::eventually;
use crate::support::live::Live;
use crate::support::postgres::psql;

/// Waits until the number is answered for this reason, or by its config.
async fn becomes(live: &Live, reason: Option<Reason>) {
    eventually("the answer changes", async || {
        live.resolver.resolve(live.caller).await.unwrap().reason() == reason
    })
    .await;
}

#[tokio::test]
async fn its_numbers_fall_back_until_it_is_enabled_and_the_change_is_one_of_the_config() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let before = live.resolver.resolve(live.caller).await.unwrap();
        assert_eq!(before.source(), Source::Database);
        let newest = live.database.log().newest_change().await.unwrap();
        assert!(live.store.disable_config(live.config, true).await.unwrap());
        becomes(&live, Some(Reason::ConfigDisabled)).await;
        let answer = live.resolver.resolve(live.caller).await.unwrap();
        assert_eq!((answer.api_key(), answer.config_id()), ("APIenv", None), "{kind:?}");
        assert!(before.token(&trunkline::TokenRequest::default()).is_err(), "it was wiped");
        let logged = live.database.log().changes_after(newest).await.unwrap().unwrap();
        let of_config = trunkline::Change::Config(live.config);
        assert_eq!(logged.iter().map(|row| row.change).collect::<Vec<_>>(), [of_config]);
        let fields = "select fields from voice_agent_changes order by seq desc limit 1";
        assert_eq!(live.database.value(fields).await, "trunkline_disabled_at");

        // Again, it is disabled since the same time, and nothing is logged.
        let since = live.store.config(live.config).await.unwrap().unwrap().disabled_at;
        let newest = live.database.log().newest_change().await.unwrap();
        assert!(live.store.disable_config(live.config, true).await.unwrap());
        assert_eq!(live.store.config(live.config).await.unwrap().unwrap().disabled_at, since);
        assert_eq!(live.database.log().newest_change().await.unwrap(), newest);

        live.reload(&[("FALLBACK_DENY", "config_disabled")]);
        let denied = live.resolver.resolve(live.caller).await.unwrap_err();
        let expected = ResolveError::FallbackDenied { reason: Reason::ConfigDisabled };
        assert_eq!(denied, expected);
        live.reload(&[]);
        assert!(live.store.disable_config(live.config, false).await.unwrap());
        becomes(&live, None).await;
        let nobody = trunkline::ConfigId(uuid::Uuid::nil());
        assert!(!live.store.disable_config(nobody, true).await.unwrap());
    }
}

#[tokio::test]
async fn what_began_with_it_ends_with_it_and_no_number_gets_its_credentials_by_that() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let begun = live.resolver.resolve(live.caller).await.unwrap();
        live.store.disable_config(live.config, true).await.unwrap();
        eventually("the change is applied", async || {
            begun.token(&trunkline::TokenRequest::default()).is_err()
        })
        .await;
        // Its credentials are in memory again, and the number's part of the answer still is.
        let held = live.resolver.resolve_config(live.config).await.unwrap();
        assert_eq!(held.api_key(), "APIeu");
        let answer = live.resolver.resolve(live.caller).await.unwrap();
        assert_eq!(answer.reason(), Some(Reason::ConfigDisabled), "{kind:?}");
        assert!(held.token(&trunkline::TokenRequest::default()).is_ok());

        // A webhook of its server is still known as its own.
        let token = held.token(&trunkline::TokenRequest::join("call-7", "agent")).unwrap();
        let verified = live.resolver.verify(token.as_str()).await.unwrap();
        assert_eq!(verified.config_id, Some(live.config));
    }
}

#[tokio::test]
async fn it_is_not_warmed_and_whatever_stands_in_the_column_disables_it() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let times: &[&str] = match kind {
            Kind::Postgres => &["infinity", "-infinity", "9999-12-31", "2026-01-01"],
            Kind::Sqlite => &["yes", "2026-01-01 at noon", "", "9999-12-31", "2026-01-01"],
        };
        for time in times {
            let disable =
                format!("update voice_agent_livekit set trunkline_disabled_at = '{time}'");
            live.database.sql(&disable).await;
            let resolver = Resolver::builder((live.settings)(&[("WARM", "all")])).start();
            tokio::time::timeout(Duration::from_secs(10), resolver.ready()).await.expect("ready");
            assert!(resolver.try_resolve(live.caller).is_none(), "{kind:?} {time}");
            let answer = resolver.resolve(live.caller).await.unwrap();
            assert_eq!(answer.reason(), Some(Reason::ConfigDisabled), "{kind:?} {time}");
            assert!(live.store.config(live.config).await.unwrap().unwrap().disabled_at.is_some());
        }
    }
}

#[tokio::test]
async fn a_database_without_the_step_goes_on_being_answered_and_takes_it_under_a_running_program() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let live = Live::on(database).await;
        for round in 0..2 {
            live.database.open.migrate(Migrations::DownTo(BEFORE)).await.unwrap();
            live.resolver.invalidate(trunkline::Change::All);
            let answer = live.resolver.resolve(live.caller).await.unwrap();
            assert_eq!((answer.reason(), answer.api_key()), (None, "APIeu"), "{kind:?} {round}");
            let configs = live.store.configs().await.unwrap();
            assert_eq!(configs[0].disabled_at, None);
            let refused = live.store.disable_config(live.config, true).await.unwrap_err();
            assert!(matches!(refused, StoreError::NotMigrated { .. }), "{refused}");
            live.set_trunk(&format!("ST_{round}")).await;
            live.trunk_becomes(Some(&format!("ST_{round}"))).await;

            live.database.open.migrate(Migrations::Up).await.unwrap();
            live.store.disable_config(live.config, true).await.unwrap();
            becomes(&live, Some(Reason::ConfigDisabled)).await;
            live.store.disable_config(live.config, false).await.unwrap();
            becomes(&live, None).await;
        }
    }
}

#[tokio::test]
async fn a_column_of_that_kind_in_an_adopted_table_means_nothing_and_rights_by_column_are_kept() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    database.open.migrate(Migrations::DownTo(BEFORE)).await.unwrap();
    let live = Live::on(database).await;
    let url = &live.database.url;
    let role = format!("narrow_{}", uuid::Uuid::new_v4().simple());
    psql(
        url,
        &format!(
            "alter table voice_agent_livekit add column disabled_at timestamptz default now();
             create role {role} login;
             grant select (id, name, livekit_url, livekit_api_key, livekit_api_secret, trunk_id,
                 worker_name, description, created_at, updated_at) on voice_agent_livekit to {role};
             grant update (worker_name) on voice_agent_livekit to {role};
             grant select on voice_agent_numbers, voice_agent_changes to {role}"
        ),
    );
    assert_eq!(live.store.configs().await.unwrap()[0].disabled_at, None, "it is the application's");
    let narrow = open(&settings(&url.replace("owner@", &format!("{role}@")), &[])).admin();
    assert_eq!(narrow.configs().await.unwrap().len(), 1);
    live.database.open.migrate(Migrations::Up).await.unwrap();
    assert!(narrow.route(live.caller).await.unwrap().unwrap().config.is_some());
    assert!(narrow.disable_config(live.config, true).await.unwrap());
    live.database.open.migrate(Migrations::DownTo(0)).await.unwrap();
}

/// The step before the one that brings the column.
const BEFORE: i64 = 8;
