//! The rows that a store speaks in: what is read, and what is written.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use uuid::Uuid;

use crate::access::{Permissions, TokenHash};
use crate::change::Change;
use crate::keyring::{Binding, KeyError, KeyRing, Opened, Sealed};
use crate::number::{Caller, ConfigId, TenantId};
use crate::server_url::ServerUrl;

/// How many changes are read at once. More than that are one [`Change::All`].
pub const MOST_CHANGES: usize = 1000;

/// A change with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedChange {
    /// Its sequence number.
    pub seq: i64,
    /// What changed. A row that this version cannot read is [`Change::All`].
    pub change: Change,
    /// How long ago it was written when it was read, by the clock of the database.
    pub age: Duration,
    /// What was done, such as `insert` or `update`.
    pub operation: String,
    /// The names of the columns that changed, or of the table, with commas between them.
    pub fields: String,
}

/// A number joined with its config: what a cold resolve reads.
#[derive(Debug)]
pub struct Route {
    /// The number's rules, unread.
    pub rules: Value,
    /// The carrier.
    pub provider: Option<String>,
    /// The config that the rules name, where there is one.
    pub config: Option<Config>,
}

/// A row of `voice_agent_livekit`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its id.
    pub id: ConfigId,
    /// Its unique name.
    pub name: String,
    /// What people wrote about it.
    pub description: Option<String>,
    /// `livekit_url`, as it stands there.
    pub url: String,
    /// `livekit_api_key`.
    pub api_key: String,
    /// `livekit_api_secret`: the text of the column, which should be sealed and may not be.
    pub api_secret: SecretString,
    /// The SIP trunk.
    pub trunk_id: Option<String>,
    /// `worker_name`: the LiveKit agent that takes calls.
    pub agent: Option<String>,
    /// When it was made. `None` where an adopted table does not say.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was last changed. `None` where an adopted table does not say.
    pub updated_at: Option<DateTime<Utc>>,
    /// Since when it places no calls. `None`: it is not disabled.
    pub disabled_at: Option<DateTime<Utc>>,
}

impl Config {
    /// What its secret belongs to.
    #[must_use]
    pub fn binding(&self) -> Binding<'_> {
        Binding { config: self.id.0, url: &self.url, api_key: &self.api_key }
    }

    /// Opens its secret, which must be its own where it is bound.
    ///
    /// # Errors
    ///
    /// Those of [`KeyRing::open_for`].
    pub fn open(&self, ring: &KeyRing) -> Result<Opened, KeyError> {
        ring.open_for(self.api_secret.expose_secret(), &self.binding())
    }

    /// The same secret, bound to this config or not. `None`: it is so already.
    ///
    /// # Errors
    ///
    /// Those of opening it, but for [`KeyError::NotBound`], and of sealing it.
    pub fn rebound(
        &self,
        ring: &KeyRing,
        bound: bool,
        unix_seconds: u64,
    ) -> Result<Option<Sealed>, KeyError> {
        let opened = match self.open(ring) {
            // It is about to be.
            Err(KeyError::NotBound) => ring.open(self.api_secret.expose_secret()),
            opened => opened,
        }?;
        if self.is_bound() == bound {
            return Ok(None);
        }
        let secret = opened.secret.expose_secret();
        if bound {
            ring.seal_for(secret, &self.binding(), unix_seconds).map(Some)
        } else {
            ring.seal(secret, unix_seconds).map(Some)
        }
    }

    /// Whether its secret is bound.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        Sealed::parse(self.api_secret.expose_secret()).is_ok_and(|sealed| sealed.is_bound())
    }
}

/// A config to be.
#[derive(Debug, Clone)]
pub struct NewConfig {
    /// A name no other config has, at most 255 characters.
    pub name: String,
    /// What people should know about it.
    pub description: Option<String>,
    /// The server's URL.
    pub url: ServerUrl,
    /// The API key.
    pub api_key: String,
    /// The API secret, sealed.
    pub api_secret: Sealed,
    /// The SIP trunk.
    pub trunk_id: Option<String>,
    /// The LiveKit agent that takes calls.
    pub agent: Option<String>,
}

/// Which fields of a config change. The outer `None` leaves a field alone, `Some(None)` empties it.
#[derive(Debug, Clone, Default)]
pub struct ConfigEdit {
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<Option<String>>,
    /// A new URL.
    pub url: Option<ServerUrl>,
    /// A new API key.
    pub api_key: Option<String>,
    /// A new secret, sealed.
    pub api_secret: Option<Sealed>,
    /// A new trunk.
    pub trunk_id: Option<Option<String>>,
    /// A new agent.
    pub agent: Option<Option<String>>,
    /// What the secret still must be, as it was read, for anything to change.
    pub only_over: Option<SecretString>,
}

impl ConfigEdit {
    /// Whether it changes something that a bound secret is bound to.
    #[must_use]
    pub fn touches_binding(&self) -> bool {
        self.url.is_some() || self.api_key.is_some() || self.api_secret.is_some()
    }

    /// Binds the secret to what the edit makes of the config, and lets the edit pass only over the
    /// secret that the config had when it was read.
    ///
    /// # Errors
    ///
    /// When the secret does not open or cannot be sealed.
    pub fn keep_bound(
        &mut self,
        config: &Config,
        ring: &KeyRing,
        unix_seconds: u64,
    ) -> Result<(), KeyError> {
        let opened = match &self.api_secret {
            Some(new) => ring.open(new.as_str())?,
            None => config.open(ring)?,
        };
        let owner = Binding {
            config: config.id.0,
            url: self.url.as_ref().map_or(config.url.as_str(), ServerUrl::as_str),
            api_key: self.api_key.as_deref().unwrap_or(&config.api_key),
        };
        let sealed = ring.seal_for(opened.secret.expose_secret(), &owner, unix_seconds)?;
        self.api_secret = Some(sealed);
        self.only_over = Some(config.api_secret.clone());
        Ok(())
    }
}

/// A row of `voice_agent_numbers`.
#[derive(Debug, Clone)]
pub struct Number {
    /// The id of the row.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: TenantId,
    /// Country code and base number as they stand there, joined.
    pub digits: String,
    /// The carrier.
    pub provider: Option<String>,
    /// The rules, unread.
    pub rules: Value,
}

/// A number to be.
#[derive(Debug, Clone)]
pub struct NewNumber {
    /// Whose number.
    pub caller: Caller,
    /// The carrier.
    pub provider: Option<String>,
    /// The rules; an object.
    pub rules: Value,
}

/// Which fields of a number change. The outer `None` leaves a field alone, `Some(None)` empties it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NumberEdit {
    /// Another carrier.
    pub provider: Option<Option<String>>,
    /// Rules in place of those that are there.
    pub rules: Option<Value>,
    /// The LiveKit config that the rules are to name, or that they are to name none.
    pub config: Option<Option<ConfigId>>,
}

impl NumberEdit {
    /// The number as this makes it. `None`: a config is to stand in rules that are no object.
    #[must_use]
    pub fn applied_to(&self, number: &Number) -> Option<Number> {
        let mut new = number.clone();
        new.provider = self.provider.clone().unwrap_or(new.provider);
        new.rules = self.rules.clone().unwrap_or(new.rules);
        if let Some(config) = self.config {
            if new.rules.is_null() {
                new.rules = Value::Object(serde_json::Map::new());
            }
            let rules = new.rules.as_object_mut()?;
            match config {
                Some(id) => drop(rules.insert(CONFIG.to_owned(), serde_json::json!(id))),
                None => drop(rules.remove(CONFIG)),
            }
        }
        Some(new)
    }

    /// Whether it changes the rules.
    #[must_use]
    pub fn touches_rules(&self) -> bool {
        self.rules.is_some() || self.config.is_some()
    }
}

/// A row of `trunkline_clients`: a program that asks over HTTP.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id.
    pub id: Uuid,
    /// Its unique name.
    pub name: String,
    /// What is stored of its token. `None`: it is no hash, and no token fits.
    pub token_hash: Option<TokenHash>,
    /// What it may ask. `None`: this version does not understand the row, and it may ask nothing.
    pub permissions: Option<Permissions>,
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Client {
    /// Whether it has ended by itself, at this time since 1970.
    #[must_use]
    pub fn has_expired(&self, unix_time: Duration) -> bool {
        let expires = self.expires_at.map(|at| u64::try_from(at.timestamp()).unwrap_or(0));
        expires.is_some_and(|at| at <= unix_time.as_secs())
    }
}

/// A client to be.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// A name that no other client has, at most 255 characters.
    pub name: String,
    /// What it may ask.
    pub permissions: Permissions,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Who may create in a schema beside its owner, each name as SQL writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creators {
    /// The schema.
    pub schema: String,
    /// Roles with that right; `public` is everybody. Superusers need none.
    pub roles: Vec<String>,
}

/// The member of the rules that names the config.
const CONFIG: &str = "livekit_config";

/// A table or a column that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The table, or table and column.
    pub place: String,
    /// What it must be, and what it is.
    pub what: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.place, self.what)
    }
}
