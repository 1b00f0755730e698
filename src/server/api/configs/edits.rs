//! What edits of configs do, whoever asks: the API with JSON, or a page with a form.

use chrono::DateTime;
use secrecy::ExposeSecret;
use serde_json::json;
use uuid::Uuid;

use super::missing;
use crate::draft::{ConfigDraft, ConfigEditDraft, FieldError, FieldErrors};
use crate::keyring::{KeyError, KeyRing, Sealed};
use crate::number::ConfigId;
use crate::server::api::asking::Asking;
use crate::server::api::editing::other_version;
use crate::server::api::idempotency::Key;
use crate::server::api::problem::Problem;
use crate::server::api::question::Expected;
use crate::server::api::version;
use crate::server_url::{ServerUrl, leads_into_private, leads_off_limits};
use crate::store::{Config, ConfigEdit, Edited, NewConfig, Whose, Written};

/// Adds a copy of a config, with its secret, under another name.
pub(in crate::server) async fn copy(
    asking: &Asking<'_>,
    id: ConfigId,
    name: String,
    key: Option<&Key<'_>>,
) -> Result<(String, Edited), Problem> {
    asking.needs_all()?;
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
    stored(asking, &draft, false, key).await
}

/// Adds a config that somebody entered. With it, what is answered to whoever creates one.
pub(in crate::server) async fn insert(
    asking: &Asking<'_>,
    draft: &ConfigDraft,
    key: Option<&Key<'_>>,
) -> Result<(String, Edited), Problem> {
    asking.needs_all()?;
    stored(asking, draft, true, key).await
}

async fn stored(
    asking: &Asking<'_>,
    draft: &ConfigDraft,
    is_url_new: bool,
    key: Option<&Key<'_>>,
) -> Result<(String, Edited), Problem> {
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
    Ok((answer, edited))
}

/// Changes what a draft says of a config, if it has the version that is expected. Returns the new one.
pub(in crate::server) async fn edit(
    asking: &Asking<'_>,
    id: ConfigId,
    expected: &Expected,
    draft: &ConfigEditDraft,
) -> Result<(String, Option<Written>), Problem> {
    asking.needs_all()?;
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
        Edited::Done(written) => Ok((version, written)),
        _ => Err(refused.unwrap_or_else(missing)),
    }
}

/// Disables a config or enables it, if it has the version that is expected. Returns the new one.
pub(in crate::server) async fn turn(
    asking: &Asking<'_>,
    id: ConfigId,
    expected: &Expected,
    is_disabled: bool,
) -> Result<(String, Option<Written>), Problem> {
    asking.needs_all()?;
    let (ring, mut version) = (asking.resolver.ring(), String::new());
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
        Edited::Done(written) => Ok((version, written)),
        Edited::Declined => Err(other_version()),
        _ => Err(missing()),
    }
}

/// Removes a config that no number uses, if it has the version that is expected.
pub(in crate::server) async fn drop_config(
    asking: &Asking<'_>,
    id: ConfigId,
    expected: &Expected,
) -> Result<Option<Written>, Problem> {
    asking.needs_all()?;
    let ring = asking.resolver.ring();
    let mut decide = |config: &Config| expected.is(&version::of_config(config, ring.as_deref()));
    match asking.rows()?.drop_config(&asking.behalf(), id, &mut decide).await? {
        Edited::Done(written) => Ok(written),
        Edited::Declined => Err(other_version()),
        Edited::Missing => Err(missing()),
        refused => Err(refused.problem()),
    }
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
