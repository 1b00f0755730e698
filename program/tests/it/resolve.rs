//! Number in, credentials out: who answers, and why.

mod flag;
mod outage;
mod rollout;
mod routing;

use std::sync::Arc;
use std::time::Duration;

use livekit_token::TokenVerifier;
use serde_json::json;
use trunkline::settings::Values;
use trunkline::store::{ConfigEdit, NewNumber};
use trunkline::{
    Change, ExposeSecret, KeyRing, Reason, ResolveError, Resolver, Settings, Source, TokenRequest,
    TrunkOrigin,
};

use crate::support::database::{BOTH, Kind, TestDatabase, settings};
use crate::support::stores::{Fault, Gated};
use crate::support::{HandClock, caller, config, eventually, number, secret_of};

/// A complete environment.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("LIVEKIT_URL", "wss://env.example"),
    ("LIVEKIT_API_KEY", "APIenv"),
    ("LIVEKIT_API_SECRET", "canary-secret-of-env"),
    ("OUTBOUND_TRUNK_ID", "ST_env"),
];

/// A database, a key, and settings with both.
struct Lab {
    database: TestDatabase,
    key: String,
    ring: KeyRing,
}

impl Lab {
    async fn new(kind: Kind) -> Self {
        let key = KeyRing::generate().unwrap().to_string();
        let ring = KeyRing::parse(&key).unwrap();
        Self { database: TestDatabase::migrated(kind).await, key, ring }
    }

    fn settings(&self, more: &[(&str, &str)]) -> Settings {
        let mut variables = vec![("LIVEKIT_SECRET_ENCRYPTION_KEY", self.key.as_str())];
        variables.extend(ENVIRONMENT);
        variables.extend(more);
        self.database.settings(&variables)
    }

    fn resolver(&self, more: &[(&str, &str)]) -> Resolver {
        Resolver::builder(self.settings(more)).start()
    }

    /// A resolver on a store that can be held and counted.
    fn gated(&self, more: &[(&str, &str)]) -> (Resolver, Arc<Gated>, Arc<HandClock>) {
        let (store, clock) = (Gated::new(self.database.store()), Arc::new(HandClock::default()));
        let resolver = Resolver::builder(self.settings(more))
            .store(Arc::clone(&store) as _)
            .clock(Arc::clone(&clock) as _)
            .start();
        (resolver, store, clock)
    }
}

#[tokio::test]
async fn with_the_flag_on_and_a_config_the_database_answers_and_its_token_is_good() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let store = lab.database.store();
        let mut eu = config(&lab.ring, "eu");
        eu.agent = Some("closer".into());
        let id = store.create_config(&eu).await.unwrap();
        store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
        let resolver = lab.resolver(&[]);
        let answer = resolver.resolve(caller(1, 1)).await.unwrap();

        assert_eq!((answer.source(), answer.reason()), (Source::Database, None), "{kind:?}");
        assert_eq!((answer.url().as_str(), answer.api_key()), ("wss://eu.example", "APIeu"));
        assert_eq!((answer.config_id(), answer.config_name()), (Some(id), Some("eu")));
        assert_eq!((answer.agent_name(), answer.stale()), ("closer", false));
        assert_eq!(answer.api_secret().unwrap().expose_secret(), &secret_of("eu"));
        let token = answer.token(&TokenRequest::join("call-1", "dialler")).unwrap();
        let verifier = TokenVerifier::with_api_key("APIeu", &secret_of("eu"));
        assert_eq!(verifier.verify(token.as_str()).unwrap().video.room, "call-1");
    }
}

#[tokio::test]
async fn every_failure_of_the_database_side_falls_back_with_its_own_reason() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let store = lab.database.store();
        let other = crate::support::ring();
        let sealed_elsewhere = store.create_config(&config(&other, "elsewhere")).await.unwrap();
        let gone = store.create_config(&config(&lab.ring, "gone")).await.unwrap();
        let keyless = store.create_config(&config(&lab.ring, "keyless")).await.unwrap();
        let urlless = store.create_config(&config(&lab.ring, "urlless")).await.unwrap();
        let plain = store.create_config(&config(&lab.ring, "plain")).await.unwrap();
        store.delete_config(gone).await.unwrap();
        lab.database
            .sql(
                "update voice_agent_livekit set livekit_api_key = ' ' where name = 'keyless';
                  update voice_agent_livekit set livekit_url = 'nowhere' where name = 'urlless';
                  update voice_agent_livekit set livekit_api_secret = 'plain' where name = 'plain'",
            )
            .await;
        let trunk = |rules: serde_json::Value| (rules, Some("ST_env"));
        let cases = [
            (trunk(json!({"outbound": true})), Reason::ConfigUnassigned),
            (trunk(json!({"livekit_config": null})), Reason::ConfigUnassigned),
            (trunk(json!({"livekit_config": "no uuid"})), Reason::RulesMalformed),
            (trunk(json!({"livekit_config": 7})), Reason::RulesMalformed),
            (trunk(json!(["no object"])), Reason::RulesMalformed),
            (trunk(json!({"livekit_config": gone})), Reason::ConfigMissing),
            (trunk(json!({"livekit_config": keyless})), Reason::ConfigInvalid),
            (trunk(json!({"livekit_config": urlless})), Reason::ConfigInvalid),
            (trunk(json!({"livekit_config": plain})), Reason::SecretUnopenable),
            (trunk(json!({"livekit_config": sealed_elsewhere})), Reason::SecretUnopenable),
            (
                (
                    json!({"livekit_config": gone, "outbound_trunk_id": "ST_rules"}),
                    Some("ST_rules"),
                ),
                Reason::ConfigMissing,
            ),
        ];
        let resolver = lab.resolver(&[]);
        for (at, ((rules, trunk), reason)) in cases.into_iter().enumerate() {
            let caller = caller(1, at as u64);
            let new = NewNumber { caller, provider: None, rules: rules.clone() };
            store.add_number(&new).await.unwrap();
            let answer = resolver.resolve(caller).await.unwrap();
            assert_eq!(answer.reason(), Some(reason), "{kind:?} {rules}");
            assert_eq!(
                (answer.api_key(), answer.trunk_id()),
                ("APIenv", trunk),
                "{kind:?} {rules}"
            );
            assert!(answer.config_id().is_none());
        }
        let answer = resolver.resolve(caller(9, 9)).await.unwrap();
        assert_eq!(answer.reason(), Some(Reason::NumberUnknown));
    }
    let away = settings("postgres://x@127.0.0.1:1/x", &ENVIRONMENT);
    let answer = Resolver::builder(away).start().resolve(caller(1, 1)).await.unwrap();
    assert_eq!(answer.reason(), Some(Reason::DatabaseUnreachable));
    let pairs = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let none = Settings::read(&Values::of(pairs, None)).unwrap();
    let answer = Resolver::builder(none).start().resolve(caller(1, 1)).await.unwrap();
    assert_eq!(answer.reason(), Some(Reason::DatabaseNotConfigured));
    let empty = TestDatabase::empty(Kind::Postgres).settings(&ENVIRONMENT);
    let answer = Resolver::builder(empty).start().resolve(caller(1, 1)).await.unwrap();
    assert_eq!(answer.reason(), Some(Reason::DatabaseError), "no tables");
}

#[tokio::test]
async fn without_a_complete_environment_the_error_names_the_three_variables() {
    let lab = Lab::new(Kind::Sqlite).await;
    let settings = lab.database.settings(&[("LIVEKIT_URL", "wss://env.example")]);
    let error = Resolver::builder(settings).start().resolve(caller(1, 1)).await.unwrap_err();
    let ResolveError::EnvironmentIncomplete { reason, missing } = &error else { panic!("{error}") };
    assert_eq!(
        (*reason, missing.as_slice()),
        (Reason::NumberUnknown, &["LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"][..],)
    );
    for name in ["LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"] {
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_policy_turns_a_fallback_into_an_error() {
    let lab = Lab::new(Kind::Sqlite).await;
    let resolver = lab.resolver(&[("FALLBACK_DENY", "number_unknown")]);
    let error = resolver.resolve(caller(1, 1)).await.unwrap_err();
    assert_eq!(error, ResolveError::FallbackDenied { reason: Reason::NumberUnknown });
    lab.database.store().add_number(&number(caller(1, 2), None)).await.unwrap();
    let answer = resolver.resolve(caller(1, 2)).await.unwrap();
    assert_eq!(answer.reason(), Some(Reason::ConfigUnassigned));
}

#[tokio::test]
async fn the_trunk_is_the_configs_then_the_rules_then_the_environments() {
    let lab = Lab::new(Kind::Sqlite).await;
    let store = lab.database.store();
    for case in 0..8_u64 {
        let given = |bit: u64, trunk: &'static str| (case & bit != 0).then_some(trunk);
        let (in_config, in_rules, in_env) = (given(1, "ST_c"), given(2, "ST_r"), given(4, "ST_e"));
        let mut new = config(&lab.ring, &format!("c{case}"));
        new.trunk_id = in_config.map(Into::into);
        let id = store.create_config(&new).await.unwrap();
        let rules = json!({"livekit_config": id, "outbound_trunk_id": in_rules});
        store
            .add_number(&NewNumber { caller: caller(1, case), provider: None, rules })
            .await
            .unwrap();
        let mut variables = vec![("LIVEKIT_SECRET_ENCRYPTION_KEY", lab.key.as_str())];
        variables.extend(in_env.map(|trunk| ("OUTBOUND_TRUNK_ID", trunk)));
        let resolver = Resolver::builder(lab.database.settings(&variables)).start();
        let answer = resolver.resolve(caller(1, case)).await.unwrap();
        let expected = in_config
            .map(|trunk| (trunk, TrunkOrigin::Config))
            .or(in_rules.map(|trunk| (trunk, TrunkOrigin::Rules)))
            .or(in_env.map(|trunk| (trunk, TrunkOrigin::Environment)));
        let trunk = answer.trunk_id().zip(answer.trunk_origin());
        assert_eq!(trunk, expected, "case {case:03b}");
        assert_eq!(answer.source(), Source::Database);
    }
}

#[tokio::test]
async fn two_tenants_with_the_same_number_never_see_each_others_credentials() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let store = lab.database.store();
        for tenant in [1, 2] {
            let name = format!("of-{tenant}");
            let id = store.create_config(&config(&lab.ring, &name)).await.unwrap();
            store.add_number(&number(caller(tenant, 7), Some(id))).await.unwrap();
        }
        let resolver = lab.resolver(&[]);
        for _ in 0..3 {
            for tenant in [1, 2] {
                let answer = resolver.resolve(caller(tenant, 7)).await.unwrap();
                assert_eq!(answer.api_key(), format!("APIof-{tenant}"), "{kind:?}");
            }
            let stranger = resolver.resolve(caller(3, 7)).await.unwrap();
            assert_eq!(stranger.reason(), Some(Reason::NumberUnknown));
        }
    }
}

#[tokio::test]
async fn a_number_without_a_tenant_is_answered_for_one_owner_and_refused_for_two() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let store = lab.database.store();
        let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
        let number_of = caller(1, 1).number;
        let resolver = lab.resolver(&[]);
        let unknown = resolver.resolve_number(number_of).await.unwrap();
        assert_eq!(unknown.reason(), Some(Reason::NumberUnknown));
        store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
        // The answer for the owner, not a cached "unknown" of nobody.
        eventually("it is known", async || {
            resolver.resolve_number(number_of).await.unwrap().config_id() == Some(id)
        })
        .await;
        store.add_number(&number(caller(2, 1), Some(id))).await.unwrap();
        eventually("it is refused", async || {
            resolver.resolve_number(number_of).await.err() == Some(ResolveError::TenantNeeded)
        })
        .await;
    }
}

#[tokio::test]
async fn who_owns_a_number_is_asked_once_and_known_while_the_database_is_away() {
    let lab = Lab::new(Kind::Sqlite).await;
    let store = lab.database.store();
    let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
    store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
    let (resolver, gated, clock) = lab.gated(&[("CACHE_TTL_JITTER", "0"), ("CACHE_TTL", "1m")]);
    let number_of = caller(1, 1).number;
    for _ in 0..100 {
        let answer = resolver.resolve_number(number_of).await.unwrap();
        assert_eq!((answer.config_id(), answer.stale()), (Some(id), false));
    }
    assert_eq!(gated.statements(), 2, "the owner, and the owner's route");
    clock.advance(Duration::from_secs(50));
    resolver.resolve_number(number_of).await.unwrap();
    gated.set(Fault::Away);
    // Whoever finds out keeps what is known from being wiped when its time is up.
    clock.advance(Duration::from_secs(5));
    let stranger = resolver.resolve(caller(1, 2)).await.unwrap();
    assert_eq!(stranger.reason(), Some(Reason::DatabaseUnreachable));
    clock.advance(Duration::from_secs(6));
    let stale = resolver.resolve_number(number_of).await.unwrap();
    assert!(stale.stale() && stale.config_id() == Some(id));
    // Another tenant's change of the same number may make it ambiguous: it is asked for again.
    resolver.invalidate(Change::Number(caller(2, 1)));
    let before = gated.statements();
    for _ in 0..100 {
        let unsure = resolver.resolve_number(number_of).await.unwrap();
        assert_eq!(unsure.reason(), Some(Reason::DatabaseUnreachable));
    }
    assert_eq!(gated.statements(), before + 1, "a retry loop does not reach the database");
    gated.set(Fault::None);
    clock.advance(Duration::from_secs(5));
    let answer = resolver.resolve_number(number_of).await.unwrap();
    assert_eq!((answer.config_id(), answer.stale()), (Some(id), false));
}

#[tokio::test]
async fn a_warm_call_asks_the_database_nothing_and_a_negative_answer_is_warm_too() {
    let lab = Lab::new(Kind::Sqlite).await;
    let store = lab.database.store();
    let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
    store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
    let (resolver, gated, clock) = lab.gated(&[("CACHE_TTL_JITTER", "0")]);
    for _ in 0..1000 {
        assert_eq!(resolver.resolve(caller(1, 1)).await.unwrap().source(), Source::Database);
        assert!(resolver.resolve(caller(1, 2)).await.unwrap().reason().is_some());
    }
    assert_eq!(gated.statements(), 2);
    // Negative answers count for NEGATIVE_TTL, answers for CACHE_TTL.
    for (time, loads) in [(29, 0), (2, 1), (31, 1), (300, 2)] {
        clock.advance(Duration::from_secs(time));
        let before = gated.statements();
        resolver.resolve(caller(1, 1)).await.unwrap();
        resolver.resolve(caller(1, 2)).await.unwrap();
        assert_eq!(gated.statements() - before, loads, "after {time} s more");
    }
}

#[tokio::test]
async fn a_change_that_nobody_told_of_and_one_number_found_holds_for_all_of_its_config() {
    let lab = Lab::new(Kind::Sqlite).await;
    let store = lab.database.store();
    let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
    for at in [1, 2] {
        store.add_number(&number(caller(1, at), Some(id))).await.unwrap();
    }
    let (resolver, _, clock) = lab.gated(&[("CACHE_TTL_JITTER", "0")]);
    let first = resolver.resolve(caller(1, 1)).await.unwrap();
    clock.advance(Duration::from_secs(200));
    resolver.resolve(caller(1, 2)).await.unwrap();
    let new = lab.ring.seal("a new secret", crate::support::NOW).unwrap();
    let edit = ConfigEdit { api_secret: Some(new), ..ConfigEdit::default() };
    store.update_config(id, &edit).await.unwrap();
    // The first number's time is up, the second's is not.
    clock.advance(Duration::from_secs(101));
    for at in [1, 2] {
        let answer = resolver.resolve(caller(1, at)).await.unwrap();
        assert!(answer.token(&TokenRequest::default()).is_ok(), "number {at}");
        assert_eq!(answer.api_secret().unwrap().expose_secret(), "a new secret");
    }
    assert!(first.token(&TokenRequest::default()).is_err());
}

#[tokio::test]
async fn an_explanation_tells_each_step_and_no_secret() {
    let lab = Lab::new(Kind::Sqlite).await;
    let store = lab.database.store();
    let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
    store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
    let resolver = lab.resolver(&[]);
    let explanation = resolver.explain(caller(1, 1)).await;
    let told = format!("{:?}", explanation.steps);
    let key = lab.ring.key_ids()[0].to_string();
    for part in ["flag", "eu", &id.to_string(), &key, "from the database", "+971*******01"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("canary") && !told.contains("971500000001"), "{told}");
    store
        .update_config(id, &ConfigEdit { api_key: Some(String::new()), ..ConfigEdit::default() })
        .await
        .unwrap();
    let explanation = resolver.explain(caller(1, 1)).await;
    assert!(format!("{:?}", explanation.steps).contains("config_invalid"), "{explanation:?}");
}
