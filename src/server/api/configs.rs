//! `/v1/configs`: the LiveKit configs, for those who edit them. A secret goes in and never comes out.
//!
//! Configs belong to no tenant. A client that is limited to tenants or numbers sees id and name of those
//! that its own numbers use, and edits none.

pub(in crate::server) mod edits;
mod table;

use secrecy::ExposeSecret;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::idempotency::KeysInUse;
use super::page::Page;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use super::version;
use crate::draft::{ConfigDraft, ConfigEditDraft};
use crate::keyring::{KeyRing, Sealed, Secret};
use crate::number::ConfigId;
use crate::store::{Config, ConfigFilter};

#[derive(Deserialize)]
struct Listing {
    search: Option<String>,
    limit: Option<u64>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Creation {
    name: String,
    description: Option<String>,
    url: String,
    api_key: String,
    api_secret: String,
    trunk_id: Option<String>,
    agent_name: Option<String>,
}

/// What is null is emptied, what is absent stays.
#[derive(Deserialize)]
#[expect(clippy::option_option, reason = "to leave a field alone, and to empty it, are two things")]
#[serde(deny_unknown_fields)]
struct Patch {
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    url: Option<String>,
    api_key: Option<String>,
    api_secret: Option<String>,
    #[serde(default, deserialize_with = "given")]
    trunk_id: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    agent_name: Option<Option<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Duplication {
    name: String,
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
    keys: &KeysInUse,
) -> Result<Reply, Problem> {
    match operation {
        Operation::List => list(asking, question).await,
        Operation::Read => read(asking, question).await,
        Operation::Create => create(asking, question, keys).await,
        Operation::Duplicate => duplicate(asking, question, keys).await,
        Operation::Change => change(asking, question).await,
        Operation::Disable => switch(asking, question, true).await,
        Operation::Enable => switch(asking, question, false).await,
        Operation::Remove => remove(asking, question).await,
    }
}

async fn list(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let Listing { search, limit, cursor } = question.parameters()?;
    let page = Page::of(asking, question, limit, cursor.as_deref())?;
    let (rows, filter) = (asking.rows()?, ConfigFilter { search, ..ConfigFilter::default() });
    let mut configs = rows.config_page(&asking.whose(), &filter, page.after(), page.most()).await?;
    let next = page.cut(&mut configs, |config| (&config.name, config.id.0));
    let configs: Vec<_> = configs.iter().map(|config| shown(asking, config)).collect();
    Ok(Reply::json(&json!({"configs": configs, "next": next})))
}

async fn read(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let id = question.id().ok_or_else(missing)?;
    let config = asking.rows()?.config_seen(&asking.whose(), id).await?.ok_or_else(missing)?;
    let reply = Reply::json(&shown(asking, &config));
    if asking.permissions.is_limited() {
        return Ok(reply);
    }
    Ok(reply.version(&version::of_config(&config, asking.resolver.ring().as_deref())))
}

async fn create(
    asking: &Asking<'_>,
    question: &Question<'_>,
    keys: &KeysInUse,
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let key = keys.key(asking.client.id, question)?;
    let body: Creation = question.body()?;
    let draft = ConfigDraft {
        name: body.name,
        description: body.description,
        url: body.url,
        api_key: body.api_key,
        api_secret: Some(secret(body.api_secret)),
        trunk_id: body.trunk_id,
        agent: body.agent_name,
    };
    let (answer, edited) = edits::insert(asking, &draft, key.as_ref()).await?;
    asking.created(edited, answer, FOLDER, key.as_ref()).await
}

async fn duplicate(
    asking: &Asking<'_>,
    question: &Question<'_>,
    keys: &KeysInUse,
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let key = keys.key(asking.client.id, question)?;
    let Duplication { name } = question.body()?;
    let id = question.id().ok_or_else(missing)?;
    let (answer, edited) = edits::copy(asking, id, name, key.as_ref()).await?;
    asking.created(edited, answer, FOLDER, key.as_ref()).await
}

async fn change(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let expected = question.expected()?;
    let body: Patch = question.body()?;
    let id = question.id().ok_or_else(missing)?;
    let draft = ConfigEditDraft {
        name: body.name,
        description: body.description,
        url: body.url,
        api_key: body.api_key,
        api_secret: body.api_secret.map(secret),
        trunk_id: body.trunk_id,
        agent: body.agent_name,
    };
    let (version, written) = edits::edit(asking, id, &expected, &draft).await?;
    let answer = json!({"id": id, "version": version});
    Ok(asking.written(answer, written).await.version(&version))
}

/// Disables a config, or enables it again.
async fn switch(
    asking: &Asking<'_>,
    question: &Question<'_>,
    is_disabled: bool,
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let expected = question.expected()?;
    let Nothing {} = question.body()?;
    let id: ConfigId = question.id().ok_or_else(missing)?;
    let (version, written) = edits::turn(asking, id, &expected, is_disabled).await?;
    let answer = json!({"id": id, "version": version});
    Ok(asking.written(answer, written).await.version(&version))
}

async fn remove(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let expected = question.expected()?;
    let id: ConfigId = question.id().ok_or_else(missing)?;
    let written = edits::drop_config(asking, id, &expected).await?;
    Ok(asking.written(json!({"id": id}), written).await)
}

/// A config as the client may see it.
fn shown(asking: &Asking<'_>, config: &Config) -> Value {
    if asking.permissions.is_limited() {
        return json!({"id": config.id, "name": config.name});
    }
    let ring = asking.resolver.ring();
    let (state, key) = state_of_secret(config, ring.as_deref());
    json!({
        "id": config.id,
        "name": config.name,
        "description": config.description,
        "url": config.url,
        "api_key": config.api_key,
        "api_secret": state,
        "sealed_under": key,
        "bound": config.is_bound(),
        "trunk_id": config.trunk_id,
        "agent_name": config.agent,
        "created_at": config.created_at,
        "updated_at": config.updated_at,
        "disabled_at": config.disabled_at,
        "version": version::of_config(config, ring.as_deref()),
    })
}

/// Whether a secret is set, missing or unsealed, and the key that it is sealed under, if that is known.
pub(in crate::server) fn state_of_secret(
    config: &Config,
    ring: Option<&KeyRing>,
) -> (&'static str, Option<String>) {
    let sealed = config.api_secret.expose_secret();
    let key = ring.and_then(|ring| ring.key_of(sealed).ok()).map(|key| key.to_string());
    let state = match Sealed::parse(sealed) {
        Ok(_) => "set",
        Err(_) if sealed.is_empty() => "missing",
        Err(_) => "unsealed",
    };
    (state, key)
}

pub(in crate::server) fn missing() -> Problem {
    Problem::missing("config_not_found", "there is no such config, or it is not for this client")
}

fn secret(entered: String) -> Secret {
    Secret::new(Box::new(entered))
}

/// A member that is there, null or not.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

const FOLDER: &str = "/v1/configs";
