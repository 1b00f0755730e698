//! `/v1/session`: people sign in and out, and give their password again.

mod table;

use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use self::table::{Operation, ROUTES};
use super::asking::behalf;
use super::body::Private;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use super::request_id::RequestId;
use super::visitor::Visitor;
use crate::draft::check_password;
use crate::resolver::Person;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: Option<String>,
    password: Option<Private>,
    link: Option<Private>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    password: Private,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    old: Private,
    new: Private,
}

#[derive(Deserialize)]
struct Leaving {
    everywhere: Option<bool>,
}

pub(super) async fn answer(
    operation: Operation,
    visitor: &Visitor<'_>,
    question: &Question<'_>,
    id: &RequestId,
) -> Result<Reply, Problem> {
    if let Operation::SignIn = operation {
        return sign_in(visitor, question).await;
    }
    let person = visitor.person().await?.ok_or_else(Problem::session_ended)?;
    let behalf = || behalf(&person.client, id, visitor.peer);
    match operation {
        Operation::SignIn | Operation::Read => {}
        Operation::SignOut => {
            let Leaving { everywhere } = question.parameters()?;
            let everywhere = everywhere.unwrap_or(false);
            let header = visitor.sign_out(&behalf(), &person, everywhere).await?;
            return Ok(with_cookie(Reply::json(&json!({"signed_out": true})), header));
        }
        Operation::Confirm => {
            let Confirmation { password } = question.body()?;
            visitor.confirm(&person, &password).await?;
        }
        Operation::Password => {
            let Change { old, new } = question.body()?;
            check_password("new", &new)?;
            visitor.change_password(&behalf(), &person, [&old, &new]).await?;
        }
    }
    let now = visitor.person().await?.ok_or_else(Problem::session_ended)?;
    Ok(Reply::json(&shown(visitor, &now)))
}

async fn sign_in(visitor: &Visitor<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let (header, person) = match question.body()? {
        Login { name: Some(name), password: Some(password), link: None } => {
            visitor.sign_in(&name, &password).await?
        }
        Login { name: None, password: None, link: Some(link) } => {
            visitor.sign_in_by_link(&link).await?
        }
        _ => {
            let why = "must be there with a password, or a link alone";
            return Err(Problem::field("field_missing", "name", why));
        }
    };
    Ok(with_cookie(Reply::json(&shown(visitor, &person)), header))
}

fn with_cookie(reply: Reply, header: HeaderValue) -> Reply {
    reply.with(SET_COOKIE, header)
}

fn shown(visitor: &Visitor<'_>, person: &Person) -> Value {
    json!({
        "name": person.name,
        "role": person.role,
        "may": person.permissions().map(|permissions| permissions.scopes.clone()).unwrap_or_default(),
        "expires_at": person.expires_at,
        "confirmed": visitor.resolver.is_confirmed(person),
    })
}
