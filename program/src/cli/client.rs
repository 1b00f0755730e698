//! `trunkline client`: the programs that may ask a daemon over HTTP.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use trunkline::access::{ClientToken, Permissions};
use trunkline::clock::{Clock, SystemClock};
use trunkline::draft::ClientDraft;
use trunkline::store::{self, ClientStore};

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line, or_dash, raw, table};

/// A token is printed once, by `add` or `rotate`; only its hash is stored.
#[derive(Subcommand)]
pub(crate) enum Client {
    /// Add a client, and print its token
    Add(Box<Add>),
    /// List the clients
    List,
    /// Show what a client may ask
    Show {
        /// Its name
        name: String,
    },
    /// Refuse a client for good, within LEASE, on every node
    Revoke {
        /// Its name
        name: String,
    },
    /// Give a client another token, and print that; the old one ends
    Rotate {
        /// Its name
        name: String,
    },
    /// Remove a client; one that is in use is revoked first
    Remove {
        /// Its name
        name: String,
        /// Remove it though it is neither revoked nor expired
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args)]
pub(crate) struct Add {
    /// A name that no other client has
    #[arg(long)]
    name: String,
    /// A tenant that it may ask for; may be repeated
    #[arg(long, value_name = "UUID", conflicts_with = "all_tenants")]
    tenant: Vec<String>,
    /// It may ask for every tenant
    #[arg(long)]
    all_tenants: bool,
    /// What caller numbers must begin with, such as +97150; may be repeated
    #[arg(long, value_name = "PREFIX")]
    number: Vec<String>,
    /// What it may ask: tokens, resolve, route, secret, join, verify, configs, `edit_configs`, numbers,
    /// `edit_numbers`, fleet, audit, calls, changes, users, rollout, keys
    #[arg(long, value_delimiter = ',', required = true, value_name = "WORDS")]
    may: Vec<String>,
    /// The rooms that its tokens may name: a name, or a beginning with a *, such as call-*
    #[arg(long, value_name = "PATTERN")]
    room: Option<String>,
    /// Its tokens may place SIP calls
    #[arg(long)]
    sip_call: bool,
    /// Its tokens may send agents into those rooms, and administer them
    #[arg(long)]
    agent: bool,
    /// Its tokens may create, delete and list rooms
    #[arg(long)]
    admin: bool,
    /// The longest life of its tokens [default: 1h]
    #[arg(long, value_name = "TIME")]
    longest: Option<String>,
    /// After what time the client ends by itself, such as 90d
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

impl Client {
    pub(crate) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Add(add) => add.run(context).await,
            Self::List => list(context).await,
            Self::Show { name } => show(context, &name).await,
            Self::Revoke { name } => {
                let clients = context.database()?.clients();
                done(context, &name, clients.revoke_client(&name).await?, "revoked")
            }
            Self::Rotate { name } => rotate(context, &name).await,
            Self::Remove { name, force } => remove(context, &name, force).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> Done {
        let draft = ClientDraft {
            name: self.name,
            tenants: self.tenant,
            all_tenants: self.all_tenants,
            numbers: self.number,
            may: self.may,
            room: self.room,
            sip_call: self.sip_call,
            agent: self.agent,
            admin: self.admin,
            longest: self.longest,
            expires: self.expires,
        };
        let client = draft.check(SystemClock::default().unix_seconds())?;
        let token = ClientToken::generate()?;
        let id = context.database()?.clients().create_client(&client, &token.hash()).await?;
        if context.json {
            return json_line(&json!({"id": id, "name": client.name, "token": token.as_str()}));
        }
        eprintln!("added {}; this is its token, which is not shown again:", client.name);
        raw(token.as_str())
    }
}

async fn rotate(context: &Context, name: &str) -> Done {
    let clients = context.database()?.clients();
    let token = ClientToken::generate()?;
    if !clients.rotate_client(name, &token.hash()).await? {
        let client = find(&*clients, name).await?;
        let message = format!("{} is revoked, and stays so", client.name);
        return Err(Failure::new("client_revoked", message, Exit::Failed)
            .hint("add a client of another name, or remove this one first"));
    }
    if context.json {
        return json_line(&json!({"name": name, "token": token.as_str()}));
    }
    eprintln!(
        "the token that {name} had has ended; this is the new one, which is not shown again:"
    );
    raw(token.as_str())
}

async fn remove(context: &Context, name: &str, force: bool) -> Done {
    let clients = context.database()?.clients();
    let client = find(&*clients, name).await?;
    if state(&client) == "active" && !force {
        let message = format!("{name} is neither revoked nor expired");
        return Err(Failure::new("client_active", message, Exit::Conflict)
            .hint("`trunkline client revoke` it first, or say --force"));
    }
    done(context, name, clients.remove_client(name).await?, "removed")
}

async fn list(context: &Context) -> Done {
    let clients = context.database()?.clients().clients().await?;
    if context.json {
        return json_line(&clients.iter().map(client_json).collect());
    }
    if clients.is_empty() {
        eprintln!("no client yet; add one with `trunkline client add`");
        return Ok(());
    }
    table(
        &["name", "state", "may ask", "tenants", "expires"],
        clients.iter().map(|client| {
            let permissions = client.permissions.as_ref();
            vec![
                client.name.clone(),
                state(client).to_owned(),
                permissions.map_or_else(|| NOT_UNDERSTOOD.to_owned(), scopes),
                permissions.map_or_else(
                    || "-".to_owned(),
                    |permissions| {
                        permissions
                            .tenants
                            .as_ref()
                            .map_or_else(|| "all".to_owned(), |tenants| tenants.len().to_string())
                    },
                ),
                or_dash(client.expires_at.map(shown).as_deref()),
            ]
        }),
    )
}

async fn show(context: &Context, name: &str) -> Done {
    let client = find(&*context.database()?.clients(), name).await?;
    if context.json {
        return json_line(&client_json(&client));
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let mut rows = vec![
        row("name", client.name.clone()),
        row("id", client.id.to_string()),
        row("state", state(&client).to_owned()),
        row("created", or_dash(client.created_at.map(shown).as_deref())),
        row("expires", or_dash(client.expires_at.map(shown).as_deref())),
        row("revoked", or_dash(client.revoked_at.map(shown).as_deref())),
    ];
    match &client.permissions {
        None => rows.push(row("may ask", NOT_UNDERSTOOD.to_owned())),
        Some(permissions) => {
            let tokens = &permissions.tokens;
            let tenants = permissions.tenants.as_ref();
            rows.extend([
                row("may ask", scopes(permissions)),
                row("tenants", tenants.map_or_else(|| "all".to_owned(), |ids| joined(ids))),
                row(
                    "numbers",
                    match &permissions.numbers[..] {
                        [] => "any".to_owned(),
                        numbers => joined(numbers),
                    },
                ),
                row("rooms", or_dash(tokens.room.as_ref().map(ToString::to_string).as_deref())),
                row("SIP calls", word(tokens.sip_call)),
                row("agents", word(tokens.agent)),
                row("admin", word(tokens.admin)),
                row("longest life", format!("{:?}", tokens.longest)),
            ]);
        }
    }
    table(&[], rows)
}

async fn find(clients: &dyn ClientStore, name: &str) -> Result<store::Client, Failure> {
    let found = clients.clients().await?.into_iter().find(|client| client.name == name);
    found.ok_or_else(not_found)
}

fn not_found() -> Failure {
    Failure::new("client_not_found", "there is no client of this name", Exit::Failed)
        .hint("`trunkline client list` shows what there is")
}

fn done(context: &Context, name: &str, done: bool, what: &str) -> Done {
    if !done {
        return Err(not_found());
    }
    if context.json { json_line(&json!({what: name})) } else { line(format!("{what} {name}")) }
}

fn client_json(client: &store::Client) -> Value {
    let permissions = client.permissions.as_ref().map(Permissions::columns);
    let [scopes, grants] = permissions.unwrap_or_default();
    json!({
        "id": client.id,
        "name": client.name,
        "state": state(client),
        "scopes": scopes,
        "grants": grants,
        "created_at": client.created_at,
        "expires_at": client.expires_at,
        "revoked_at": client.revoked_at,
    })
}

fn state(client: &store::Client) -> &'static str {
    let now = Duration::from_secs(SystemClock::default().unix_seconds());
    if client.revoked_at.is_some() {
        "revoked"
    } else if client.has_expired(now) {
        "expired"
    } else {
        "active"
    }
}

fn scopes(permissions: &Permissions) -> String {
    joined(&permissions.scopes)
}

fn joined(values: &[impl ToString]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn shown(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

const NOT_UNDERSTOOD: &str = "nothing: this version does not understand its row";
