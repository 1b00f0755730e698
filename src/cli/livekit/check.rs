//! `trunkline livekit check`: looks at credentials before they are trusted.

use std::sync::Arc;

use clap::{ArgGroup, Args};
use serde_json::json;
use trunkline::clock::SystemClock;
use trunkline::dispatch::check::{Finding, Subject, Verdict, check};
use trunkline::dispatch::livekit::LiveKit;
use trunkline::store::{Config, Store};
use trunkline::{E164, ExposeSecret, KeyRing, Rules, Secret};

use super::find;
use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, line, or_dash, table};

#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).args(["config", "all"]))]
pub(crate) struct Check {
    /// Its id or name
    config: Option<String>,
    /// Look at every config
    #[arg(long)]
    all: bool,
    /// Whether the trunk carries this number; without it, all numbers of the config
    #[arg(long, value_name = "NUMBER")]
    from: Option<String>,
}

impl Check {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let from = self.from.as_deref().map(str::parse::<E164>).transpose();
        let from = from.map_err(|error| Failure::usage("number_malformed", error.to_string()))?;
        let store = context.store()?;
        let configs = match &self.config {
            Some(config) => vec![find(&*store, config).await?],
            None => store.configs().await?,
        };
        let ring = context.ring()?;
        let livekit = client(context)?;
        let mut failed = 0;
        for config in &configs {
            let numbers = match from {
                Some(number) => vec![number],
                None => numbers_of(&*store, config).await?,
            };
            let findings = look(&livekit, &ring, config, &numbers).await;
            let good = good(&findings);
            failed += usize::from(!good);
            if context.json {
                json_line(&json!({
                    "config_id": config.id, "name": config.name, "ok": good, "checks": findings,
                }))?;
            } else {
                line(format!("{} ({})", config.name, config.url))?;
                show(&findings)?;
            }
        }
        if failed == 0 {
            return Ok(());
        }
        let message = format!("{failed} of {} configs would not place calls", configs.len());
        Err(Failure::new("check_failed", message, Exit::Failed))
    }
}

/// Looks at a config that is about to be added, and refuses it if it would not place calls.
pub(super) async fn before_adding(
    context: &Context,
    (url, api_key, trunk): (&str, &str, Option<&str>),
    sealed: &str,
) -> Done {
    let opened = context.ring()?.open(sealed)?;
    let subject = Subject { url, api_key, api_secret: &opened.secret, trunk, numbers: &[] };
    let findings = check(&client(context)?, &SystemClock::default(), &subject).await;
    let Some(wrong) = findings.iter().find(|finding| finding.verdict == Verdict::Failed) else {
        for odd in findings.iter().filter(|finding| finding.verdict == Verdict::Warning) {
            tracing::warn!(check = odd.step, "{}", odd.message);
        }
        return Ok(());
    };
    let failure =
        Failure::new(wrong.code, format!("{}; nothing was added", wrong.message), Exit::Failed);
    Err(match wrong.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

async fn look(
    livekit: &LiveKit,
    ring: &Arc<KeyRing>,
    config: &Config,
    numbers: &[E164],
) -> Vec<Finding> {
    let secret: Secret = match ring.open(config.api_secret.expose_secret()) {
        Ok(opened) => opened.secret,
        Err(error) => return vec![Finding::of_key_error(&error)],
    };
    let trunk = config.trunk_id.as_deref().filter(|trunk| !trunk.trim().is_empty());
    let subject =
        Subject { url: &config.url, api_key: &config.api_key, api_secret: &secret, trunk, numbers };
    check(livekit, &SystemClock::default(), &subject).await
}

fn good(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Failed)
}

fn show(findings: &[Finding]) -> Done {
    table(
        &["step", "", "found", "what to do"],
        findings.iter().map(|finding| {
            let verdict = match finding.verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Failed => "FAILED",
            };
            let hint = or_dash(finding.hint);
            vec![finding.step.to_owned(), verdict.to_owned(), finding.message.clone(), hint]
        }),
    )
}

/// The numbers whose rules name a config.
async fn numbers_of(store: &dyn Store, config: &Config) -> Result<Vec<E164>, Failure> {
    let numbers = store.numbers(None).await?.into_iter();
    let ours = numbers.filter(|number| Rules::read(None, &number.rules).config == Some(config.id));
    Ok(ours.filter_map(|number| E164::from_digits(&number.digits).ok()).collect())
}

fn client(context: &Context) -> Result<LiveKit, Failure> {
    let tuning = context.settings()?.tuning;
    Ok(LiveKit::new(tuning.livekit_connect, tuning.livekit))
}
