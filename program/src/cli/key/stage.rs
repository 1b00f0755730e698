//! `key stage`: the next key that seals.

use std::io::IsTerminal;

use clap::Args;
use serde_json::json;
use trunkline::KeyId;
use trunkline::clock::{Clock, SystemClock};
use trunkline::rotation::{Rotation, RotationError, Staged};

use super::shown::{SETTINGS_ONLY, SINGLE_KEYS, UnseenReaders, gate_json};
use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Stage {
    /// The id of the key; without it the last one of the ring that was not used yet
    #[arg(value_name = "KEY", value_parser = str::parse::<KeyId>)]
    key: Option<KeyId>,
    /// Make a key that rests in the database, sealed by a key of the settings, and stage that
    #[arg(long, conflicts_with = "key")]
    wrapped: bool,
    /// The id of the key of the settings that seals it; without it the one that seals the newest
    #[arg(long, value_name = "ROOT", requires = "wrapped", value_parser = str::parse::<KeyId>)]
    root: Option<KeyId>,
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
        let seen = self.stage(&rotation, self.key, false, true).await?;
        let mut confirmed = self.unseen_readers.is_some();
        if !confirmed && !context.json && !self.dry_run {
            eprintln!("note: {}", if self.wrapped { SETTINGS_ONLY } else { SINGLE_KEYS });
            confirmed = std::io::stdin().is_terminal() && self.asked_for_none()?;
        }
        let named = Some(seen.key).filter(|_| !self.wrapped);
        let staged = self.stage(&rotation, named, confirmed, self.dry_run).await?;
        // One that is not made yet has no id.
        let is_made = !self.wrapped || !self.dry_run || staged.already;
        if context.json {
            return json_line(&json!({
                "key": is_made.then_some(staged.key), "wrapped": self.wrapped, "sealing": staged.sealing, "staged": !self.dry_run,
                "already": staged.already, "gate": gate_json(&staged.gate),
                "unseen_readers": if staged.readers_confirmed { "none" } else { "unknown" },
            }));
        }
        let done = match (self.dry_run, staged.already) {
            (true, false) => "would be staged",
            (_, true) => "was staged before",
            (false, false) => "is staged",
        };
        let what = if is_made { format!("key {}", staged.key) } else { "a data key".to_owned() };
        line(format!("{what} {done}; key {} goes on sealing", staged.sealing))?;
        if is_made && !staged.gate.is_open() {
            line(format!("before it is promoted: {}", staged.gate.closed_because()))?;
        }
        if !staged.readers_confirmed {
            line("before it is promoted: say --unseen-readers none, once that is so")?;
        }
        Ok(())
    }

    async fn stage(
        &self,
        rotation: &Rotation,
        key: Option<KeyId>,
        confirmed: bool,
        dry_run: bool,
    ) -> Result<Staged, RotationError> {
        if !self.wrapped {
            return rotation.stage(key, confirmed, dry_run).await;
        }
        let now = SystemClock::default().unix_seconds();
        rotation.stage_wrapped(self.root, confirmed, now, dry_run).await
    }

    /// Asks whether such readers are left.
    fn asked_for_none(&self) -> Result<bool, Failure> {
        let which = if self.wrapped { "knows the settings only" } else { "has one key only" };
        eprint!("Is there a reader that is not among the nodes and {which}? [yes/no] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(|error| {
            Failure::new("input_unreadable", format!("the terminal: {error}"), Exit::Failed)
        })?;
        Ok(matches!(answer.trim(), "no" | "n"))
    }
}
