//! Many configs disabled or enabled at once: first which numbers that touches, then each of them.

use askama::Template;

use super::configs::read;
use super::frame::Frame;
use super::page_of;
use super::rules;
use super::visit::Visit;
use crate::access::Scope;
use crate::number::ConfigId;
use crate::server::api::configs::edits;
use crate::server::api::{Asking, Expected, Problem, Reply, version};
use crate::store::NumberFilter;

#[derive(Template)]
#[template(path = "configs-many.html")]
struct Many<'m> {
    frame: &'m Frame<'m>,
    is_disabled: bool,
    rows: Vec<Row>,
    moving: String,
    back: String,
    /// Configs with which nothing was done, and why.
    wrong: Vec<(String, String)>,
}

/// A config that was picked.
struct Row {
    id: String,
    name: String,
    version: String,
    numbers: String,
    /// Whether it is so already.
    stays: bool,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::EditConfigs)?;
    let ids: Vec<_> = visit.form.all("id").iter().filter_map(|id| id.parse().ok()).collect();
    if ids.is_empty() || ids.len() > MOST_AT_ONCE {
        let why = format!("1 to {MOST_AT_ONCE} configs must be picked");
        return Err(Problem::unprocessable("none_picked", why));
    }
    let is_disabled = match &*visit.form.get("to") {
        "disabled" => true,
        "enabled" => false,
        _ => return Err(Problem::unprocessable("no_state", "disable or enable must be chosen")),
    };
    let mut wrong = Vec::new();
    if visit.form.get("do") == "turn" {
        let versions = visit.form.all("version");
        let mut last = None;
        for (id, version) in ids.iter().zip(versions) {
            match edits::turn(&asking, *id, &Expected::Version(version), is_disabled).await {
                Ok((_, written)) => last = written.or(last),
                Err(problem) => {
                    let name = read(&asking, *id).await.map(|config| config.name);
                    let name = name.unwrap_or_else(|_| id.to_string());
                    wrong.push((name, problem.message().to_owned()));
                }
            }
        }
        if wrong.is_empty() {
            let did = if is_disabled { "disabled" } else { "enabled" };
            return Ok(visit.done(&asking, "configs", did, last).await);
        }
    }
    let mut rows = Vec::new();
    for id in ids {
        rows.extend(Row::of(&asking, id, is_disabled).await?);
    }
    let frame =
        visit.frame(if is_disabled { "Disable configs" } else { "Enable configs" }, "configs");
    let moving = rows.iter().filter(|row| !row.stays).count();
    let status = if wrong.is_empty() { 200 } else { 409 };
    let reply = page_of(&Many {
        is_disabled,
        rows,
        moving: if moving == 1 { "1 config".to_owned() } else { format!("{moving} configs") },
        back: visit.form.get("filter"),
        wrong,
        frame: &frame,
    })?;
    Ok(reply.code(status))
}

impl Row {
    /// `None`: it is gone.
    async fn of(
        asking: &Asking<'_>,
        id: ConfigId,
        is_disabled: bool,
    ) -> Result<Option<Self>, Problem> {
        let (rows, whose) = (asking.rows()?, asking.whose());
        let Some(config) = rows.config_seen(&whose, id).await? else { return Ok(None) };
        let filter = NumberFilter { config: Some(id), ..NumberFilter::default() };
        let users = rows.number_page(&whose, &filter, None, MOST_COUNTED + 1).await?.len();
        Ok(Some(Self {
            id: id.to_string(),
            version: version::of_config(&config, asking.resolver.ring().as_deref()),
            stays: config.disabled_at.is_some() == is_disabled,
            numbers: rules::numbers(users.min(MOST_COUNTED), users > MOST_COUNTED),
            name: config.name,
        }))
    }
}

/// As many as a page has.
const MOST_AT_ONCE: usize = 100;
const MOST_COUNTED: usize = 1000;
