//! `trunkline livekit rotate` and its steps: the key pair of a config, turned while calls flow.

mod compromise;
mod shown;
mod step;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use trunkline::clock::{Clock, SystemClock};
use trunkline::dispatch::check::{PairsAtServers, Reach};
use trunkline::rotation::{EnteredPair, PairError, Pairs};
use trunkline::{KeyError, Secret};

pub(crate) use self::shown::failure_of;
use super::find;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::{Context, input, open};

/// The verbs of `trunkline livekit` that turn pairs.
#[derive(Subcommand)]
pub(crate) enum PairVerb {
    /// Show the key pairs of all configs or of one: which are current, pending and previous, since when
    Pairs(shown::Listed),
    /// Turn the key pair of a config: the new pair comes from stdin or --pair-file
    ///
    /// The new pair is kept as pending, its server is asked whether it accepts both, and then calls are placed
    /// with it. The old one is kept until `livekit retire`. Add the pair to the server first: a self-hosted one
    /// reads its key file when it starts; LiveKit Cloud makes pairs in its console. A pair that the server does
    /// not accept yet stays pending, and `livekit promote` goes on with it.
    Rotate(step::Rotate),
    /// Keep a new key pair as pending, before its server knows it
    Stage(step::Stage),
    /// Place calls with the pending key pair, once its server accepts both
    Promote(step::Promote),
    /// Take the last step back: forget a pending key pair, or else place calls with the previous one again
    RollBack(step::RollBack),
    /// Forget the previous key pair, once nothing needs it: its server may forget it then
    Retire(step::Retire),
    /// Others may have the key pair of a config: replace it at once, and say what stays exposed
    ///
    /// The new pair comes from stdin or --pair-file, unless one is pending. Its server must accept it. The old
    /// one signs and verifies nothing from then on: remove it from the server right after.
    Compromise(compromise::Compromise),
}

/// Where a pair comes from.
#[derive(Args)]
pub(super) struct PairSource {
    /// The new API key; then the file or stdin holds the secret alone
    #[arg(long)]
    api_key: Option<String>,
    /// A file with the new pair as `KEY: SECRET`, the way LiveKit's key files have it; without it stdin is read
    #[arg(long, value_name = "PATH")]
    pair_file: Option<PathBuf>,
}

impl PairVerb {
    pub(super) fn writes(&self) -> bool {
        !matches!(self, Self::Pairs(_))
    }

    pub(super) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Pairs(listed) => listed.run(context).await,
            Self::Rotate(rotate) => rotate.run(context).await,
            Self::Stage(stage) => stage.run(context).await,
            Self::Promote(promote) => promote.run(context).await,
            Self::RollBack(roll_back) => roll_back.run(context).await,
            Self::Retire(retire) => retire.run(context).await,
            Self::Compromise(compromise) => compromise.run(context).await,
        }
    }
}

impl PairSource {
    /// Reads it. A line of a key file has the key before the secret.
    fn read(self) -> Result<EnteredPair, Failure> {
        let file = self.pair_file.as_deref();
        let prompt = if self.api_key.is_some() { "API secret" } else { "KEY: SECRET" };
        let text = secret(file, prompt)?;
        if let Some(api_key) = self.api_key {
            return Ok(EnteredPair { api_key, api_secret: text });
        }
        let text = trunkline::ExposeSecret::expose_secret(&text);
        let Some((key, secret)) = text.trim().split_once(':') else {
            let message = "the pair must be KEY: SECRET, as a line of LiveKit's key file";
            return Err(Failure::new("pair_malformed", message, Exit::Usage)
                .hint("or name the key with --api-key, and enter the secret alone"));
        };
        let unquoted = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
        Ok(EnteredPair {
            api_key: unquoted(key),
            api_secret: Secret::new(Box::new(unquoted(secret))),
        })
    }
}

fn secret(file: Option<&Path>, prompt: &str) -> Result<Secret, Failure> {
    Ok(Secret::new(Box::new(input::secret(file, prompt)?.to_string())))
}

/// What every verb needs: the pairs, the config that is meant, and who asks its server.
struct Turning {
    pairs: Pairs,
    id: trunkline::ConfigId,
    server: PairsAtServers<'static>,
    now: u64,
}

impl Turning {
    async fn new(context: &Context, config: &str) -> Result<Self, Failure> {
        let settings = context.settings()?;
        let ring = settings.ring.as_ref().ok_or(KeyError::KeyMissing)?;
        let database = open(&settings)?;
        let found = find(&*database.admin(), config).await?;
        if found.url.parse().is_ok_and(|url| !settings.environment.hosts.allow(&url)) {
            let message = "the host of the config's URL is not in LIVEKIT_HOSTS";
            return Err(Failure::new("host_not_allowed", message, Exit::Failed)
                .hint("add it there, or correct the URL"));
        }
        Ok(Self {
            pairs: Pairs::new(&database, ring, &settings.tuning),
            id: found.id,
            server: PairsAtServers { timeouts: (&settings.tuning).into(), reach: Reach::Anywhere },
            now: SystemClock::default().unix_seconds(),
        })
    }
}

impl From<PairError> for Failure {
    fn from(error: PairError) -> Self {
        failure_of(error)
    }
}
