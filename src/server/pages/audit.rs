//! The audit: who changed what, found again by filters, exported, and whether its chain is whole.

use askama::Template;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::config_forms::Texts;
use super::fields::{query, with_cursor};
use super::frame::Frame;
use super::page_of;
use super::parts::{When, grouped};
use super::tenants::{self, Labels, Named};
use super::visit::Visit;
use crate::access::Scope;
use crate::audit::AuditRow;
use crate::number::{ConfigId, E164, TenantId};
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
    /// Whose number it is.
    pub(super) tenant: Option<Named>,
    /// Where the subject is to be seen, from the root of all pages.
    pub(super) link: Option<String>,
    pub(super) changes: Vec<Changed>,
    pub(super) is_sealed: bool,
    /// Whether it tells of a config as it was then.
    pub(super) can_return: bool,
    /// Where a config that was deleted is entered again, from the root of all pages.
    pub(super) restore: Option<String>,
}

/// A column that changed.
pub(super) struct Changed {
    pub(super) column: String,
    pub(super) label: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Line {
    fn of(entry: &AuditEntry, labels: &Labels, now: DateTime<Utc>) -> Self {
        let (AuditEntry { row, position }, tenant) = (entry, tenant_of(entry));
        let (before, after, claimed) = (row.before(), row.after(), row.claimed());
        let text = |of: &Map<String, Value>, name: &str| {
            of.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
        };
        let way = [
            row.login.as_ref().map(|login| format!("as {login}")),
            text(&claimed, "from").map(|from| format!("from {from}")),
            text(&claimed, "application").map(|program| format!("by {program}")),
            text(&claimed, "request").map(|request| format!("request {request}")),
        ];
        let named = |name| text(&after, name).or_else(|| text(&before, name));
        let name = named("name").or_else(|| named("label"));
        let number = row.digits.as_ref().map(|digits| format!("+{digits}"));
        let (is_there, id) = (row.operation != "delete", row.row_id.clone());
        let link = match (&*row.entity, id) {
            ("config", Some(id)) if is_there => Some(format!("configs/{id}")),
            // Of its config.
            ("pair", Some(id)) => Some(format!("configs/{id}")),
            ("number", Some(id)) if is_there => Some(format!("numbers/{id}")),
            ("tenant", Some(id)) => Some(format!("numbers?tenant={id}")),
            _ => None,
        };
        let changes = row.fields().into_iter().filter(|column| !QUIET.contains(&column.as_str()));
        Self {
            id: row.id,
            when: When::read(&row.at, now),
            who: who(row),
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
            tenant: tenant.filter(|_| row.entity == "number").map(|id| labels.named(id)),
            link,
            changes: changes.map(|column| changed(column, &before, &after)).collect(),
            is_sealed: position.is_some(),
            can_return: row.entity == "config" && row.after.is_some(),
            restore: row
                .row_id
                .as_ref()
                .filter(|_| row.entity == "config" && !is_there)
                .map(|id| format!("configs/new?of={id}&from={}", row.id)),
        }
    }
}

/// Who is known by nothing else.
pub(super) const SOMEBODY: &str = "Somebody with the database";

/// Who made a change, by the best name that there is.
pub(super) fn who(row: &AuditRow) -> String {
    let claimed = row.claimed();
    let text = |name: &str| claimed.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let name = text("client_name").or_else(|| text("actor")).or_else(|| row.login.clone());
    name.unwrap_or_else(|| SOMEBODY.into())
}

/// Changes as lines, with the tenants by their labels.
pub(super) async fn lines(
    asking: &Asking<'_>,
    entries: &[AuditEntry],
    now: DateTime<Utc>,
) -> Result<Vec<Line>, Problem> {
    let labels = Labels::of(asking, entries.iter().filter_map(tenant_of).collect()).await?;
    Ok(entries.iter().map(|entry| Line::of(entry, &labels, now)).collect())
}

fn tenant_of(entry: &AuditEntry) -> Option<TenantId> {
    entry.row.tenant_id.as_ref()?.parse().ok()
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
pub(super) fn few(lines: Vec<Line>, most: usize) -> Vec<Few> {
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
    Ok((lines(asking, &entries, now).await?, has_more))
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

/// What a config was after a change, or before it was deleted. What the audit does not tell stays as it is
/// now.
pub(super) fn restored(entry: &AuditEntry, now: &Texts) -> Texts {
    let row = &entry.row;
    let after = if row.after.is_some() { row.after() } else { row.before() };
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
    tenant: String,
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
    may_edit: bool,
}

/// What the query says.
pub(super) struct Wanted {
    pub(super) filter: AuditFilter,
    wrong: Option<String>,
    query: String,
}

pub(super) async fn wanted(visit: &Visit<'_>, asking: &Asking<'_>) -> Result<Wanted, Problem> {
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
    let tenant = match given("tenant") {
        None => None,
        Some(entered) => match tenants::chosen(asking, "tenant", &entered, true).await {
            Ok(tenant) => Some(tenant),
            Err(problem) => {
                wrong = Some(problem.message().to_owned());
                None
            }
        },
    };
    let filter = AuditFilter {
        tenant_id: tenant.map(|tenant| tenant.to_string()),
        since,
        until,
        entity: given("entity"),
        operation: given("operation"),
        row_id: given("row").filter(|id| id.parse::<Uuid>().is_ok()),
        digits,
        who: given("who"),
        ..AuditFilter::default()
    };
    let names = ["entity", "operation", "who", "number", "tenant", "since", "until", "row"];
    let values = names.map(|name| visit.query.get(name));
    let pairs: Vec<_> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
    Ok(Wanted { filter, wrong, query: query(&pairs) })
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Audit)?;
    let audit = asking.resolver.audit().ok_or_else(Problem::no_database)?;
    let Wanted { filter, wrong, query } = wanted(visit, &asking).await?;
    let cursor = visit.query.given("cursor");
    let page = Page::at(asking.client.id, "audit", &query, Some(PAGE), cursor.as_deref())?;
    let before = page.after().and_then(|(id, _)| id.parse().ok());
    let entries = audit.audit_page(&filter, before, page.most()).await?;
    let mut rows: Vec<_> =
        entries.into_iter().map(|entry| (entry.row.id.to_string(), entry)).collect();
    let next = page.cut(&mut rows, |(id, _)| (id, Uuid::nil()));
    let shown: Vec<_> = rows.into_iter().map(|(_, entry)| entry).collect();
    let lines = lines(&asking, &shown, visit.now).await?;
    let unsealed = audit.count_unsealed(1000).await?;
    let head = audit.chain_end().await?;
    let unaudited = audit.unaudited().await?;
    let frame = visit.frame("Audit", "audit");
    let text = |name| visit.query.get(name);
    page_of(&AuditPage {
        lines,
        may_edit: visit.may_edit_configs(),
        entity: text("entity"),
        operation: text("operation"),
        who: text("who"),
        number: text("number"),
        tenant: text("tenant"),
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

/// What changes by itself with every edit, or names the row.
const QUIET: [&str; 6] =
    ["updated_at", "created_at", "id", "tenant_id", "country_code", "base_number"];
const LABELS: [(&str, &str); 18] = [
    ("label", "Label"),
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
