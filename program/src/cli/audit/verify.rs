//! `audit verify`: walks the chain, and says the first place where it does not hold.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use trunkline::audit::{AuditLine, AuditRow, Broken, ChainHash, ChainWalk};
use trunkline::store::{AuditFilter, AuditLog};

use super::{LINKS_A_LOOK, count_unsealed};
use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Verify {
    /// A hash that the chain must have, such as one from the log of a node
    #[arg(long, value_name = "HASH", value_parser = str::parse::<ChainHash>)]
    head: Option<ChainHash>,
    /// Verify a file that `audit export` wrote, without a database
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

impl Verify {
    pub(super) async fn run(self, context: &Context) -> Done {
        let (walk, unsealed) = match &self.file {
            Some(path) => (of_file(path, self.head)?, None),
            None => {
                let audit = context.database()?.audit();
                let walk = of_database(&*audit, self.head).await?;
                (walk, Some(count_unsealed(&*audit).await?))
            }
        };
        let ((position, head), verified, pruned) = (walk.head(), walk.verified(), walk.pruned());
        if context.json {
            return json_line(&json!({
                "verified": verified, "position": position, "head": head.as_str(),
                "begins_after": pruned, "unsealed": unsealed,
            }));
        }
        line(format!("{verified} rows hold; the chain ends at position {position} with {head}"))?;
        if pruned > 0 {
            line(format!("it begins after position {pruned}: what was before is not kept here"))?;
        }
        match unsealed {
            Some(unsealed @ 1..) => line(format!(
                "{unsealed} rows are not sealed: a node that may does so within seconds, `trunkline audit \
                 seal` at once"
            )),
            _ => Ok(()),
        }
    }
}

async fn of_database(
    audit: &dyn AuditLog,
    wanted: Option<ChainHash>,
) -> Result<ChainWalk, Failure> {
    let (mut walk, mut position) = (ChainWalk::new(wanted), 0);
    loop {
        let links = audit.chain_after(position, LINKS_A_LOOK).await?;
        for link in &links {
            position = link.position;
            let broken = Broken::Changed { position, id: link.id };
            let hash = link.hash.as_ref().ok_or(broken)?;
            let row_digest = link.row.as_ref().map(AuditRow::digest);
            walk.step(position, hash, link.id, row_digest.as_deref())?;
        }
        if links.len() < LINKS_A_LOOK {
            walk.end()?;
            was_pruned(audit, &walk).await?;
            return Ok(walk);
        }
    }
}

/// Whether pruning tells of what the chain begins with.
async fn was_pruned(audit: &dyn AuditLog, walk: &ChainWalk) -> Result<(), Failure> {
    let Some((position, hash)) = walk.checkpoint() else { return Ok(()) };
    let filter = AuditFilter {
        entity: Some("audit".to_owned()),
        operation: Some("prune".to_owned()),
        row_id: Some(position.to_string()),
        ..AuditFilter::default()
    };
    let told = audit.audit_page(&filter, None, 10).await?;
    if told
        .iter()
        .any(|entry| entry.row.after().get("hash").is_some_and(|told| told == hash.as_str()))
    {
        return Ok(());
    }
    Err(Broken::NotPruned { position }.into())
}

fn of_file(path: &Path, wanted: Option<ChainHash>) -> Result<ChainWalk, Failure> {
    let failed = |error| {
        let message = format!("--file {}: {error}", path.display());
        Failure::new("file_unreadable", message, Exit::Failed)
    };
    let mut walk = ChainWalk::new(wanted);
    let file = BufReader::new(File::open(path).map_err(failed)?);
    for (at, text) in file.lines().enumerate() {
        let text = text.map_err(failed)?;
        let AuditLine { position, previous, hash, id, row, .. } =
            AuditLine::read(&text).map_err(|error| {
                let message = format!("line {}: {error}", at + 1);
                Failure::new("audit_broken", message, Exit::Failed).hint(BROKEN)
            })?;
        walk.step_by_text(position, &previous, &hash, (id, &row))?;
    }
    walk.end()?;
    Ok(walk)
}

/// Where the chain ends.
pub(super) async fn head(audit: &dyn AuditLog) -> Result<(i64, String), Failure> {
    let last = audit.chain_end().await?;
    let (position, hash) = last.unwrap_or_else(|| (0, ChainHash::zero()));
    Ok((position, hash.to_string()))
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::new("audit_broken", broken.to_string(), Exit::Failed).hint(BROKEN)
    }
}

const BROKEN: &str =
    "keep database and exports as they are, and see \"The audit\" in docs/operations.md";
