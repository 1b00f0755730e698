//! A row of the audit, and the text of it that is hashed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::access::hex;

/// What was changed, by whom, when: a row of `trunkline_audit`.
///
/// Texts are as the database has them, so that what is hashed is what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditRow {
    /// Its number. The order of numbers is not always that of commits.
    pub id: i64,
    /// When it was changed, in UTC.
    pub at: String,
    /// The transaction of Postgres.
    pub xact: Option<String>,
    /// `config`, `number` or `client`; `audit` where it was pruned.
    pub entity: String,
    /// `insert`, `update`, `delete`, `truncate`; `prune`.
    pub operation: String,
    /// The id of the row that changed. `None`: all of them, as after `truncate`.
    pub row_id: Option<String>,
    /// Whose number.
    pub tenant_id: Option<String>,
    /// Which number, country code and all.
    pub digits: Option<String>,
    /// What it was, as JSON. Of a secret only that there is one.
    pub before: Option<String>,
    /// What it is then, as JSON. Of a secret that there is one, or that it is another one.
    pub after: Option<String>,
    /// The role that logged in. `None`: SQLite has none.
    pub login: Option<String>,
    /// The address that it came from. `None`: over a socket, or an SQLite file.
    pub address: Option<String>,
    /// What the session said of itself, as JSON.
    pub claimed: Option<String>,
}

impl AuditRow {
    /// The text that is hashed: one line of JSON, with its members always in this order.
    #[must_use]
    pub fn text(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let text = |value: &Option<String>| value.as_deref().map(quoted);
        let mut line = format!("{{\"id\":{}", self.id);
        for (name, value) in [
            ("at", Some(quoted(&self.at))),
            ("xact", text(&self.xact)),
            ("entity", Some(quoted(&self.entity))),
            ("operation", Some(quoted(&self.operation))),
            ("row_id", text(&self.row_id)),
            ("tenant_id", text(&self.tenant_id)),
            ("digits", text(&self.digits)),
            ("before", self.before.clone()),
            ("after", self.after.clone()),
            ("login", text(&self.login)),
            ("address", text(&self.address)),
            ("claimed", self.claimed.clone()),
        ] {
            let _ = write!(line, ",\"{name}\":{}", value.as_deref().unwrap_or("null"));
        }
        line + "}"
    }

    /// The SHA-256 of that text, in hex.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.text())
    }

    /// What it was before, by column.
    #[must_use]
    pub fn before(&self) -> Map<String, Value> {
        object(self.before.as_deref())
    }

    /// What it is after, by column.
    #[must_use]
    pub fn after(&self) -> Map<String, Value> {
        object(self.after.as_deref())
    }

    /// What the session said of itself: `actor`, `client`, `client_name`, `request`, `from`,
    /// `application`. It is as true as the login is trusted.
    #[must_use]
    pub fn claimed(&self) -> Map<String, Value> {
        object(self.claimed.as_deref())
    }

    /// The names of the columns that changed. All that has a value, where there was no row before, or
    /// is none after.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        let (before, after) = (self.before(), self.after());
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let value = |of: &Map<String, Value>, name: &String| of.get(name).cloned();
        let differs = |name: &&&String| {
            let (was, is) = (value(&before, name), value(&after, name));
            was.unwrap_or_default() != is.unwrap_or_default()
        };
        names.iter().filter(differs).map(|name| (*name).clone()).collect()
    }
}

/// The SHA-256 of the text of a row, in hex.
pub(super) fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn object(text: Option<&str>) -> Map<String, Value> {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row with something in each column.
    pub(in crate::audit) fn row(id: i64) -> AuditRow {
        let some = |text: &str| Some(text.to_owned());
        AuditRow {
            id,
            at: "2025-11-23T12:13:20.000001Z".to_owned(),
            xact: some("734"),
            entity: "config".to_owned(),
            operation: "update".to_owned(),
            row_id: some("5b0e"),
            tenant_id: None,
            digits: None,
            before: some(r#"{"name" : "eu", "livekit_api_secret" : "set", "trunk_id" : null}"#),
            after: some(
                r#"{"name" : "e\"u", "livekit_api_secret" : "changed", "trunk_id" : null}"#,
            ),
            login: some("app \"x\"\n"),
            address: some("10.0.0.7"),
            claimed: some(r#"{ "actor" : "ann" }"#),
        }
    }

    #[test]
    fn the_text_of_a_row_is_one_line_of_json_with_its_columns_as_they_stand() {
        let row = row(7);
        let expected = concat!(
            r#"{"id":7,"at":"2025-11-23T12:13:20.000001Z","xact":"734","entity":"config","#,
            r#""operation":"update","row_id":"5b0e","tenant_id":null,"digits":null,"#,
            r#""before":{"name" : "eu", "livekit_api_secret" : "set", "trunk_id" : null},"#,
            r#""after":{"name" : "e\"u", "livekit_api_secret" : "changed", "trunk_id" : null},"#,
            r#""login":"app \"x\"\n","address":"10.0.0.7","claimed":{ "actor" : "ann" }}"#,
        );
        assert_eq!(row.text(), expected);
        let read: Value = serde_json::from_str(&row.text()).unwrap();
        assert_eq!(read["after"]["name"], "e\"u");
    }

    #[test]
    fn the_columns_that_changed_are_named_and_of_a_new_row_those_with_a_value() {
        let mut row = row(1);
        assert_eq!(row.fields(), ["livekit_api_secret", "name"]);
        row.before = None;
        assert_eq!(row.fields(), ["livekit_api_secret", "name"]);
        row.after = None;
        assert!(row.fields().is_empty());
    }
}
