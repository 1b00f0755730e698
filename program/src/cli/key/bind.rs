//! `trunkline key bind` and `key unbind`: secrets that belong to their configs, and back.

use clap::{ArgGroup, Args};
use serde_json::json;
use trunkline::clock::{Clock, SystemClock};
use trunkline::store::{AdminStore, Config, StoreError};
use trunkline::{ExposeSecret, KeyError, KeyRing, Sealed};

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
        let (mut rows, mut left) = (Vec::new(), 0);
        for config in &configs {
            let done = self.reseal(&*store, &ring, config, bound).await?;
            left += u64::from(matches!(done, Resealing::Changed | Resealing::Unopenable(_)));
            let (word, message) = describe(&done, bound, self.dry_run);
            if context.json {
                json_line(&json!({
                    "config_id": config.id, "name": config.name, "outcome": word, "message": message,
                }))?;
            } else {
                rows.push(vec![config.name.clone(), message]);
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
        let message = format!("{left} of {} secrets are left as they were", configs.len());
        Err(Failure::new("secrets_left", message, Exit::Failed))
    }

    async fn reseal(
        &self,
        store: &dyn AdminStore,
        ring: &KeyRing,
        config: &Config,
        bound: bool,
    ) -> Result<Resealing, StoreError> {
        let sealed = match resealed(ring, config, bound) {
            Ok(None) => return Ok(Resealing::Already),
            Ok(Some(sealed)) => sealed,
            Err(error) => return Ok(Resealing::Unopenable(error)),
        };
        let done = self.dry_run || store.reseal(config, &sealed).await?;
        Ok(if done { Resealing::Resealed } else { Resealing::Changed })
    }
}

/// The secret of a config in the form that is wanted. `None`: it has it.
fn resealed(ring: &KeyRing, config: &Config, bound: bool) -> Result<Option<Sealed>, KeyError> {
    let opened = match config.open(ring) {
        // It is about to be.
        Err(KeyError::NotBound) => ring.open(config.api_secret.expose_secret()),
        opened => opened,
    }?;
    if config.is_bound() == bound {
        return Ok(None);
    }
    let (secret, now) = (opened.secret.expose_secret(), SystemClock::default().unix_seconds());
    if bound {
        ring.seal_for(secret, &config.binding(), now).map(Some)
    } else {
        ring.seal(secret, now).map(Some)
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
