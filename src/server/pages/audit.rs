//! The audit: who changed what, found again by filters, exported, and whether its chain is whole.

use askama::Template;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::config_forms::Texts;
use super::configs::with_cursor;
use super::fields::query;
use super::frame::Frame;
use super::page_of;
use super::parts::{When, grouped};
use super::visit::Visit;
use crate::access::Scope;
use crate::number::{ConfigId, E164};
use crate::server::api::{Asking, Page, Problem, Reply};
use crate::store::{AuditEntry, AuditFilter};

/// A change as a line to read.
pub(super) struct Line {
    pub(super) id: i64,
    pub(super) when: Option<When>,
    pub(super) who: String,
    /// By which way: the login, the address, the request.
    pub(super) way: String,
    pub(super) what: &'static str,
    pub(super) entity: String,
    pub(super) subject: String,
    /// Where the subject is to be seen, from the root of all pages.
    pub(super) link: Option<String>,
    pub(super) changes: Vec<Changed>,
    pub(super) is_sealed: bool,
    /// Whether it tells of a config as it was then.
    pub(super) can_return: bool,
}

/// A column that changed.
pub(super) struct Changed {
    pub(super) column: String,
    pub(super) label: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Line {
    pub(super) fn of(AuditEntry { row, position }: &AuditEntry, now: DateTime<Utc>) -> Self {
        let (before, after, claimed) = (row.before(), row.after(), row.claimed());
        let text = |of: &Map<String, Value>, name: &str| {
            of.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
        };
        let who = text(&claimed, "client_name").or_else(|| text(&claimed, "actor"));
        let who = who
            .or_else(|| row.login.clone())
            .unwrap_or_else(|| "Somebody with the database".into());
        let way = [
            row.login.as_ref().map(|login| format!("as {login}")),
            text(&claimed, "from").map(|from| format!("from {from}")),
            text(&claimed, "application").map(|program| format!("by {program}")),
            text(&claimed, "request").map(|request| format!("request {request}")),
        ];
        let name = text(&after, "name").or_else(|| text(&before, "name"));
        let number = row.digits.as_ref().map(|digits| format!("+{digits}"));
        let (is_there, id) = (row.operation != "delete", row.row_id.clone());
        let link = match (&*row.entity, id) {
            ("config", Some(id)) if is_there => Some(format!("configs/{id}")),
            // Of its config.
            ("pair", Some(id)) => Some(format!("configs/{id}")),
            ("number", Some(id)) if is_there => Some(format!("numbers/{id}")),
            _ => None,
        };
        let changes = row.fields().into_iter().filter(|column| !QUIET.contains(&column.as_str()));
        Self {
            id: row.id,
            when: When::read(&row.at, now),
            who,
            way: way.into_iter().flatten().collect::<Vec<_>>().join(", "),
            what: match &*row.operation {
                "insert" => "added",
                "update" => "changed",
                "delete" => "deleted",
                "truncate" => "removed all of",
                _ => "pruned",
            },
            entity: row.entity.clone(),
            subject: format!(
                "{} {}",
                row.entity,
                number.or(name).or_else(|| row.row_id.clone()).unwrap_or_default()
            ),
            link,
            changes: changes.map(|column| changed(column, &before, &after)).collect(),
            is_sealed: position.is_some(),
            can_return: row.entity == "config" && row.after.is_some(),
        }
    }
}

fn changed(column: String, before: &Map<String, Value>, after: &Map<String, Value>) -> Changed {
    let shown = |of: &Map<String, Value>| match of.get(&column) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let label =
        LABELS.iter().find(|(of, _)| *of == column.as_str()).map_or(&*column, |(_, label)| label);
    Changed { label: label.to_owned(), before: shown(before), after: shown(after), column }
}

/// Several changes of one kind, by the newest of them.
pub(super) struct Few {
    pub(super) line: Line,
    pub(super) many: usize,
}

/// Lines with those beside each other that are alike as one, so many at the most.
pub(super) fn few(lines: impl Iterator<Item = Line>, most: usize) -> Vec<Few> {
    let mut all: Vec<Few> = Vec::new();
    for line in lines {
        let is_alike = |last: &&mut Few| {
            let last = &last.line;
            (&last.who, last.what, &last.entity) == (&line.who, line.what, &line.entity)
                && last.entity == "number"
        };
        let is_full = all.len() == most;
        match all.last_mut().filter(is_alike) {
            Some(last) => last.many += 1,
            None if is_full => break,
            None => all.push(Few { line, many: 1 }),
        }
    }
    all
}

/// The newest changes of a config, and whether there are more.
pub(super) async fn lines_of(
    asking: &Asking<'_>,
    id: ConfigId,
    now: DateTime<Utc>,
    most: usize,
) -> Result<(Vec<Line>, bool), Problem> {
    let mut entries = entries_of(asking, id, None, most + 1).await?;
    let has_more = entries.len() > most;
    entries.truncate(most);
    Ok((entries.iter().map(|entry| Line::of(entry, now)).collect(), has_more))
}

async fn entries_of(
    asking: &Asking<'_>,
    id: ConfigId,
    before: Option<i64>,
    most: usize,
) -> Result<Vec<AuditEntry>, Problem> {
    let audit = asking.resolver.audit().ok_or_else(Problem::no_database)?;
    let filter = AuditFilter {
        entity: Some("config".into()),
        row_id: Some(id.to_string()),
        ..AuditFilter::default()
    };
    Ok(audit.audit_page(&filter, before, most).await?)
}

/// One change of a config, by its number in the audit.
pub(super) async fn entry_of(
    asking: &Asking<'_>,
    id: ConfigId,
    number: &str,
) -> Result<AuditEntry, Problem> {
    let missing =
        || Problem::missing("version_not_found", "the audit has no such version of this config");
    let number: i64 = number.parse().map_err(|_| missing())?;
    let mut found = entries_of(asking, id, number.checked_add(1), 1).await?;
    found.pop().filter(|entry| entry.row.id == number).ok_or_else(missing)
}

/// What a config was after a change. What the audit does not tell stays as it is now.
pub(super) fn restored(entry: &AuditEntry, now: &Texts) -> Texts {
    let after = entry.row.after();
    let text = |column: &str, now: &String| match after.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) => String::new(),
        _ => now.clone(),
    };
    Texts {
        name: text("name", &now.name),
        url: text("livekit_url", &now.url),
        api_key: text("livekit_api_key", &now.api_key),
        trunk_id: text("trunk_id", &now.trunk_id),
        agent_name: text("worker_name", &now.agent_name),
        description: text("description", &now.description),
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage<'a> {
    frame: &'a Frame<'a>,
    lines: Vec<Line>,
    entity: String,
    operation: String,
    who: String,
    number: String,
    since: String,
    until: String,
    row: String,
    wrong: Option<String>,
    next: Option<String>,
    is_first: bool,
    filter: String,
    unsealed: String,
    head: Option<(i64, String)>,
    unaudited: Vec<String>,
}

/// What the query says.
struct Wanted {
    filter: AuditFilter,
    wrong: Option<String>,
    query: String,
}

fn wanted(visit: &Visit<'_>) -> Wanted {
    let mut wrong = None;
    let given = |name: &str| visit.query.given(name);
    let mut day = |name: &str, end: bool| {
        let text = given(name)?;
        let at = if end { "T23:59:59.999Z" } else { "T00:00:00Z" };
        let read = DateTime::parse_from_rfc3339(&format!("{text}{at}"));
        read.map(|at| at.to_utc())
            .map_err(|_| wrong = Some(format!("{name} must be a day, such as 2025-11-23.")))
            .ok()
    };
    let (since, until) = (day("since", false), day("until", true));
    let digits = given("number").and_then(|text| match text.parse::<E164>() {
        Ok(number) => Some(number.digits()),
        Err(error) => {
            wrong = Some(format!("The number {error}."));
            None
        }
    });
    let filter = AuditFilter {
        since,
        until,
        entity: given("entity"),
        operation: given("operation"),
        row_id: given("row").filter(|id| id.parse::<Uuid>().is_ok()),
        digits,
        who: given("who"),
        ..AuditFilter::default()
    };
    let names = ["entity", "operation", "who", "number", "since", "until", "row"];
    let values = names.map(|name| visit.query.get(name));
    let pairs: Vec<_> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
    Wanted { filter, wrong, query: query(&pairs) }
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Audit)?;
    let audit = asking.resolver.audit().ok_or_else(Problem::no_database)?;
    let Wanted { filter, wrong, query } = wanted(visit);
    let cursor = visit.query.given("cursor");
    let page = Page::at(asking.client.id, "audit", &query, Some(PAGE), cursor.as_deref())?;
    let before = page.after().and_then(|(id, _)| id.parse().ok());
    let entries = audit.audit_page(&filter, before, page.most()).await?;
    let mut rows: Vec<_> =
        entries.into_iter().map(|entry| (entry.row.id.to_string(), entry)).collect();
    let next = page.cut(&mut rows, |(id, _)| (id, Uuid::nil()));
    let unsealed = audit.count_unsealed(1000).await?;
    let head = audit.chain_end().await?;
    let unaudited = audit.unaudited().await?;
    let frame = visit.frame("Audit", "audit");
    let text = |name| visit.query.get(name);
    page_of(&AuditPage {
        lines: rows.iter().map(|(_, entry)| Line::of(entry, visit.now)).collect(),
        entity: text("entity"),
        operation: text("operation"),
        who: text("who"),
        number: text("number"),
        since: text("since"),
        until: text("until"),
        row: text("row"),
        wrong,
        next: next.map(|next| with_cursor(&query, &next)),
        is_first: cursor.is_none(),
        filter: query,
        unsealed: grouped(unsealed),
        head: head.map(|(position, hash)| (position, hash.to_string())),
        unaudited: unaudited
            .into_iter()
            .map(|(table, what)| format!("{what} of {table}"))
            .collect(),
        frame: &frame,
    })
}

/// What the filters leave, as CSV: the newest of them.
pub(super) async fn export(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Audit)?;
    let audit = asking.resolver.audit().ok_or_else(Problem::no_database)?;
    let Wanted { filter, .. } = wanted(visit);
    let entries = audit.audit_page(&filter, None, MOST_EXPORTED).await?;
    let mut csv = String::from("id,at,who,way,operation,subject,column,before,after,position\r\n");
    for entry in &entries {
        let line = Line::of(entry, visit.now);
        let position = entry.position.map(|position| position.to_string()).unwrap_or_default();
        let mut row = |column: &str, before: &str, after: &str| {
            let id = line.id.to_string();
            let cells = [
                &*id,
                &entry.row.at,
                &line.who,
                &line.way,
                &entry.row.operation,
                &line.subject,
                column,
                before,
                after,
                &position,
            ];
            csv.push_str(&cells.map(cell).join(","));
            csv.push_str("\r\n");
        };
        if line.changes.is_empty() {
            row("", "", "");
        }
        for Changed { column, before, after, .. } in &line.changes {
            row(
                column,
                before.as_deref().unwrap_or_default(),
                after.as_deref().unwrap_or_default(),
            );
        }
    }
    let reply = Reply::file("text/csv; charset=utf-8", csv);
    Ok(reply.header(axum::http::header::CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""))
}

/// A cell that no spreadsheet takes for a formula.
pub(super) fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

/// What changes by itself with every edit, or names the row.
const QUIET: [&str; 6] =
    ["updated_at", "created_at", "id", "tenant_id", "country_code", "base_number"];
const LABELS: [(&str, &str); 17] = [
    ("name", "Name"),
    ("description", "Notes"),
    ("livekit_url", "URL"),
    ("livekit_api_key", "API key"),
    ("livekit_api_secret", "API secret"),
    ("trunk_id", "SIP trunk"),
    ("worker_name", "Agent"),
    ("disabled_at", "Disabled"),
    ("rules", "Rules"),
    ("provider", "Carrier"),
    ("token_hash", "Token"),
    ("scopes", "May ask"),
    ("grants", "Limits"),
    ("revoked_at", "Revoked"),
    ("role", "Role"),
    ("password_hash", "Password"),
    ("link_hash", "One-time link"),
];
const PAGE: u64 = 50;
const MOST_EXPORTED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_and_no_formula() {
        assert_eq!(cell("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        assert_eq!(cell("+971"), "\"'+971\"");
    }
}
