//! Routing data is part of the cached answer.

use serde_json::json;
use trunkline::Change;
use trunkline::routing::RulesStatus;
use trunkline::settings::Values;
use trunkline::store::NewNumber;
use trunkline::{Resolver, Settings};

use super::Lab;
use crate::support::database::{BOTH, Kind};
use crate::support::stores::Gated;
use crate::support::{caller, config, number};

const INDIA: &str = "+919876543210";

#[tokio::test]
async fn a_warm_call_is_routed_without_a_query_until_its_row_changes() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let store = lab.database.store();
        let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
        let rules =
            json!({"livekit_config": id, "outbound_trunk_id": "ST_1", "allowed_outbound": "uae"});
        let row = NewNumber { rules, provider: Some("du".into()), ..number(caller(1, 1), None) };
        store.add_number(&row).await.unwrap();
        let (resolver, gated, _) = lab.gated(&[]);
        let answer = resolver.resolve(caller(1, 1)).await.unwrap();
        for _ in 0..10 {
            let routing = resolver.route(caller(1, 1), INDIA).await;
            assert_eq!(routing, resolver.route_with(&answer, caller(1, 1), INDIA));
            assert_eq!((routing.carrier.as_deref(), routing.config_id), (Some("du"), Some(id)));
            assert_eq!(
                (routing.trunk_id.as_deref(), routing.known),
                (Some("ST_1"), RulesStatus::Rules)
            );
            assert_eq!(routing.verdict.unwrap_err().code(), "country_not_allowed");
        }
        assert_eq!(gated.statements(), 1, "{kind:?}");

        lab.database.sql("update voice_agent_numbers set provider = 'etisalat'").await;
        resolver.invalidate(Change::Number(caller(1, 1)));
        let routing = resolver.route(caller(1, 1), INDIA).await;
        assert_eq!(routing.carrier.as_deref(), Some("etisalat"), "{kind:?}");
    }
}

/// The rules stay known where a config changes, where none is named, and where nobody has
/// credentials.
#[tokio::test]
async fn rules_are_known_whoever_answers() {
    let lab = Lab::new(Kind::Sqlite).await;
    let store = lab.database.store();
    let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
    store
        .add_number(&NewNumber {
            rules: json!({"livekit_config": id, "outbound": false}),
            ..number(caller(1, 1), None)
        })
        .await
        .unwrap();
    store
        .add_number(&NewNumber { rules: json!({"outbound": false}), ..number(caller(1, 2), None) })
        .await
        .unwrap();
    let refusal = async |resolver: &Resolver, at| {
        resolver.route(caller(1, at), INDIA).await.verdict.unwrap_err().code()
    };
    let (resolver, ..) = lab.gated(&[]);
    resolver.resolve(caller(1, 1)).await.unwrap();
    resolver.invalidate(Change::Config(id));
    assert_eq!(refusal(&resolver, 1).await, "outbound_not_allowed", "after a change of the config");
    assert_eq!(refusal(&resolver, 2).await, "outbound_not_allowed", "with the environment's key");

    let alone = Settings::read(&Values::of([], None)).unwrap();
    assert!(alone.ring.is_none());
    let gated = Gated::new(store);
    let without_anything = Resolver::builder(alone).store(gated.clone() as _).start();
    assert!(without_anything.resolve(caller(1, 1)).await.is_err());
    for _ in 0..2 {
        assert_eq!(refusal(&without_anything, 1).await, "outbound_not_allowed", "no key ring");
    }
    assert_eq!(gated.statements(), 1, "an error is warm, too");
}
