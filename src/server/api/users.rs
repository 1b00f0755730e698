//! `/v1/users`: the people who may sign in. A password goes in, or one that was made up comes out once;
//! what is stored of it never does.

mod table;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::body::Private;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use crate::access::generate_password;
use crate::draft::{UserDraft, check_password};
use crate::store::{Edited, NewUser, User, UserEdit, UserSession, UserStore, Written};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Creation {
    name: String,
    role: String,
    password: Option<Private>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    role: Option<String>,
    disabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    password: Option<Private>,
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
        Operation::Read => read(asking, id(question)?).await,
        Operation::Create => create(asking, question.body()?).await,
        Operation::Change => change(asking, id(question)?, &question.body()?).await,
        Operation::Password => password(asking, id(question)?, question.body()?).await,
        Operation::Unlock => {
            let Nothing {} = question.body()?;
            edit(asking, id(question)?, &[UserEdit::Unlock]).await
        }
        Operation::SignOut => {
            let Nothing {} = question.body()?;
            edit(asking, id(question)?, &[UserEdit::SignOut]).await
        }
        Operation::Remove => edit(asking, id(question)?, &[UserEdit::Remove]).await,
    }
}

async fn list(asking: &Asking<'_>) -> Result<Reply, Problem> {
    let users = asking.users()?.users().await?;
    let users: Vec<_> = users.iter().map(|user| shown(asking, user)).collect();
    Ok(Reply::json(&json!({"users": users})))
}

async fn read(asking: &Asking<'_>, id: Uuid) -> Result<Reply, Problem> {
    let store = asking.users()?;
    let users = store.users().await?;
    let user = users.iter().find(|user| user.id == id).ok_or_else(missing)?;
    let sessions = store.sessions(id).await?;
    let mut told = shown(asking, user);
    told["sessions"] = sessions.iter().map(shown_session).collect();
    Ok(Reply::json(&told))
}

async fn create(asking: &Asking<'_>, body: Creation) -> Result<Reply, Problem> {
    let Creation { name, role, password } = body;
    let (name, role) = UserDraft { name, role }.check()?;
    let (password, made_up) = chosen(password)?;
    let hash = asking.resolver.password_hash(&password).await?;
    let id = Uuid::new_v4();
    let user = NewUser { name, role, password: Some(hash) };
    let edited = asking.resolver.people()?.insert_user(&asking.behalf(), id, &user).await?;
    let told = made_up.then(|| password.as_str());
    let answer = json!({"id": id, "name": user.name, "password": told});
    let reply = done(asking, edited, answer).await?;
    Ok(reply.created(&format!("{FOLDER}/{id}")))
}

async fn change(asking: &Asking<'_>, id: Uuid, body: &Patch) -> Result<Reply, Problem> {
    let mut edits = Vec::new();
    if let Some(role) = &body.role {
        let (_, role) = UserDraft { name: "x".into(), role: role.clone() }.check()?;
        edits.push(UserEdit::Role(role));
    }
    match body.disabled {
        Some(true) => edits.push(UserEdit::Disable),
        Some(false) => edits.push(UserEdit::Enable),
        None => {}
    }
    edit(asking, id, &edits).await
}

async fn password(asking: &Asking<'_>, id: Uuid, body: Password) -> Result<Reply, Problem> {
    let (password, made_up) = chosen(body.password)?;
    let hash = asking.resolver.password_hash(&password).await?;
    let told = made_up.then(|| password.as_str());
    let answer = json!({"id": id, "password": told});
    let edits = [UserEdit::Password(hash)];
    let edited = asking.resolver.people()?.change_user(&asking.behalf(), id, &edits).await?;
    done(asking, edited, answer).await
}

async fn edit(asking: &Asking<'_>, id: Uuid, edits: &[UserEdit]) -> Result<Reply, Problem> {
    let edited = asking.resolver.people()?.change_user(&asking.behalf(), id, edits).await?;
    done(asking, edited, json!({"id": id})).await
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
            let message = "this is the last admin who may sign in";
            Err(Problem::conflict("last_admin", message).hint("make somebody else an admin first"))
        }
        _ => Err(missing()),
    }
}

/// The password that was chosen, or one that is made up and told.
fn chosen(password: Option<Private>) -> Result<(Zeroizing<String>, bool), Problem> {
    match password {
        Some(password) => {
            check_password("password", &password)?;
            Ok((password.into(), false))
        }
        None => Ok((generate_password()?, true)),
    }
}

fn id(question: &Question<'_>) -> Result<Uuid, Problem> {
    question.id().ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::missing("user_not_found", "there is no such user")
}

fn shown(asking: &Asking<'_>, user: &User) -> Value {
    let now = i64::try_from(asking.resolver.unix_time().as_secs()).unwrap_or(i64::MAX);
    let locked = user.locked_until.filter(|until| until.timestamp() > now);
    json!({
        "id": user.id,
        "name": user.name,
        "role": user.role,
        "has_password": user.has_password,
        "disabled_at": user.disabled_at,
        "locked_until": locked,
        "failures": user.failures,
        "signed_in": user.sessions,
        "created_at": user.created_at,
        "last_login_at": user.last_login_at,
    })
}

fn shown_session(session: &UserSession) -> Value {
    json!({
        "created_at": session.created_at,
        "expires_at": session.expires_at,
        "address": session.address,
        "agent": session.agent,
    })
}

impl Asking<'_> {
    /// The users of the database.
    fn users(&self) -> Result<std::sync::Arc<dyn UserStore>, Problem> {
        self.resolver.users().ok_or_else(Problem::no_database)
    }
}

const FOLDER: &str = "/v1/users";
