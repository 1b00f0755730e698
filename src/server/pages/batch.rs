//! One batch: how far it is, what became of its entries, and what may be done about it.

use askama::Template;
use serde_json::Value;
use uuid::Uuid;

use super::batches::{batches, how};
use super::frame::Frame;
use super::page_of;
use super::parts::{When, grouped};
use super::visit::Visit;
use crate::access::Scope;
use crate::dispatch::batch::Wanted;
use crate::server::api::batches as api;
use crate::server::api::{Problem, Reply};
use crate::store::{BatchRow, BatchState};

#[derive(Template)]
#[template(path = "batch.html")]
struct BatchPage<'b> {
    frame: &'b Frame<'b>,
    batch: Batch,
    outcomes: Vec<(String, String)>,
    left_with: Vec<(String, String)>,
    facts: Vec<(&'static str, String)>,
}

/// A batch as it is listed.
pub(super) struct Batch {
    pub(super) id: Uuid,
    pub(super) name: String,
    /// Its state, in words and by how good it is.
    pub(super) state: &'static str,
    pub(super) level: &'static str,
    pub(super) told: String,
    pub(super) entries: String,
    pub(super) done: String,
    pub(super) left: String,
    /// In per cent.
    pub(super) part: u64,
    pub(super) outcomes: String,
    pub(super) created: Option<When>,
    pub(super) is_open: bool,
    pub(super) may_resume: bool,
    pub(super) has_results: bool,
}

impl Batch {
    pub(super) fn of(visit: &Visit<'_>, row: &BatchRow) -> Self {
        let left = row.entries.saturating_sub(row.done);
        let (level, told) = words(row);
        let is_open = row.state.is_open();
        Self {
            id: row.id,
            name: if row.name.is_empty() { row.id.to_string() } else { row.name.clone() },
            state: api::state(row),
            level,
            told,
            entries: grouped(row.entries),
            done: grouped(row.done),
            left: grouped(left),
            part: (row.done * 100).checked_div(row.entries).unwrap_or(0),
            outcomes: outcomes(&row.summary["outcomes"]),
            created: row.created_at.map(|at| When::new(at, visit.now)),
            is_open,
            may_resume: !is_open && row.state != BatchState::Done,
            has_results: batches(visit).is_ok_and(|batches| batches.keeps(row)),
        }
    }
}

/// How good its state is, and what it means.
fn words(row: &BatchRow) -> (&'static str, String) {
    match api::state(row) {
        "done" => ("good", "Every entry has a result.".to_owned()),
        "running" => ("note", "Its calls are being placed.".to_owned()),
        "accepted" => ("note", "It is about to begin.".to_owned()),
        "cancelling" => (
            "warn",
            "Nobody else is called; calls that are under way come to their end.".to_owned(),
        ),
        "cancelled" => ("warn", "It was cancelled. You can go on with what is left.".to_owned()),
        "left" => ("warn", "It ended, and some entries have no result.".to_owned()),
        "interrupted" => (
            "bad",
            "The node that has its journal says nothing. It goes on when that node is there again."
                .to_owned(),
        ),
        _ => (
            "bad",
            row.message.clone().unwrap_or_else(|| "It could not be gone on with.".to_owned()),
        ),
    }
}

/// How many have each outcome, in words.
pub(super) fn outcomes(of: &Value) -> String {
    let told = listed(of).into_iter().map(|(outcome, many)| format!("{many} {outcome}"));
    told.collect::<Vec<_>>().join(", ")
}

fn listed(of: &Value) -> Vec<(String, String)> {
    let outcomes = of.as_object().into_iter().flatten();
    let told = outcomes.map(|(outcome, many)| {
        (outcome.replace('_', " "), grouped(many.as_u64().unwrap_or_default()))
    });
    told.collect()
}

pub(super) async fn page(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let store = batches(visit)?;
    let row = api::seen(asking.client, store, id).await?;
    let shown = api::shown(asking.client, store, &row);
    let frame = visit.frame("Batch", "batches");
    let said = |name: &str| shown[name].as_str().map(ToOwned::to_owned);
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| at.map(super::parts::exact);
    let facts = [
        ("Batch", Some(row.id.to_string())),
        ("Asked for by", said("client")),
        ("Node", said("node")),
        ("Options", Some(options(&row.options)).filter(|told| !told.is_empty())),
        ("Taken", time(row.created_at)),
        ("Begun", time(row.begun_at)),
        ("Ended", time(row.ended_at)),
    ];
    page_of(&BatchPage {
        frame: &frame,
        batch: Batch::of(visit, &row),
        outcomes: listed(&row.summary["outcomes"]),
        left_with: listed(&row.summary["left_with"]),
        facts: facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    })
}

fn options(options: &Value) -> String {
    let all = options.as_object().into_iter().flatten();
    let told = all.map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        value => format!("{name} {value}"),
    });
    told.collect::<Vec<_>>().join(", ")
}

pub(super) async fn cancel(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    api::cancel(&asking, batches(visit)?, id, how(visit)).await?;
    Ok(visit.to(&format!("batches/{id}?did=cancelled")))
}

pub(super) async fn resume(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    api::resume(&asking, batches(visit)?, id).await?;
    Ok(visit.to(&format!("batches/{id}?did=resumed")))
}

/// Its results as a file.
pub(super) async fn results(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let store = batches(visit)?;
    let row = api::seen(asking.client, store, id).await?;
    let wanted = match &*visit.query.get("rows") {
        "left" => Wanted::Left,
        "all" => Wanted::All,
        _ => Wanted::Done,
    };
    api::body_of(store, &row, wanted, api::Format::Csv).await
}
