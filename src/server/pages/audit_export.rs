//! The audit as CSV, for a spreadsheet.

use super::audit::{Changed, Wanted, lines, wanted};
use super::tenants::Named;
use super::visit::Visit;
use crate::access::Scope;
use crate::server::api::{Problem, Reply};

/// What the filters leave, as CSV: the newest of them.
pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Audit)?;
    let audit = asking.resolver.audit().ok_or_else(Problem::no_database)?;
    let Wanted { filter, .. } = wanted(visit, &asking).await?;
    let entries = audit.audit_page(&filter, None, MOST_EXPORTED).await?;
    let mut csv =
        String::from("id,at,who,way,operation,subject,tenant,column,before,after,position\r\n");
    let lines = lines(&asking, &entries, visit.now).await?;
    for (entry, line) in entries.iter().zip(&lines) {
        let tenant = line.tenant.as_ref().map(Named::words).unwrap_or_default();
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
                tenant,
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
