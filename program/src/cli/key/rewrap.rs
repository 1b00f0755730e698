//! `key rewrap`: data keys are sealed by another key of the settings.

use clap::Args;
use serde_json::json;
use trunkline::KeyId;
use trunkline::clock::{Clock, SystemClock};
use trunkline::rotation::Rewrapped;

use super::shown::{data_keys, gate_json};
use crate::cli::Context;
use crate::cli::failure::Done;
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Rewrap {
    /// The id of the key of the settings; without it the last one of the ring
    #[arg(value_name = "ROOT", value_parser = str::parse::<KeyId>)]
    root: Option<KeyId>,
    /// Go on without the nodes that do not have the key: they lose the data keys when they are restarted
    #[arg(long)]
    force: bool,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Rewrap {
    pub(super) async fn run(self, context: &Context) -> Done {
        let (rotation, now) = (context.rotation()?, SystemClock::default().unix_seconds());
        let rewrapped = rotation.rewrap(self.root, self.force, now, self.dry_run).await?;
        let Rewrapped { root, data_keys: keys, gate, .. } = rewrapped;
        if context.json {
            return json_line(&json!({
                "root": root, "data_keys": keys, "done": !self.dry_run, "gate": gate_json(&gate),
            }));
        }
        if keys.is_empty() {
            return line(format!("no data key is sealed by another key than {root}"));
        }
        let is = match (self.dry_run, keys.len()) {
            (true, _) => "would be",
            (false, 1) => "is",
            (false, _) => "are",
        };
        line(format!("{} {is} sealed by key {root}", data_keys(&keys)))?;
        if !gate.is_open() {
            line(format!("give it to these before they are restarted: {}", gate.closed_because()))?;
        }
        Ok(())
    }
}
