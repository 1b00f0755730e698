//! One call: with credentials of the database, of the environment, with the flag off, refused.

use serde_json::json;
use trunkline::dispatch::{CallRequest, Outcome};
use trunkline::{Reason, Source};

use super::{INDIA, Lab, request, room_of};
use crate::support::caller;
use crate::support::database::{BOTH, Kind};
use crate::support::livekit::Server;

#[tokio::test]
async fn a_call_with_credentials_of_the_database_leaves_a_room_and_an_agent_that_knows_all() {
    let server = Server::shared();
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let id = lab.config(&server.url(), server.keys[0], "eu").await;
        let rules =
            json!({"required_lead_format": ["0", "base_number"], "outbound_trunk_id": "ST_none"});
        lab.number(caller(1, 1), Some(id), rules).await;
        let dispatcher = lab.dispatcher(&[]);
        let report = dispatcher.call(&request(caller(1, 1), "job-1")).await;
        assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
        let room = room_of(&report);
        let chance = room.strip_prefix("call-job-1-").unwrap();
        assert!(chance.len() == 8 && chance.bytes().all(|digit| digit.is_ascii_hexdigit()));

        let expected = json!({
            "call_mode": "outbound", "job_id": "job-1", "tenant_id": caller(1, 1).tenant,
            "from_number": caller(1, 1).number, "to_number": "+91 98765 43210",
            "phone_number": "09876543210", "sip_number": caller(1, 1).number,
            "outbound_trunk_id": "ST_none", "carrier": "etisalat",
            "trunk_resolution": "database", "dial": "agent",
            "phone_identity": "phone-919876543210", "voice_id": "v7",
        });
        let look = server.look();
        assert_eq!(look.told(room).await, std::slice::from_ref(&expected), "{kind:?}");
        let rooms = look.livekit.rooms(&look.with, &[room]).await.unwrap();
        assert_eq!(rooms[0].metadata, expected.to_string());
        let sent = look.livekit.dispatches(&look.with, room).await.unwrap();
        let ours = sent.iter().find(|sent| sent.agent_name == "agent-of-eu").unwrap();
        assert_eq!(report.dispatch_id.as_deref(), Some(ours.id.as_str()));

        let call = report.call.unwrap();
        dispatcher.hang_up(&call).await.unwrap();
        assert!(!look.has(&call.room).await);
        let again = dispatcher.hang_up(&call).await.unwrap_err();
        assert_eq!(again.to_string(), "the server has no such room", "which is no success");
    }
}

#[tokio::test]
async fn a_call_falls_back_to_the_environment_by_the_rules_of_its_number() {
    let server = Server::shared();
    let lab = Lab::new(Kind::Sqlite).await;
    lab.number(caller(1, 1), None, json!({"allowed_outbound": "india"})).await;
    let url = server.url();
    let (key, secret) = server.keys[1];
    let environment = [
        ("LIVEKIT_URL", url.as_str()),
        ("LIVEKIT_API_KEY", key),
        ("LIVEKIT_API_SECRET", secret),
        ("OUTBOUND_TRUNK_ID", "ST_env"),
        ("VOICE_AGENT_NAME", "env-agent"),
    ];
    let off = [&environment[..], &[("USE_SELFHOST_ROUTING_TABLE", "false")]].concat();
    for (variables, reason, carrier) in [
        (&environment[..], Reason::ConfigUnassigned, json!("etisalat")),
        (&off[..], Reason::FlagOff, json!("etisalat")),
    ] {
        let report = lab.dispatcher(variables).call(&request(caller(1, 1), "env")).await;
        assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
        let answer = report.resolution.as_ref().unwrap();
        assert_eq!((answer.source(), answer.reason()), (Source::Environment, Some(reason)));
        let told = server.look().told(room_of(&report)).await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["trunk_resolution"], "environment");
        assert_eq!(told[0]["outbound_trunk_id"], "ST_env");
        assert_eq!((&told[0]["carrier"], &told[0]["phone_number"]), (&carrier, &json!(INDIA)));
    }
}

#[tokio::test]
async fn what_is_refused_reaches_no_server() {
    let lab = Lab::new(Kind::Sqlite).await;
    let tap = crate::support::tap::Tap::before(Server::shared().port).await;
    let id = lab.config(&tap.url(), Server::shared().keys[0], "eu").await;
    lab.number(caller(1, 1), Some(id), json!({"allowed_outbound": "uae"})).await;
    let dispatcher = lab.dispatcher(&[]);
    let good = request(caller(1, 1), "job");
    let mut own_field = CallRequest { to: "0501234567".into(), ..good.clone() };
    own_field.fields.insert("phone_number".into(), json!("+1"));
    let mut large = CallRequest { to: "0501234567".into(), ..good.clone() };
    large.fields.insert("context".into(), json!("x".repeat(59_950)));
    for (request, outcome, words) in [
        (good.clone(), Outcome::NotAllowed, "only the United Arab Emirates (AE)"),
        (own_field, Outcome::Invalid, "\"phone_number\" is written by the engine"),
        (large, Outcome::Invalid, "at most 60000 are sent"),
        (CallRequest { job: "a b".into(), ..good.clone() }, Outcome::Invalid, "a job must be"),
        (CallRequest { caller: caller(1, 2), ..good }, Outcome::NoCredentials, "number_unknown"),
    ] {
        let report = dispatcher.call(&request).await;
        assert_eq!(report.outcome, outcome, "{report:?}");
        assert!(report.message.as_ref().unwrap().contains(words), "{report:?}");
        assert!(report.call.is_none());
    }
    assert_eq!(tap.methods(), Vec::<String>::new());
}
