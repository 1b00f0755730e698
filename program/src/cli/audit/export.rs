//! `audit export`: the sealed rows as JSON lines, each with the hash before it and its own.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use trunkline::audit::{AuditLine, ChainHash};

use super::verify::head;
use super::{LINKS_A_LOOK, count_unsealed};
use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::raw;
use crate::cli::private::PrivateFile;

#[derive(Args)]
pub(crate) struct Export {
    /// Go on after this position, where an earlier export ended
    #[arg(long, value_name = "POSITION", default_value_t = 0,
        value_parser = clap::value_parser!(i64).range(0..))]
    after: i64,
    /// A new file in place of stdout, which only its owner may read
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Done {
        let Self { after, output } = self;
        let audit = context.database()?.audit();
        let failed = |error: std::io::Error| {
            let path = output.as_deref().unwrap_or(std::path::Path::new("stdout"));
            let message = format!("{}: {error}", path.display());
            Failure::new("output_failed", message, Exit::Failed)
        };
        let mut file = output.as_deref().map(PrivateFile::begin).transpose().map_err(failed)?;
        // The link before the first one is read for its hash.
        let mut position = (after - 1).max(0);
        let (mut previous, mut written) = ((after == 0).then(ChainHash::zero), 0_u64);
        loop {
            let links = audit.chain_after(position, LINKS_A_LOOK).await?;
            for link in &links {
                position = link.position;
                let hash = link.hash.clone().ok_or_else(|| broken(position))?;
                let is_checkpoint = link.row.is_none() && written == 0;
                if position > after && !is_checkpoint {
                    let row = link.row.as_ref().ok_or_else(|| broken(position))?;
                    let before = previous.as_ref().ok_or_else(|| broken(position))?;
                    let line = AuditLine::new(position, before, &hash, (row.id, row.text())).text();
                    match &mut file {
                        Some(file) => writeln!(file, "{line}").map_err(failed)?,
                        None => raw(line)?,
                    }
                    written += 1;
                }
                previous = Some(hash);
            }
            if links.len() < LINKS_A_LOOK {
                break;
            }
        }
        if let Some(file) = file {
            file.finish().map_err(failed)?;
        }
        if !context.json {
            let ((position, head), unsealed) =
                (head(&*audit).await?, count_unsealed(&*audit).await?);
            eprintln!("exported {written} rows; the chain ends at position {position} with {head}");
            if unsealed > 0 {
                eprintln!("{unsealed} rows are not sealed, and not exported");
            }
        }
        Ok(())
    }
}

fn broken(position: i64) -> Failure {
    let message = format!("the chain does not hold at position {position}");
    Failure::new("audit_broken", message, Exit::Failed)
        .hint("`trunkline audit verify` says what is wrong there")
}
