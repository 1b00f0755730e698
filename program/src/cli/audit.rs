//! `trunkline audit`: who changed which config, number or client, and whether that record still is what it
//! was.

mod export;
mod list;
mod verify;

use clap::Subcommand;
use serde_json::json;
use trunkline::store::{AuditLog, Seal};

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line};

/// Triggers write the audit, whatever tool makes the change. A node seals it every second: then verify
/// finds what was changed in it.
#[derive(Subcommand)]
pub(crate) enum Audit {
    /// List changes, the newest first
    List(list::List),
    /// Verify the chain of the audit, or of a file that was exported
    Verify(verify::Verify),
    /// Chain what is not chained yet; nodes that may do so every second
    Seal,
    /// Write the sealed audit as JSON lines that can be verified without the database
    Export(export::Export),
}

impl Audit {
    pub(crate) async fn run(self, context: &Context) -> Done {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Verify(verify) => verify.run(context).await,
            Self::Seal => seal(context).await,
            Self::Export(export) => export.run(context).await,
        }
    }
}

/// Goes through the whole audit, so it finds what the nodes passed over, too.
async fn seal(context: &Context) -> Done {
    let audit = context.database()?.audit();
    let (mut id, mut sealed, mut end) = (0, 0, None);
    while let Some((unsealed, last)) = audit.unsealed_after(id, ROWS_A_LOOK).await? {
        id = last;
        for ids in unsealed.chunks(ROWS_A_SEAL) {
            match audit.seal_rows(ids).await? {
                Seal::Sealed { rows, head, .. } => {
                    sealed += rows;
                    end = head;
                }
                _ => {
                    let message = "another process is sealing the audit at this moment";
                    return Err(Failure::new("audit_busy", message, Exit::Conflict)
                        .hint("`trunkline audit verify` says what is not sealed"));
                }
            }
        }
    }
    let (position, head) = match end {
        Some((position, head)) => (position, head.to_string()),
        None => verify::head(&*audit).await?,
    };
    if context.json {
        return json_line(&json!({"sealed": sealed, "position": position, "head": head}));
    }
    line(format!("sealed {sealed} rows; the chain ends at position {position} with {head}"))
}

/// How many rows are not chained.
async fn count_unsealed(audit: &dyn AuditLog) -> Result<usize, Failure> {
    let (mut id, mut many) = (0, 0);
    while let Some((unsealed, last)) = audit.unsealed_after(id, ROWS_A_LOOK).await? {
        id = last;
        many += unsealed.len();
    }
    Ok(many)
}

const ROWS_A_LOOK: usize = 5000;
const ROWS_A_SEAL: usize = 500;
/// Links with their rows, which may be long.
const LINKS_A_LOOK: usize = 200;
