//! Which config answers for the numbers of a CSV: first what would move and what is refused, then the move;
//! all of them, or none.

use std::collections::BTreeMap;

use askama::Template;

use super::frame::Frame;
use super::import_plan::{Plan, Refused};
use super::numbers::{Configs, offered};
use super::page_of;
use super::rules;
use super::tenants::{Labels, Named};
use super::visit::Visit;
use crate::access::Scope;
use crate::number::ConfigId;
use crate::server::api::{Asking, Problem, Reply};
use crate::store::{Config, Edited, Number, Written};

#[derive(Template)]
#[template(path = "numbers-import.html")]
struct Import<'i> {
    frame: &'i Frame<'i>,
    csv: String,
    wrong: Option<String>,
    preview: Option<Preview>,
}

/// What would be done.
struct Preview {
    digest: String,
    refused: Vec<Refused>,
    refused_are: String,
    moves: Vec<Shown>,
    moving: String,
    stay: usize,
    /// How many move from where to where.
    ways: Vec<(String, String, usize)>,
}

struct Shown {
    number: String,
    tenant: Named,
    from: String,
    to: String,
}

pub(super) fn blank(visit: &Visit<'_>) -> Result<Reply, Problem> {
    visit.asking(Scope::EditNumbers)?;
    shown(visit, String::new(), None, None)
}

fn shown(
    visit: &Visit<'_>,
    csv: String,
    wrong: Option<String>,
    preview: Option<Preview>,
) -> Result<Reply, Problem> {
    let frame = visit.frame("Assign by CSV", "numbers");
    let status = if wrong.is_some() { 422 } else { 200 };
    Ok(page_of(&Import { csv, wrong, preview, frame: &frame })?.code(status))
}

/// Shows what a CSV would do; or does it, if that is what was seen.
pub(super) async fn carry_out(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditNumbers)?;
    let csv = visit.form.get("csv");
    let offered = offered(&asking).await?;
    let plan = match Plan::of(&asking, &csv, &offered).await? {
        Ok(plan) => plan,
        Err(why) => return shown(visit, csv, Some(why), None),
    };
    let wrong = if visit.form.get("do") == "assign" {
        match done(visit, &asking, &plan).await? {
            Ok(written) => {
                let id = visit.done(&asking, "numbers", "assigned", written).await;
                return Ok(id);
            }
            Err(why) => Some(why),
        }
    } else {
        None
    };
    let preview = Preview::of(&asking, plan, &offered).await?;
    shown(visit, csv, wrong, Some(preview))
}

/// Moves what was seen in a preview, or says why nothing was moved.
async fn done(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    plan: &Plan,
) -> Result<Result<Option<Written>, String>, Problem> {
    let changed = "Somebody changed some of these numbers meanwhile. Nothing was moved; below is what \
                   would move now.";
    if plan.digest() != visit.form.get("plan") {
        return Ok(Err(changed.to_owned()));
    }
    if !plan.refused.is_empty() && visit.form.get("skip") != "yes" {
        let why =
            "Some rows are refused. Nothing was moved: mend them, or say that they are left out.";
        return Ok(Err(why.to_owned()));
    }
    if plan.moves.is_empty() {
        return Ok(Err("No number would move.".to_owned()));
    }
    let (behalf, whose) = (asking.behalf(), asking.whose());
    let mut decide = |numbers: &Vec<Number>| plan.fits(numbers);
    let edited =
        asking.rows()?.assign_numbers(&behalf, &whose, &plan.assignments(), &mut decide).await?;
    match edited {
        Edited::Done(written) => Ok(Ok(written)),
        _ => Ok(Err(changed.to_owned())),
    }
}

impl Preview {
    async fn of(asking: &Asking<'_>, plan: Plan, offered: &[Config]) -> Result<Self, Problem> {
        let digest = plan.digest();
        let Plan { refused, moves, stay } = plan;
        let ids = moves.iter().flat_map(|one| [one.from, one.to]).flatten().collect();
        let named = Configs::named(asking, ids, offered).await?;
        let name = |id: Option<ConfigId>| match id {
            None => "none: the environment answers".to_owned(),
            Some(id) => named.name(id).map_or_else(|| "one that is gone".to_owned(), Into::into),
        };
        let labels = Labels::of(asking, moves.iter().map(|one| one.tenant).collect()).await?;
        let mut ways = BTreeMap::new();
        for one in &moves {
            *ways.entry((name(one.from), name(one.to))).or_insert(0) += 1;
        }
        let shown = moves.iter().map(|one| Shown {
            number: format!("+{}", one.digits),
            tenant: labels.named(one.tenant),
            from: name(one.from),
            to: name(one.to),
        });
        Ok(Self {
            digest,
            refused_are: match refused.len() {
                1 => "1 row is refused".to_owned(),
                many => format!("{many} rows are refused"),
            },
            refused,
            moving: rules::numbers(moves.len(), false),
            moves: shown.collect(),
            stay,
            ways: ways.into_iter().map(|((from, to), many)| (from, to, many)).collect(),
        })
    }
}
