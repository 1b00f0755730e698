//! `/v1/batches`: the calls of a file, run by the node that took it and told of by every node. A client that
//! is limited to tenants sees the batches that are of those alone; one that is limited to numbers, its own.

mod offered;
mod progress;
mod results;
mod table;

use axum::http::HeaderMap;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(in crate::server) use self::offered::{Offered, Reading};
pub(in crate::server) use self::results::{Format, body_of};
pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::events::Streams;
use super::idempotency::{KeysInUse, REPLAYED};
use super::page::Page;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use crate::access::hex;
use crate::dispatch::uploaded::{AskedBatch, BatchOptions, NotUploaded, Uploaded, UploadedBatches};
use crate::store::{BatchRow, BatchState, BatchesOf, Cancel, Client};
use sha2::{Digest, Sha256};

/// What stands behind the path of an upload.
#[derive(Deserialize)]
struct Parameters {
    name: Option<String>,
    anyway: Option<bool>,
    #[serde(flatten)]
    options: BatchOptions,
}

#[derive(Deserialize)]
struct Listing {
    limit: Option<u64>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancelling {
    end_calls: Option<bool>,
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
    (keys, batches): (&KeysInUse, Option<&UploadedBatches>),
    goes_on: (&Streams, &CancellationToken),
) -> Result<Reply, Problem> {
    let batches = batches.ok_or_else(Problem::no_database)?;
    match operation {
        Operation::Upload => upload(asking, question, keys, batches).await,
        Operation::Rehearse => {
            let Parameters { options, .. } = question.parameters()?;
            let offered = Offered::read(asking, Reading { options, content: question.body })?;
            Ok(Reply::json(&offered.rehearsed(asking, batches).await?.0))
        }
        Operation::List => list(asking, question, batches).await,
        Operation::Read => {
            let row = seen(asking.client, batches, id(question)?).await?;
            Ok(Reply::json(&shown(asking.client, batches, &row)))
        }
        Operation::Listen => {
            let row = seen(asking.client, batches, id(question)?).await?;
            progress::answer(asking, batches, row, goes_on)
        }
        Operation::Results => results::answer(asking, question, batches).await,
        Operation::Cancel => {
            let how = cancelling(question)?;
            let row = cancel(asking, batches, id(question)?, how).await?;
            Ok(Reply::json(&shown(asking.client, batches, &row)))
        }
        Operation::CancelAll => {
            let how = cancelling(question)?;
            let many = cancel_all(asking, batches, how).await?;
            Ok(Reply::json(&json!({"cancelled": many})))
        }
        Operation::Resume => {
            let row = resume(asking, batches, id(question)?).await?;
            Ok(Reply::json(&shown(asking.client, batches, &row)))
        }
    }
}

async fn upload(
    asking: &Asking<'_>,
    question: &Question<'_>,
    keys: &KeysInUse,
    batches: &UploadedBatches,
) -> Result<Reply, Problem> {
    let key = keys.key(asking.client.id, question)?.ok_or_else(|| {
        Problem::field("idempotency_key_missing", "Idempotency-Key", "must be there for a batch")
            .hint("make a new key for each batch, and ask again with the same one: it is run once")
    })?;
    let Parameters { name, anyway, options } = question.parameters()?;
    let body = asked(question.query.unwrap_or_default(), question.body);
    let (key, reading) = (key.claim("").key, Reading { options, content: question.body });
    let named = name.unwrap_or_default();
    let Uploaded { row, is_replayed } =
        take(asking, batches, (key, &body), &named, reading, anyway.unwrap_or(false)).await?;
    let reply = Reply::json(&shown(asking.client, batches, &row));
    let reply = reply.created(&format!("/v1/batches/{}", row.id));
    Ok(if is_replayed { reply.header(REPLAYED, "true") } else { reply })
}

/// Takes a batch that somebody offers, unless something of it must be corrected before.
pub(in crate::server) async fn take(
    asking: &Asking<'_>,
    batches: &UploadedBatches,
    (key, body): (&str, &str),
    name: &str,
    reading: Reading<'_>,
    anyway: bool,
) -> Result<Uploaded, Problem> {
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let why = "must have 100 characters at the most, and no control character";
        return Err(Problem::field("field_malformed", "name", why));
    }
    if let Some(earlier) = batches.earlier(asking.client.id, key, body).await? {
        return Ok(earlier);
    }
    let offered = Offered::read(asking, reading)?;
    if !anyway {
        let (_, rehearsal) = offered.rehearsed(asking, batches).await?;
        offered.is_ready(&rehearsal)?;
    }
    let asked = AskedBatch {
        key: key.to_owned(),
        body: body.to_owned(),
        name: name.trim().to_owned(),
        options: offered.options,
        content: offered.content,
        entries: offered.entries,
        tenants: offered.tenants,
    };
    Ok(batches.upload(&asking.behalf(), asked).await?)
}

/// What is asked by an upload: the same twice is the same batch.
pub(in crate::server) fn asked(query: &str, content: &[u8]) -> String {
    let length = (query.len() as u64).to_be_bytes();
    let hash = Sha256::new_with_prefix(length).chain_update(query).chain_update(content);
    hex(&hash.finalize())
}

async fn list(
    asking: &Asking<'_>,
    question: &Question<'_>,
    batches: &UploadedBatches,
) -> Result<Reply, Problem> {
    let Listing { limit, cursor } = question.parameters()?;
    let page = Page::of(asking, question, limit, cursor.as_deref())?;
    let before = page.after().map(|(_, id)| id);
    let mut rows = batches.rows().batch_page(&seen_by(asking.client), before, page.most()).await?;
    let next = page.cut(&mut rows, |row| ("", row.id));
    let shown: Vec<_> = rows.iter().map(|row| shown(asking.client, batches, row)).collect();
    Ok(Reply::json(&json!({"batches": shown, "next": next})))
}

/// Has a batch cancelled, on whichever node it runs.
pub(in crate::server) async fn cancel(
    asking: &Asking<'_>,
    batches: &UploadedBatches,
    id: Uuid,
    how: Cancel,
) -> Result<BatchRow, Problem> {
    let of = seen_by(asking.client);
    let many = batches.rows().cancel_batches(&asking.behalf(), &of, Some(id), how).await?;
    let row = seen(asking.client, batches, id).await?;
    if many == 0 {
        return Err(Problem::conflict("batch_ended", "the batch has ended already"));
    }
    batches.wake();
    Ok(row)
}

/// Has every batch cancelled that the client may see.
pub(in crate::server) async fn cancel_all(
    asking: &Asking<'_>,
    batches: &UploadedBatches,
    how: Cancel,
) -> Result<u64, Problem> {
    let of = seen_by(asking.client);
    let many = batches.rows().cancel_batches(&asking.behalf(), &of, None, how).await?;
    batches.wake();
    Ok(many)
}

/// Has a batch gone on with by the node that has its journal.
pub(in crate::server) async fn resume(
    asking: &Asking<'_>,
    batches: &UploadedBatches,
    id: Uuid,
) -> Result<BatchRow, Problem> {
    let of = seen_by(asking.client);
    let resumed = batches.rows().resume_batch(&asking.behalf(), &of, id).await?;
    let row = seen(asking.client, batches, id).await?;
    if !resumed {
        let problem = Problem::conflict("batch_not_ended", "there is nothing to go on with");
        return Err(problem.hint(match row.state {
            BatchState::Done => "every entry has a result",
            _ => "it goes on by itself when the node that has its journal is there",
        }));
    }
    batches.wake();
    Ok(row)
}

/// A batch that the client may see.
pub(in crate::server) async fn seen(
    client: &Client,
    batches: &UploadedBatches,
    id: Uuid,
) -> Result<BatchRow, Problem> {
    batches.rows().batch(&seen_by(client), id).await?.ok_or_else(missing)
}

/// Which batches a client may see.
pub(in crate::server) fn seen_by(client: &Client) -> BatchesOf {
    match &client.permissions {
        Some(may) => BatchesOf {
            tenants: may.tenants.clone(),
            client: (!may.numbers.is_empty()).then_some(client.id),
        },
        None => BatchesOf { tenants: Some(Vec::new()), client: Some(client.id) },
    }
}

/// A batch as it is told.
pub(in crate::server) fn shown(
    client: &Client,
    batches: &UploadedBatches,
    row: &BatchRow,
) -> Value {
    let is_limited = client.permissions.as_ref().is_none_or(crate::access::Permissions::is_limited);
    let outcomes = |member: &str| match &row.summary[member] {
        Value::Object(outcomes) => json!(outcomes),
        _ => json!({}),
    };
    json!({
        "id": row.id,
        "name": row.name,
        "state": state(row),
        "message": row.message,
        "entries": row.entries,
        "done": row.done,
        "left": row.entries.saturating_sub(row.done),
        "outcomes": outcomes("outcomes"),
        "left_with": outcomes("left_with"),
        "cancel": row.cancel.map(Cancel::as_str),
        "options": row.options,
        "client": (!is_limited).then_some(&row.client_name),
        "node": row.node.filter(|_| !is_limited),
        "results_here": batches.keeps(row),
        "created_at": row.created_at,
        "begun_at": row.begun_at,
        "ended_at": row.ended_at,
    })
}

/// How it stands, in a word.
pub(in crate::server) fn state(row: &BatchRow) -> &'static str {
    match (row.state.is_open(), row.is_silent, row.cancel) {
        (true, true, _) => "interrupted",
        (true, false, Some(_)) => "cancelling",
        _ => row.state.as_str(),
    }
}

fn id(question: &Question<'_>) -> Result<Uuid, Problem> {
    question.id().ok_or_else(missing)
}

fn cancelling(question: &Question<'_>) -> Result<Cancel, Problem> {
    let Cancelling { end_calls } = question.body()?;
    Ok(if end_calls == Some(true) { Cancel::End } else { Cancel::Stop })
}

pub(in crate::server) fn missing() -> Problem {
    Problem::missing("batch_not_found", "there is no such batch, or it is not this client's")
}

/// The journal of a batch is on another node, or nowhere.
pub(in crate::server) fn elsewhere() -> Problem {
    Problem::conflict("results_elsewhere", "the journal of this batch is on another node")
        .hint("ask the node that `node` names, or the one whose DATA_DIR took the batch")
}

impl From<NotUploaded> for Problem {
    fn from(why: NotUploaded) -> Self {
        match why {
            NotUploaded::NoFolder => {
                let message = "this node has no folder for the journals of batches";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "batches_not_kept", message)
                    .hint("set DATA_DIR of the daemon to a folder that outlasts a restart")
            }
            NotUploaded::OtherBody => {
                Self::unprocessable("key_reused", "this Idempotency-Key was used for another batch")
                    .hint("make a new key for each batch")
            }
            NotUploaded::Folder(_) => Self::unavailable("batch_not_kept", why.to_string())
                .hint("see to the disk and the rights of DATA_DIR"),
            NotUploaded::Store(error) => error.into(),
        }
    }
}

/// Whether results are wanted as JSON lines, by what a client takes.
fn takes_json_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get(axum::http::header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("ndjson") && !accepted.contains("text/csv"))
}

const LONGEST_NAME: usize = 100;
