//! `trunkline key bind` and `key unbind`: secrets that belong to their configs, and back. Those of pairs that are
//! pending or previous go with them.

use clap::{ArgGroup, Args};
use serde_json::json;
use trunkline::clock::{Clock, SystemClock};
use trunkline::rotation::{PairUnbound, Pairs};
use trunkline::store::{AdminStore, Config, StoreError};
use trunkline::{KeyError, KeyRing};

use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::livekit::find;
use crate::cli::output::{json_line, line, table};

#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).args(["configs", "all"]))]
pub(crate) struct Bind {
    /// The id or name of a config
    #[arg(value_name = "CONFIG")]
    configs: Vec<String>,
    /// All configs
    #[arg(long)]
    all: bool,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of a secret.
enum Resealing {
    /// It is sealed as it should be, or would be.
    Resealed,
    /// It was already.
    Already,
    /// Somebody has changed the row meanwhile.
    Changed,
    /// It does not open; the row is left alone.
    Unopenable(KeyError),
}

impl From<Result<bool, PairUnbound>> for Resealing {
    fn from(outcome: Result<bool, PairUnbound>) -> Self {
        match outcome {
            Ok(true) => Self::Resealed,
            Ok(false) => Self::Already,
            Err(PairUnbound::Unopenable(error)) => Self::Unopenable(error),
            Err(_) => Self::Changed,
        }
    }
}

impl Bind {
    pub(super) async fn run(self, context: &Context, bound: bool) -> Done {
        let (ring, database) = (context.ring()?, context.database()?);
        let (ring, store) = (database.ruled(&ring).await?, database.admin());
        let configs = if self.all {
            store.configs().await?
        } else {
            let mut configs = Vec::new();
            for config in &self.configs {
                configs.push(find(&*store, config).await?);
            }
            configs
        };
        let pairs = Pairs::new(&database, &ring, &context.settings()?.tuning);
        let (mut rows, mut left, mut all) = (Vec::new(), 0, 0);
        for config in &configs {
            let mut done =
                vec![(config.name.clone(), self.reseal(&*store, &ring, config, bound).await?)];
            let now = SystemClock::default().unix_seconds();
            let of_pairs = pairs.rebind(config.id, bound, now, self.dry_run).await?;
            done.extend(of_pairs.into_iter().map(|pair| (pair.name, pair.outcome.into())));
            all += done.len();
            for (name, done) in done {
                left += u64::from(matches!(done, Resealing::Changed | Resealing::Unopenable(_)));
                let (word, message) = describe(&done, bound, self.dry_run);
                if context.json {
                    json_line(&json!({
                        "config_id": config.id, "name": name, "outcome": word, "message": message,
                    }))?;
                } else {
                    rows.push(vec![name, message]);
                }
            }
        }
        match (context.json, configs.is_empty()) {
            (true, _) => {}
            (false, true) => line("no LiveKit config yet")?,
            (false, false) => table(&[], rows)?,
        }
        if left == 0 {
            return Ok(());
        }
        let message = format!("{left} of {all} secrets are left as they were");
        Err(Failure::new("secrets_left", message, Exit::Failed))
    }

    async fn reseal(
        &self,
        store: &dyn AdminStore,
        ring: &KeyRing,
        config: &Config,
        bound: bool,
    ) -> Result<Resealing, StoreError> {
        let now = SystemClock::default().unix_seconds();
        let sealed = match config.rebound(ring, bound, now) {
            Ok(None) => return Ok(Resealing::Already),
            Ok(Some(sealed)) => sealed,
            Err(error) => return Ok(Resealing::Unopenable(error)),
        };
        let done = self.dry_run || store.reseal(config, &sealed).await?;
        Ok(if done { Resealing::Resealed } else { Resealing::Changed })
    }
}

/// In one word, and in words.
fn describe(done: &Resealing, bound: bool, dry_run: bool) -> (&'static str, String) {
    let is = if dry_run { "would be" } else { "is" };
    let (word, form) = if bound {
        ("bound", "bound to its config")
    } else {
        ("unbound", "sealed as a plain token")
    };
    match done {
        Resealing::Resealed => (word, format!("{is} {form}")),
        Resealing::Already => ("unchanged", format!("was {form} before")),
        Resealing::Changed => {
            ("changed", "was changed by somebody meanwhile; run it again".to_owned())
        }
        Resealing::Unopenable(error) => ("unopenable", error.to_string()),
    }
}
