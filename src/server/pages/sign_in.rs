//! Signing in and out, by password or by a link that signs in once, and one's own account.

use askama::Template;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use zeroize::Zeroizing;

use super::fields::{Field, Fields, Kind, query};
use super::frame::Frame;
use super::page_of;
use super::parts::When;
use super::visit::{Visit, root};
use crate::draft::check_password;
use crate::server::api::{Place, Problem, Reply, Visitor};

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignIn<'s> {
    frame: &'s Frame<'s>,
    name: String,
    /// A link that signs in once.
    link: String,
    /// Where it leads then, from the root of all pages.
    to: String,
    wrong: Option<String>,
    hint: Option<&'static str>,
    /// Whether something was sent that was not done, since nobody was signed in.
    was_lost: bool,
}

/// Who is not known is asked to sign in, and led on to where he wanted to go.
pub(super) fn asked_for(parts: &Parts) -> Reply {
    let path = parts.uri.path();
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let to = target.trim_start_matches('/');
    let lost = if parts.method.is_safe() { "" } else { "yes" };
    // What was sent is at an address that may have no page of its own.
    let to = if lost.is_empty() { to } else { path.trim_start_matches('/') };
    let asked = query(&[("to", to), ("lost", lost)]);
    let mark = if asked.is_empty() { "" } else { "?" };
    Reply::see(&format!("{}sign-in{mark}{asked}", root(path)))
}

/// The page itself, or what is sent from it.
pub(super) async fn answer(
    place: &Place,
    visitor: &Visitor<'_>,
    parts: &Parts,
    entered: &[u8],
) -> Result<Reply, Problem> {
    let query = Fields(parts.uri.query().unwrap_or_default().as_bytes());
    let frame = Frame::of_nobody(place, parts, "Sign in");
    let mut page = SignIn {
        frame: &frame,
        name: String::new(),
        link: query.get("link"),
        to: query.get("to"),
        wrong: None,
        hint: None,
        was_lost: query.get("lost") == "yes",
    };
    if parts.method.is_safe() {
        return page_of(&page);
    }
    let form = Fields(entered);
    let outcome = match form.given("link") {
        Some(link) => visitor.sign_in_by_link(&link).await,
        None => {
            page.name = form.given("name").unwrap_or_default();
            let password = Zeroizing::new(form.get("password"));
            visitor.sign_in(&page.name, &password).await
        }
    };
    page.to = form.get("to");
    match outcome {
        Ok((cookie, _)) => {
            Ok(Reply::see(&format!("./{}", ours(&page.to))).with(SET_COOKIE, cookie))
        }
        Err(problem) => {
            let status = problem.status.as_u16();
            page.wrong = Some(problem.message().to_owned());
            page.hint = problem.hint_text();
            Ok(page_of(&page)?.code(status))
        }
    }
}

/// A path of ours, and no other host's.
pub(super) fn ours(path: &str) -> &str {
    let is_ours = !path.contains("//") && !path.contains(['\\', ':']) && !path.starts_with('/');
    if is_ours { path } else { "" }
}

#[derive(Template)]
#[template(path = "account.html")]
struct Account<'a> {
    frame: &'a Frame<'a>,
    name: &'a str,
    role: &'static str,
    until: Option<When>,
    has_session: bool,
    fields: Vec<Field>,
    errors: Vec<(String, String)>,
}

pub(super) fn account(visit: &Visit<'_>, problem: Option<&Problem>) -> Result<Reply, Problem> {
    let Some(person) = &visit.person else {
        return Err(Problem::missing("not_found", "a client has no account; people have"));
    };
    let secret = |name, label| Field::new(name, label, "", Kind::Secret).required();
    let mut fields = vec![
        secret("old", "Password now"),
        secret("new", "New password")
            .help("At least 12 characters. It signs you out everywhere else."),
    ];
    let errors = super::fields::errors(&mut fields, problem);
    let frame = visit.frame("Your account", "account");
    let reply = page_of(&Account {
        name: &person.name,
        role: person.role.map_or("unknown", |role| role.as_str()),
        until: person.expires_at.map(|at| When::new(at, visit.now)),
        has_session: person.session.is_some(),
        fields,
        errors,
        frame: &frame,
    })?;
    Ok(reply.code(problem.map_or(200, |problem| problem.status.as_u16())))
}

pub(super) async fn change_password(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let Some(person) = &visit.person else { return account(visit, None) };
    let [old, new] = ["old", "new"].map(|name| Zeroizing::new(visit.form.get(name)));
    let outcome = match check_password("new", &new) {
        Ok(()) => visit.visitor.change_password(&visit.behalf(), person, [&old, &new]).await,
        Err(errors) => Err(errors.into()),
    };
    match outcome {
        Ok(()) => Ok(visit.to("account?did=saved")),
        Err(problem) => account(visit, Some(&problem)),
    }
}

pub(super) async fn sign_out(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let reply = Reply::see("./sign-in?did=signed-out");
    let Some(person) = &visit.person else { return Ok(reply) };
    let everywhere = visit.form.get("everywhere") == "yes";
    let cookie = visit.visitor.sign_out(&visit.behalf(), person, everywhere).await?;
    Ok(reply.with(SET_COOKIE, cookie))
}
