//! `trunkline livekit`: LiveKit configs.

mod check;

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;
use trunkline::clock::{Clock, SystemClock};
use trunkline::dispatch::check::leads_off_limits;
use trunkline::store::{AdminStore, Config, ConfigEdit, NewConfig};
use trunkline::{Binding, ConfigId, ExposeSecret, KeyRing, PREFIX, Sealed, ServerUrl};

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::input;
use super::output::{config_json, json_line, line, or_dash, table};
use super::plain::is_hidden;

#[derive(Subcommand)]
pub(crate) enum Livekit {
    /// Add a config and print its id; the API secret comes from stdin or --secret-file
    Add(Add),
    /// List all configs
    List,
    /// Show one config, by id or name; never its secret
    Show {
        /// Its id or name
        config: String,
    },
    /// Change some fields of a config and leave the others
    Edit(Edit),
    /// Look whether a config would place calls: URL, network, key, secret, clocks, trunk
    Check(check::Check),
    /// Remove a config that no number uses
    Remove {
        /// Its id or name
        config: String,
        /// Remove it although numbers use it: they fall back to the environment
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args)]
pub(crate) struct Add {
    /// A name that no other config has
    #[arg(long)]
    name: String,
    /// The server's URL, ws, wss, http or https
    #[arg(long)]
    url: String,
    /// The API key
    #[arg(long)]
    api_key: String,
    /// A file that holds the API secret, plain or sealed; without it stdin is read
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// The outbound SIP trunk
    #[arg(long)]
    trunk: Option<String>,
    /// The LiveKit agent (worker name) that takes calls
    #[arg(long)]
    agent: Option<String>,
    /// What people should know about it
    #[arg(long)]
    description: Option<String>,
    /// Add it only if its server accepts it
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("change").multiple(true).required(true).args([
    "name", "url", "api_key", "secret_file", "secret_stdin", "trunk", "no_trunk", "agent",
    "no_agent", "description", "no_description",
]))]
pub(crate) struct Edit {
    /// Its id or name
    config: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// A new URL
    #[arg(long)]
    url: Option<String>,
    /// A new API key
    #[arg(long)]
    api_key: Option<String>,
    /// A file that holds the new API secret, plain or sealed
    #[arg(long, value_name = "PATH", conflicts_with = "secret_stdin")]
    secret_file: Option<PathBuf>,
    /// Read the new API secret from stdin
    #[arg(long)]
    secret_stdin: bool,
    /// A new trunk
    #[arg(long)]
    trunk: Option<String>,
    /// No trunk any more
    #[arg(long, conflicts_with = "trunk")]
    no_trunk: bool,
    /// A new agent
    #[arg(long)]
    agent: Option<String>,
    /// No agent any more
    #[arg(long, conflicts_with = "agent")]
    no_agent: bool,
    /// A new description
    #[arg(long)]
    description: Option<String>,
    /// No description any more
    #[arg(long, conflicts_with = "description")]
    no_description: bool,
}

impl Livekit {
    pub(crate) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Add(add) => add.run(context).await,
            Self::Edit(edit) => edit.run(context).await,
            Self::Check(check) => check.run(context).await,
            Self::List => list(context).await,
            Self::Show { config } => show(context, &find(&*context.store()?, &config).await?),
            Self::Remove { config, force } => remove(context, &config, force).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> Done {
        // Everything is checked before anything is written.
        let config = NewConfig {
            name: field("name", self.name, 255)?,
            description: self
                .description
                .map(|text| field("description", text, 10_000))
                .transpose()?,
            url: url(context, &self.url).await?,
            api_key: word("api-key", self.api_key)?,
            trunk_id: self.trunk.map(|trunk| word("trunk", trunk)).transpose()?,
            agent: self.agent.map(|agent| field("agent", agent, 255)).transpose()?,
            api_secret: sealed(&*context.ring()?, self.secret_file.as_deref())?,
        };
        if self.check {
            let (url, key) = (config.url.as_str(), config.api_key.as_str());
            let what = (url, key, config.trunk_id.as_deref());
            check::before_adding(context, what, config.api_secret.as_str()).await?;
        }
        let store = context.store()?;
        let id = store.create_config(&config).await?;
        if context.ring()?.is_bound_only() {
            // Its id is part of what it is bound to.
            bind(context, &*store, id).await?;
        }
        if context.json { json_line(&json!({"id": id})) } else { line(id.to_string()) }
    }
}

impl Edit {
    async fn run(self, context: &Context) -> Done {
        let new_secret = self.secret_file.is_some() || self.secret_stdin;
        let store = context.store()?;
        let config = find(&*store, &self.config).await?;
        let text = |name, value: Option<String>, empty: bool, longest| {
            let value = value.map(|value| field(name, value, longest)).transpose()?;
            Ok::<_, Failure>(if empty { Some(None) } else { value.map(Some) })
        };
        let mut edit = ConfigEdit {
            name: self.name.map(|name| field("name", name, 255)).transpose()?,
            description: text("description", self.description, self.no_description, 10_000)?,
            url: match self.url.as_deref() {
                Some(text) => Some(url(context, text).await?),
                None => None,
            },
            api_key: self.api_key.map(|key| word("api-key", key)).transpose()?,
            trunk_id: match self.trunk.map(|trunk| word("trunk", trunk)).transpose()? {
                None if self.no_trunk => Some(None),
                trunk => trunk.map(Some),
            },
            agent: text("agent", self.agent, self.no_agent, 255)?,
            api_secret: if new_secret {
                Some(sealed(&*context.ring()?, self.secret_file.as_deref())?)
            } else {
                None
            },
            only_over: None,
        };
        let bound_only = context.settings()?.ring.is_some_and(|ring| ring.is_bound_only());
        if (config.is_bound() || bound_only) && !keep_bound(&config, &mut edit, context)? {
            edit.only_over = Some(config.api_secret.clone());
        }
        if !store.update_config(config.id, &edit).await? {
            if edit.only_over.is_some() && store.config(config.id).await?.is_some() {
                let message = "somebody has changed the secret of this config meanwhile";
                let failure = Failure::new("config_changed", message, Exit::Conflict);
                return Err(failure.hint("look at it, and run this again"));
            }
            return Err(not_found(&self.config));
        }
        show(context, &find(&*store, &config.id.to_string()).await?)
    }
}

/// Binds the secret of a config that was added a moment ago.
async fn bind(context: &Context, store: &dyn AdminStore, id: ConfigId) -> Done {
    let Some(config) = store.config(id).await? else { return Ok(()) };
    let ring = context.ring()?;
    let opened = ring.open(config.api_secret.expose_secret())?;
    let now = SystemClock::default().unix_seconds();
    let sealed = ring.seal_for(opened.secret.expose_secret(), &config.binding(), now)?;
    store.reseal(&config, &sealed).await?;
    Ok(())
}

/// Seals the secret of a bound config for what an edit makes of it. `true`: the edit changes nothing
/// that the secret is bound to.
fn keep_bound(config: &Config, edit: &mut ConfigEdit, context: &Context) -> Result<bool, Failure> {
    if edit.url.is_none() && edit.api_key.is_none() && edit.api_secret.is_none() {
        return Ok(true);
    }
    let ring = context.ring()?;
    let opened = match &edit.api_secret {
        Some(new) => ring.open(new.as_str())?,
        None => config.open(&ring)?,
    };
    let owner = Binding {
        config: config.id.0,
        url: edit.url.as_ref().map_or(config.url.as_str(), ServerUrl::as_str),
        api_key: edit.api_key.as_deref().unwrap_or(&config.api_key),
    };
    let now = SystemClock::default().unix_seconds();
    edit.api_secret = Some(ring.seal_for(opened.secret.expose_secret(), &owner, now)?);
    Ok(false)
}

async fn list(context: &Context) -> Done {
    let configs = context.store()?.configs().await?;
    if context.json {
        return json_line(&configs.iter().map(config_json).collect());
    }
    if configs.is_empty() {
        eprintln!("no LiveKit config yet; add one with `trunkline livekit add`");
        return Ok(());
    }
    table(
        &["id", "name", "url", "api key", "trunk", "agent"],
        configs.iter().map(|config| {
            let trunk = or_dash(config.trunk_id.as_deref());
            let agent = or_dash(config.agent.as_deref());
            let (name, url, key) = (&config.name, &config.url, &config.api_key);
            vec![config.id.to_string(), name.clone(), url.clone(), key.clone(), trunk, agent]
        }),
    )
}

fn show(context: &Context, config: &Config) -> Done {
    if context.json {
        return json_line(&config_json(config));
    }
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| {
        or_dash(at.map(|at| at.to_rfc3339()).as_deref())
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    table(
        &[],
        [
            row("id", config.id.to_string()),
            row("name", config.name.clone()),
            row("description", or_dash(config.description.as_deref())),
            row("url", config.url.clone()),
            row("api key", config.api_key.clone()),
            row("trunk", or_dash(config.trunk_id.as_deref())),
            row("agent", or_dash(config.agent.as_deref())),
            row("created", time(config.created_at)),
            row("updated", time(config.updated_at)),
        ],
    )
}

async fn remove(context: &Context, config: &str, force: bool) -> Done {
    let store = context.store()?;
    let id = find(&*store, config).await?.id;
    let users = store.config_users(id).await?;
    if users > 0 && !force {
        let message = format!("{users} numbers use this config");
        return Err(Failure::new("config_in_use", message, Exit::Conflict).hint(
            "assign them another one with `trunkline number assign`, or say --force and let them \
             fall back to the environment",
        ));
    }
    if !store.delete_config(id).await? {
        return Err(not_found(config));
    }
    if context.json { json_line(&json!({"removed": id})) } else { line(format!("removed {id}")) }
}

/// Finds a config by id or by name. A text that is neither is not found.
pub(crate) async fn find(store: &dyn AdminStore, config: &str) -> Result<Config, Failure> {
    let by_id = match config.parse::<ConfigId>() {
        Ok(id) => store.config(id).await?,
        Err(_) => None,
    };
    match by_id {
        Some(config) => Ok(config),
        None => store.config_named(config).await?.ok_or_else(|| not_found(config)),
    }
}

fn not_found(config: &str) -> Failure {
    let message = format!("there is no LiveKit config with the id or name {config:?}");
    Failure::new("config_not_found", message, Exit::Failed)
        .hint("`trunkline livekit list` shows what there is")
}

/// The secret, sealed under the first key. One that is sealed already must open.
fn sealed(ring: &KeyRing, file: Option<&Path>) -> Result<Sealed, Failure> {
    let secret = input::secret(file, "API secret")?;
    if secret.starts_with(PREFIX) {
        ring.open(&secret)?;
        return Ok(Sealed::parse(&secret)?);
    }
    if secret.trim() != secret.as_str() && !secret.trim().is_empty() {
        return Err(Failure::new(
            "secret_malformed",
            "the API secret begins or ends with white space, perhaps a second line break",
            Exit::Failed,
        ));
    }
    Ok(ring.seal(&secret, SystemClock::default().unix_seconds())?)
}

async fn url(context: &Context, text: &str) -> Result<ServerUrl, Failure> {
    let url: ServerUrl = text.parse().map_err(|error: trunkline::ServerUrlError| {
        Failure::usage("url_malformed", format!("--url: {error}"))
    })?;
    if !context.settings()?.environment.hosts.allow(&url) {
        let message = "--url: its host is not in LIVEKIT_HOSTS, so no call would use it";
        return Err(Failure::usage("host_not_allowed", message).hint("add the host there first"));
    }
    if leads_off_limits(&url).await {
        let message = "--url: its host is, or leads to, a link-local address or one where a cloud tells \
                       machines about themselves; no LiveKit server is there";
        return Err(Failure::usage("off_limits", message));
    }
    Ok(url)
}

/// A text with something in it, all of which can be seen.
fn field(name: &str, text: String, longest: usize) -> Result<String, Failure> {
    let wrong = if text.trim().is_empty() {
        "is empty".to_owned()
    } else if text.chars().count() > longest {
        format!("has more than {longest} characters")
    } else if text.contains(is_hidden) {
        "holds a character that cannot be seen, such as a line break".to_owned()
    } else {
        return Ok(text);
    };
    Err(Failure::usage("field_malformed", format!("--{name} {wrong}")))
}

/// A field without white space.
fn word(name: &str, text: String) -> Result<String, Failure> {
    let text = field(name, text, 255)?;
    if text.contains(char::is_whitespace) {
        return Err(Failure::usage("field_malformed", format!("--{name} holds white space")));
    }
    Ok(text)
}
