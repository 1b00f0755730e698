//! `key promote`: the staged key begins to seal.

use clap::Args;
use serde_json::json;
use trunkline::KeyId;

use super::shown::{UnseenReaders, gate_json, secrets};
use crate::cli::Context;
use crate::cli::failure::Done;
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Promote {
    /// The id of the key; without it the one that is staged
    #[arg(value_name = "KEY", value_parser = str::parse::<KeyId>)]
    key: Option<KeyId>,
    /// Say that no reader is left that is not among the nodes and has one key only
    #[arg(long, value_name = "WHICH")]
    unseen_readers: Option<UnseenReaders>,
    /// Go on without the nodes that do not have the key, and say what will fail
    #[arg(long)]
    force: bool,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Promote {
    pub(super) async fn run(self, context: &Context) -> Done {
        let rotation = context.rotation()?;
        let confirmed = self.unseen_readers.is_some();
        let promoted = rotation.promote(self.key, confirmed, self.force, self.dry_run).await?;
        let total: u64 = rotation.status().await?.keys.iter().map(|key| key.configs).sum();
        if context.json {
            return json_line(&json!({
                "key": promoted.key, "old": promoted.old, "promoted": !self.dry_run,
                "already": promoted.already, "gate": gate_json(&promoted.gate),
                "will_fail": if promoted.gate.is_open() { 0 } else { total },
            }));
        }
        let done = match (self.dry_run, promoted.already) {
            (_, true) => "seals already",
            (true, false) => "would seal",
            (false, false) => "seals from now on",
        };
        line(format!("key {} {done}", promoted.key))?;
        if !promoted.gate.is_open() {
            line(format!(
                "{} will fail, one by one as they are sealed again, on {}",
                secrets(total),
                promoted.gate.closed_because()
            ))?;
        }
        match promoted.old {
            Some(old) => {
                line(format!("`trunkline key rotate` seals again what is under key {old}"))
            }
            None => Ok(()),
        }
    }
}
