//! `key compromise`: what is done at once, and what stays exposed.

use clap::Args;
use serde_json::json;
use trunkline::KeyId;
use trunkline::rotation::{BATCH, Exposure, Rotation};
use trunkline::store::KeyPhase;

use super::rotate::seal_again;
use super::shown::{data_keys, gate_json, secrets, time};
use super::verify;
use crate::cli::Context;
use crate::cli::failure::Done;
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Compromise {
    /// The id of the key that others may have
    #[arg(value_name = "KEY", value_parser = str::parse::<KeyId>)]
    key: KeyId,
    /// Print what is exposed and what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Compromise {
    pub(super) async fn run(self, context: &Context) -> Done {
        let (rotation, key) = (context.rotation()?, self.key);
        let exposure = rotation.exposure(key).await?;
        let sealing = rotation.status().await?.sealing == key;
        // Before anything is noted: without another key nothing can be done.
        let next = rotation.next().await?;
        if sealing && next.is_none_or(|next| next == key) {
            return rotation.stage(None, true, true).await.map(drop).map_err(Into::into);
        }
        if !self.dry_run {
            rotation.note_compromised(key).await?;
            if sealing {
                promote(context, &rotation).await?;
            }
            seal_again(context, &rotation, BATCH, false).await?;
            let census = rotation.verify().await?;
            verify::show(context, &census)?;
            let retiring = rotation.retire(key, true, None, false).await?;
            let is = if retiring.phase == KeyPhase::Refused {
                "is refused: it opens nothing on any node that hears of it"
            } else {
                "is retired"
            };
            say(
                context,
                &json!({"step": "refuse", "key": key, "phase": retiring.phase}),
                &format!("key {key} {is}"),
            )?;
        }
        show(context, &exposure, self.dry_run)
    }
}

/// Has the next key seal at once, without whoever does not have it.
async fn promote(context: &Context, rotation: &Rotation) -> Done {
    let staged = rotation.stage(None, false, false).await?;
    let promoted = rotation.promote(Some(staged.key), false, true, false).await?;
    say(
        context,
        &json!({"step": "promote", "key": promoted.key, "gate": gate_json(&promoted.gate)}),
        &format!("key {} seals", promoted.key),
    )?;
    if !promoted.gate.is_open() && !context.json {
        line(format!(
            "give it to these at once, they open nothing new: {}",
            promoted.gate.closed_because()
        ))?;
    }
    Ok(())
}

fn show(context: &Context, exposure: &Exposure, dry_run: bool) -> Done {
    let Exposure { key, data_keys: sealed, configs, memory_until, backups_since, nodes, .. } =
        exposure;
    if context.json {
        return json_line(&json!({"step": "exposed", "dry_run": dry_run, "exposure": exposure}));
    }
    let many = secrets(configs.len() as u64);
    line(format!("what stays exposed to whoever has key {key}:"))?;
    line(format!(
        "- {many} that he may have read in the table: replace each key pair at its server, then `trunkline \
         livekit edit NAME --api-key KEY --secret-stdin`"
    ))?;
    for name in configs.iter().take(NAMED) {
        line(format!("    {name}"))?;
    }
    if configs.len() > NAMED {
        line(format!("    and {} more; --json names them all", configs.len() - NAMED))?;
    }
    line(
        "- tokens that were signed with those secrets, until each expires, and new ones until the pair is replaced",
    )?;
    line("- calls in the air, which those secrets may end, until then")?;
    let since = backups_since.map_or_else(|| "ever".to_owned(), |at| time(Some(at)));
    line(format!(
        "- backups, replicas and archived logs of the database with secrets under it, since {since}"
    ))?;
    line(format!(
        "- answers in memory of the nodes, until {} at the latest",
        time(Some(*memory_until))
    ))?;
    if !sealed.is_empty() {
        line(format!(
            "- {}, which it seals, and all that is under that: `trunkline key rewrap` by a new key of the \
             settings, then `trunkline key compromise` each",
            data_keys(sealed)
        ))?;
    }
    line("- tickets of browsers that it sealed, for ten minutes")?;
    if !nodes.is_empty() && sealed.is_empty() {
        line(format!("remove it from the ring of {}", nodes.join(", ")))?;
    }
    Ok(())
}

fn say(context: &Context, json: &serde_json::Value, words: &str) -> Done {
    if context.json { json_line(json) } else { line(words) }
}

/// How many configs are named.
const NAMED: usize = 20;
