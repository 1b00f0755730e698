//! One person: where he is signed in.

use askama::Template;
use uuid::Uuid;

use super::frame::Frame;
use super::page_of;
use super::parts::When;
use super::visit::Visit;
use crate::access::Scope;
use crate::server::api::{Problem, Reply};
use crate::store::UserSession;

#[derive(Template)]
#[template(path = "person.html")]
struct PersonPage<'p> {
    frame: &'p Frame<'p>,
    id: String,
    name: String,
    sessions: Vec<Session>,
    is_confirmed: bool,
}

struct Session {
    since: Option<When>,
    until: Option<When>,
    address: String,
    agent: String,
}

pub(super) async fn page(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Users)?;
    let store = asking.resolver.users().ok_or_else(Problem::no_database)?;
    let users = store.users().await?;
    let user = users.iter().find(|user| user.id == id);
    let user = user.ok_or_else(|| Problem::missing("not_found", "there is no such user"))?;
    let sessions = store.sessions(id).await?;
    let frame = visit.frame(&user.name, "people");
    page_of(&PersonPage {
        id: id.to_string(),
        name: user.name.clone(),
        sessions: sessions.into_iter().map(|session| Session::of(session, visit)).collect(),
        is_confirmed: asking.needs_confirmation().is_ok(),
        frame: &frame,
    })
}

impl Session {
    fn of(session: UserSession, visit: &Visit<'_>) -> Self {
        let when = |at: Option<_>| at.map(|at| When::new(at, visit.now));
        Self {
            since: when(session.created_at),
            until: when(session.expires_at),
            address: session.address,
            agent: session.agent,
        }
    }
}
