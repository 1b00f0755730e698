//! Rows read: what a record's columns come to.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Error;

use crate::number::{ConfigId, TenantId};
use crate::store::record::Record;
use crate::store::{Config, Number, Route};

/// A config as `{config_columns}` tell it.
pub(super) fn read_config(row: &impl Record) -> Result<Config, Error> {
    let mut config = read_credential(row, ConfigId(row.own_id("id")?))?;
    config.description = row.text("description")?;
    config.created_at = row.time("created_at")?;
    config.updated_at = row.time("updated_at")?;
    Ok(config)
}

/// A number's rules, and its config as `{credential_columns}` tell it, if it has one.
pub(super) fn read_route(row: &impl Record) -> Result<Route, Error> {
    let config = match row.id("id")? {
        None => None,
        Some(id) => Some(read_credential(row, ConfigId(id))?),
    };
    Ok(Route { rules: read_rules(row)?, provider: row.text("provider")?, config })
}

/// A number as `{number_columns}` tell it.
pub(super) fn read_number(row: &impl Record) -> Result<Number, Error> {
    Ok(Number {
        id: row.own_id("id")?,
        tenant: TenantId(row.own_id("tenant_id")?),
        digits: row.own_text("digits")?,
        provider: row.text("provider")?,
        rules: read_rules(row)?,
    })
}

pub(super) fn read_credential(row: &impl Record, id: ConfigId) -> Result<Config, Error> {
    Ok(Config {
        id,
        name: row.own_text("name")?,
        description: None,
        url: row.own_text("url")?,
        api_key: row.own_text("api_key")?,
        api_secret: row.own_text("api_secret")?.into(),
        trunk_id: row.text("trunk_id")?,
        agent: row.text("worker_name")?,
        created_at: None,
        updated_at: None,
        disabled_at: read_disabled_at(row)?,
    })
}

/// What is there and no time disables a config, too.
fn read_disabled_at(row: &impl Record) -> Result<Option<DateTime<Utc>>, Error> {
    match row.time("disabled_at") {
        Err(Error::ColumnDecode { .. }) => Ok(Some(DateTime::UNIX_EPOCH)),
        time => time,
    }
}

/// JSON that cannot be held (a number beyond all bounds) becomes a text, which is no object and so
/// a reason, and no error of the whole statement.
fn read_rules(row: &impl Record) -> Result<Value, Error> {
    let text = row.text("rules")?;
    let read = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(text.map_or(Value::Null, read))
}
