//! `POST /v1/tickets`: what a client hands to a browser, which joins one room with it and asks nothing
//! else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::asking::Asking;
use super::body::parse;
use super::fields::{Field, Kind, optional, required};
use super::problem::Problem;
use super::tokens::{FROM, TENANT, is_malformed};
use crate::access::Ticket;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketQuestion {
    tenant: Option<String>,
    from: String,
    room: String,
    identity: String,
    ttl: Option<u64>,
}

#[derive(Serialize)]
struct TicketAnswer<'a> {
    ticket: &'a str,
    expires_at: u64,
}

pub(super) fn answer(asking: &Asking<'_>, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let TicketQuestion { tenant, from, room, identity, ttl } = parse(body, ASKED)?;
    let caller = asking.from(tenant.as_deref(), &from)?.caller()?;
    for (field, text) in [("room", &room), ("identity", &identity)] {
        if is_malformed(text) {
            let why = "must be 1 to 255 characters, none of them a control character";
            return Err(Problem::field("field_malformed", field, why));
        }
    }
    if !asking.permissions.tokens.room.as_ref().is_some_and(|pattern| pattern.matches(&room)) {
        let why = "this client may not have tokens for this room";
        return Err(Problem::forbidden_field("room_not_allowed", "room", why));
    }
    let ttl = ttl.map_or(LONGEST, Duration::from_secs);
    if ttl > LONGEST || ttl.is_zero() {
        let why = format!("must be 1 to {} seconds", LONGEST.as_secs());
        return Err(Problem::field("field_malformed", "ttl", &why));
    }
    let now = asking.resolver.unix_time();
    let ticket = Ticket {
        client: asking.client.id,
        tenant: caller.tenant,
        from: caller.number,
        room,
        identity,
        expires_at: (now + ttl).as_secs(),
    };
    let sealed = asking.resolver.seal_ticket(&ticket)?;
    let answered = TicketAnswer { ticket: &sealed, expires_at: ticket.expires_at };
    Ok(serde_json::to_vec(&answered).expect("text and numbers are JSON"))
}

pub(super) const ASKED: &[Field] = &[
    TENANT,
    FROM,
    required("room", Kind::Text, "The room that is joined with it."),
    required("identity", Kind::Text, "Who joins."),
    optional(
        "ttl",
        Kind::Seconds,
        "How long it is good for, in seconds; 600 at the most, and if nothing is said.",
    ),
];

pub(super) const ANSWERED: &[Field] = &[
    required(
        "ticket",
        Kind::Text,
        "What the browser sends as its token, to /v1/livekit/token alone.",
    ),
    required("expires_at", Kind::Seconds, "Until when it is good, in seconds since 1970."),
];

const LONGEST: Duration = Duration::from_secs(600);
