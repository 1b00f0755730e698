//! People and clients: who may sign in and as what, and which programs may ask. A password or token that is
//! made up is shown once.

use askama::Template;
use uuid::Uuid;

use super::fields::{Field, Kind};
use super::frame::Frame;
use super::page_of;
use super::parts::When;
use super::tenants::Labels;
use super::visit::Visit;
use crate::access::{ClientToken, LinkToken, Role, Scope, generate_password};
use crate::draft::{ClientDraft, UserDraft};
use crate::number::TenantId;
use crate::server::api::{Asking, Problem, Reply};
use crate::store::{Client, ClientEdit, NewUser, User, UserEdit};

#[derive(Template)]
#[template(path = "people.html")]
struct People<'p> {
    frame: &'p Frame<'p>,
    users: Vec<UserRow>,
    clients: Vec<ClientRow>,
    roles: [&'static str; 4],
    scopes: Vec<&'static str>,
    is_confirmed: bool,
    confirm: Field,
    /// Shown once: whose it is, what it is called, and it itself.
    made: Option<(String, &'static str, String)>,
    wrong: Option<String>,
}

struct UserRow {
    id: String,
    name: String,
    role: &'static str,
    state: &'static str,
    level: &'static str,
    sessions: u64,
    last: Option<When>,
    is_me: bool,
}

struct ClientRow {
    id: String,
    name: String,
    may: String,
    whose: String,
    state: &'static str,
    level: &'static str,
    expires: Option<When>,
}

/// What is told beside the lists.
#[derive(Default)]
struct Beside {
    made: Option<(String, &'static str, String)>,
    problem: Option<Problem>,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Users)?;
    shown(visit, &asking, Beside::default()).await
}

async fn shown(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    Beside { made, problem }: Beside,
) -> Result<Reply, Problem> {
    let resolver = asking.resolver;
    let users = resolver.users().ok_or_else(Problem::no_database)?.users().await?;
    let clients = resolver.client_store().ok_or_else(Problem::no_database)?.clients().await?;
    let me = visit.person.as_ref().map(|person| person.id);
    let named = clients.iter().filter_map(|client| client.permissions.as_ref()?.tenants.as_ref());
    let labels = Labels::of(asking, named.flatten().copied().collect()).await?;
    let frame = visit.frame("People", "people");
    let status = problem.as_ref().map_or(200, |problem| problem.status.as_u16());
    let confirm = Field::new("password", "Your password", "", Kind::Password).required();
    let reply = page_of(&People {
        users: users.iter().map(|user| UserRow::of(user, visit, me)).collect(),
        clients: clients.iter().map(|client| ClientRow::of(client, &labels, visit)).collect(),
        roles: Role::ALL.map(Role::as_str),
        scopes: Scope::ALL.iter().map(|scope| scope.as_str()).collect(),
        is_confirmed: asking.needs_confirmation().is_ok(),
        confirm,
        made,
        wrong: problem.as_ref().map(told),
        frame: &frame,
    })?;
    Ok(reply.code(status))
}

fn told(problem: &Problem) -> String {
    let hint = problem.hint_text().map(|hint| format!(". {hint}")).unwrap_or_default();
    format!("{}{hint}", problem.message())
}

impl UserRow {
    fn of(user: &User, visit: &Visit<'_>, me: Option<Uuid>) -> Self {
        let is_locked = user.locked_until.is_some_and(|until| until > visit.now);
        let (state, level) = match (user.disabled_at.is_some(), is_locked, user.has_password) {
            (true, ..) => ("disabled", "warn"),
            (_, true, _) => ("locked", "bad"),
            (_, _, false) => ("no password", "warn"),
            _ => ("may sign in", "good"),
        };
        Self {
            id: user.id.to_string(),
            name: user.name.clone(),
            role: user.role.map_or("unknown", Role::as_str),
            state,
            level,
            sessions: user.sessions,
            last: user.last_login_at.map(|at| When::new(at, visit.now)),
            is_me: me == Some(user.id),
        }
    }
}

impl ClientRow {
    fn of(client: &Client, labels: &Labels, visit: &Visit<'_>) -> Self {
        let now = visit.place.shared.resolver.unix_time();
        let (state, level) = if client.revoked_at.is_some() {
            ("revoked", "bad")
        } else if client.has_expired(now) {
            ("expired", "warn")
        } else {
            ("active", "good")
        };
        let permissions = client.permissions.as_ref();
        let scopes = permissions
            .map(|all| all.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>());
        Self {
            id: client.id.to_string(),
            name: client.name.clone(),
            may: scopes.map_or_else(|| "not understood".into(), |scopes| scopes.join(", ")),
            whose: match permissions.and_then(|all| all.tenants.as_ref()) {
                None => "all tenants".into(),
                Some(tenants) => whose(tenants, labels),
            },
            state,
            level,
            expires: client.expires_at.map(|at| When::new(at, visit.now)),
        }
    }
}

/// For whom a client may ask, by name as far as a line holds.
fn whose(tenants: &[TenantId], labels: &Labels) -> String {
    let named = tenants.iter().take(NAMED).map(|tenant| labels.named(*tenant).words().to_owned());
    let named = named.collect::<Vec<_>>().join(", ");
    match tenants.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Takes the password again, for what needs it.
pub(super) async fn confirm(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Users)?;
    match visit.confirmed(&asking).await {
        Ok(()) => Ok(visit.to("people")),
        Err(problem) => shown(visit, &asking, Beside { problem: Some(problem), made: None }).await,
    }
}

pub(super) async fn add_user(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Users)?;
    asking.needs_confirmation()?;
    let draft = UserDraft {
        name: visit.form.given("name").unwrap_or_default(),
        role: visit.form.get("role"),
    };
    let beside = match added(&asking, &draft).await {
        Ok(password) => Beside { made: Some((draft.name, "password", password)), problem: None },
        Err(problem) => Beside { made: None, problem: Some(problem) },
    };
    shown(visit, &asking, beside).await
}

async fn added(asking: &Asking<'_>, draft: &UserDraft) -> Result<String, Problem> {
    let (name, role) = draft.check()?;
    let password = generate_password()?;
    let hash = asking.resolver.password_hash(&password).await?;
    let user = NewUser { name, role, password: Some(hash) };
    let rows = asking.resolver.people()?;
    let edited = rows.insert_user(&asking.behalf(), Uuid::new_v4(), &user).await?;
    crate::server::api::users::written(asking, &edited)?;
    Ok(password.to_string())
}

pub(super) async fn edit_user(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Users)?;
    asking.needs_confirmation()?;
    let mut made = None;
    let edit = match &*visit.form.get("do") {
        "role" => {
            let role = visit.form.get("role").parse::<Role>();
            UserEdit::Role(
                role.map_err(|_| Problem::field("field_malformed", "role", "is no role"))?,
            )
        }
        "disable" => UserEdit::Disable,
        "enable" => UserEdit::Enable,
        "unlock" => UserEdit::Unlock,
        "sign-out" => UserEdit::SignOut,
        "remove" => UserEdit::Remove,
        "link" => {
            let token = LinkToken::generate()?;
            let path = format!("sign-in?link={}", token.as_str());
            made = Some((visit.form.get("name"), LINK, path));
            UserEdit::Link(token.hash(), LINK_SECONDS)
        }
        "password" => {
            let password = generate_password()?;
            let hash = asking.resolver.password_hash(&password).await?;
            made = Some((visit.form.get("name"), "new password", password.to_string()));
            UserEdit::Password(hash)
        }
        _ => return Err(Problem::field("field_malformed", "do", "is nothing that is done")),
    };
    let edited = asking.resolver.people()?.change_user(&asking.behalf(), id, &[edit]).await?;
    finish(visit, &asking, crate::server::api::users::written(&asking, &edited), made).await
}

pub(super) async fn add_client(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Users)?;
    asking.needs_confirmation()?;
    let tenants: Vec<_> =
        visit.form.get("tenants").split_whitespace().map(ToOwned::to_owned).collect();
    let draft = ClientDraft {
        name: visit.form.given("name").unwrap_or_default(),
        all_tenants: tenants.is_empty() && visit.form.get("all_tenants") == "yes",
        tenants,
        may: visit.form.all("may"),
        expires: visit.form.given("expires"),
        ..ClientDraft::default()
    };
    let outcome = async {
        let client = draft.check(asking.resolver.unix_time().as_secs())?;
        let token = ClientToken::generate()?;
        let rows = asking.resolver.people()?;
        let edited =
            rows.insert_client(&asking.behalf(), Uuid::new_v4(), &client, &token.hash()).await?;
        crate::server::api::clients::written(&asking, &edited)?;
        Ok::<_, Problem>(token.as_str().to_owned())
    };
    let beside = match outcome.await {
        Ok(token) => Beside { made: Some((draft.name.clone(), "token", token)), problem: None },
        Err(problem) => Beside { made: None, problem: Some(problem) },
    };
    shown(visit, &asking, beside).await
}

pub(super) async fn edit_client(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Users)?;
    asking.needs_confirmation()?;
    let mut made = None;
    let edit = match &*visit.form.get("do") {
        "revoke" => ClientEdit::Revoke,
        "remove" => ClientEdit::Remove,
        "rotate" => {
            let token = ClientToken::generate()?;
            made = Some((visit.form.get("name"), "new token", token.as_str().to_owned()));
            ClientEdit::Rotate(token.hash())
        }
        _ => return Err(Problem::field("field_malformed", "do", "is nothing that is done")),
    };
    let edited = asking.resolver.people()?.change_client(&asking.behalf(), id, edit).await?;
    finish(visit, &asking, crate::server::api::clients::written(&asking, &edited), made).await
}

/// What was made up is shown at once, and in no other page.
async fn finish(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    outcome: Result<Option<crate::store::Written>, Problem>,
    made: Option<(String, &'static str, String)>,
) -> Result<Reply, Problem> {
    match (outcome, made) {
        (Ok(written), None) => Ok(visit.done(asking, "people", "saved", written).await),
        (Ok(_), made) => shown(visit, asking, Beside { made, problem: None }).await,
        (Err(problem), _) => {
            shown(visit, asking, Beside { made: None, problem: Some(problem) }).await
        }
    }
}

/// What a link is called that signs in once, and for how long it is good.
const LINK: &str = "one-time link";
const LINK_SECONDS: u32 = 600;
/// How many tenants of a client are named.
const NAMED: usize = 3;
