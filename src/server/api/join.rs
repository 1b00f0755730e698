//! `POST /v1/livekit/token`: LiveKit's own token endpoint, as its SDKs ask it.
//!
//! Who asks may join, and nothing else. A client joins for the one number that it is; the holder of a
//! ticket joins the room of the ticket under its identity, and chooses nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::asking::{Asking, CallFrom};
use super::body::parse_respelled;
use super::fields::{Field, Kind, optional, required};
use super::metrics::ApiMetrics;
use super::minting::mint;
use super::problem::Problem;
use super::tokens::is_malformed;
use crate::access::{Ticket, TokenLimits};
use crate::keyring::KeyError;
use crate::token::{RoomAgent, RoomConfig, TokenRequest};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinQuestion {
    room_name: Option<String>,
    participant_identity: Option<String>,
    participant_name: Option<String>,
    participant_metadata: Option<String>,
    participant_attributes: Option<BTreeMap<String, String>>,
    room_config: Option<AskedRoom>,
}

#[derive(Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRoom {
    empty_timeout: Option<u32>,
    departure_timeout: Option<u32>,
    max_participants: Option<u32>,
    metadata: Option<String>,
    agents: Option<Vec<AskedAgent>>,
}

#[derive(PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedAgent {
    agent_name: String,
    metadata: Option<String>,
}

#[derive(Serialize)]
struct JoinAnswer<'a> {
    server_url: &'a str,
    participant_token: &'a str,
}

pub(super) async fn answer(
    asking: &Asking<'_>,
    ticket: Option<&Ticket>,
    body: &[u8],
    metrics: &ApiMetrics,
) -> Result<Vec<u8>, Problem> {
    let question: JoinQuestion = parse_respelled(body, ASKED, refuse_room_config)?;
    let limits = &asking.permissions.tokens;
    let (from, request) = match ticket {
        Some(ticket) => (from_ticket(asking, ticket)?, question.with_ticket(ticket, limits)?),
        None => (asking.only_caller()?, question.request(limits)?),
    };
    let minted = mint(asking, &from, &request, metrics).await?;
    let answered = JoinAnswer {
        server_url: minted.answer.url().as_str(),
        participant_token: minted.token.as_str(),
    };
    Ok(serde_json::to_vec(&answered).expect("text is JSON"))
}

/// What the ticket names, if its client still may ask for it.
fn from_ticket(asking: &Asking<'_>, ticket: &Ticket) -> Result<CallFrom, Problem> {
    asking.from(Some(&ticket.tenant.to_string()), &ticket.from.to_string())
}

impl JoinQuestion {
    /// What a token is to say, if the client may have it said.
    fn request(self, limits: &TokenLimits) -> Result<TokenRequest, Problem> {
        let pattern = limits.room.as_ref().ok_or_else(no_room)?;
        let room = match self.room_name {
            Some(room) => room,
            None => pattern.room(&unguessable()?),
        };
        let identity = match self.participant_identity {
            Some(identity) => identity,
            None => format!("participant-{}", unguessable()?),
        };
        for (field, text) in [
            ("room_name", Some(&room)),
            ("participant_identity", Some(&identity)),
            ("participant_name", self.participant_name.as_ref()),
        ] {
            if text.is_some_and(|text| is_malformed(text)) {
                let why = "must be 1 to 255 characters, none of them a control character";
                return Err(Problem::field("field_malformed", field, why));
            }
        }
        let mut request = joining(room, identity, limits)?;
        request.attributes = attributes(self.participant_attributes)?;
        request.room_config = self.room_config.map(|config| config.granted(limits)).transpose()?;
        (request.name, request.metadata) = (self.participant_name, self.participant_metadata);
        Ok(request)
    }

    /// The same for who holds a ticket, which names all that there is.
    fn with_ticket(self, ticket: &Ticket, limits: &TokenLimits) -> Result<TokenRequest, Problem> {
        let other = |asked: Option<String>, named: &str| asked.is_some_and(|asked| asked != named);
        for (field, chooses) in [
            ("room_name", other(self.room_name, &ticket.room)),
            ("participant_identity", other(self.participant_identity, &ticket.identity)),
            ("participant_name", self.participant_name.is_some()),
            ("participant_metadata", self.participant_metadata.is_some()),
            (
                "participant_attributes",
                self.participant_attributes.is_some_and(|all| !all.is_empty()),
            ),
            ("room_config", self.room_config.is_some_and(|config| config != AskedRoom::default())),
        ] {
            if chooses {
                let why = "the ticket fixes what may be asked with it; leave this out";
                return Err(Problem::forbidden_field("ticket_fixed", field, why));
            }
        }
        joining(ticket.room.clone(), ticket.identity.clone(), limits)
    }
}

/// The right to join a room that the client may name.
fn joining(room: String, identity: String, limits: &TokenLimits) -> Result<TokenRequest, Problem> {
    if !limits.room.as_ref().is_some_and(|pattern| pattern.matches(&room)) {
        return Err(no_room());
    }
    let mut request = TokenRequest::join(room, identity);
    request.ttl = LIFE.min(limits.longest);
    Ok(request)
}

fn no_room() -> Problem {
    let why = "this client may not have tokens for this room";
    Problem::forbidden_field("room_not_allowed", "room_name", why)
}

/// Those of LiveKit's own names say what agents and servers take for true.
fn attributes(
    asked: Option<BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, Problem> {
    let asked = asked.unwrap_or_default();
    if asked.keys().any(|name| RESERVED.iter().any(|prefix| name.starts_with(prefix))) {
        let why = "names that begin with lk. or sip. are LiveKit's own";
        return Err(Problem::forbidden_field("grant_not_allowed", "participant_attributes", why));
    }
    Ok(asked)
}

impl AskedRoom {
    fn granted(self, limits: &TokenLimits) -> Result<RoomConfig, Problem> {
        let agents = self.agents.unwrap_or_default();
        if !agents.is_empty() && !limits.agent {
            let why = "this client may not send agents";
            return Err(Problem::forbidden_field("grant_not_allowed", "room_config.agents", why));
        }
        let agent = |asked: AskedAgent| RoomAgent::new(asked.agent_name, asked.metadata);
        let mut config = RoomConfig::default();
        (config.empty_timeout, config.departure_timeout) =
            (self.empty_timeout, self.departure_timeout);
        (config.max_participants, config.metadata) = (self.max_participants, self.metadata);
        config.agents = agents.into_iter().map(agent).collect();
        Ok(config)
    }
}

/// What LiveKit knows and nobody may ask for is told apart from what is misspelled.
fn refuse_room_config(body: &Map<String, Value>) -> Result<(), Problem> {
    let Some(Value::Object(config)) = body.get("room_config") else { return Ok(()) };
    match NOT_GRANTED.iter().find(|name| config.contains_key(**name)) {
        None => Ok(()),
        Some(name) => {
            let why = "no client may set this";
            Err(Problem::forbidden_field("grant_not_allowed", &format!("room_config.{name}"), why))
        }
    }
}

/// 128 random bits as text.
fn unguessable() -> Result<String, Problem> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|_| KeyError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

pub(super) const ASKED: &[Field] = &[
    optional("room_name", Kind::Text, "The room; one is made up if none is named."),
    optional("participant_identity", Kind::Text, "Who joins; made up if nobody is named."),
    optional("participant_name", Kind::Text, "The name that others see."),
    optional("participant_metadata", Kind::Text, "What who joins carries into the room."),
    optional(
        "participant_attributes",
        Kind::Texts,
        "The same by names, none of which begins with lk. or sip.",
    ),
    optional("room_config", Kind::Object(ROOM), "How the room is made, if it is not there yet."),
];

const ROOM: &[Field] = &[
    optional("empty_timeout", Kind::Count, "How long it stays before anybody joins, in seconds."),
    optional("departure_timeout", Kind::Count, "How long it stays after all left, in seconds."),
    optional("max_participants", Kind::Count, "How many may join."),
    optional("metadata", Kind::Text, "Metadata of the room."),
    optional("agents", Kind::Some(MOST_AGENTS, AGENT), "Agents to send, if the client may."),
];

const AGENT: &[Field] = &[
    required("agent_name", Kind::Text, "The name of the agent."),
    optional("metadata", Kind::Text, "What it is told."),
];

pub(super) const ANSWERED: &[Field] = &[
    required("server_url", Kind::Text, "The URL of the LiveKit server."),
    required("participant_token", Kind::Text, "The access token."),
];

/// Long enough to be asked for a microphone. Who has joined gets new ones from the server.
const LIFE: Duration = Duration::from_secs(600);
const MOST_AGENTS: usize = 16;
const RESERVED: [&str; 2] = ["lk.", "sip."];
/// In both spellings: they are looked for before unknown names are.
const NOT_GRANTED: [&str; 9] = [
    "name",
    "egress",
    "tags",
    "min_playout_delay",
    "minPlayoutDelay",
    "max_playout_delay",
    "maxPlayoutDelay",
    "sync_streams",
    "syncStreams",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limits() -> TokenLimits {
        let (room, longest) = (Some("call-*".parse().unwrap()), Duration::from_secs(3600));
        TokenLimits { room, sip_call: false, agent: true, admin: false, longest }
    }

    fn request(body: &Value, limits: &TokenLimits) -> Result<TokenRequest, (&'static str, u16)> {
        let body = body.to_string();
        let question = parse_respelled::<JoinQuestion>(body.as_bytes(), ASKED, refuse_room_config);
        let request = question.and_then(|question| question.request(limits));
        request.map_err(|problem| (problem.code, problem.status.as_u16()))
    }

    #[test]
    fn both_spellings_say_the_same() {
        let snake = json!({
            "room_name": "call-7", "participant_identity": "a", "participant_name": "A",
            "participant_metadata": "m", "participant_attributes": {"role_name": "x"},
            "room_config": {
                "empty_timeout": 1, "departure_timeout": 2, "max_participants": 3, "metadata": "r",
                "agents": [{"agent_name": "b", "metadata": "n"}],
            },
        });
        let camel = json!({
            "roomName": "call-7", "participantIdentity": "a", "participantName": "A",
            "participantMetadata": "m", "participantAttributes": {"role_name": "x"},
            "roomConfig": {
                "emptyTimeout": 1, "departureTimeout": 2, "maxParticipants": 3, "metadata": "r",
                "agents": [{"agentName": "b", "metadata": "n"}],
            },
        });
        let [snake, camel] = [snake, camel].map(|body| request(&body, &limits()).unwrap());
        assert_eq!(format!("{snake:?}"), format!("{camel:?}"));
        assert_eq!((snake.identity.as_deref(), snake.ttl), (Some("a"), LIFE));
        assert_eq!(snake.attributes["role_name"], "x");
        let config = snake.room_config.unwrap();
        assert_eq!((config.empty_timeout, config.max_participants), (Some(1), Some(3)));
        assert_eq!(config.agents, [RoomAgent::new("b", Some("n".into()))]);
        let twice = json!({"room_name": "call-7", "roomName": "call-8"});
        assert_eq!(request(&twice, &limits()).err(), Some(("field_malformed", 400)));
    }

    #[test]
    fn what_is_not_named_is_made_within_the_client_s_pattern_and_never_twice() {
        let [one, other] = [(); 2].map(|()| request(&json!({}), &limits()).unwrap());
        let room = |request: &TokenRequest| request.video.room.clone().unwrap();
        assert!(room(&one).starts_with("call-") && room(&one).len() == 5 + 22, "{one:?}");
        assert!(room(&one) != room(&other) && one.identity != other.identity);
        assert!(one.identity.unwrap().len() > 22 && one.video.room_join);
        let only = TokenLimits { room: Some("lobby".parse().unwrap()), ..limits() };
        assert_eq!(room(&request(&json!({}), &only).unwrap()), "lobby");
        let long = TokenLimits {
            room: Some(format!("{}*", "x".repeat(250)).parse().unwrap()),
            ..limits()
        };
        assert_eq!(request(&json!({}), &long).err(), Some(("field_malformed", 400)));
    }

    #[test]
    fn nothing_passes_that_was_not_granted() {
        let plain = TokenLimits { agent: false, ..limits() };
        let config = |config: Value| json!({"room_config": config});
        for (body, code, status) in [
            (json!({"room_name": "lobby"}), "room_not_allowed", 403),
            (json!({"participant_attributes": {"lk.agent.state": "x"}}), "grant_not_allowed", 403),
            (json!({"participantAttributes": {"sip.callStatus": "x"}}), "grant_not_allowed", 403),
            (config(json!({"agents": [{"agent_name": "b"}]})), "grant_not_allowed", 403),
            (config(json!({"egress": {}})), "grant_not_allowed", 403),
            (json!({"roomConfig": {"egress": null}}), "grant_not_allowed", 403),
            (config(json!({"syncStreams": true})), "grant_not_allowed", 403),
            (config(json!({"name": "preset"})), "grant_not_allowed", 403),
            (config(json!({"empty_timeout": -1})), "field_malformed", 400),
            (config(json!({"empty_timeout": 1_u64 << 32})), "field_malformed", 400),
            (config(json!({"agents": [7]})), "field_malformed", 400),
            (config(json!({"agents": [{}]})), "field_missing", 400),
            (
                config(json!({"agents": [{"agent_name": "b", "deployment": "x"}]})),
                "field_unknown",
                400,
            ),
            (json!({"participant_attributes": {"a": 1}}), "field_malformed", 400),
            (json!({"participant_identity": ""}), "field_malformed", 400),
            (json!({"room": "call-7"}), "field_unknown", 400),
            (json!({"hidden": true}), "field_unknown", 400),
        ] {
            assert_eq!(request(&body, &plain).err(), Some((code, status)), "{body}");
        }
        let none = TokenLimits { room: None, ..limits() };
        assert_eq!(request(&json!({}), &none).err(), Some(("room_not_allowed", 403)));
        let short = TokenLimits { longest: Duration::from_secs(30), ..limits() };
        let granted = request(&json!({}), &short).unwrap();
        assert_eq!((granted.ttl, granted.video.room_admin), (short.longest, false));
    }
}
