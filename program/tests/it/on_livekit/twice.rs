//! What is done once, what may be done again, and what is done again with other credentials.

use serde_json::json;
use trunkline::dispatch::{Call, Outcome};
use trunkline::store::ConfigEdit;

use super::{Lab, request, room_of};
use crate::support::database::{BOTH, Kind};
use crate::support::livekit::Server;
use crate::support::tap::{Fault, Tap};
use crate::support::{NOW, caller};

/// Each tenant's call goes to its own server, signed with its own key.
#[tokio::test]
async fn two_tenants_call_on_two_servers_with_their_own_keys() {
    let (first, second) = (Server::shared(), Server::other());
    let taps = [Tap::before(first.port).await, Tap::before(second.port).await];
    let lab = Lab::new(Kind::Sqlite).await;
    for (tenant, (server, tap)) in (1..).zip([first, second].into_iter().zip(&taps)) {
        let id = lab.config(&tap.url(), server.keys[0], &format!("of-{tenant}")).await;
        lab.number(caller(tenant, 7), Some(id), json!({})).await;
    }
    let dispatcher = lab.dispatcher(&[]);
    for (tenant, server, other) in [(1, first, second), (2, second, first)] {
        let report = dispatcher.call(&request(caller(tenant, 7), "two")).await;
        assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
        assert_eq!(server.look().told(room_of(&report)).await.len(), 1);
        assert!(!other.look().has(room_of(&report)).await);
    }
    for (tap, server) in taps.iter().zip([first, second]) {
        assert_eq!(tap.count("CreateDispatch"), 1);
        assert!(
            tap.issuers().iter().all(|issuer| issuer == server.keys[0].0),
            "{:?}",
            tap.issuers()
        );
    }
}

#[tokio::test]
async fn a_rotated_key_is_used_by_the_next_call() {
    let server = Server::shared();
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let tap = Tap::before(server.port).await;
        let id = lab.config(&tap.url(), server.keys[0], "eu").await;
        lab.number(caller(1, 1), Some(id), json!({})).await;
        let dispatcher = lab.dispatcher(&[]);
        let first = dispatcher.call(&request(caller(1, 1), "old")).await;
        let (key, secret) = server.keys[1];
        let edit = ConfigEdit {
            api_key: Some(key.into()),
            api_secret: Some(lab.ring.seal(secret, NOW).unwrap()),
            ..ConfigEdit::default()
        };
        lab.store.update_config(id, &edit).await.unwrap();
        crate::support::eventually("the new key is used", async || {
            let now = dispatcher.resolver().resolve(caller(1, 1)).await;
            now.unwrap().api_key() == key
        })
        .await;
        let before = tap.issuers().len();
        let second = dispatcher.call(&request(caller(1, 1), "new")).await;
        assert_eq!((first.outcome, second.outcome), (Outcome::Placed, Outcome::Placed));
        assert!(tap.issuers()[..before].iter().all(|issuer| issuer == server.keys[0].0));
        assert!(tap.issuers()[before..].iter().all(|issuer| issuer == key), "{kind:?}");
        dispatcher.hang_up(first.call.as_ref().unwrap()).await.unwrap();
    }
}

/// A server that has taken a key away answers 401. Nobody told of the row's change; the engine finds
/// it by asking again, once.
#[tokio::test]
async fn a_401_drops_the_credentials_and_tries_once_with_those_of_the_database() {
    let server = Server::shared();
    let lab = Lab::new(Kind::Sqlite).await;
    let tap = Tap::before(server.port).await;
    let (key, secret) = server.keys[0];
    let id = lab.config(&tap.url(), (key, "a secret that the server does not know"), "eu").await;
    lab.number(caller(1, 1), Some(id), json!({})).await;
    let gated = crate::support::stores::Gated::new(lab.store.clone());
    let settings = lab.database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", &lab.key)]);
    let resolver = trunkline::Resolver::builder(settings).store(gated.clone() as _).start();
    let dispatcher =
        trunkline::dispatch::Dispatcher::new(resolver, crate::support::livekit::client());

    let refused = dispatcher.call(&request(caller(1, 1), "wrong")).await;
    assert_eq!(refused.outcome, Outcome::CredentialsRefused, "{refused:?}");
    assert_eq!(tap.methods(), ["CreateRoom", "CreateRoom"], "once more, and no more");
    let message = refused.message.unwrap();
    assert!(message.contains("401") && !message.contains("eyJ"), "{message}");

    let edit = ConfigEdit {
        api_secret: Some(lab.ring.seal(secret, NOW).unwrap()),
        ..ConfigEdit::default()
    };
    lab.store.update_config(id, &edit).await.unwrap();
    let asked = gated.statements();
    let placed = dispatcher.call(&request(caller(1, 1), "right")).await;
    assert_eq!(placed.outcome, Outcome::Placed, "{placed:?}");
    assert_eq!(gated.statements() - asked, 1, "the config was asked for once");
    assert_eq!(server.look().told(room_of(&placed)).await.len(), 1);
    assert_eq!(
        tap.methods()[2..],
        ["CreateRoom", "CreateRoom", "ListDispatch", "CreateDispatch"],
        "after a refusal the room is looked into before an agent is sent"
    );
}

#[tokio::test]
async fn an_answer_that_is_lost_sends_no_second_agent() {
    let server = Server::shared();
    let lab = Lab::new(Kind::Sqlite).await;
    for (fault, requests) in [
        (Fault::LosesAnswer, &["CreateRoom", "CreateDispatch", "ListDispatch"][..]),
        (Fault::LosesRequest, &["CreateRoom", "CreateDispatch", "ListDispatch", "CreateDispatch"]),
    ] {
        let tap = Tap::before(server.port).await;
        let name = format!("{fault:?}");
        let id = lab.config(&tap.url(), server.keys[0], &name).await;
        lab.number(caller(1, tap.port.into()), Some(id), json!({})).await;
        let dispatcher = lab.dispatcher(&[]);
        tap.next("CreateDispatch", fault);
        let report = dispatcher.call(&request(caller(1, tap.port.into()), "lost")).await;
        assert_eq!(report.outcome, Outcome::Placed, "{name}: {report:?}");
        assert_eq!(server.look().told(room_of(&report)).await.len(), 1, "{name}");
        assert_eq!(tap.methods(), requests, "{name}");
    }
}

#[tokio::test]
async fn a_room_is_asked_for_again_and_is_one_room() {
    let server = Server::shared();
    let lab = Lab::new(Kind::Sqlite).await;
    let tap = Tap::before(server.port).await;
    let id = lab.config(&tap.url(), server.keys[0], "eu").await;
    lab.number(caller(1, 1), Some(id), json!({})).await;
    tap.next("CreateRoom", Fault::LosesAnswer);
    tap.next("CreateRoom", Fault::LosesRequest);
    let report = lab.dispatcher(&[]).call(&request(caller(1, 1), "room")).await;
    assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    assert_eq!(tap.count("CreateRoom"), 3);
    let look = server.look();
    assert_eq!(look.livekit.rooms(&look.with, &[room_of(&report)]).await.unwrap().len(), 1);
}

/// The call is ended on the server that it was placed on, although its number has moved since, and
/// although another server has a room of the same name.
#[tokio::test]
async fn a_call_is_ended_with_the_config_that_placed_it() {
    let (first, second) = (Server::shared(), Server::other());
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let old = lab.config(&first.url(), first.keys[0], "old").await;
        let new = lab.config(&second.url(), second.keys[0], "new").await;
        lab.number(caller(1, 1), Some(old), json!({})).await;
        let dispatcher = lab.dispatcher(&[]);
        let call = dispatcher.call(&request(caller(1, 1), "moved")).await.call.unwrap();
        assert_eq!(call.config, Some(old));
        lab.store.assign(caller(1, 1), Some(new)).await.unwrap();
        crate::support::eventually("the number has moved", async || {
            dispatcher.resolver().resolve(caller(1, 1)).await.unwrap().config_id() == Some(new)
        })
        .await;
        let other = second.look();
        other.livekit.create_room(&other.with, &call.room, "").await.unwrap();

        // As another process would, which knows room and config.
        let kept = Call::new(&call.room, call.config);
        let found = dispatcher.find(&call.room).await.unwrap();
        assert_eq!((found.calls.len(), found.unasked.len()), (2, 0), "{found:?}");
        dispatcher.hang_up(&kept).await.unwrap();
        assert!(!first.look().has(&call.room).await, "{kind:?}");
        assert!(other.has(&call.room).await, "{kind:?}");
        let found = dispatcher.find(&call.room).await.unwrap();
        assert_eq!(found.calls.iter().map(|call| call.config).collect::<Vec<_>>(), [Some(new)]);
    }
}
