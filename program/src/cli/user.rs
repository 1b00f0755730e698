//! `trunkline user`: the people who sign in to a daemon.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use trunkline::access::{LinkToken, PasswordHash, Role, generate_password};
use trunkline::clock::{Clock, SystemClock};
use trunkline::draft::{FieldErrors, UserDraft, check_password};
use trunkline::store::{NewUser, OpenStore, User, UserEdit, UserEdited, UserStore};
use zeroize::Zeroizing;

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::input;
use super::output::{json_line, line, or_dash, raw, table};

/// A password is read from stdin, or asked for twice where stdin is a terminal; never an argument.
#[derive(Subcommand)]
pub(crate) enum Users {
    /// Add a user; the first admin is added here and nowhere else
    Add(Add),
    /// List the users
    List,
    /// Show a user, and where he is signed in
    Show {
        /// His name
        name: String,
    },
    /// Give a user another password; he is signed out everywhere
    Password {
        /// His name
        name: String,
        /// Make one up, and print it
        #[arg(long)]
        generate: bool,
    },
    /// Give a user another role, on every node within LEASE
    Role {
        /// His name
        name: String,
        /// viewer, editor, operator or admin
        role: String,
        /// Even if no admin is left
        #[arg(long)]
        force: bool,
    },
    /// Sign a user out and keep him out, on every node within LEASE
    Disable {
        /// His name
        name: String,
        /// Even if no admin is left
        #[arg(long)]
        force: bool,
    },
    /// Let a user sign in again
    Enable {
        /// His name
        name: String,
    },
    /// End the lock of a user after too many failed logins
    Unlock {
        /// His name
        name: String,
    },
    /// Sign a user out everywhere
    SignOut {
        /// His name
        name: String,
    },
    /// Print a link that signs a user in once, within ten minutes
    Link {
        /// His name
        name: String,
        /// Where people reach the daemon
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9465")]
        url: String,
    },
    /// Remove a user
    Remove {
        /// His name
        name: String,
        /// Even if no admin is left
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args)]
pub(crate) struct Add {
    /// A name that no other user has, such as alice or alice@example.com
    name: String,
    /// viewer, editor, operator or admin
    #[arg(long)]
    role: String,
    /// Make a password up, and print it
    #[arg(long, conflicts_with = "link_only")]
    generate: bool,
    /// He signs in by a link alone, or a proxy vouches for him
    #[arg(long)]
    link_only: bool,
}

impl Users {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let edit = async |name: &str, edit: UserEdit, force: bool, what: &str| {
            let database = context.database()?;
            edited(&*database.users(), name, &edit, force).await?;
            if context.json {
                return json_line(&json!({what: name}));
            }
            line(format!("{} {name}", what.replace('_', " ")))
        };
        match self {
            Self::Add(add) => add.run(context).await,
            Self::List => list(context).await,
            Self::Show { name } => show(context, &name).await,
            Self::Password { name, generate } => password(context, &name, generate).await,
            Self::Role { name, role, force } => {
                let (_, role) = checked(&UserDraft { name: name.clone(), role })?;
                edit(&name, UserEdit::Role(role), force, "changed").await
            }
            Self::Disable { name, force } => {
                edit(&name, UserEdit::Disable, force, "disabled").await
            }
            Self::Enable { name } => edit(&name, UserEdit::Enable, false, "enabled").await,
            Self::Unlock { name } => edit(&name, UserEdit::Unlock, false, "unlocked").await,
            Self::SignOut { name } => edit(&name, UserEdit::SignOut, false, "signed_out").await,
            Self::Remove { name, force } => edit(&name, UserEdit::Remove, force, "removed").await,
            Self::Link { name, url } => {
                let token = link(&context.database()?, &name).await?;
                let url = format!("{}/sign-in?link={}", url.trim_end_matches('/'), token.as_str());
                let url = Zeroizing::new(url);
                if context.json { json_line(&json!({"url": *url})) } else { raw(&url) }
            }
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> Done {
        let Self { name, role, generate, link_only } = self;
        let (name, role) = checked(&UserDraft { name, role })?;
        let password = if link_only { None } else { Some(entered(generate)?) };
        let hash = password.as_ref().map(|password| PasswordHash::of(password)).transpose()?;
        let new = NewUser { name, role, password: hash };
        let id = context.database()?.users().create_user(&new).await?;
        let told = password.filter(|_| generate);
        if context.json {
            let password = told.as_ref().map(|password| password.as_str());
            return json_line(&json!({"id": id, "name": new.name, "password": password}));
        }
        match told {
            None => line(format!("added {}", new.name)),
            Some(password) => {
                eprintln!("added {}; this is his password, which is not shown again:", new.name);
                raw(&password)
            }
        }
    }
}

/// What is entered has no names of arguments.
fn checked(draft: &UserDraft) -> Result<(String, Role), Failure> {
    draft.check().map_err(|errors| wrong(&errors))
}

fn wrong(errors: &FieldErrors) -> Failure {
    Failure::new(errors.first().problem.code(), errors.to_string(), Exit::Usage)
}

/// A link that signs a user in once, within ten minutes.
pub(crate) async fn link(database: &OpenStore, name: &str) -> Result<LinkToken, Failure> {
    let token = LinkToken::generate()?;
    let edit = UserEdit::Link(token.hash(), LINK_SECONDS);
    edited(&*database.users(), name, &edit, false).await?;
    Ok(token)
}

async fn password(context: &Context, name: &str, generate: bool) -> Done {
    let users = context.database()?.users();
    let user = find(&*users, name).await?;
    let password = entered(generate)?;
    let edit = UserEdit::Password(PasswordHash::of(&password)?);
    edited(&*users, &user.name, &edit, false).await?;
    let told = generate.then_some(password);
    if context.json {
        let password = told.as_ref().map(|password| password.as_str());
        return json_line(&json!({"name": user.name, "password": password}));
    }
    match told {
        None => line(format!("changed the password of {}", user.name)),
        Some(password) => {
            eprintln!("this is the password of {}, which is not shown again:", user.name);
            raw(&password)
        }
    }
}

/// A password that somebody enters, or one that is made up.
fn entered(generate: bool) -> Result<Zeroizing<String>, Failure> {
    if generate {
        return Ok(generate_password()?);
    }
    let password = input::new_secret("password")?;
    check_password("password", &password).map_err(|errors| wrong(&errors))?;
    Ok(password)
}

async fn list(context: &Context) -> Done {
    let users = context.database()?.users().users().await?;
    if context.json {
        return json_line(&users.iter().map(user_json).collect());
    }
    if users.is_empty() {
        eprintln!("no user yet; add one with `trunkline user add NAME --role admin`");
        return Ok(());
    }
    table(
        &["name", "role", "state", "signed in", "last login"],
        users.iter().map(|user| {
            vec![
                user.name.clone(),
                role(user).to_owned(),
                state(user).to_owned(),
                user.sessions.to_string(),
                or_dash(user.last_login_at.map(shown).as_deref()),
            ]
        }),
    )
}

async fn show(context: &Context, name: &str) -> Done {
    let users = context.database()?.users();
    let user = find(&*users, name).await?;
    let sessions = users.sessions(user.id).await?;
    if context.json {
        let mut told = user_json(&user);
        told["sessions"] = sessions
            .iter()
            .map(|session| {
                json!({
                    "created_at": session.created_at,
                    "expires_at": session.expires_at,
                    "address": session.address,
                    "agent": session.agent,
                })
            })
            .collect();
        return json_line(&told);
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("name", user.name.clone()),
        row("id", user.id.to_string()),
        row("role", role(&user).to_owned()),
        row("state", state(&user).to_owned()),
        row("password", if user.has_password { "set" } else { "none" }.to_owned()),
        row("failed logins", user.failures.to_string()),
        row("created", or_dash(user.created_at.map(shown).as_deref())),
        row("last login", or_dash(user.last_login_at.map(shown).as_deref())),
    ];
    rows.extend(sessions.iter().map(|session| {
        let since = or_dash(session.created_at.map(shown).as_deref());
        row("signed in", format!("{since} from {} ({})", session.address, session.agent))
    }));
    table(&[], rows)
}

async fn edited(users: &dyn UserStore, name: &str, edit: &UserEdit, force: bool) -> Done {
    let user = find(users, name).await?;
    match users.edit_user(user.id, edit, force).await? {
        UserEdited::Done => Ok(()),
        UserEdited::LastAdmin => {
            let message = format!("{} is the last admin who may sign in", user.name);
            Err(Failure::new("last_admin", message, Exit::Conflict)
                .hint("make somebody else an admin first, or say --force"))
        }
        _ => Err(not_found()),
    }
}

async fn find(users: &dyn UserStore, name: &str) -> Result<User, Failure> {
    let name = name.trim().to_lowercase();
    let found = users.users().await?.into_iter().find(|user| user.name == name);
    found.ok_or_else(not_found)
}

fn not_found() -> Failure {
    Failure::new("user_not_found", "there is no user of this name", Exit::Failed)
        .hint("`trunkline user list` shows who there is")
}

fn user_json(user: &User) -> Value {
    json!({
        "id": user.id,
        "name": user.name,
        "role": user.role,
        "state": state(user),
        "has_password": user.has_password,
        "failures": user.failures,
        "locked_until": user.locked_until,
        "disabled_at": user.disabled_at,
        "created_at": user.created_at,
        "last_login_at": user.last_login_at,
        "signed_in": user.sessions,
    })
}

fn state(user: &User) -> &'static str {
    let now = i64::try_from(SystemClock::default().unix_seconds()).unwrap_or(i64::MAX);
    if user.disabled_at.is_some() {
        "disabled"
    } else if user.locked_until.is_some_and(|until| until.timestamp() > now) {
        "locked"
    } else {
        "active"
    }
}

fn role(user: &User) -> &'static str {
    user.role.map_or("nothing: this version does not know the role", |role| role.as_str())
}

fn shown(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

const LINK_SECONDS: u32 = 600;
