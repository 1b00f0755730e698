//! `trunkline db grants`: a role that serves and a role that edits, and no more rights than that takes.

use clap::Args;
use serde_json::json;
use trunkline::store::{Grants, OpenStore};

use crate::cli::Context;
use crate::cli::failure::{Done, Failure};
use crate::cli::output::{json_line, line, raw};

/// Nothing is changed without `--apply`. A role that is not there is made without a login; one that is
/// there keeps what it has.
#[derive(Args)]
pub(crate) struct Granting {
    /// The role of the service: it resolves, and receives changes
    #[arg(long, value_name = "ROLE", value_parser = role)]
    service: String,
    /// The role of the editors of configs and numbers
    #[arg(long, value_name = "ROLE", value_parser = role)]
    editor: String,
    /// Let the service prune the change log, too
    #[arg(long)]
    prune: bool,
    /// Let the service edit configs and numbers, too, for clients of its API
    #[arg(long)]
    edit: bool,
    /// Let the service place calls, too, for clients of its API
    #[arg(long)]
    calls: bool,
    /// Let the service sign people in, too, and manage users and clients for admins
    #[arg(long)]
    people: bool,
    /// Let the service read and seal the audit, too; with --prune, prune it
    #[arg(long)]
    audit: bool,
    /// Let the service turn the encryption keys, too, for admins
    #[arg(long)]
    keys: bool,
    /// Run the statements, as the owner of the tables
    #[arg(long)]
    apply: bool,
}

impl Granting {
    pub(super) async fn run(self, context: &Context, database: &OpenStore) -> Done {
        let Self { service, editor, prune, edit, calls, people, audit, keys, apply } = self;
        if service == editor {
            let message = "service and editor must be two roles";
            return Err(Failure::usage("one_role", message).hint(
                "one role for both can do all that either can: use the owner of the tables",
            ));
        }
        let grants = Grants { service, editor, prune, edit, calls, people, audit, keys };
        let Some(sql) = database.grants(&grants) else {
            let message = "SQLite has no roles: whoever may write the file may edit";
            return Err(Failure::usage("no_roles", message)
                .hint("see to the owner and the mode of the file and its folder"));
        };
        if apply {
            database.grant(&grants).await?;
        }
        if context.json {
            return json_line(&json!({"applied": apply, "sql": sql}));
        }
        if !apply {
            return raw(sql.trim_end());
        }
        line(
            "granted; a role that was not there cannot log in yet: alter role … login password '…'",
        )
    }
}

/// A name that a role can have.
fn role(text: &str) -> Result<String, String> {
    let plain = !text.chars().any(char::is_control) && !text.contains(QUOTE);
    let reserved = text.starts_with("pg_") || ["public", "none"].contains(&text);
    if text.is_empty() || text.len() > 63 || !plain || reserved {
        return Err(
            "must be the name of a role: up to 63 bytes, not public, none or pg_…".to_owned()
        );
    }
    Ok(text.to_owned())
}

/// What the statements quote a block with.
const QUOTE: &str = "$trunkline$";
