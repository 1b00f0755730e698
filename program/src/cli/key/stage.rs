//! `key stage`: the next key that seals.

use std::io::IsTerminal;

use clap::Args;
use serde_json::json;
use trunkline::KeyId;

use super::shown::{SINGLE_KEYS, UnseenReaders, gate_json};
use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Stage {
    /// The id of the key; without it the last one of the ring that was not used yet
    #[arg(value_name = "KEY", value_parser = str::parse::<KeyId>)]
    key: Option<KeyId>,
    /// Say that no reader is left that is not among the nodes and has one key only
    #[arg(long, value_name = "WHICH")]
    unseen_readers: Option<UnseenReaders>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Stage {
    pub(super) async fn run(self, context: &Context) -> Done {
        let rotation = context.rotation()?;
        // What is wrong is told before anybody is asked.
        let seen = rotation.stage(self.key, false, true).await?;
        let mut confirmed = self.unseen_readers.is_some();
        if !confirmed && !context.json && !self.dry_run {
            eprintln!("note: {SINGLE_KEYS}");
            confirmed = std::io::stdin().is_terminal() && asked_for_none()?;
        }
        let staged = rotation.stage(Some(seen.key), confirmed, self.dry_run).await?;
        if context.json {
            return json_line(&json!({
                "key": staged.key, "sealing": staged.sealing, "staged": !self.dry_run,
                "already": staged.already, "gate": gate_json(&staged.gate),
                "unseen_readers": if staged.readers_confirmed { "none" } else { "unknown" },
            }));
        }
        let done = match (self.dry_run, staged.already) {
            (true, false) => "would be staged",
            (_, true) => "was staged before",
            (false, false) => "is staged",
        };
        line(format!("key {} {done}; key {} goes on sealing", staged.key, staged.sealing))?;
        if !staged.gate.is_open() {
            line(format!("before it is promoted: {}", staged.gate.closed_because()))?;
        }
        if !staged.readers_confirmed {
            line("before it is promoted: say --unseen-readers none, once that is so")?;
        }
        Ok(())
    }
}

/// Asks whether such readers are left.
fn asked_for_none() -> Result<bool, Failure> {
    eprint!("Is there a reader that is not among the nodes and has one key only? [yes/no] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| {
        Failure::new("input_unreadable", format!("the terminal: {error}"), Exit::Failed)
    })?;
    Ok(matches!(answer.trim(), "no" | "n"))
}
