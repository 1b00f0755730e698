//! `trunkline livekit`: LiveKit configs.

mod check;
mod pair;

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;
use trunkline::clock::{Clock, SystemClock};
use trunkline::dispatch::check::leads_off_limits;
use trunkline::draft::{ConfigDraft, ConfigEditDraft, FieldError, FieldErrors};
use trunkline::store::{AdminStore, Config};
use trunkline::{ConfigId, ExposeSecret, KeyRing, Secret, ServerUrl};

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::input;
use super::output::{config_json, json_line, line, or_dash, table};
use super::seen::tell_seen;

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
    /// Check whether a config would place calls: URL, network, key, secret, clocks, trunk
    Check(check::Check),
    #[command(flatten)]
    Pair(pair::PairVerb),
    /// Disable a config: its numbers fall back, until it is enabled again
    Disable {
        /// Its id or name
        config: String,
    },
    /// Let a config that was disabled place calls again
    Enable {
        /// Its id or name
        config: String,
    },
    /// Remove a config that no number uses
    Remove {
        /// Its id or name
        config: String,
        /// Remove it even if numbers use it: they fall back to the environment
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
    /// A file with the API secret, plain or sealed; without it stdin is read
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// The outbound SIP trunk
    #[arg(long)]
    trunk: Option<String>,
    /// The LiveKit agent (worker name) that takes calls
    #[arg(long)]
    agent: Option<String>,
    /// A description for people
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
    /// A file with the new API secret, plain or sealed
    #[arg(long, value_name = "PATH", conflicts_with = "secret_stdin")]
    secret_file: Option<PathBuf>,
    /// Read the new API secret from stdin
    #[arg(long)]
    secret_stdin: bool,
    /// A new trunk
    #[arg(long)]
    trunk: Option<String>,
    /// Remove the trunk
    #[arg(long, conflicts_with = "trunk")]
    no_trunk: bool,
    /// A new agent
    #[arg(long)]
    agent: Option<String>,
    /// Remove the agent
    #[arg(long, conflicts_with = "agent")]
    no_agent: bool,
    /// A new description
    #[arg(long)]
    description: Option<String>,
    /// Remove the description
    #[arg(long, conflicts_with = "description")]
    no_description: bool,
}

impl Livekit {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let writes = match &self {
            Self::List | Self::Show { .. } | Self::Check(_) => false,
            Self::Pair(verb) => verb.writes(),
            _ => true,
        };
        self.carry_out(context).await?;
        if writes {
            tell_seen(context).await;
        }
        Ok(())
    }

    async fn carry_out(self, context: &Context) -> Done {
        match self {
            Self::Add(add) => add.run(context).await,
            Self::Edit(edit) => edit.run(context).await,
            Self::Check(check) => check.run(context).await,
            Self::Pair(verb) => verb.run(context).await,
            Self::List => list(context).await,
            Self::Show { config } => show(context, &find(&*context.store()?, &config).await?),
            Self::Disable { config } => switch(context, &config, true).await,
            Self::Enable { config } => switch(context, &config, false).await,
            Self::Remove { config, force } => remove(context, &config, force).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> Done {
        // Everything is checked before anything is written, and the secret asked for last.
        let mut draft = ConfigDraft {
            name: self.name,
            description: self.description,
            url: self.url,
            api_key: self.api_key,
            api_secret: None,
            trunk_id: self.trunk,
            agent: self.agent,
        };
        let hosts = context.settings()?.environment.hosts;
        refuse_off_limits(&draft.check_all_but_secret(&hosts)?).await?;
        let ring = context.ring()?;
        draft.api_secret = Some(secret(self.secret_file.as_deref())?);
        let database = context.database()?;
        let ring = database.ruled(&ring).await?;
        let config = draft.check(&ring, &hosts, SystemClock::default().unix_seconds())?;
        if self.check {
            let (url, key) = (config.url.as_str(), config.api_key.as_str());
            let what = (url, key, config.trunk_id.as_deref());
            check::before_adding(context, what, config.api_secret.as_str()).await?;
        }
        let store = database.admin();
        let id = store.create_config(&config).await?;
        if ring.is_bound_only() {
            // Its id is part of what it is bound to.
            bind(&ring, &*store, id).await?;
        }
        if context.json { json_line(&json!({"id": id})) } else { line(id.to_string()) }
    }
}

impl Edit {
    async fn run(self, context: &Context) -> Done {
        let new_secret = self.secret_file.is_some() || self.secret_stdin;
        let database = context.database()?;
        let store = database.admin();
        let config = find(&*store, &self.config).await?;
        let emptied = |value: Option<String>, empty: bool| match value {
            None if empty => Some(None),
            value => value.map(Some),
        };
        let mut draft = ConfigEditDraft {
            name: self.name,
            description: emptied(self.description, self.no_description),
            url: self.url,
            api_key: self.api_key,
            api_secret: None,
            trunk_id: emptied(self.trunk, self.no_trunk),
            agent: emptied(self.agent, self.no_agent),
        };
        let settings = context.settings()?;
        let hosts = &settings.environment.hosts;
        let mut edit = draft.check_all_but_secret(hosts)?;
        if let Some(url) = &edit.url {
            refuse_off_limits(url).await?;
        }
        let now = SystemClock::default().unix_seconds();
        if new_secret {
            let ring = context.ring()?;
            draft.api_secret = Some(secret(self.secret_file.as_deref())?);
            let ring = database.ruled(&ring).await?;
            edit = draft.check(&ring, hosts, now)?;
        }
        let bound_only = settings.ring.is_some_and(|ring| ring.is_bound_only());
        if (config.is_bound() || bound_only) && edit.touches_binding() {
            edit.keep_bound(&config, &database.ruled(&*context.ring()?).await?, now)?;
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
async fn bind(ring: &KeyRing, store: &dyn AdminStore, id: ConfigId) -> Done {
    let Some(config) = store.config(id).await? else { return Ok(()) };
    let opened = ring.open(config.api_secret.expose_secret())?;
    let now = SystemClock::default().unix_seconds();
    let sealed = ring.seal_for(opened.secret.expose_secret(), &config.binding(), now)?;
    store.reseal(&config, &sealed).await?;
    Ok(())
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
        &["id", "name", "state", "url", "api key", "trunk", "agent"],
        configs.iter().map(|config| {
            let trunk = or_dash(config.trunk_id.as_deref());
            let agent = or_dash(config.agent.as_deref());
            let (name, url, key) = (&config.name, &config.url, &config.api_key);
            let state = if config.disabled_at.is_some() { "disabled" } else { "enabled" };
            let id = config.id.to_string();
            vec![id, name.clone(), state.into(), url.clone(), key.clone(), trunk, agent]
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
    let state = match config.disabled_at {
        Some(since) => format!("disabled since {}", since.to_rfc3339()),
        None => "enabled".to_owned(),
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
            row("state", state),
            row("created", time(config.created_at)),
            row("updated", time(config.updated_at)),
        ],
    )
}

/// Disables a config, or enables it again.
async fn switch(context: &Context, config: &str, is_disabled: bool) -> Done {
    let store = context.store()?;
    let id = find(&*store, config).await?.id;
    if !store.disable_config(id, is_disabled).await? {
        return Err(not_found(config));
    }
    show(context, &find(&*store, &id.to_string()).await?)
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

/// The API secret as it was entered, plain or sealed.
fn secret(file: Option<&Path>) -> Result<Secret, Failure> {
    Ok(Secret::new(Box::new(input::secret(file, "API secret")?.to_string())))
}

async fn refuse_off_limits(url: &ServerUrl) -> Done {
    if leads_off_limits(url).await {
        return Err(FieldErrors::from(FieldError::off_limits()).into());
    }
    Ok(())
}
