//! Calls that a client places through a daemon: each once, whatever is asked twice, whoever leaves and
//! whichever node goes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use trunkline::KeyRing;
use trunkline::store::{ConfigEdit, NewNumber};

use super::{Daemon, Request, Site, TENANT, refused, status_and_body};
use crate::support::database::{BOTH, Kind};
use crate::support::events::{Event, Events};
use crate::support::http::Message;
use crate::support::livekit::config_on;
use crate::support::standin::{FarEnd, StandIn};
use crate::support::tap::{Fault, Tap};
use crate::support::{caller, eventually};

const KEYS: [(&str, &str); 2] = [
    ("APIstandin", "canary-of-the-stand-in-0123456789-0123456789"),
    ("APIsecond", "canary-of-the-second-key-0123456789-012345678"),
];
const FROM: &str = "+971500000007";
const TO: &str = "+919876543210";

/// A site whose number calls through a stand-in, and a client that may call.
struct Lab {
    site: Site,
    stand_in: StandIn,
    token: String,
}

impl Lab {
    async fn new(kind: Kind) -> Self {
        let site = Site::new(kind).await;
        let stand_in = StandIn::start(&KEYS).await;
        stand_in.trunk("ST_own", &["*"]);
        let ring = KeyRing::parse(&site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY")).unwrap();
        let store = site.database.store();
        let config = config_on(&ring, &stand_in.url(), KEYS[0], "calls");
        let id = store.create_config(&config).await.unwrap();
        let rules = json!({"livekit_config": id, "outbound_trunk_id": "ST_own"});
        let number = NewNumber { caller: caller(1, 7), provider: None, rules };
        store.add_number(&number).await.unwrap();
        let token = site.client("dialler", &["--tenant", TENANT, "--may", "calls"]);
        Self { site, stand_in, token }
    }

    /// A request for a call that the daemon dials.
    fn call(&self, key: &str) -> Request {
        self.call_of(key, &json!({"from": FROM, "to": TO, "dial": "engine", "ringing": 20}))
    }

    fn call_of(&self, key: &str, body: &Value) -> Request {
        self.signed(Request::post("/v1/calls", body)).with("idempotency-key", key)
    }

    fn signed(&self, request: Request) -> Request {
        request.with("authorization", &format!("Bearer {}", self.token))
    }

    async fn look(&self, daemon: &Daemon, id: &str) -> Message {
        daemon.send(self.signed(Request::get(&format!("/v1/calls/{id}")))).await
    }

    async fn end(&self, daemon: &Daemon, id: &str) -> Message {
        let request = Request::post(&format!("/v1/calls/{id}/end"), &json!({}));
        daemon.send(self.signed(request)).await
    }

    /// The one call that there is: its id and state.
    async fn the_call(&self) -> (String, String) {
        let id = match self.site.database.kind {
            Kind::Postgres => "cast(id as text)",
            Kind::Sqlite => "lower(hex(id))",
        };
        let text = self.site.database.value(&format!("select {id} from trunkline_calls")).await;
        let state = self.site.database.value("select state from trunkline_calls").await;
        (uuid::Uuid::parse_str(&text).unwrap().to_string(), state)
    }
}

fn outcome(message: &Message) -> (u16, String, bool) {
    let (status, body) = status_and_body(message);
    let outcome = body["outcome"].as_str().unwrap_or_default().to_owned();
    (status, outcome, message.header("idempotency-replayed") == Some("true"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_calls_once_and_is_answered_the_same_by_every_node() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        lab.stand_in.at(TO, FarEnd::Answers);
        let (one, two) = (lab.site.daemon(), lab.site.daemon_elsewhere());
        let first = one.send(lab.call("a")).await;
        assert_eq!(outcome(&first), (201, "placed".into(), false), "{first:?}");
        for daemon in [&one, &two] {
            let again = daemon.send(lab.call("a")).await;
            assert_eq!(outcome(&again), (201, "placed".into(), true));
            let [first, again] = [&first, &again].map(|told| status_and_body(told).1);
            assert_eq!(first, again);
        }
        assert_eq!(lab.stand_in.dialled().len(), 1, "{kind:?}");
        let location = first.header("location").unwrap();
        let (_, body) = status_and_body(&first);
        assert_eq!(location, format!("/v1/calls/{}", body["id"].as_str().unwrap()));
        let looked = lab.look(&two, body["id"].as_str().unwrap()).await;
        assert_eq!(status_and_body(&looked), (200, body));
        // Something else under that key, and no key at all.
        let other = lab.call_of("a", &json!({"from": FROM, "to": "+919876543211"}));
        refused(&one.send(other).await, 422, "key_reused");
        let none = lab.signed(Request::post("/v1/calls", &json!({"from": FROM, "to": TO})));
        refused(&one.send(none).await, 400, "idempotency_key_missing");
        assert_eq!(lab.stand_in.dialled().len(), 1, "{kind:?}");
        let second = one.send(lab.call("b")).await;
        assert_eq!(outcome(&second), (201, "placed".into(), false));
        assert_eq!(lab.stand_in.dialled().len(), 2, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_on_when_its_client_leaves_and_is_ended_by_it() {
    let lab = Lab::new(Kind::Postgres).await;
    lab.stand_in.at(TO, FarEnd::Rings);
    let daemon = lab.site.daemon();
    {
        let leaving = std::pin::pin!(daemon.send(lab.call("a")));
        let rings = eventually("it rings", async || lab.stand_in.ringing() == 1);
        futures_util::future::select(leaving, std::pin::pin!(rings)).await;
    }
    let (id, state) = lab.the_call().await;
    assert_eq!(state, "dialling");
    refused(&daemon.send(lab.call("a")).await, 409, "request_running");
    assert_eq!(status_and_body(&lab.look(&daemon, &id).await).1["state"], "dialling");
    assert_eq!(status_and_body(&lab.end(&daemon, &id).await).0, 200);
    let ended = async || {
        let body = status_and_body(&lab.look(&daemon, &id).await).1;
        body["state"] == "ended" && body["outcome"] == "cancelled"
    };
    eventually("it has ended", ended).await;
    refused(&lab.end(&daemon, &id).await, 409, "room_gone");
    assert_eq!(lab.stand_in.dialled().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_node_was_killed_is_in_doubt_and_never_dialled_again() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        lab.stand_in.at(TO, FarEnd::Rings);
        let (one, two) = (lab.site.daemon(), lab.site.daemon_elsewhere());
        eventually("it is listed", async || {
            lab.site.database.value("select count(*) from trunkline_nodes").await == "2"
        })
        .await;
        {
            let asking = std::pin::pin!(one.send(lab.call("a")));
            let rings = eventually("it rings", async || lab.stand_in.ringing() == 1);
            futures_util::future::select(asking, std::pin::pin!(rings)).await;
        }
        drop(one);
        let (id, _) = lab.the_call().await;
        // Its node may still be there.
        refused(&two.send(lab.call("a")).await, 409, "request_running");
        let gone = "delete from trunkline_nodes where id = (select node from trunkline_calls)";
        lab.site.database.sql(gone).await;
        let told = two.send(lab.call("a")).await;
        assert_eq!(outcome(&told), (201, "in_doubt".into(), true), "{told:?}");
        let (_, body) = status_and_body(&lab.look(&two, &id).await);
        assert_eq!((&body["state"], &body["outcome"]), (&json!("ended"), &json!("in_doubt")));
        assert_eq!(outcome(&two.send(lab.call("a")).await).1, "in_doubt");
        assert_eq!(lab.stand_in.dialled().len(), 1, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_only_accepted_is_placed_by_who_is_asked_next_and_by_nobody_else() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        lab.stand_in.at(TO, FarEnd::Answers);
        let daemon = lab.site.daemon();
        assert_eq!(outcome(&daemon.send(lab.call("a")).await).1, "placed");
        // As if its node had been killed before it dialled.
        let node = match kind {
            Kind::Postgres => "gen_random_uuid()",
            Kind::Sqlite => "randomblob(16)",
        };
        let back = format!(
            "update trunkline_calls set state = 'accepted', outcome = null, answer = null, node = {node}"
        );
        lab.site.database.sql(&back).await;
        let both = tokio::join!(daemon.send(lab.call("a")), daemon.send(lab.call("a")));
        let placed = [&both.0, &both.1].into_iter().filter(|told| told.word() == "201").count();
        assert!(placed >= 1, "{both:?}");
        assert_eq!(lab.stand_in.dialled().len(), 2, "{kind:?}");
    }
}

/// Its row is what keeps a call from being dialled twice. So without it nobody is called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_called_where_it_cannot_be_written_down() {
    let lab = Lab::new(Kind::Postgres).await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let daemon = lab.site.daemon();
    let refuse = "create function refuse() returns trigger language plpgsql as
        $$ begin raise 'no'; end $$;
        create trigger refuse before update on trunkline_calls
        for each row when (new.state = 'dialling') execute function refuse()";
    lab.site.database.sql(refuse).await;
    let told = daemon.send(lab.call("a")).await;
    assert_eq!(outcome(&told), (201, "unreachable".into(), false), "{told:?}");
    assert!(lab.stand_in.dialled().is_empty() && lab.stand_in.rooms().is_empty());
    lab.site.database.sql("drop trigger refuse on trunkline_calls").await;
    lab.site.database.sql("alter table trunkline_calls rename to elsewhere").await;
    assert_eq!(daemon.send(lab.call("b")).await.word(), "503");
    assert!(lab.stand_in.dialled().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_no_call_of_another_one_and_calls_from_no_other_number() {
    let lab = Lab::new(Kind::Sqlite).await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let other = lab.site.client("other", &["--tenant", TENANT, "--may", "calls"]);
    let mute = lab.site.client("mute", &["--tenant", TENANT, "--may", "route"]);
    let daemon = lab.site.daemon();
    let told = daemon.send(lab.call("a")).await;
    let id = status_and_body(&told).1["id"].as_str().unwrap().to_owned();
    let signed = |request: Request| request.with("authorization", &format!("Bearer {other}"));
    let look = Request::get(&format!("/v1/calls/{id}"));
    refused(&daemon.send(signed(look.clone())).await, 404, "call_not_found");
    let end = Request::post(&format!("/v1/calls/{id}/end"), &json!({}));
    refused(&daemon.send(signed(end)).await, 404, "call_not_found");
    // Its own key of that name is another one.
    let own = signed(lab.call("a"));
    assert_eq!(outcome(&daemon.send(own).await), (201, "placed".into(), false));
    let elsewhere =
        lab.call_of("c", &json!({"tenant": super::OTHER_TENANT, "from": FROM, "to": TO}));
    refused(&daemon.send(elsewhere).await, 403, "tenant_not_allowed");
    let asked = lab.call("d").with("authorization", &format!("Bearer {mute}"));
    refused(&daemon.send(asked).await, 403, "scope_missing");
    assert_eq!(lab.stand_in.dialled().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_the_number_hold_and_what_is_wrong_is_told_before_anybody_is_called() {
    let lab = Lab::new(Kind::Sqlite).await;
    let daemon = lab.site.daemon();
    let body = |more: Value| {
        let mut body = json!({"from": FROM, "to": TO});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (more, code) in [
        (json!({"job": "a/b"}), "call_malformed"),
        (json!({"fields": {"call_mode": "x"}}), "call_malformed"),
        (json!({"ringing": 20}), "field_malformed"),
        (json!({"dial": "engine", "ringing": 81}), "field_malformed"),
        (json!({"dial": "engine", "ringing": 0}), "field_malformed"),
        (json!({"dial": null, "wait": true}), "field_malformed"),
        (json!({"dial": "engine", "longest": 86_401}), "field_malformed"),
        (json!({"dial": "nobody"}), "field_malformed"),
        (json!({"krisp": true}), "field_malformed"),
        (json!({"dial": "engine", "krisp": "yes"}), "field_malformed"),
        (json!({"dial": "engine", "display_name": "a\"b"}), "field_malformed"),
        (json!({"dial": "engine", "phone_attributes": {"sip.callID": "x"}}), "field_malformed"),
        (json!({"dial": "engine", "headers": {"X-A": 1}}), "field_malformed"),
        (json!({"dial": "engine", "headers": {"X-A": "b\r\nTo: x"}}), "field_malformed"),
        (json!({"dial": "engine", "headers": {"P-Asserted-Identity": "x"}}), "field_malformed"),
        (json!({"too": "+1"}), "field_unknown"),
    ] {
        refused(&daemon.send(lab.call_of("a", &body(more))).await, 400, code);
    }
    let nobody = json!({"from": FROM, "to": "12", "dial": "engine"});
    let told = daemon.send(lab.call_of("b", &nobody)).await;
    assert_eq!(outcome(&told), (201, "not_allowed".into(), false), "{told:?}");
    assert!(lab.stand_in.dialled().is_empty() && lab.stand_in.rooms().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_says_how_the_phone_is_dialled_but_for_the_headers_of_the_rules() {
    let lab = Lab::new(Kind::Sqlite).await;
    let set = "update voice_agent_numbers set rules = json_patch(rules, '{\"krisp_enabled\": false, \
               \"headers\": {\"X-Account\": \"of the rules\"}}')";
    lab.site.database.sql(set).await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let daemon = lab.site.daemon();
    let body = json!({"from": FROM, "to": TO, "dial": "engine", "ringing": 80, "krisp": true,
        "display_name": "The bank", "hide_number": true, "phone_name": "Lead",
        "phone_attributes": {"lead": "7"},
        "headers": {"X-Campaign": "May; 7", "x-account": "of the client"}});
    let told = daemon.send(lab.call_of("a", &body)).await;
    assert_eq!(outcome(&told), (201, "placed".into(), false), "{told:?}");
    let dialled = lab.stand_in.dialled().remove(0);
    let members = ["krisp_enabled", "display_name", "hide_phone_number", "participant_name"];
    let said = members.map(|member| dialled[member].clone());
    assert_eq!(said, [json!(true), json!("The bank"), json!(true), json!("Lead")]);
    assert_eq!(dialled["participant_attributes"], json!({"lead": "7"}));
    let headers = json!({"X-Account": "of the rules", "X-Campaign": "May; 7"});
    assert_eq!((&dialled["headers"], &dialled["ringing_timeout"]), (&headers, &json!("80s")));
}

/// Keys that are turned while a call is on its way are no reason to lose it, nor to call twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_credentials_are_changed_on_the_way_is_placed_with_the_new_ones() {
    let lab = Lab::new(Kind::Postgres).await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let (store, tap) = (lab.site.database.store(), Tap::before(lab.stand_in.port).await);
    let key = lab.site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
    let ring = KeyRing::parse(&key).unwrap();
    let config =
        store.create_config(&config_on(&ring, &tap.url(), KEYS[0], "tapped")).await.unwrap();
    let rules = json!({"livekit_config": config, "outbound_trunk_id": "ST_own"});
    let number = NewNumber { caller: caller(1, 8), provider: None, rules };
    store.add_number(&number).await.unwrap();
    let daemon = lab.site.daemon();
    tap.next("CreateRoom", Fault::Delays(Duration::from_secs(2)));
    let body = json!({"from": "+971500000008", "to": TO, "dial": "engine"});
    let turning = async {
        // More than once, as where a pair of keys is turned and turned back.
        for (turn, (api_key, secret)) in [(1, KEYS[1]), (2, KEYS[0]), (3, KEYS[1])] {
            eventually("a room is made", async || tap.count("CreateRoom") == turn).await;
            if turn < 3 {
                tap.next("CreateRoom", Fault::Delays(Duration::from_secs(2)));
            }
            let edit = ConfigEdit {
                api_key: Some(api_key.into()),
                api_secret: Some(ring.seal(secret, 1_700_000_000).unwrap()),
                ..ConfigEdit::default()
            };
            store.update_config(config, &edit).await.unwrap();
        }
    };
    let (told, ()) = tokio::join!(daemon.send(lab.call_of("a", &body)), turning);
    assert_eq!(
        outcome(&told),
        (201, "placed".into(), false),
        "{told:?} {:?} {:?}",
        tap.methods(),
        tap.issuers()
    );
    // What it had begun with was wiped, so it began anew.
    assert_eq!((tap.count("CreateRoom"), tap.count("CreateDispatch")), (4, 1));
    assert_eq!(lab.stand_in.dialled().len(), 1);
    assert!(outcome(&daemon.send(lab.call_of("a", &body)).await).2);
}

/// The news of a call, by its id: reads on to the one that is wanted.
async fn news(events: &mut Events<TcpStream>, wanted: &str) -> Event {
    loop {
        let event = events.next().await.unwrap();
        assert_eq!(event.name, "call", "{event:?}");
        if event.data["news"] == wanted {
            return event;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_a_client_s_calls_is_told_by_every_node_and_of_no_other_client_s() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        lab.stand_in.at(TO, FarEnd::Answers);
        let other = lab.site.client("other", &["--tenant", TENANT, "--may", "calls"]);
        let (one, two) = (lab.site.daemon(), lab.site.daemon_elsewhere());
        let path = "/v1/calls/events";
        let mut events = two.events(lab.signed(Request::get(path))).await;
        let mut others = two.events(Request::new("GET", path, &Value::Null, &other)).await;
        for events in [&mut events, &mut others] {
            assert_eq!(events.next().await.unwrap().data, json!({"resumed": false}));
        }
        let body = status_and_body(&one.send(lab.call("a")).await).1;
        let told = news(&mut events, "ended").await;
        let call = &told.data["call"];
        assert_eq!((&call["id"], &call["outcome"]), (&body["id"], &json!("placed")), "{kind:?}");
        lab.site
            .database
            .sql("update trunkline_calls set left_at = ended_at, disconnect_reason = 'CLIENT_INITIATED'")
            .await;
        let told = news(&mut events, "left").await;
        assert_eq!(told.data["call"]["disconnect_reason"], "CLIENT_INITIATED");

        // Who comes back goes on from where it was; somebody else heard of its own calls alone.
        drop(events);
        let second = status_and_body(&one.send(lab.call("b")).await).1;
        let again = lab.signed(Request::get(path)).with("last-event-id", &told.id.unwrap());
        let mut events = one.events(again).await;
        assert_eq!(events.next().await.unwrap().data, json!({"resumed": true}));
        while news(&mut events, "ended").await.data["call"]["id"] != second["id"] {}
        let own = lab.call("c").with("authorization", &format!("Bearer {other}"));
        let own = status_and_body(&one.send(own).await).1;
        assert_eq!(others.next().await.unwrap().data["call"]["id"], own["id"]);
        let query = format!("{path}?tenant_id={}", super::OTHER_TENANT);
        let refusal = one.send(lab.signed(Request::get(&query))).await;
        refused(&refusal, 403, "tenant_not_allowed");
    }
}
