//! `/v1/clients`: the programs that may ask. A token is told once, when it is made.

mod table;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use crate::access::{ClientToken, Permissions};
use crate::draft::ClientDraft;
use crate::store::{Client, ClientEdit, ClientStore, Edited, Written};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Creation {
    name: String,
    tenants: Option<Vec<String>>,
    all_tenants: Option<bool>,
    numbers: Option<Vec<String>>,
    may: Vec<String>,
    room: Option<String>,
    sip_call: Option<bool>,
    agent: Option<bool>,
    admin: Option<bool>,
    longest: Option<String>,
    expires: Option<String>,
}

#[derive(Deserialize)]
struct Removal {
    force: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    match operation {
        Operation::List => list(asking).await,
        Operation::Read => Ok(Reply::json(&shown(asking, &find(asking, id(question)?).await?))),
        Operation::Create => create(asking, question.body()?).await,
        Operation::Revoke => {
            let Nothing {} = question.body()?;
            let id = id(question)?;
            edit(asking, id, ClientEdit::Revoke, json!({"id": id})).await
        }
        Operation::Rotate => {
            let Nothing {} = question.body()?;
            let (id, token) = (id(question)?, ClientToken::generate()?);
            let answer = json!({"id": id, "token": token.as_str()});
            edit(asking, id, ClientEdit::Rotate(token.hash()), answer).await
        }
        Operation::Remove => remove(asking, question).await,
    }
}

async fn list(asking: &Asking<'_>) -> Result<Reply, Problem> {
    let clients = asking.clients()?.clients().await?;
    let clients: Vec<_> = clients.iter().map(|client| shown(asking, client)).collect();
    Ok(Reply::json(&json!({"clients": clients})))
}

async fn create(asking: &Asking<'_>, body: Creation) -> Result<Reply, Problem> {
    let draft = ClientDraft {
        name: body.name,
        tenants: body.tenants.unwrap_or_default(),
        all_tenants: body.all_tenants.unwrap_or(false),
        numbers: body.numbers.unwrap_or_default(),
        may: body.may,
        room: body.room,
        sip_call: body.sip_call.unwrap_or(false),
        agent: body.agent.unwrap_or(false),
        admin: body.admin.unwrap_or(false),
        longest: body.longest,
        expires: body.expires,
    };
    let client = draft.check(asking.resolver.unix_time().as_secs())?;
    let (id, token) = (Uuid::new_v4(), ClientToken::generate()?);
    let rows = asking.resolver.people()?;
    let edited = rows.insert_client(&asking.behalf(), id, &client, &token.hash()).await?;
    let answer = json!({"id": id, "name": client.name, "token": token.as_str()});
    Ok(done(asking, edited, answer).await?.created(&format!("{FOLDER}/{id}")))
}

/// One that is in use is revoked first.
async fn remove(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let Removal { force } = question.parameters()?;
    let client = find(asking, id(question)?).await?;
    if state(asking, &client) == "active" && force != Some(true) {
        let message = "this client is neither revoked nor expired";
        return Err(Problem::conflict("client_active", message)
            .hint("POST /v1/clients/{id}/revoke first, or say force=true"));
    }
    edit(asking, client.id, ClientEdit::Remove, json!({"id": client.id})).await
}

async fn edit(
    asking: &Asking<'_>,
    id: Uuid,
    edit: ClientEdit,
    answer: Value,
) -> Result<Reply, Problem> {
    let edited = asking.resolver.people()?.change_client(&asking.behalf(), id, edit).await?;
    done(asking, edited, answer).await
}

async fn done(asking: &Asking<'_>, edited: Edited, answer: Value) -> Result<Reply, Problem> {
    let written = written(asking, &edited)?;
    Ok(asking.written(answer, written).await)
}

/// What was written, which this node answers by at once. An error: why it was not.
pub(in crate::server) fn written(
    asking: &Asking<'_>,
    edited: &Edited,
) -> Result<Option<Written>, Problem> {
    match edited {
        Edited::Done(written) => {
            asking.resolver.people_changed();
            Ok(*written)
        }
        Edited::Declined => {
            let message = "this client is revoked, and stays so";
            Err(Problem::conflict("client_revoked", message).hint("add a client of another name"))
        }
        _ => Err(missing()),
    }
}

async fn find(asking: &Asking<'_>, id: Uuid) -> Result<Client, Problem> {
    let clients = asking.clients()?.clients().await?;
    clients.into_iter().find(|client| client.id == id).ok_or_else(missing)
}

fn id(question: &Question<'_>) -> Result<Uuid, Problem> {
    question.id().ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::missing("client_not_found", "there is no such client")
}

fn state(asking: &Asking<'_>, client: &Client) -> &'static str {
    if client.revoked_at.is_some() {
        "revoked"
    } else if client.has_expired(asking.resolver.unix_time()) {
        "expired"
    } else {
        "active"
    }
}

fn shown(asking: &Asking<'_>, client: &Client) -> Value {
    let permissions = client.permissions.as_ref();
    let [scopes, grants] = permissions.map(Permissions::columns).unwrap_or_default();
    json!({
        "id": client.id,
        "name": client.name,
        "state": state(asking, client),
        "may": scopes,
        "grants": grants,
        "created_at": client.created_at,
        "expires_at": client.expires_at,
        "revoked_at": client.revoked_at,
    })
}

impl Asking<'_> {
    /// The clients of the database.
    fn clients(&self) -> Result<std::sync::Arc<dyn ClientStore>, Problem> {
        self.resolver.client_store().ok_or_else(Problem::no_database)
    }
}

const FOLDER: &str = "/v1/clients";
