//! `livekit pairs`, and how steps and failures are told.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::{Value, json};
use trunkline::KeyRing;
use trunkline::rotation::{PairError, PairStep, Pairs};
use trunkline::store::{PairPhase, ShownPair};

use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::livekit::find;
use crate::cli::output::{json_line, or_dash, short, table};
use crate::cli::{Context, open};

#[derive(Args)]
pub(crate) struct Listed {
    /// The id or name of a config; without it, all configs
    config: Option<String>,
}

impl Listed {
    pub(super) async fn run(self, context: &Context) -> Done {
        let settings = context.settings()?;
        let database = open(&settings)?;
        let of = match &self.config {
            Some(config) => Some(find(&*database.admin(), config).await?.id),
            None => None,
        };
        // No secret is opened for this.
        let ring = match settings.ring {
            Some(ring) => ring,
            None => std::sync::Arc::new(KeyRing::parse(&KeyRing::generate()?)?),
        };
        let pairs = Pairs::new(&database, &ring, &settings.tuning).list(of).await?;
        if context.json {
            return json_line(&json!(pairs));
        }
        table(&["config", "state", "api key", "since", "for", "checked", ""], pairs.iter().map(row))
    }
}

fn row(pair: &ShownPair) -> Vec<String> {
    let remark = match (pair.compromised_at, pair.is_here, pair.phase) {
        (Some(_), ..) => "others may have it: remove it from the server",
        (None, false, _) => "for another server: of no use any more",
        (None, true, PairPhase::Pending) => "waits for `trunkline livekit promote`",
        (None, true, PairPhase::Previous) => "kept until `trunkline livekit retire`",
        _ => "",
    };
    vec![
        pair.config_name.clone(),
        pair.phase.as_str().to_owned(),
        pair.api_key.clone(),
        time(pair.since),
        or_dash(pair.age.map(short).as_deref()),
        time(pair.checked_at),
        remark.to_owned(),
    ]
}

pub(super) fn step_json(what: &str, step: &PairStep, dry_run: bool) -> Value {
    json!({"step": what, "done": !dry_run, "pairs": step})
}

pub(super) fn time(at: Option<DateTime<Utc>>) -> String {
    or_dash(at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)).as_deref())
}

/// A step that is not done, with its code, its hint and an exit code.
pub(crate) fn failure_of(error: PairError) -> Failure {
    let exit = match error {
        PairError::Store(error) => return error.into(),
        PairError::Key(error) => return error.into(),
        PairError::Fields(errors) => return errors.into(),
        PairError::SameKey { .. } | PairError::WasPrevious { .. } => Exit::Usage,
        PairError::AnotherPending { .. } | PairError::PreviousKept { .. } | PairError::Raced => {
            Exit::Conflict
        }
        _ => Exit::Failed,
    };
    let failure = Failure::new(error.code(), error.to_string(), exit);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
