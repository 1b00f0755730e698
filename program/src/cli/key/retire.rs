//! `key retire`: an old key opens nothing any more, and goes.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::Args;
use serde_json::json;
use trunkline::KeyId;
use trunkline::rotation::Retiring;
use trunkline::store::KeyPhase;

use super::shown::{data_keys, time};
use crate::cli::Context;
use crate::cli::failure::Done;
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Retire {
    /// The id of the key
    #[arg(value_name = "KEY", value_parser = str::parse::<KeyId>)]
    key: KeyId,
    /// Do not wait, in an emergency
    #[arg(long)]
    now: bool,
    /// Let a refused key open again
    #[arg(long, conflicts_with_all = ["now", "backups_from"])]
    back: bool,
    /// When the oldest backup was made that is kept: it says whether backups need the key
    #[arg(long, value_name = "DATE", value_parser = date)]
    backups_from: Option<DateTime<Utc>>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Retire {
    pub(super) async fn run(self, context: &Context) -> Done {
        let rotation = context.rotation()?;
        let retiring = if self.back {
            rotation.accept_again(self.key, self.dry_run).await?
        } else {
            rotation.retire(self.key, self.now, self.backups_from, self.dry_run).await?
        };
        show(context, &retiring, self.dry_run)
    }
}

pub(super) fn show(context: &Context, retiring: &Retiring, dry_run: bool) -> Done {
    let Retiring { key, phase, nodes, backups, data_keys: sealed, is_data_key, .. } = retiring;
    if context.json {
        return json_line(&json!({
            "step": "retire", "key": key, "phase": phase, "done": !dry_run, "nodes": nodes,
            "backups": backups, "data_keys": sealed, "is_data_key": is_data_key,
        }));
    }
    let is = if dry_run { "would be" } else { "is" };
    match phase {
        KeyPhase::Refused => {
            line(format!("key {key} {is} refused: it opens nothing, though it is still there"))?;
            line(format!(
                "if something needs it, `trunkline key retire {key} --back` lets it open again; else run \
                 this again later"
            ))
        }
        KeyPhase::Retired => {
            line(format!("key {key} {is} retired"))?;
            if !sealed.is_empty() {
                line(format!(
                    "it stays in the rings: it seals {}; `trunkline key rewrap` has another key seal that",
                    data_keys(sealed)
                ))?;
            } else if !nodes.is_empty() && !is_data_key {
                line(format!("remove it from the ring of {}", nodes.join(", ")))?;
            }
            match backups {
                Some(need) if *is_data_key => line(format!(
                    "backups to {} have it themselves, sealed by a key of the settings",
                    time(need.to)
                )),
                None => line("no backup that is kept needs it"),
                Some(need) => {
                    let from = need.from.map(|from| format!("from {} ", time(Some(from))));
                    let from = from.unwrap_or_default();
                    line(format!(
                        "keep a copy in your secret store: backups {from}to {} need it",
                        time(need.to)
                    ))
                }
            }
        }
        phase => line(format!("key {key} {is} {}: it opens again", phase.as_str())),
    }
}

/// A day, from its first moment in UTC, or a point in time.
pub(super) fn date(text: &str) -> Result<DateTime<Utc>, String> {
    let day = text.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let at = day.or_else(|_| DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()));
    at.map_err(|_| {
        "must be a day such as 2026-11-30, or a time such as 2026-11-30T12:00:00Z".into()
    })
}
