//! `/v1/configs`: the LiveKit configs, for those who edit them. A secret goes in and never comes out.
//!
//! Configs belong to no tenant. A client that is limited to tenants or numbers sees id and name of those
//! that its own numbers use, and edits none.

mod table;

use chrono::DateTime;
use secrecy::ExposeSecret;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::editing::other_version;
use super::idempotency::{Key, KeysInUse};
use super::page::Page;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use super::version;
use crate::draft::{ConfigDraft, ConfigEditDraft, FieldError, FieldErrors};
use crate::keyring::{KeyError, KeyRing, Sealed, Secret};
use crate::number::ConfigId;
use crate::server_url::{ServerUrl, leads_into_private, leads_off_limits};
use crate::store::{Config, ConfigEdit, ConfigFilter, Edited, NewConfig, Whose};

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
    let (rows, filter) = (asking.rows()?, ConfigFilter { search });
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
    insert(asking, &draft, true, key.as_ref()).await
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
    let config = asking.rows()?.config_seen(&Whose::ALL, id).await?.ok_or_else(missing)?;
    let opened = config.open(&*asking.sealing_ring().await?)?;
    let draft = ConfigDraft {
        name,
        description: config.description,
        url: config.url,
        api_key: config.api_key,
        api_secret: Some(opened.secret),
        trunk_id: config.trunk_id,
        agent: config.agent,
    };
    insert(asking, &draft, false, key.as_ref()).await
}

async fn insert(
    asking: &Asking<'_>,
    draft: &ConfigDraft,
    is_url_new: bool,
    key: Option<&Key<'_>>,
) -> Result<Reply, Problem> {
    let (ring, now) = (asking.sealing_ring().await?, asking.resolver.unix_time().as_secs());
    let mut config = draft.check(&ring, &asking.resolver.hosts(), now)?;
    if is_url_new {
        refuse_elsewhere(asking, &config.url).await?;
    } else {
        refuse_off_limits(&config.url).await?;
    }
    let id = ConfigId(Uuid::new_v4());
    if ring.is_bound_only() {
        config.api_secret = bound(id, &config, &ring, now)?;
    }
    let version = version::of_config(&row(id, &config), Some(&ring));
    let answer = json!({"id": id, "version": version}).to_string();
    let claim = key.map(|key| key.claim(&answer));
    let edited = asking.rows()?.insert_config(&asking.behalf(), id, &config, claim).await?;
    asking.created(edited, answer.clone(), FOLDER, key).await
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
    let (ring, hosts) = (asking.resolver.sealing_ring().await?, asking.resolver.hosts());
    let now = asking.resolver.unix_time().as_secs();
    let edit = match (&ring, &draft.api_secret) {
        (Some(ring), _) => draft.check(ring, &hosts, now)?,
        (None, Some(_)) => return Err(KeyError::KeyMissing.into()),
        (None, None) => draft.check_all_but_secret(&hosts)?,
    };
    if let Some(url) = &edit.url {
        refuse_elsewhere(asking, url).await?;
    }
    let (mut refused, mut version) = (None, String::new());
    let mut decide = |config: &Config| {
        if !expected.is(&version::of_config(config, ring.as_deref())) {
            refused = Some(other_version());
            return None;
        }
        let edit = kept_bound(edit.clone(), config, ring.as_deref(), now);
        let edit = edit.map_err(|error| refused = Some(error.into())).ok()?;
        version = version::of_config(&edited(config, &edit), ring.as_deref());
        Some(edit)
    };
    match asking.rows()?.change_config(&asking.behalf(), id, &mut decide).await? {
        Edited::Done(written) => {
            let answer = json!({"id": id, "version": version});
            Ok(asking.written(answer, written).await.version(&version))
        }
        _ => Err(refused.unwrap_or_else(missing)),
    }
}

/// Disables a config, or enables it again.
async fn switch(
    asking: &Asking<'_>,
    question: &Question<'_>,
    is_disabled: bool,
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let (expected, ring) = (question.expected()?, asking.resolver.ring());
    let Nothing {} = question.body()?;
    let id: ConfigId = question.id().ok_or_else(missing)?;
    let mut version = String::new();
    let mut decide = |config: &Config| {
        if !expected.is(&version::of_config(config, ring.as_deref())) {
            return false;
        }
        let disabled_at = is_disabled.then(DateTime::default);
        let new = Config { disabled_at, ..config.clone() };
        version = version::of_config(&new, ring.as_deref());
        true
    };
    match asking.rows()?.switch_config(&asking.behalf(), id, is_disabled, &mut decide).await? {
        Edited::Done(written) => {
            let answer = json!({"id": id, "version": version});
            Ok(asking.written(answer, written).await.version(&version))
        }
        Edited::Declined => Err(other_version()),
        _ => Err(missing()),
    }
}

async fn remove(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let (expected, ring) = (question.expected()?, asking.resolver.ring());
    let id: ConfigId = question.id().ok_or_else(missing)?;
    let mut decide = |config: &Config| expected.is(&version::of_config(config, ring.as_deref()));
    match asking.rows()?.drop_config(&asking.behalf(), id, &mut decide).await? {
        Edited::Done(written) => Ok(asking.written(json!({"id": id}), written).await),
        Edited::Declined => Err(other_version()),
        Edited::Missing => Err(missing()),
        refused => Err(refused.problem()),
    }
}

/// A config as the client may see it.
fn shown(asking: &Asking<'_>, config: &Config) -> Value {
    if asking.permissions.is_limited() {
        return json!({"id": config.id, "name": config.name});
    }
    let ring = asking.resolver.ring();
    let sealed = config.api_secret.expose_secret();
    let key = ring.as_ref().and_then(|ring| ring.key_of(sealed).ok());
    let state = match Sealed::parse(sealed) {
        Ok(_) => "set",
        Err(_) if sealed.is_empty() => "missing",
        Err(_) => "unsealed",
    };
    json!({
        "id": config.id,
        "name": config.name,
        "description": config.description,
        "url": config.url,
        "api_key": config.api_key,
        "api_secret": state,
        "sealed_under": key.map(|key| key.to_string()),
        "bound": config.is_bound(),
        "trunk_id": config.trunk_id,
        "agent_name": config.agent,
        "created_at": config.created_at,
        "updated_at": config.updated_at,
        "disabled_at": config.disabled_at,
        "version": version::of_config(config, ring.as_deref()),
    })
}

/// The edit, with the secret bound to what it makes of the config where it is to be bound.
fn kept_bound(
    mut edit: ConfigEdit,
    config: &Config,
    ring: Option<&KeyRing>,
    now: u64,
) -> Result<ConfigEdit, KeyError> {
    let bound_only = ring.is_some_and(KeyRing::is_bound_only);
    if (config.is_bound() || bound_only) && edit.touches_binding() {
        edit.keep_bound(config, ring.ok_or(KeyError::KeyMissing)?, now)?;
    }
    Ok(edit)
}

/// The secret of a config to be, bound to it.
fn bound(id: ConfigId, config: &NewConfig, ring: &KeyRing, now: u64) -> Result<Sealed, KeyError> {
    let opened = ring.open(config.api_secret.as_str())?;
    ring.seal_for(opened.secret.expose_secret(), &row(id, config).binding(), now)
}

/// The row of a config to be.
fn row(id: ConfigId, new: &NewConfig) -> Config {
    Config {
        id,
        name: new.name.clone(),
        description: new.description.clone(),
        url: new.url.as_str().to_owned(),
        api_key: new.api_key.clone(),
        api_secret: new.api_secret.as_str().into(),
        trunk_id: new.trunk_id.clone(),
        agent: new.agent.clone(),
        created_at: None,
        updated_at: None,
        disabled_at: None,
    }
}

/// A row as an edit makes it.
fn edited(config: &Config, edit: &ConfigEdit) -> Config {
    let old = config.clone();
    Config {
        name: edit.name.clone().unwrap_or(old.name),
        description: edit.description.clone().unwrap_or(old.description),
        url: edit.url.as_ref().map_or(old.url, |url| url.as_str().to_owned()),
        api_key: edit.api_key.clone().unwrap_or(old.api_key),
        api_secret: edit.api_secret.as_ref().map_or(old.api_secret, |new| new.as_str().into()),
        trunk_id: edit.trunk_id.clone().unwrap_or(old.trunk_id),
        agent: edit.agent.clone().unwrap_or(old.agent),
        ..old
    }
}

async fn refuse_off_limits(url: &ServerUrl) -> Result<(), Problem> {
    if leads_off_limits(url).await {
        return Err(FieldErrors::from(FieldError::off_limits()).into());
    }
    Ok(())
}

/// The same of a URL that came over the API: it leads over the internet, or where `LIVEKIT_HOSTS` says.
async fn refuse_elsewhere(asking: &Asking<'_>, url: &ServerUrl) -> Result<(), Problem> {
    refuse_off_limits(url).await?;
    if asking.resolver.hosts().are_all() && leads_into_private(url).await {
        return Err(FieldErrors::from(FieldError::address_private()).into());
    }
    Ok(())
}

fn missing() -> Problem {
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
