//! `/v1/calls`: places calls, each once however often it is asked for, and ends them. A client sees its
//! own calls.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::asking::Asking;
use super::call_events;
use super::dialling::{
    CONFIRM_AGENT, DIAL, DISPLAY_NAME, HEADERS, HIDE_NUMBER, KRISP, LONGEST, PHONE_ATTRIBUTES,
    PHONE_NAME, RINGING, WAIT,
};
use super::editing::LOCATION;
use super::events::Streams;
use super::fields::{Field, Kind, optional, required};
use super::idempotency::{KEY_HEADER, KeysInUse, REPLAYED, REPLAYED_HEADER};
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use super::routes::{BARE, Operation as Of, Route};
use super::tokens::{FROM, TENANT};
use crate::access::Scope;
use crate::dispatch::options::{DialOptions, Dialling};
use crate::dispatch::recorded::{AskedCall, NotEnded, NotRecorded, Recorded, RecordedCalls};
use crate::dispatch::{CallRequest, HangUpError, Outcome};

/// What is done with calls.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Place,
    Look,
    End,
    Listen,
}

#[derive(Deserialize)]
struct Asked {
    tenant: Option<String>,
    from: String,
    to: String,
    job: Option<String>,
    fields: Option<Map<String, Value>>,
    #[serde(flatten)]
    dialling: DialOptions,
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
    keys: &KeysInUse,
    calls: Option<&RecordedCalls>,
    goes_on: (&Streams, &CancellationToken),
) -> Result<Reply, Problem> {
    let calls = calls.ok_or_else(Problem::no_database)?;
    match operation {
        Operation::Listen => call_events::answer(asking, question, calls, goes_on),
        Operation::Place => place(asking, question, keys, calls).await,
        Operation::Look => {
            let found = calls.look(asking.client.id, id(question)?).await?;
            Ok(Reply::json(&found.ok_or_else(missing)?))
        }
        Operation::End => {
            let id = id(question)?;
            calls.end(asking.client.id, id).await?;
            Ok(Reply::json(&json!({"id": id, "ended": true})))
        }
    }
}

async fn place(
    asking: &Asking<'_>,
    question: &Question<'_>,
    keys: &KeysInUse,
    calls: &RecordedCalls,
) -> Result<Reply, Problem> {
    let key = keys.key(asking.client.id, question)?.ok_or_else(|| {
        Problem::field("idempotency_key_missing", "Idempotency-Key", "must be there for a call")
            .hint(
                "make a new key for each call, and ask again with the same one: it is placed once",
            )
    })?;
    let body: Asked = question.body_in_parts()?;
    let caller = asking.from(body.tenant.as_deref(), &body.from)?.caller()?;
    let Dialling { dial, confirm_agent, phone } = body.dialling.read()?;
    let new = CallRequest::new(caller, body.to);
    let request = CallRequest {
        job: body.job.unwrap_or_else(|| new.job.clone()),
        fields: body.fields.unwrap_or_default(),
        dial,
        confirm_agent,
        phone,
        keep_headers: true,
        ..new
    };
    request
        .check()
        .map_err(|wrong| Problem::field("call_malformed", "the body", &wrong.to_string()))?;
    let claim = key.claim("");
    let asked = AskedCall {
        client: asking.client.id,
        key: claim.key.to_owned(),
        body: claim.asked.to_owned(),
        request,
    };
    let Recorded { answer, is_replayed } = calls.place(asked).await?;
    let path = format!("/v1/calls/{}", answer["id"].as_str().unwrap_or_default());
    let reply = Reply::json(&answer).created(&path);
    Ok(if is_replayed { reply.header(REPLAYED, "true") } else { reply })
}

fn id(question: &Question<'_>) -> Result<Uuid, Problem> {
    question.id().ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::missing("call_not_found", "this client has placed no such call")
}

impl From<NotRecorded> for Problem {
    fn from(why: NotRecorded) -> Self {
        match why {
            NotRecorded::OtherBody => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key_reused",
                "this Idempotency-Key was used for another call",
            )
            .hint("make a new key for each call"),
            NotRecorded::Running => Self::conflict(
                "request_running",
                "the call with this Idempotency-Key is being placed",
            )
            .hint("ask the same again a moment later"),
            NotRecorded::Store(error) => error.into(),
            NotRecorded::Died => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "call_in_doubt",
                "the call may have been placed, or not; this is a defect",
            )
            .hint("ask the same again: it is not dialled twice"),
        }
    }
}

impl From<NotEnded> for Problem {
    fn from(why: NotEnded) -> Self {
        match why {
            NotEnded::NotFound => missing(),
            NotEnded::NotDialled => {
                Self::conflict("not_dialled", "nobody was called, so there is nothing to end")
            }
            NotEnded::HangUp(HangUpError::NotFound) => {
                Self::conflict("room_gone", "the server has no such room: the call is over")
            }
            NotEnded::HangUp(HangUpError::Credentials(error)) => error.into(),
            NotEnded::HangUp(error) => Self::unavailable("not_ended", error.to_string()),
            NotEnded::Store(error) => error.into(),
        }
    }
}

pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/calls",
        method: "POST",
        name: "placeCall",
        summary: "Places a call, by the rules of its number, and answers when it is known what became \
                  of it. The same key never calls twice.",
        scope: Some(Scope::Calls),
        headers: &[KEY_HEADER],
        asked: &[
            TENANT,
            FROM,
            required("to", Kind::Text, "The number to call, as people write it."),
            optional("job", Kind::Text, "What the call is for; part of the room's name."),
            optional("fields", Kind::Anything, "Fields of your own for the agent."),
            DIAL,
            WAIT,
            RINGING,
            LONGEST,
            CONFIRM_AGENT,
            KRISP,
            DISPLAY_NAME,
            HIDE_NUMBER,
            PHONE_NAME,
            PHONE_ATTRIBUTES,
            HEADERS,
        ],
        answered: CALL,
        answered_headers: &[LOCATION, REPLAYED_HEADER],
        codes: &[201, 400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503],
        operation: Of::Calls(Operation::Place),
        ..BARE
    },
    Route {
        path: "/v1/calls/{id}",
        name: "readCall",
        summary: "How a call of the client stands. It is kept for 30 days.",
        scope: Some(Scope::Calls),
        answered: CALL,
        codes: &[200, 401, 403, 404, 429, 503],
        operation: Of::Calls(Operation::Look),
        ..BARE
    },
    Route {
        path: "/v1/calls/{id}/end",
        method: "POST",
        name: "endCall",
        summary: "Hangs up: closes the room of a call, and so ends it for everybody in it.",
        scope: Some(Scope::Calls),
        answered: &[
            required("id", Kind::Id, "Which call."),
            required("ended", Kind::Flag, "true."),
        ],
        codes: &[200, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503],
        operation: Of::Calls(Operation::End),
        ..BARE
    },
];

pub(super) const CALL: &[Field] = &[
    required("id", Kind::Id, "Which call."),
    required(
        "state",
        Kind::Word(&["accepted", "dialling", "ended"]),
        "How far it is: nobody was called yet; somebody may have been; it is known what became of it.",
    ),
    optional("outcome", Kind::Word(&OUTCOMES), "What became of it; null until it has ended."),
    optional("message", Kind::Text, "Why it was not placed."),
    optional("room", Kind::Text, "Its room."),
    optional("config_id", Kind::Id, "The LiveKit config that placed it; null for the environment."),
    optional(
        "answered",
        Kind::Flag,
        "Whether the phone was answered; null where the daemon did not wait for that.",
    ),
    optional("left_at", Kind::Time, "When the phone left, if a webhook told that."),
    optional("disconnect_reason", Kind::Text, "Why, in LiveKit's words."),
    optional("sip_call_status", Kind::Text, "The last state of the SIP call."),
    optional("seconds", Kind::Number, "How long it was answered."),
];

const OUTCOMES: [&str; Outcome::ALL.len()] = {
    let mut words = [""; Outcome::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = Outcome::ALL[at].as_str();
        at += 1;
    }
    words
};
