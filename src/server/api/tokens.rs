//! `POST /v1/tokens`: a LiveKit access token in place of a secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::asking::Asking;
use super::body::parse;
use super::fields::{Field, Kind, optional, required};
use super::metrics::ApiMetrics;
use super::minting::{Minted, mint};
use super::problem::Problem;
use crate::access::TokenLimits;
use crate::answer::Source;
use crate::reason::Reason;
use crate::token::{SipGrant, TokenRequest, VideoGrant};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenQuestion {
    tenant: Option<String>,
    from: String,
    grants: AskedGrants,
    ttl: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AskedGrants {
    room: Option<String>,
    identity: Option<String>,
    name: Option<String>,
    metadata: Option<String>,
    can_publish: Option<bool>,
    can_subscribe: Option<bool>,
    can_publish_data: Option<bool>,
    sip_call: Option<bool>,
    agent: Option<bool>,
    admin: Option<bool>,
}

#[derive(Serialize)]
struct TokenAnswer<'a> {
    url: &'a str,
    token: &'a str,
    expires_at: u64,
    trunk_id: Option<&'a str>,
    agent_name: &'a str,
    source: Source,
    reason: Option<Reason>,
    stale: bool,
}

pub(super) async fn answer(
    asking: &Asking<'_>,
    body: &[u8],
    metrics: &ApiMetrics,
) -> Result<Vec<u8>, Problem> {
    let TokenQuestion { tenant, from, grants, ttl } = parse(body, ASKED)?;
    let from = asking.from(tenant.as_deref(), &from)?;
    let limits = &asking.permissions.tokens;
    let mut request = grants.request(limits)?;
    request.ttl = life(ttl, limits)?;
    let Minted { answer, token, expires_at } = mint(asking, &from, &request, metrics).await?;
    let answered = TokenAnswer {
        url: answer.url().as_str(),
        token: token.as_str(),
        expires_at,
        trunk_id: answer.trunk_id(),
        agent_name: answer.agent_name(),
        source: answer.source(),
        reason: answer.reason(),
        stale: answer.stale(),
    };
    Ok(serde_json::to_vec(&answered).expect("text and numbers are JSON"))
}

impl AskedGrants {
    /// What a token is to say, if the client may have it said.
    fn request(self, limits: &TokenLimits) -> Result<TokenRequest, Problem> {
        let given = |flag: Option<bool>| flag == Some(true);
        let (sip_call, agent, admin) = (given(self.sip_call), given(self.agent), given(self.admin));
        let joins = self.identity.is_some();
        if !(joins || sip_call || agent || admin) {
            let why =
                "must grant something: an identity that joins a room, sip_call, agent or admin";
            return Err(Problem::field("grants_empty", "grants", why));
        }
        let of_participant = self.name.is_some()
            || self.metadata.is_some()
            || [self.can_publish, self.can_subscribe, self.can_publish_data]
                .iter()
                .any(Option::is_some);
        if of_participant && !joins {
            let why = "must be there, since other fields are about who joins";
            return Err(Problem::field("field_missing", "grants.identity", why));
        }
        for (field, text) in [
            ("grants.room", &self.room),
            ("grants.identity", &self.identity),
            ("grants.name", &self.name),
        ] {
            if text.as_deref().is_some_and(is_malformed) {
                let why = "must be 1 to 255 characters, none of them a control character";
                return Err(Problem::field("field_malformed", field, why));
            }
        }
        if (joins || agent) && self.room.is_none() {
            let why = "must be there: joining and sending agents is about one room";
            return Err(Problem::field("field_missing", "grants.room", why));
        }
        if let Some(room) = &self.room
            && !limits.room.as_ref().is_some_and(|pattern| pattern.matches(room))
        {
            let why = "this client may not have tokens for this room";
            return Err(Problem::forbidden_field("room_not_allowed", "grants.room", why));
        }
        for (field, asked, allowed) in [
            ("grants.sip_call", sip_call, limits.sip_call),
            ("grants.agent", agent, limits.agent),
            ("grants.admin", admin, limits.admin),
        ] {
            if asked && !allowed {
                let why = "this client may not have tokens that grant this";
                return Err(Problem::forbidden_field("grant_not_allowed", field, why));
            }
        }
        let video = VideoGrant {
            room_join: joins,
            room_admin: agent,
            room_create: admin,
            room_list: admin,
            room: self.room,
            can_publish: self.can_publish,
            can_subscribe: self.can_subscribe,
            can_publish_data: self.can_publish_data,
            ..VideoGrant::default()
        };
        let mut request = TokenRequest::from(video);
        request.sip = SipGrant { call: sip_call, admin: false };
        (request.identity, request.name, request.metadata) =
            (self.identity, self.name, self.metadata);
        Ok(request)
    }
}

/// Whether it is no name of a room or of somebody in it.
pub(super) fn is_malformed(text: &str) -> bool {
    text.is_empty() || text.chars().count() > 255 || text.chars().any(char::is_control)
}

fn life(asked: Option<u64>, limits: &TokenLimits) -> Result<Duration, Problem> {
    let ttl = asked.map_or(DEFAULT_LIFE.min(limits.longest), Duration::from_secs);
    if ttl.is_zero() {
        return Err(Problem::field("field_malformed", "ttl", "must be at least one second"));
    }
    if ttl > limits.longest {
        let why = format!("tokens of this client live {:?} at the most", limits.longest);
        return Err(Problem::forbidden_field("ttl_too_long", "ttl", &why));
    }
    Ok(ttl)
}

pub(super) const TENANT: Field = optional(
    "tenant",
    Kind::Text,
    "The tenant of the number, a UUID. May be left out by a client of one tenant; and by one of all \
     tenants where only one owns the number.",
);
pub(super) const FROM: Field =
    required("from", Kind::Text, "The number that calls, such as +971501234567.");
pub(super) const SOURCE: Field = required(
    "source",
    Kind::Word(&["database", "environment"]),
    "Whose credentials these are: those of a LiveKit config, or the fallback's.",
);
pub(super) const REASON: Field = optional(
    "reason",
    Kind::Text,
    "Why it is the fallback; null where it is not. docs/troubleshooting.md has a section for each.",
);
pub(super) const STALE: Field = required(
    "stale",
    Kind::Flag,
    "Whether it is the last good answer of a database that cannot be asked at present.",
);
pub(super) const URL: Field = required("url", Kind::Text, "The URL of the LiveKit server.");
pub(super) const TRUNK: Field = optional("trunk_id", Kind::Text, "The outbound SIP trunk.");
pub(super) const AGENT: Field =
    required("agent_name", Kind::Text, "The name of the agent that takes the call.");

pub(super) const ASKED: &[Field] = &[
    TENANT,
    FROM,
    required("grants", Kind::Object(GRANTS), "What the token is to grant: at least one right."),
    optional("ttl", Kind::Seconds, "How long it is good for, in seconds; 60 if nothing is said."),
];

const GRANTS: &[Field] = &[
    optional("room", Kind::Text, "The room that the token is about."),
    optional("identity", Kind::Text, "Who joins the room with it."),
    optional("name", Kind::Text, "The name that others see."),
    optional("metadata", Kind::Text, "What who joins carries into the room."),
    optional("can_publish", Kind::Flag, "Whether he may publish; as the server has it."),
    optional("can_subscribe", Kind::Flag, "Whether he may subscribe; as the server has it."),
    optional("can_publish_data", Kind::Flag, "Whether he may send data; as the server has it."),
    optional("sip_call", Kind::Flag, "Placing SIP calls. LiveKit limits this to no room."),
    optional("agent", Kind::Flag, "Administering the room, which sending an agent into it takes."),
    optional("admin", Kind::Flag, "Creating, deleting and listing rooms, of any name."),
];

pub(super) const ANSWERED: &[Field] = &[
    URL,
    required("token", Kind::Text, "The access token."),
    required("expires_at", Kind::Seconds, "Until when it is good, in seconds since 1970."),
    TRUNK,
    AGENT,
    SOURCE,
    REASON,
    STALE,
];

const DEFAULT_LIFE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits() -> TokenLimits {
        let room = Some("call-*".parse().unwrap());
        let longest = Duration::from_secs(30);
        TokenLimits { room, sip_call: true, agent: true, admin: true, longest }
    }

    fn request(grants: Value, limits: &TokenLimits) -> Result<TokenRequest, (&'static str, u16)> {
        let grants: AskedGrants = serde_json::from_value(grants).unwrap();
        grants.request(limits).map_err(|problem| (problem.code, problem.status.as_u16()))
    }

    #[test]
    fn a_token_says_what_was_granted_and_nothing_else() {
        let join = json!({"room": "call-7", "identity": "a", "can_publish": false});
        let granted = request(join, &limits()).unwrap();
        let mut expected = VideoGrant::join("call-7");
        expected.can_publish = Some(false);
        assert_eq!((granted.video, granted.sip), (expected, SipGrant::default()));
        let call = request(json!({"sip_call": true, "agent": false}), &limits()).unwrap();
        assert_eq!((call.video, call.sip), (VideoGrant::default(), SipGrant::call()));
        let agent = request(json!({"agent": true, "room": "call-7"}), &limits()).unwrap();
        assert_eq!(agent.video, VideoGrant::admin("call-7"));
        let admin = request(json!({"admin": true}), &limits()).unwrap().video;
        assert!(admin.room_create && admin.room_list && !admin.room_admin && !admin.room_join);
    }

    #[test]
    fn each_right_is_the_client_s_or_refused() {
        let none =
            TokenLimits { room: None, sip_call: false, agent: false, admin: false, ..limits() };
        for (grants, code) in [
            (json!({"room": "call-7", "identity": "a"}), "room_not_allowed"),
            (json!({"room": "call-7", "agent": true}), "room_not_allowed"),
            (json!({"sip_call": true}), "grant_not_allowed"),
            (json!({"admin": true}), "grant_not_allowed"),
        ] {
            assert!(request(grants.clone(), &limits()).is_ok(), "{grants}");
            assert_eq!(request(grants.clone(), &none).err(), Some((code, 403)), "{grants}");
        }
        let no_agent = TokenLimits { agent: false, ..limits() };
        let agent = json!({"room": "call-7", "agent": true});
        assert_eq!(request(agent, &no_agent).err(), Some(("grant_not_allowed", 403)));
        let elsewhere = json!({"room": "lobby", "identity": "a"});
        assert_eq!(request(elsewhere, &limits()).err(), Some(("room_not_allowed", 403)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (grants, code) in [
            (json!({}), "grants_empty"),
            (json!({"room": "call-7"}), "grants_empty"),
            (json!({"sip_call": false}), "grants_empty"),
            (json!({"identity": "a"}), "field_missing"),
            (json!({"agent": true}), "field_missing"),
            (json!({"sip_call": true, "name": "A"}), "field_missing"),
            (json!({"room": "call-7", "identity": ""}), "field_malformed"),
            (json!({"room": "call-\u{7}", "identity": "a"}), "field_malformed"),
        ] {
            assert_eq!(request(grants.clone(), &limits()).err(), Some((code, 400)), "{grants}");
        }
    }

    #[test]
    fn a_life_is_at_most_the_client_s_longest() {
        assert_eq!(life(None, &limits()).unwrap(), Duration::from_secs(30));
        assert_eq!(life(Some(30), &limits()).unwrap(), Duration::from_secs(30));
        assert_eq!(life(Some(31), &limits()).unwrap_err().code, "ttl_too_long");
        assert_eq!(life(Some(0), &limits()).unwrap_err().code, "field_malformed");
        let day = TokenLimits { longest: Duration::from_secs(86_400), ..limits() };
        assert_eq!(life(None, &day).unwrap(), DEFAULT_LIFE);
    }
}
