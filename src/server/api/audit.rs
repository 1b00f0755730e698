//! `/v1/audit` and the versions of a config: who changed what. Nothing of it is of one tenant, so a client
//! that is limited gets none of it.

mod table;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::page::Page;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use crate::number::{ConfigId, E164, TenantId};
use crate::store::{AuditEntry, AuditFilter, Whose};

#[derive(Deserialize)]
struct Listing {
    since: Option<String>,
    until: Option<String>,
    entity: Option<String>,
    operation: Option<String>,
    id: Option<Uuid>,
    tenant: Option<TenantId>,
    number: Option<String>,
    who: Option<String>,
    request: Option<String>,
    limit: Option<u64>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Paging {
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
        Operation::List => list(asking, question).await,
        Operation::Versions => versions(asking, question).await,
    }
}

async fn list(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let Listing {
        since,
        until,
        entity,
        operation,
        id,
        tenant,
        number,
        who,
        request,
        limit,
        cursor,
    } = question.parameters()?;
    let filter = AuditFilter {
        since: since.map(|text| moment("since", &text)).transpose()?,
        until: until.map(|text| moment("until", &text)).transpose()?,
        entity,
        operation,
        row_id: id.map(|id| id.to_string()),
        tenant_id: tenant.map(|id| id.to_string()),
        digits: number.map(|text| digits(&text)).transpose()?,
        who,
        request,
    };
    let page = Page::of(asking, question, limit, cursor.as_deref())?;
    let (entries, next) = entries(asking, &page, &filter).await?;
    let entries: Vec<_> = entries.iter().map(AuditEntry::to_json).collect();
    Ok(Reply::json(&json!({"entries": entries, "next": next})))
}

/// Also of a config that is not there any more.
async fn versions(asking: &Asking<'_>, question: &Question<'_>) -> Result<Reply, Problem> {
    let missing = || Problem::missing("config_not_found", "there is no such config, and was none");
    let Paging { limit, cursor } = question.parameters()?;
    let id: ConfigId = question.id().ok_or_else(missing)?;
    let page = Page::of(asking, question, limit, cursor.as_deref())?;
    let filter = AuditFilter {
        entity: Some("config".to_owned()),
        row_id: Some(id.to_string()),
        ..AuditFilter::default()
    };
    let (entries, next) = entries(asking, &page, &filter).await?;
    if entries.is_empty() && asking.rows()?.config_seen(&Whose::ALL, id).await?.is_none() {
        return Err(missing());
    }
    let versions: Vec<_> = entries.iter().map(version).collect();
    Ok(Reply::json(&json!({"versions": versions, "next": next})))
}

async fn entries(
    asking: &Asking<'_>,
    page: &Page,
    filter: &AuditFilter,
) -> Result<(Vec<AuditEntry>, Option<String>), Problem> {
    let before = page.after().and_then(|(id, _)| id.parse().ok());
    let audit = asking.resolver.audit().ok_or_else(Problem::no_database)?;
    let rows = audit.audit_page(filter, before, page.most()).await?;
    let mut rows: Vec<_> =
        rows.into_iter().map(|entry| (entry.row.id.to_string(), entry)).collect();
    let next = page.cut(&mut rows, |(id, _)| (id, Uuid::nil()));
    Ok((rows.into_iter().map(|(_, entry)| entry).collect(), next))
}

/// A change with the columns that it changed, and no others.
fn version(AuditEntry { row, position }: &AuditEntry) -> Value {
    let fields = row.fields();
    let changed = |columns: Map<String, Value>| -> Map<String, Value> {
        columns.into_iter().filter(|(name, _)| fields.contains(name)).collect()
    };
    json!({
        "version": row.id,
        "at": row.at,
        "operation": row.operation,
        "login": row.login,
        "address": row.address,
        "claimed": row.claimed(),
        "fields": fields,
        "before": row.before.is_some().then(|| changed(row.before())),
        "after": row.after.is_some().then(|| changed(row.after())),
        "position": position,
    })
}

fn moment(field: &'static str, text: &str) -> Result<DateTime<Utc>, Problem> {
    let why = "must be a time, such as 2025-11-23T12:00:00Z";
    let read = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
    read.map_err(|_| Problem::field("field_malformed", field, why))
}

fn digits(text: &str) -> Result<String, Problem> {
    let number = text.parse::<E164>();
    let number =
        number.map_err(|error| Problem::field("number_malformed", "number", &error.to_string()))?;
    Ok(number.digits())
}
