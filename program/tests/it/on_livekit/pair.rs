//! A key pair is turned on real servers that hold both: nobody is refused, and a request that a server
//! refuses goes once more with the other pair.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, stream};
use serde_json::json;
use trunkline::ConfigId;
use trunkline::Secret;
use trunkline::dispatch::Outcome;
use trunkline::dispatch::check::{PairsAtServers, Reach};
use trunkline::rotation::{EnteredPair, Pairs, RetireTerms};
use trunkline::store::PairPhase;

use super::{Lab, request, room_of};
use crate::support::database::{BOTH, Kind};
use crate::support::livekit::Server;
use crate::support::tap::{Tap, claims};
use crate::support::{NOW, caller, eventually};

const AT_SERVERS: fn() -> PairsAtServers<'static> = || PairsAtServers {
    timeouts: trunkline::dispatch::livekit::Timeouts {
        connect: crate::support::LIVEKIT_CONNECT,
        answer: crate::support::LIVEKIT_TIMEOUT,
    },
    reach: Reach::Anywhere,
};

impl Lab {
    fn pairs(&self) -> Pairs {
        let settings = self.database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", &self.key)]);
        Pairs::new(&self.database.open, &self.ring, &settings.tuning)
    }

    /// Has this pair be the pending one.
    async fn stage(&self, id: ConfigId, (key, secret): (&str, &str)) {
        self.pairs().stage(id, entered((key, secret)), NOW, false).await.unwrap();
    }
}

fn entered((key, secret): (&str, &str)) -> EnteredPair {
    EnteredPair { api_key: key.into(), api_secret: Secret::new(Box::new(secret.into())) }
}

/// Whose tokens were sent. A check greets a server without one.
fn issuers(tap: &Tap) -> Vec<String> {
    let requests = tap.requests().into_iter();
    let with_token = requests.filter(|request| request.header("authorization").is_some());
    with_token.map(|request| claims(&request).iss).collect()
}

/// Turned to and fro under calls on two servers, with a look at each call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_is_turned_on_two_servers_under_calls_and_none_is_refused() {
    let servers = [Server::shared(), Server::other()];
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let (mut ids, mut taps) = (Vec::new(), Vec::new());
        for (tenant, server) in (1..).zip(servers) {
            let tap = Tap::before(server.port).await;
            let id = lab.config(&tap.url(), server.keys[0], &format!("of-{tenant}")).await;
            lab.number(caller(tenant, 7), Some(id), json!({})).await;
            ids.push(id);
            taps.push(tap);
        }
        let (dispatcher, is_turned) = (lab.dispatcher(&[]), AtomicBool::new(false));
        let calling = async {
            let mut placed = 0;
            let mut left = 40;
            while left > 0 {
                let calls = stream::iter(1..=20_u128).map(|at| {
                    let (dispatcher, tenant) = (&dispatcher, 1 + at % 2);
                    async move { dispatcher.call(&request(caller(tenant, 7), "turn")).await }
                });
                let reports: Vec<_> = calls.buffer_unordered(4).collect().await;
                for report in reports {
                    assert_eq!(report.outcome, Outcome::Placed, "{kind:?}: {report:?}");
                    assert_eq!(report.other_pair, None, "no server refused anything");
                    placed += 1;
                }
                left -= if is_turned.load(Ordering::Acquire) { 20 } else { 0 };
            }
            placed
        };
        let turning = async {
            let (pairs, check) = (lab.pairs(), AT_SERVERS());
            for (id, server) in ids.iter().zip(servers) {
                pairs.stage(*id, entered(server.keys[1]), NOW, false).await.unwrap();
                pairs.promote(*id, &check, false, NOW, false).await.unwrap();
            }
            for id in &ids {
                pairs.roll_back(*id, &check, false, NOW, false).await.unwrap();
                pairs.roll_back(*id, &check, false, NOW, false).await.unwrap();
                let terms = RetireTerms { now: true, ..RetireTerms::default() };
                pairs.retire(*id, &check, terms).await.unwrap();
            }
            is_turned.store(true, Ordering::Release);
        };
        let (placed, ()) = tokio::join!(calling, turning);
        assert!(placed >= 40, "{placed}");
        for (tap, server) in taps.iter().zip(servers) {
            let by = issuers(tap);
            for (key, _) in server.keys {
                assert!(by.iter().any(|issuer| issuer == key), "{kind:?}: {key} was used");
            }
            assert_eq!(by.last().map(String::as_str), Some(server.keys[1].0));
        }
    }
}

/// The server has only the pair that is pending, or only the previous one. Each request is refused once and
/// goes once more, and what is current stays current.
#[tokio::test]
async fn a_request_that_a_server_refuses_goes_once_more_with_the_other_pair() {
    let server = Server::shared();
    let gone = ("APIgone", "a-secret-that-the-server-does-not-know-01");
    for kind in BOTH {
        for phase in [PairPhase::Pending, PairPhase::Previous] {
            let lab = Lab::new(kind).await;
            let tap = Tap::before(server.port).await;
            let good = server.keys[0];
            let id = match phase {
                PairPhase::Pending => {
                    let id = lab.config(&tap.url(), gone, "eu").await;
                    lab.stage(id, good).await;
                    id
                }
                _ => {
                    let id = lab.config(&tap.url(), good, "eu").await;
                    lab.stage(id, server.keys[1]).await;
                    lab.pairs().promote(id, &AT_SERVERS(), false, NOW, false).await.unwrap();
                    // The server forgets the new one.
                    let forget =
                        format!("update voice_agent_livekit set livekit_api_key = '{}'", gone.0);
                    lab.database.sql(&forget).await;
                    id
                }
            };
            let (before, asked) = (issuers(&tap).len(), tap.methods().len());
            lab.number(caller(1, 1), Some(id), json!({})).await;
            let dispatcher = lab.dispatcher(&[]);
            let report = dispatcher.call(&request(caller(1, 1), "other")).await;
            assert_eq!(report.outcome, Outcome::Placed, "{kind:?} {phase:?}: {report:?}");
            assert_eq!(report.other_pair, Some(phase), "{kind:?}");
            assert_eq!(serde_json::to_value(&report).unwrap()["other_pair"], json!(phase.as_str()));
            let methods = tap.methods().split_off(asked);
            assert_eq!(
                methods,
                ["CreateRoom", "CreateRoom", "CreateDispatch", "CreateDispatch"],
                "{kind:?} {phase:?}: each once more, and no more"
            );
            let by = issuers(&tap).split_off(before);
            assert_eq!(by, [gone.0, good.0, gone.0, good.0], "{kind:?} {phase:?}");
            assert_eq!(server.look().told(room_of(&report)).await.len(), 1, "one agent was sent");
            let current = dispatcher.resolver().resolve(caller(1, 1)).await.unwrap();
            assert_eq!(current.api_key(), gone.0, "a refusal turns nothing");
            dispatcher.hang_up(report.call.as_ref().unwrap()).await.unwrap();
        }
    }
}

/// Without the other pair a refusal is one, and a pair that others may have is used for nothing.
#[tokio::test]
async fn a_pair_that_others_may_have_is_not_tried() {
    let server = Server::shared();
    let lab = Lab::new(Kind::Sqlite).await;
    let tap = Tap::before(server.port).await;
    let id = lab.config(&tap.url(), server.keys[0], "eu").await;
    lab.number(caller(1, 1), Some(id), json!({})).await;
    let dispatcher = lab.dispatcher(&[]);
    let new = entered(server.keys[1]);
    lab.pairs().compromise(id, Some(new), &AT_SERVERS(), NOW, false).await.unwrap();
    eventually("the new pair is used", async || {
        let now = dispatcher.resolver().resolve(caller(1, 1)).await;
        now.unwrap().api_key() == server.keys[1].0
    })
    .await;
    // The server forgets the new one, and has the old one still.
    lab.database.sql("update voice_agent_livekit set livekit_api_key = 'APIgone'").await;
    eventually("that is heard of", async || {
        let now = dispatcher.resolver().resolve(caller(1, 1)).await;
        now.unwrap().api_key() == "APIgone"
    })
    .await;
    let before = issuers(&tap).len();
    let report = dispatcher.call(&request(caller(1, 1), "leaked")).await;
    assert_eq!((report.outcome, report.other_pair), (Outcome::CredentialsRefused, None));
    let by = issuers(&tap).split_off(before);
    assert!(by.iter().all(|issuer| issuer == "APIgone"), "{by:?}");
}
