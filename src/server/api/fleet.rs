//! `/v1/nodes`, `/v1/keys`, `/v1/settings` and `/v1/changes`: how the fleet is. Nothing here is edited, and
//! nothing is of one tenant, so a client that is limited gets none of it.

mod table;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::page::Page;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use crate::store::ChangeRow;

#[derive(Deserialize)]
struct Listing {
    limit: Option<u64>,
    cursor: Option<String>,
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    match operation {
        Operation::Nodes => nodes(asking).await,
        Operation::Keys => keys(asking).await,
        Operation::Settings => {
            Ok(Reply::json(&json!({"settings": &*asking.resolver.shown_settings()})))
        }
        Operation::Changes => changes(asking, question).await,
    }
}

async fn nodes(asking: &Asking<'_>) -> Result<Reply, Problem> {
    let nodes = asking.resolver.nodes().ok_or_else(Problem::no_database)?;
    let (listed, unlisted) = (nodes.list().await?, nodes.unlisted().await?);
    Ok(Reply::json(&json!({"nodes": listed, "unlisted": unlisted})))
}

/// Ids alone: of a key itself nothing is told.
async fn keys(asking: &Asking<'_>) -> Result<Reply, Problem> {
    let usage = asking.resolver.key_usage().await?;
    let configs = |id: &str| usage.iter().find(|(key, ..)| key == id).map(|(.., many)| *many);
    let ids = asking.resolver.key_ids();
    let keys = ids.iter().filter(|(_, role)| *role != "none");
    let keys = keys.map(|(id, role)| json!({"id": id, "role": role, "configs": configs(id)}));
    let keys: Vec<_> = keys.collect();
    let book = asking.resolver.key_book().await?.unwrap_or_default();
    let known = book.keys.iter().map(|key| {
        json!({
            "id": key.id, "state": key.phase, "added_at": key.added_at, "since": key.since,
            "clean_since": key.clean_since, "compromised_at": key.compromised_at,
        })
    });
    let known: Vec<_> = known.collect();
    Ok(Reply::json(&json!({
        "keys": keys, "unopenable": configs("none"), "sealing": book.sealing, "known": known,
    })))
}

async fn changes(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let Listing { limit, cursor } = question.parameters()?;
    let page = Page::of(asking, question, limit, cursor.as_deref())?;
    let before = page.after().and_then(|(seq, _)| seq.parse().ok());
    let rows = asking.rows()?.change_page(before, page.most()).await?;
    let mut rows: Vec<_> = rows.into_iter().map(|row| (row.seq.to_string(), row)).collect();
    let next = page.cut(&mut rows, |(seq, _)| (seq, Uuid::nil()));
    let changes: Vec<_> = rows.iter().map(|(_, row)| shown(row)).collect();
    Ok(Reply::json(&json!({"changes": changes, "next": next})))
}

fn shown(row: &ChangeRow) -> Value {
    let fields: Vec<_> = row.fields.split(',').filter(|field| !field.is_empty()).collect();
    json!({
        "seq": row.seq,
        "at": row.at,
        "actor": row.actor,
        "login": row.login,
        "entity": row.entity,
        "operation": row.operation,
        "fields": fields,
        "config_id": row.config,
        "tenant_id": row.tenant,
        "number": row.digits.as_ref().map(|digits| format!("+{digits}")),
    })
}
