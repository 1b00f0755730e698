//! A token of any server is verified with the secret of its config, and with no other one.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use livekit_token::{AccessToken, VideoGrants};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trunkline::clock::{Clock, SystemClock};
use trunkline::rotation::{EnteredPair, PairCheck, PairRefused, Pairs, RetireTerms};
use trunkline::store::{ConfigEdit, NewConfig};
use trunkline::{Change, KeyRing, Reason, Resolver, Secret, VerifyError};

use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::live::Live;
use crate::support::stores::Gated;
use crate::support::{NOW, config, eventually, secret_of};

/// A token of LiveKit's own library.
fn official(api_key: &str, secret: &str) -> AccessToken {
    let grants = VideoGrants { room_join: true, room: "call-7".into(), ..VideoGrants::default() };
    AccessToken::with_api_key(api_key, secret).with_identity("agent").with_grants(grants)
}

fn token(api_key: &str, secret: &str) -> String {
    official(api_key, secret).to_jwt().unwrap()
}

/// A token that says this.
fn signed(claims: &Value, secret: &str) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(&json!({"alg": "HS256"})), encoded(claims));
    let hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    let signature = hmac.chain_update(&signed).finalize().into_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn name(resolver: &Resolver, token: &str) -> Result<String, VerifyError> {
    resolver.verify(token).await.map(|verified| verified.config_name)
}

/// Another config with the API key of `eu`, and a secret of its own.
fn twin(ring: &KeyRing) -> NewConfig {
    NewConfig { api_key: "APIeu".into(), ..config(ring, "twin") }
}

#[tokio::test]
async fn the_config_is_found_by_the_issuer_and_its_secret_must_have_signed() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        live.store.create_config(&config(&live.ring, "us")).await.unwrap();
        live.store.create_config(&twin(&live.ring)).await.unwrap();
        for of in ["eu", "us"] {
            let token = token(&format!("API{of}"), &secret_of(of));
            assert_eq!(name(&live.resolver, &token).await.as_deref(), Ok(of), "{kind:?}");
        }
        // Of two configs with one key, it is the one that signed.
        let of_twin = token("APIeu", &secret_of("twin"));
        let verified = live.resolver.verify(&of_twin).await.unwrap();
        assert_eq!(
            (verified.config_name.as_str(), &verified.claims["sub"]),
            ("twin", &"agent".into())
        );
        assert_eq!(verified.claims["video"]["room"], "call-7");
        for (token, why) in [
            (token("APIeu", &secret_of("us")), VerifyError::SignatureInvalid),
            (token("APInobody", &secret_of("eu")), VerifyError::IssuerUnknown),
        ] {
            assert_eq!(name(&live.resolver, &token).await, Err(why), "{kind:?}");
        }
        assert!(matches!(name(&live.resolver, "x").await, Err(VerifyError::Malformed { .. })));
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_time_and_a_minute_more() {
    let live = Live::new(Kind::Sqlite).await;
    let now = SystemClock::default().unix_seconds();
    let ending = |at: u64| signed(&json!({"iss": "APIeu", "exp": at}), &secret_of("eu"));
    assert_eq!(name(&live.resolver, &ending(now - 20)).await.as_deref(), Ok("eu"));
    assert_eq!(name(&live.resolver, &ending(now - 100)).await, Err(VerifyError::Expired));
}

#[tokio::test]
async fn a_webhook_is_about_its_body_byte_for_byte() {
    let live = Live::new(Kind::Sqlite).await;
    let body = br#"{"event":"participant_joined"}"#;
    let hash = STANDARD.encode(Sha256::digest(body));
    let signed = official("APIeu", &secret_of("eu")).with_sha256(&hash).to_jwt().unwrap();
    for authorization in [signed.clone(), format!("Bearer {signed}")] {
        let verified = live.resolver.verify_webhook(&authorization, body).await.unwrap();
        assert_eq!(verified.config_id, Some(live.config));
    }
    let other = live.resolver.verify_webhook(&signed, &body[1..]).await;
    assert_eq!(other.unwrap_err(), VerifyError::OtherBody);
    // A token that joins a room is no signature of anything.
    let join = token("APIeu", &secret_of("eu"));
    let unsigned = live.resolver.verify_webhook(&join, body).await;
    assert_eq!(unsigned.unwrap_err(), VerifyError::OtherBody);
}

#[tokio::test]
async fn an_edit_of_any_config_is_heard_of() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let (of_us, of_eu) = (token("APIus", &secret_of("us")), token("APIeu", &secret_of("eu")));
        assert_eq!(name(&live.resolver, &of_us).await, Err(VerifyError::IssuerUnknown));
        live.store.create_config(&config(&live.ring, "us")).await.unwrap();
        eventually("the new one is known", async || {
            name(&live.resolver, &of_us).await.as_deref() == Ok("us")
        })
        .await;
        let api_secret = Some(live.ring.seal("another secret", NOW).unwrap());
        let edit = ConfigEdit { api_secret, ..ConfigEdit::default() };
        live.store.update_config(live.config, &edit).await.unwrap();
        eventually("the old secret is refused", async || {
            name(&live.resolver, &of_eu).await == Err(VerifyError::SignatureInvalid)
        })
        .await;
        live.store.delete_config(live.config).await.unwrap();
        eventually("nobody has that key", async || {
            name(&live.resolver, &of_eu).await == Err(VerifyError::IssuerUnknown)
        })
        .await;
    }
}

#[tokio::test]
async fn a_flood_of_unknown_issuers_asks_the_database_once_for_each_change() {
    let (database, ring) = (TestDatabase::migrated(Kind::Sqlite).await, crate::support::ring());
    let id = database.store().create_config(&config(&ring, "eu")).await.unwrap();
    let gated = Gated::new(database.store());
    let mut settings = database.settings(&[]);
    settings.ring = Some(Arc::new(ring));
    let resolver = Resolver::builder(settings).store(Arc::clone(&gated) as _).start();
    for round in 1..=2 {
        let asked = (0..200).map(|at| {
            let (resolver, token) = (resolver.clone(), token(&format!("API{at}"), "x"));
            async move { name(&resolver, &token).await }
        });
        for outcome in futures_util::future::join_all(asked).await {
            assert_eq!(outcome, Err(VerifyError::IssuerUnknown));
        }
        let of_eu = token("APIeu", &secret_of("eu"));
        assert_eq!(name(&resolver, &of_eu).await.as_deref(), Ok("eu"));
        assert_eq!(gated.statements(), round);
        resolver.invalidate(Change::Config(id));
    }
}

#[tokio::test]
async fn a_config_that_answers_nobody_verifies_nothing() {
    let database = TestDatabase::migrated(Kind::Sqlite).await;
    let (ring, other) = (crate::support::ring(), crate::support::ring());
    database.store().create_config(&config(&other, "eu")).await.unwrap();
    database.store().create_config(&config(&ring, "us")).await.unwrap();
    let mut settings = database.settings(&[("LIVEKIT_HOSTS", "eu.example")]);
    settings.ring = Some(Arc::new(ring));
    let resolver = Resolver::builder(settings).database(database.open.clone()).start();
    for (of, reason) in [("eu", Reason::SecretUnopenable), ("us", Reason::HostNotAllowed)] {
        let outcome = name(&resolver, &token(&format!("API{of}"), &secret_of(of))).await;
        assert_eq!(outcome, Err(VerifyError::ConfigUnusable { reason }));
    }
    assert!(resolver.stop(Duration::from_secs(10)).await);
}

/// While a pair is turned, servers sign with either; a pair that others may have signs nothing for us.
#[tokio::test]
async fn a_token_of_the_pending_and_of_the_previous_pair_is_verified() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let pairs =
            Pairs::new(&live.database.open, &live.ring, &live.database.settings(&[]).tuning);
        let (new, secret) = ("APInew", "canary-of-the-new-pair-0123456789-01234567");
        let (of_old, of_new) = (token("APIeu", &secret_of("eu")), token(new, secret));
        assert_eq!(name(&live.resolver, &of_new).await, Err(VerifyError::IssuerUnknown));
        let entered = || EnteredPair {
            api_key: new.into(),
            api_secret: Secret::new(Box::new(secret.into())),
        };
        pairs.stage(live.config, entered(), NOW, false).await.unwrap();
        let is = async |token: &str, expected: Result<&str, VerifyError>| {
            eventually("it is heard of", async || {
                name(&live.resolver, token).await.as_deref() == expected.as_deref()
            })
            .await;
        };
        is(&of_new, Ok("eu")).await;
        is(&of_old, Ok("eu")).await;
        pairs.promote(live.config, &Always, false, NOW, false).await.unwrap();
        is(&of_old, Ok("eu")).await;
        is(&of_new, Ok("eu")).await;
        // Of the same key with another secret it is not.
        let forged = token("APIeu", "another-secret-0123456789-0123456789-0123");
        is(&forged, Err(VerifyError::SignatureInvalid)).await;
        pairs.roll_back(live.config, &Always, false, NOW, false).await.unwrap();
        let terms = RetireTerms { now: true, ..RetireTerms::default() };
        pairs.retire(live.config, &Always, terms).await.unwrap();
        is(&of_new, Err(VerifyError::IssuerUnknown)).await;
        pairs.compromise(live.config, Some(entered()), &Always, NOW, false).await.unwrap();
        is(&of_new, Ok("eu")).await;
        is(&of_old, Err(VerifyError::IssuerUnknown)).await;
    }
}

/// A server that accepts every pair.
struct Always;

impl PairCheck for Always {
    async fn accepts(&self, _: &str, _: &str, _: &Secret) -> Result<(), PairRefused> {
        Ok(())
    }
}
