//! One LiveKit config, with its versions and users, and what is done with one press.

use askama::Template;

use super::audit::{Line, lines_of};
use super::fields::Fields;
use super::frame::Frame;
use super::page_of;
use super::parts::When;
use super::rules;
use super::tenants::{Labels, Named};
use super::visit::Visit;
use crate::access::Scope;
#[cfg(feature = "dispatch")]
use crate::dispatch::check::{Finding, Verdict};
use crate::number::ConfigId;
use crate::server::api::configs::{self as api, edits};
#[cfg(feature = "dispatch")]
use crate::server::api::pairs::{Turning, entered};
use crate::server::api::{Asking, Expected, Problem, Reply, version};
use crate::store::{Config, Edited, NumberFilter};
#[cfg(feature = "dispatch")]
use crate::store::{PairPhase, ShownPair};

#[derive(Template)]
#[template(path = "config.html")]
struct One<'o> {
    frame: &'o Frame<'o>,
    id: String,
    config: &'o Config,
    version: String,
    secret: &'static str,
    key: String,
    secret_since: Option<When>,
    created: Option<When>,
    updated: Option<When>,
    users: Vec<(String, String, Named)>,
    users_are: String,
    versions: Vec<Line>,
    has_more: bool,
    may_edit: bool,
    may_check: bool,
    checked: Option<Checked>,
    wrong: Option<String>,
    copy_name: String,
    pairs: Vec<Pair>,
    /// Whether there is one of this kind.
    has_pending: bool,
    has_previous: bool,
    retire_from: Option<When>,
    may_turn: bool,
    /// Whether the password is asked for again.
    asks_password: bool,
}

/// A key pair as a row.
struct Pair {
    state: &'static str,
    level: &'static str,
    api_key: String,
    since: Option<When>,
    remark: &'static str,
}

/// What a check came to.
pub(super) struct Checked {
    pub(super) is_good: bool,
    pub(super) steps: Vec<CheckedStep>,
}

/// A step of a check.
pub(super) struct CheckedStep {
    /// How it is marked, and what that means in words.
    pub(super) kind: &'static str,
    pub(super) verdict: &'static str,
    pub(super) step: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
}

#[cfg(feature = "dispatch")]
impl Checked {
    pub(super) fn of(findings: Vec<Finding>) -> Self {
        let is_good = crate::server::api::checks::is_good(&findings);
        let step = |finding: Finding| {
            let (kind, verdict) = match finding.verdict {
                Verdict::Ok => ("ok", "Good: "),
                Verdict::Warning => ("warning", "Unusual: "),
                Verdict::Failed => ("failed", "Failed: "),
            };
            let Finding { step, message, hint, .. } = finding;
            CheckedStep { kind, verdict, step, message, hint }
        };
        Self { is_good, steps: findings.into_iter().map(step).collect() }
    }
}

/// What is told beside the config itself.
#[derive(Default)]
struct Beside {
    checked: Option<Checked>,
    wrong: Option<String>,
    copy_name: String,
}

pub(super) async fn one(visit: &Visit<'_>, id: ConfigId) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Configs)?;
    shown(visit, &asking, id, Beside::default()).await
}

async fn shown(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    id: ConfigId,
    beside: Beside,
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let config = read(asking, id).await?;
    let ring = asking.resolver.ring();
    let (secret, key) = api::state_of_secret(&config, ring.as_deref());
    let (versions, has_more) = lines_of(asking, id, visit.now, VERSIONS).await?;
    let is_of_secret = |line: &&Line| line.changes.iter().any(|change| change.column == SECRET);
    let secret_since = versions.iter().find(is_of_secret).and_then(|line| line.when);
    let filter = NumberFilter { config: Some(id), ..NumberFilter::default() };
    let mut users = asking.rows()?.number_page(&asking.whose(), &filter, None, USERS + 1).await?;
    let is_cut = users.len() > USERS;
    users.truncate(USERS);
    let users_are = rules::numbers(users.len(), is_cut);
    let labels = Labels::of(asking, users.iter().map(|number| number.tenant).collect()).await?;
    let users = users.into_iter().map(|number| {
        (number.id.to_string(), format!("+{}", number.digits), labels.named(number.tenant))
    });
    let (pairs, retire_from) = pairs_of(visit, asking, id).await;
    let frame = visit.frame(&config.name, "configs");
    let when = |at: Option<_>| at.map(|at| When::new(at, visit.now));
    let Beside { checked, wrong, copy_name } = beside;
    let status = if wrong.is_some() { 422 } else { 200 };
    let copy_name = if copy_name.is_empty() { format!("{} copy", config.name) } else { copy_name };
    let reply = page_of(&One {
        id: id.to_string(),
        version: version::of_config(&config, ring.as_deref()),
        secret,
        key: key.unwrap_or_default(),
        secret_since,
        created: when(config.created_at),
        updated: when(config.updated_at),
        users: users.collect(),
        users_are,
        versions,
        has_more,
        may_edit: visit.may_edit_configs(),
        may_check: visit.may_edit_configs() && cfg!(feature = "dispatch"),
        checked,
        wrong,
        copy_name,
        has_pending: pairs.iter().any(|pair| pair.state == "pending"),
        has_previous: pairs.iter().any(|pair| pair.state == "previous"),
        pairs,
        retire_from,
        may_turn: visit.may_edit_configs() && cfg!(feature = "dispatch"),
        asks_password: asking.needs_confirmation().is_err(),
        config: &config,
        frame: &frame,
    })?;
    Ok(reply.code(status))
}

/// Its key pairs, and when the previous one may be retired. None where they cannot be told: by a database from
/// before them, or without a key.
#[cfg(feature = "dispatch")]
async fn pairs_of(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    id: ConfigId,
) -> (Vec<Pair>, Option<When>) {
    let Ok(turning) = Turning::of(asking, id) else { return (Vec::new(), None) };
    let Ok((shown, step)) = turning.look().await else { return (Vec::new(), None) };
    let row = |pair: ShownPair| {
        let remark = match (pair.compromised_at, pair.is_here, pair.phase) {
            (Some(_), ..) => "others may have it: remove it from the server",
            (None, false, _) => "for another server",
            (None, true, PairPhase::Pending) => "its server has not accepted it yet",
            (None, true, PairPhase::Previous) => "the server must go on accepting it",
            _ => "",
        };
        let is_old = pair.age.is_some_and(|age| age > TOO_OLD);
        let level = match pair.phase {
            PairPhase::Current if is_old => "warn",
            PairPhase::Current => "good",
            _ => "warn",
        };
        let since = pair.since.map(|at| When::new(at, visit.now));
        Pair { state: pair.phase.as_str(), level, api_key: pair.api_key, since, remark }
    };
    let from = step.retire_from.map(|at| When::new(at, visit.now));
    (shown.into_iter().map(row).collect(), from)
}

#[cfg(not(feature = "dispatch"))]
async fn pairs_of(_: &Visit<'_>, _: &Asking<'_>, _: ConfigId) -> (Vec<Pair>, Option<When>) {
    (Vec::new(), None)
}

/// Takes a step with its key pairs.
#[cfg(feature = "dispatch")]
pub(super) async fn turn_pair(
    visit: &Visit<'_>,
    id: ConfigId,
    step: &str,
) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::EditConfigs)?;
    let turning = Turning::of(&asking, id)?;
    let done = match step {
        "rotate" => {
            let line = |name| visit.form.given(name).unwrap_or_default();
            let new = entered(line("api_key"), line("api_secret"));
            turning.rotate(new, false).await.map(drop)
        }
        "promote" => turning.promote(false).await.map(drop),
        "roll-back" => turning.roll_back().await.map(drop),
        "retire" => match visit.confirmed(&asking).await {
            Ok(()) => turning.retire(false).await.map(drop),
            Err(problem) => Err(problem),
        },
        _ => return Err(Problem::not_found()),
    };
    match done {
        Ok(()) => {
            let written = asking.rows()?.newest_written().await?;
            let path = format!("configs/{id}");
            Ok(visit.done(&asking, &path, "turned", written).await)
        }
        Err(problem) => {
            let wrong = Some(problem.message().to_owned());
            shown(visit, &asking, id, Beside { wrong, ..Beside::default() }).await
        }
    }
}

/// A config that whoever asks may see whole.
pub(super) async fn read(asking: &Asking<'_>, id: ConfigId) -> Result<Config, Problem> {
    asking.needs_all()?;
    asking.rows()?.config_seen(&asking.whose(), id).await?.ok_or_else(api::missing)
}

/// Checks it with the secret that it has, and shows what came of that.
#[cfg(feature = "dispatch")]
pub(super) async fn check(visit: &Visit<'_>, id: ConfigId) -> Result<Reply, Problem> {
    use crate::server::api::checks;
    let asking = visit.asking_of_all(Scope::EditConfigs)?;
    let plan = checks::plan_of(&asking, id, None).await?;
    let streams = &visit.place.shared.streams;
    let _open = streams.open(asking.client.id, "checks", checks::MOST_AT_ONCE)?;
    let findings = plan.make(&mut |_| {}).await;
    let checked = Checked::of(findings);
    shown(visit, &asking, id, Beside { checked: Some(checked), ..Beside::default() }).await
}

#[cfg(not(feature = "dispatch"))]
pub(super) async fn check(visit: &Visit<'_>, id: ConfigId) -> Result<Reply, Problem> {
    one(visit, id).await
}

/// Adds a copy with its secret, which nobody needs to know for that.
pub(super) async fn copy(visit: &Visit<'_>, id: ConfigId) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditConfigs)?;
    let name = visit.form.get("name");
    let outcome = match edits::copy(&asking, id, name.clone(), None).await {
        Ok((answer, Edited::Done(written))) => {
            let path = format!("configs/{}", id_in(&answer));
            return Ok(visit.done(&asking, &path, "copied", written).await);
        }
        Ok((_, refused)) => refused.problem(),
        Err(problem) => problem,
    };
    let wrong = Some(outcome.message().to_owned());
    shown(visit, &asking, id, Beside { wrong, copy_name: name, ..Beside::default() }).await
}

/// The id in what is answered to whoever creates something.
pub(super) fn id_in(answer: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
    answer["id"].as_str().unwrap_or_default().to_owned()
}

pub(super) async fn turn(
    visit: &Visit<'_>,
    id: ConfigId,
    is_disabled: bool,
) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditConfigs)?;
    let expected = expected(visit.form);
    let (_, written) = edits::turn(&asking, id, &expected, is_disabled).await?;
    let did = if is_disabled { "disabled" } else { "enabled" };
    Ok(visit.done(&asking, &format!("configs/{id}"), did, written).await)
}

/// The version that a form was made from.
pub(super) fn expected(form: Fields<'_>) -> Expected {
    form.given("version").map_or(Expected::Any, Expected::Version)
}

#[derive(Template)]
#[template(path = "config-remove.html")]
struct Removing<'r> {
    frame: &'r Frame<'r>,
    id: String,
    name: &'r str,
    version: String,
    is_disabled: bool,
    users: String,
    has_users: bool,
    /// Whether the password is asked for again.
    asks_password: bool,
    wrong: Option<String>,
}

/// Asks for its name before it goes.
pub(super) async fn removing(
    visit: &Visit<'_>,
    id: ConfigId,
    wrong: Option<String>,
) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditConfigs)?;
    let config = read(&asking, id).await?;
    let filter = NumberFilter { config: Some(id), ..NumberFilter::default() };
    let users = asking.rows()?.number_page(&asking.whose(), &filter, None, USERS + 1).await?;
    let frame = visit.frame(&format!("Delete {}", config.name), "configs");
    let status = if wrong.is_some() { 422 } else { 200 };
    let reply = page_of(&Removing {
        id: id.to_string(),
        name: &config.name,
        version: version::of_config(&config, asking.resolver.ring().as_deref()),
        is_disabled: config.disabled_at.is_some(),
        users: rules::numbers(users.len().min(USERS), users.len() > USERS),
        has_users: !users.is_empty(),
        asks_password: asking.needs_confirmation().is_err(),
        wrong,
        frame: &frame,
    })?;
    Ok(reply.code(status))
}

pub(super) async fn remove(visit: &Visit<'_>, id: ConfigId) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditConfigs)?;
    let config = read(&asking, id).await?;
    if visit.form.get("name") != config.name {
        let why = "Type the name of the config as it is written above.".to_owned();
        return removing(visit, id, Some(why)).await;
    }
    if let Err(problem) = visit.confirmed(&asking).await {
        return removing(visit, id, Some(problem.message().to_owned())).await;
    }
    match edits::drop_config(&asking, id, &expected(visit.form)).await {
        Ok(written) => Ok(visit.done(&asking, "configs", "removed", written).await),
        Err(problem) => removing(visit, id, Some(problem.message().to_owned())).await,
    }
}

/// A pair that has been current for so long is to be turned.
#[cfg(feature = "dispatch")]
const TOO_OLD: std::time::Duration = std::time::Duration::from_secs(180 * 86_400);
const VERSIONS: usize = 20;
/// How many of the numbers that use it are shown.
const USERS: usize = 10;
/// The column of the secret, as the audit calls it.
const SECRET: &str = "livekit_api_secret";
