//! `key rotate`: the whole protocol, as far as it goes today.

use std::io::IsTerminal;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;
use trunkline::clock::{Clock, SystemClock};
use trunkline::rotation::{BATCH, Passing, Resealing, Rotation};

use super::shown::{SINGLE_KEYS, UnseenReaders, gate_json, secrets};
use super::{retire, verify};
use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Rotate {
    /// Say that no reader is left that is not among the nodes and has one key only
    #[arg(long, value_name = "WHICH")]
    unseen_readers: Option<UnseenReaders>,
    /// Go on without the nodes that do not have the key
    #[arg(long)]
    force: bool,
    /// How many secrets one statement seals again; more than 16 are a change of everything
    #[arg(long, value_name = "N", default_value_t = BATCH, value_parser = batch)]
    batch: usize,
    /// Refuse and retire the old key without waiting, in an emergency
    #[arg(long)]
    now: bool,
    /// When the oldest backup was made that is kept: it says whether backups need the old key
    #[arg(long, value_name = "DATE", value_parser = retire::date)]
    backups_from: Option<DateTime<Utc>>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Rotate {
    pub(super) async fn run(self, context: &Context) -> Done {
        let rotation = context.rotation()?;
        self.promote(context, &rotation).await?;
        let resealing = seal_again(context, &rotation, self.batch, self.dry_run).await?;
        if self.dry_run {
            return verify::refuse_left(&resealing.left);
        }
        let census = rotation.verify().await?;
        verify::show(context, &census)?;
        if resealing.busy > 0 {
            let message = format!("{} are being edited at this moment", secrets(resealing.busy));
            return Err(Failure::new("rows_busy", message, Exit::Failed).hint("run it again"));
        }
        self.retire(context, &rotation).await?;
        verify::refuse_left(&census.left)
    }

    /// Stages and promotes the next key, if there is one.
    async fn promote(&self, context: &Context, rotation: &Rotation) -> Done {
        let Some(key) = rotation.next().await? else { return Ok(()) };
        let confirmed = self.unseen_readers.is_some();
        let staged = rotation.stage(Some(key), confirmed, self.dry_run).await?;
        if !staged.readers_confirmed && !context.json {
            eprintln!("note: {SINGLE_KEYS}");
        }
        say(
            context,
            &json!({"step": "stage", "key": key, "already": staged.already}),
            &format!("key {key} is staged; key {} goes on sealing", staged.sealing),
        )?;
        if self.dry_run && !staged.already {
            // What is not staged yet cannot be promoted.
            return say(
                context,
                &json!({"step": "promote", "key": key, "gate": gate_json(&staged.gate)}),
                &format!("key {key} would seal then"),
            );
        }
        let promoted = rotation.promote(Some(key), confirmed, self.force, self.dry_run).await?;
        say(
            context,
            &json!({"step": "promote", "key": key, "gate": gate_json(&promoted.gate)}),
            &format!("key {key} seals"),
        )
    }

    /// Refuses and retires each old key, or says when.
    async fn retire(&self, context: &Context, rotation: &Rotation) -> Done {
        let tell = |passing| match passing {
            Passing::Step(retiring) => retire::show(context, &retiring, false),
            Passing::Waits { key, why } => say(
                context,
                &json!({
                    "step": "retire", "key": key, "done": false, "waits_for": why.code(),
                    "until": why.until(),
                }),
                &format!("{why}; run this again then"),
            ),
            _ => Ok(()),
        };
        rotation.retire_all(self.now, self.backups_from, tell).await
    }
}

/// Seals again what is under an older key, and tells how far it is.
pub(super) async fn seal_again(
    context: &Context,
    rotation: &Rotation,
    batch: usize,
    dry_run: bool,
) -> Result<Resealing, Failure> {
    let (shows, mut told) = (std::io::stderr().is_terminal() && !context.json, 0);
    let progress = |so_far: &Resealing| {
        if so_far.resealed < told + TOLD_EVERY {
            return;
        }
        told = so_far.resealed;
        if context.json {
            // Whoever reads this may have left: the work goes on.
            let _ = json_line(&json!({"step": "reseal", "done": false, "resealed": told}));
        } else if shows {
            eprintln!("{} sealed again", secrets(told));
        }
    };
    let now = SystemClock::default().unix_seconds();
    let resealing = rotation.reseal(batch, now, dry_run, progress).await?;
    let many = resealing.resealed;
    let is = match (dry_run, many) {
        (true, _) => "would be",
        (false, 1) => "was",
        (false, _) => "were",
    };
    say(
        context,
        &json!({
            "step": "reseal", "done": !dry_run, "resealed": many, "busy": resealing.busy,
            "left": resealing.left,
        }),
        &format!("{} {is} sealed again", secrets(many)),
    )?;
    if dry_run && !context.json {
        verify::show_left(&resealing.left)?;
    }
    Ok(resealing)
}

fn say(context: &Context, json: &serde_json::Value, words: &str) -> Done {
    if context.json { json_line(json) } else { line(words) }
}

fn batch(text: &str) -> Result<usize, String> {
    let wrong = || "must be a number from 1 to 1000".to_owned();
    text.parse().ok().filter(|many| (1..=1000).contains(many)).ok_or_else(wrong)
}

const TOLD_EVERY: u64 = 1000;
