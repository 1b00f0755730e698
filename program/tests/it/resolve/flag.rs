//! The flag decides whose credentials place a call. The rules of the number hold in either case.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use trunkline::routing::RulesStatus;
use trunkline::store::NewNumber;
use trunkline::{Change, Reason, Resolver, Source, TrunkOrigin};

use super::Lab;
use crate::support::database::{BOTH, Kind};
use crate::support::stores::{Fault, Gated};
use crate::support::{caller, config, eventually, number};

const INDIA: &str = "+919876543210";
const UAE: &str = "+971501234567";
const OFF: (&str, &str) = ("USE_SELFHOST_ROUTING_TABLE", "false");

/// Adds a number that may call India alone, over a trunk of its own.
async fn add(lab: &Lab, at: u64, livekit: serde_json::Value) {
    let rules = json!({
        "allowed_outbound": "india", "outbound_trunk_id": "ST_rules", "livekit_config": livekit
    });
    let row = NewNumber { rules, ..number(caller(1, at), None) };
    lab.database.store().add_number(&row).await.unwrap();
}

async fn refusal(resolver: &Resolver, at: u64, to: &str) -> Option<&'static str> {
    resolver.route(caller(1, at), to).await.verdict.err().map(|refusal| refusal.code())
}

#[tokio::test]
async fn with_the_flag_off_rules_and_their_trunk_hold_and_the_config_is_left_alone() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let store = lab.database.store();
        let mut eu = config(&lab.ring, "eu");
        (eu.agent, eu.trunk_id) = (Some("closer".into()), Some("ST_config".into()));
        let id = store.create_config(&eu).await.unwrap();
        // A secret that does not open, and rules that name no UUID, say nothing here.
        lab.database.sql("update voice_agent_livekit set livekit_api_secret = 'plain'").await;
        add(&lab, 1, json!(id)).await;
        add(&lab, 2, json!("no uuid")).await;
        let (resolver, gated, _) = lab.gated(&[OFF]);
        for at in [1, 2] {
            for _ in 0..10 {
                let answer = resolver.resolve(caller(1, at)).await.unwrap();
                assert_eq!(
                    (answer.source(), answer.reason()),
                    (Source::Environment, Some(Reason::FlagOff))
                );
                assert_eq!(
                    (answer.trunk_id(), answer.trunk_origin()),
                    (Some("ST_rules"), Some(TrunkOrigin::Rules))
                );
                let said = (answer.api_key(), answer.agent_name(), answer.rules_status());
                assert_eq!(said, ("APIenv", "inbound-agent", RulesStatus::Rules));
                assert_eq!(refusal(&resolver, at, UAE).await, Some("country_not_allowed"));
                assert_eq!(refusal(&resolver, at, INDIA).await, None);
            }
        }
        let nobody = resolver.resolve(caller(1, 3)).await.unwrap();
        assert_eq!(
            (nobody.trunk_id(), nobody.rules_status()),
            (Some("ST_env"), RulesStatus::NoRow)
        );
        assert_eq!(gated.statements(), 3, "{kind:?}: one a number, then from memory");
    }
}

#[tokio::test]
async fn with_the_flag_off_an_edit_of_the_rules_counts_at_once() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        add(&lab, 1, json!(null)).await;
        let resolver = lab.resolver(&[OFF]);
        assert_eq!(refusal(&resolver, 1, UAE).await, Some("country_not_allowed"));
        eventually("changes are heard", async || resolver.hears_changes()).await;
        assert_eq!(refusal(&resolver, 1, UAE).await, Some("country_not_allowed"));
        let rules = r#"'{"allowed_outbound": "uae"}'"#;
        lab.database.sql(&format!("update voice_agent_numbers set rules = {rules}")).await;
        eventually("the new rules", async || refusal(&resolver, 1, UAE).await.is_none()).await;
        assert_eq!(refusal(&resolver, 1, INDIA).await, Some("country_not_allowed"));
    }
}

/// A resolver whose database goes away once it has answered for numbers 1 (with a config) and 2
/// (without a row).
async fn then_away(lab: &Lab, more: &[(&str, &str)]) -> (Resolver, Arc<Gated>) {
    let id = lab.database.store().create_config(&config(&lab.ring, "eu")).await.unwrap();
    add(lab, 1, json!(id)).await;
    let (resolver, gated, _) = lab.gated(more);
    for at in [1, 2] {
        resolver.resolve(caller(1, at)).await.unwrap();
    }
    gated.set(Fault::Away);
    (resolver, gated)
}

#[tokio::test]
async fn while_the_database_is_away_turning_the_flag_changes_the_credentials_and_no_rule() {
    let lab = Lab::new(Kind::Sqlite).await;
    let (resolver, gated) = then_away(&lab, &[]).await;
    let held = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(held.source(), Source::Database);
    for _ in 0..3 {
        resolver.reload(lab.settings(&[OFF])).unwrap();
        let off = resolver.resolve(caller(1, 1)).await.unwrap();
        assert_eq!((off.api_key(), off.reason()), ("APIenv", Some(Reason::FlagOff)));
        assert_eq!((off.trunk_id(), off.rules_status()), (Some("ST_rules"), RulesStatus::Rules));
        assert_eq!(refusal(&resolver, 1, UAE).await, Some("country_not_allowed"));
        assert_eq!(
            resolver.resolve(caller(1, 2)).await.unwrap().rules_status(),
            RulesStatus::NoRow
        );

        resolver.reload(lab.settings(&[])).unwrap();
        let on = resolver.resolve(caller(1, 1)).await.unwrap();
        assert_eq!(
            (on.reason(), on.rules_status()),
            (Some(Reason::DatabaseUnreachable), RulesStatus::Rules)
        );
        assert_eq!(refusal(&resolver, 1, UAE).await, Some("country_not_allowed"));
    }
    gated.set(Fault::None);
    resolver.invalidate(Change::Number(caller(1, 1)));
    assert_eq!(resolver.resolve(caller(1, 1)).await.unwrap().api_key(), "APIeu");
}

/// The last good answer holds the credentials of a config, and stands in memory when the flag turns.
#[tokio::test]
async fn a_last_good_answer_does_not_place_calls_once_the_flag_is_off() {
    let lab = Lab::new(Kind::Sqlite).await;
    let tuning = [("ERROR_TTL", "1m"), ("CACHE_TTL", "1m"), ("CACHE_TTL_JITTER", "0")];
    let id = lab.database.store().create_config(&config(&lab.ring, "eu")).await.unwrap();
    add(&lab, 1, json!(id)).await;
    let (resolver, gated, clock) = lab.gated(&tuning);
    resolver.resolve(caller(1, 1)).await.unwrap();
    gated.set(Fault::Away);
    clock.advance(Duration::from_secs(59));
    resolver.resolve(caller(1, 1)).await.unwrap();
    clock.advance(Duration::from_secs(2));
    eventually("the last good answer serves", async || {
        resolver.resolve(caller(1, 1)).await.unwrap().stale()
    })
    .await;
    resolver.reload(lab.settings(&[&tuning[..], &[OFF]].concat())).unwrap();
    let off = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!((off.api_key(), off.rules_status()), ("APIenv", RulesStatus::Rules));
}

#[tokio::test]
async fn rules_hold_while_the_database_is_away_whoever_had_answered() {
    let lab = Lab::new(Kind::Sqlite).await;
    add(&lab, 1, json!(null)).await;
    let (resolver, gated, clock) = lab.gated(&[("NEGATIVE_TTL", "1s")]);
    let before = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(before.reason(), Some(Reason::ConfigUnassigned));
    gated.set(Fault::Away);
    // A number that fails keeps what is in memory from being wiped for its age.
    resolver.resolve(caller(1, 9)).await.unwrap();
    clock.advance(Duration::from_secs(2));
    let after = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(after.reason(), Some(Reason::DatabaseUnreachable));
    assert_eq!(refusal(&resolver, 1, UAE).await, Some("country_not_allowed"));
    resolver.invalidate(Change::Number(caller(1, 1)));
    let changed = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(
        changed.rules_status(),
        RulesStatus::Unknown,
        "rules that are known to have changed"
    );
}

#[tokio::test]
async fn with_the_flag_off_a_cold_number_waits_for_its_deadline_and_readiness_for_nothing() {
    let lab = Lab::new(Kind::Sqlite).await;
    tokio::time::pause();
    let (resolver, gated, _) = lab.gated(&[OFF, ("RESOLVE_DEADLINE", "50ms")]);
    gated.set(Fault::Hung);
    assert_eq!(resolver.health().not_ready, None);
    let began = tokio::time::Instant::now();
    let answer = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(began.elapsed().as_millis() / 10, 5);
    assert_eq!(
        (answer.reason(), answer.rules_status()),
        (Some(Reason::FlagOff), RulesStatus::Unknown)
    );
    assert_eq!(resolver.health().not_ready, None);
}

#[tokio::test]
async fn with_the_flag_off_and_no_database_named_the_rules_are_unknown_at_once() {
    let lab = Lab::new(Kind::Sqlite).await;
    let mut settings = lab.settings(&[OFF]);
    settings.database = None;
    let resolver = Resolver::builder(settings).start();
    let answer = resolver.try_resolve(caller(1, 1)).unwrap().unwrap();
    assert_eq!(
        (answer.reason(), answer.rules_status()),
        (Some(Reason::FlagOff), RulesStatus::Unknown)
    );
}

#[tokio::test]
async fn with_the_flag_off_a_number_without_its_tenant_is_answered_by_the_rules_of_its_only_owner()
{
    let lab = Lab::new(Kind::Sqlite).await;
    add(&lab, 1, json!(null)).await;
    for tenant in [1, 2] {
        let row = number(caller(tenant, 2), None);
        lab.database.store().add_number(&row).await.unwrap();
    }
    let (resolver, ..) = lab.gated(&[OFF]);
    for (at, trunk, known) in [
        (1, "ST_rules", RulesStatus::Rules),
        (2, "ST_env", RulesStatus::Unknown),
        (3, "ST_env", RulesStatus::NoRow),
    ] {
        let answer = resolver.resolve_number(caller(1, at).number).await.unwrap();
        assert_eq!((answer.api_key(), answer.reason()), ("APIenv", Some(Reason::FlagOff)));
        assert_eq!((answer.trunk_id(), answer.rules_status()), (Some(trunk), known), "{at}");
    }
}

#[tokio::test]
async fn with_database_off_the_environment_answers_and_the_database_is_not_touched() {
    let lab = Lab::new(Kind::Sqlite).await;
    add(&lab, 1, json!(null)).await;
    for flag in ["true", "false"] {
        let (resolver, gated, _) =
            lab.gated(&[("DATABASE_OFF", "true"), ("USE_SELFHOST_ROUTING_TABLE", flag)]);
        for _ in 0..100 {
            let answer = resolver.resolve(caller(1, 1)).await.unwrap();
            assert_eq!((answer.api_key(), answer.reason()), ("APIenv", Some(Reason::DatabaseOff)));
            assert_eq!(
                (answer.trunk_id(), answer.rules_status()),
                (Some("ST_env"), RulesStatus::Unknown)
            );
            resolver.resolve_number(caller(1, 1).number).await.unwrap();
        }
        assert_eq!((gated.statements(), resolver.health().not_ready), (0, None));
        resolver.reload(lab.settings(&[("USE_SELFHOST_ROUTING_TABLE", flag)])).unwrap();
        assert_eq!(
            resolver.resolve(caller(1, 1)).await.unwrap().rules_status(),
            RulesStatus::Rules
        );
    }
}

#[tokio::test]
async fn with_database_off_not_even_a_connection_is_opened_until_it_is_turned_on() {
    let lab = Lab::new(Kind::Postgres).await;
    let open = || {
        let sql = "select count(*) from pg_stat_activity
                   where application_name like 'trunkline%' and datname = current_database()";
        crate::support::postgres::psql(&lab.database.url, sql)
    };
    // Those that made the tables.
    let before = open();
    let resolver = lab.resolver(&[("DATABASE_OFF", "true")]);
    resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(open(), before);
    resolver.reload(lab.settings(&[])).unwrap();
    let answer = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(answer.reason(), Some(Reason::NumberUnknown));
    eventually("changes are heard", async || resolver.hears_changes()).await;
    assert_ne!(open(), before);
}
