//! What statements of edits are asked with, and a row of the change log.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::number::{ConfigId, TenantId};
use crate::rules::Rules;
use crate::store::edits::{ChangeRow, Whose};
use crate::store::record::Record;
use crate::store::statement::Value;

pub(super) fn read_change_row(row: &impl Record) -> Result<ChangeRow, sqlx::Error> {
    Ok(ChangeRow {
        seq: row.own_int("seq")?,
        at: row.time("changed_at")?,
        actor: row.own_text("actor")?,
        login: row.text("login")?,
        entity: row.own_text("entity")?,
        operation: row.own_text("operation")?,
        fields: row.own_text("fields")?,
        config: row.id("config_id")?,
        tenant: row.id("tenant_id")?,
        digits: row.text("digits")?,
    })
}

/// The config that rules name, as the databases read it.
pub(super) fn named(rules: &Json) -> Option<ConfigId> {
    Rules::read(None, rules).config
}

/// The values of `{seen}`.
pub(super) fn seen_by(whose: &Whose) -> [Value<'static>; 2] {
    let simple = |id: &TenantId| id.0.simple().to_string();
    let tenants = whose.tenants.as_ref().map(|ids| ids.iter().map(simple).collect::<Vec<_>>());
    let prefixes = (!whose.prefixes.is_empty()).then(|| json!(whose.prefixes).to_string());
    [
        Value::Text(tenants.map(|tenants| json!(tenants).to_string().into())),
        Value::Text(prefixes.map(Into::into)),
    ]
}

/// The value of `{listed_…}`.
pub(in crate::store::sql) fn list(ids: &[Uuid]) -> Value<'static> {
    json!(ids.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>()).to_string().into()
}

/// What is found by a part of it. `\` stands before what `like` would read otherwise.
pub(super) fn pattern(part: &str) -> String {
    let mut pattern = String::from("%");
    for character in part.to_lowercase().chars() {
        if ['%', '_', '\\'].contains(&character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "%"
}

/// The first text of digits after all that begin with these. `None`: nothing comes after them.
pub(super) fn end_of(prefix: &str) -> Option<String> {
    let kept = prefix.trim_end_matches('9');
    let last = kept.bytes().last()?;
    Some(format!("{}{}", &kept[..kept.len() - 1], char::from(last + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_comes_after_all_that_begin_with_it() {
        for (prefix, end) in [("97150", Some("97151")), ("971", Some("972")), ("1999", Some("2"))] {
            assert_eq!(end_of(prefix).as_deref(), end, "{prefix}");
        }
        assert_eq!(end_of("99"), None);
    }

    #[test]
    fn what_like_would_read_otherwise_is_escaped() {
        assert_eq!(pattern("50%_\\A"), "%50\\%\\_\\\\a%");
    }
}
