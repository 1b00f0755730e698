//! `POST /v1/numbers/assign` and `unassign`: which config answers for many numbers, all of them or none.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::config_of;
use crate::number::ConfigId;
use crate::server::api::asking::Asking;
use crate::server::api::editing::config_missing;
use crate::server::api::fields::MOST_IDS;
use crate::server::api::problem::Problem;
use crate::server::api::question::Question;
use crate::server::api::reply::Reply;
use crate::store::{Edited, Number, Written};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assignment {
    config_id: ConfigId,
    numbers: Vec<Uuid>,
    preview: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unassignment {
    numbers: Vec<Uuid>,
    preview: Option<bool>,
}

pub(super) async fn assign(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let Assignment { config_id, numbers, preview } = question.body()?;
    carry_out(asking, &numbers, Some(config_id), preview == Some(true)).await
}

pub(super) async fn unassign(
    asking: &Asking<'_>,
    question: &Question<'_>,
) -> Result<Reply, Problem> {
    let Unassignment { numbers, preview } = question.body()?;
    carry_out(asking, &numbers, None, preview == Some(true)).await
}

async fn carry_out(
    asking: &Asking<'_>,
    named: &[Uuid],
    to: Option<ConfigId>,
    preview: bool,
) -> Result<Reply, Problem> {
    if preview {
        return Ok(Reply::json(&moves(&foresee(asking, named, to).await?, to, true)));
    }
    let (found, written) = move_all(asking, named, to).await?;
    Ok(asking.written(moves(&found, to, false), written).await)
}

/// The numbers that a config would answer for, as they are, if all of them and the config are there.
pub(in crate::server) async fn foresee(
    asking: &Asking<'_>,
    named: &[Uuid],
    to: Option<ConfigId>,
) -> Result<Vec<Number>, Problem> {
    let (ids, rows, whose) = (ids(named)?, asking.rows()?, asking.whose());
    if let Some(to) = to
        && rows.config_seen(&whose, to).await?.is_none()
    {
        return Err(config_missing("config_id"));
    }
    let found = rows.numbers_with(&whose, &ids).await?;
    if found.len() == ids.len() { Ok(found) } else { Err(missing(named, &found)) }
}

/// Makes a config answer for these numbers, or none. Returns them as they were.
pub(in crate::server) async fn move_all(
    asking: &Asking<'_>,
    named: &[Uuid],
    to: Option<ConfigId>,
) -> Result<(Vec<Number>, Option<Written>), Problem> {
    let (ids, whose, behalf) = (ids(named)?, asking.whose(), asking.behalf());
    let mut found = Vec::new();
    let mut tell = |numbers: &Vec<Number>| {
        found.clone_from(numbers);
        true
    };
    let assignments = [(to, ids)];
    match asking.rows()?.assign_numbers(&behalf, &whose, &assignments, &mut tell).await? {
        Edited::Done(written) => Ok((found, written)),
        Edited::Missing => Err(missing(named, &found)),
        refused => Err(refused.problem()),
    }
}

/// Each once.
fn ids(named: &[Uuid]) -> Result<Vec<Uuid>, Problem> {
    if !(1..=MOST_IDS).contains(&named.len()) {
        let why = format!("must be a list of 1 to {MOST_IDS} ids");
        return Err(Problem::field("field_malformed", "numbers", &why));
    }
    Ok(named.iter().copied().collect::<BTreeSet<_>>().into_iter().collect())
}

/// Who moves from where to where.
fn moves(numbers: &[Number], to: Option<ConfigId>, preview: bool) -> Value {
    let of = |number: &Number| {
        json!({
            "id": number.id,
            "tenant_id": number.tenant,
            "number": format!("+{}", number.digits),
            "from": config_of(number),
            "to": to,
        })
    };
    json!({
        "preview": preview,
        "numbers": numbers.iter().map(of).collect::<Vec<_>>(),
        "changed": numbers.iter().filter(|number| config_of(number) != to).count(),
    })
}

/// The first of the numbers that is not there.
fn missing(named: &[Uuid], found: &[Number]) -> Problem {
    let is_there = |id: &Uuid| found.iter().any(|number| number.id == *id);
    let first = named.iter().position(|id| !is_there(id)).unwrap_or_default();
    Problem::unprocessable_field(
        "number_not_found",
        format!("numbers[{first}]"),
        "there is no such number, or it is not this client's; nothing was changed",
    )
}
