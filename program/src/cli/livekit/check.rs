//! `trunkline livekit check`: looks at credentials before they are trusted.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::{ArgGroup, Args};
use serde_json::json;
use trunkline::clock::SystemClock;
use trunkline::dispatch::check::{Finding, Subject, Verdict, check};
use trunkline::dispatch::livekit::LiveKit;
use trunkline::routing::CallerId;
use trunkline::store::{AdminStore, Config};
use trunkline::{E164, KeyRing, Rules, Secret, Settings};

use super::find;
use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, line, or_dash, table};

#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).args(["config", "all"]))]
pub(crate) struct Check {
    /// Its id or name
    config: Option<String>,
    /// Check every config
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
        if configs.is_empty() && !context.json {
            return line("no LiveKit config yet");
        }
        let ring = Arc::new(context.whole_ring().await?);
        let livekit = client(context)?;
        let settings = context.settings()?;
        let fallback = settings.environment.trunk.as_deref();
        let mut failed = 0;
        for config in &configs {
            let trunks = trunks_of(&*store, config, fallback, from).await?;
            let findings = look(&livekit, &settings, &ring, config, &trunks).await;
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
    let opened = context.whole_ring().await?.open(sealed)?;
    let trunks: Vec<_> = trunk.map(|trunk| (trunk, Vec::new())).into_iter().collect();
    let subject = Subject { url, api_key, api_secret: &opened.secret, trunks: &trunks };
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
    settings: &Settings,
    ring: &Arc<KeyRing>,
    config: &Config,
    trunks: &BTreeMap<String, Vec<CallerId>>,
) -> Vec<Finding> {
    if config.url.parse().is_ok_and(|url| !settings.environment.hosts.allow(&url)) {
        return vec![Finding::of_refused_host()];
    }
    let secret: Secret = match config.open(ring) {
        Ok(opened) => opened.secret,
        Err(error) => return vec![Finding::of_key_error(&error)],
    };
    let trunks: Vec<_> =
        trunks.iter().map(|(trunk, numbers)| (trunk.as_str(), numbers.clone())).collect();
    let subject = Subject {
        url: &config.url,
        api_key: &config.api_key,
        api_secret: &secret,
        trunks: &trunks,
    };
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

/// The trunks that the numbers of a config call over, or the one `from`: the config's, else that of
/// their rules, else the environment's.
async fn trunks_of(
    store: &dyn AdminStore,
    config: &Config,
    fallback: Option<&str>,
    from: Option<E164>,
) -> Result<BTreeMap<String, Vec<CallerId>>, Failure> {
    let named = |trunk: Option<&str>| {
        trunk.map(str::trim).filter(|trunk| !trunk.is_empty()).map(ToOwned::to_owned)
    };
    let (own, fallback) = (named(config.trunk_id.as_deref()), named(fallback));
    let mut trunks: BTreeMap<_, Vec<CallerId>> = BTreeMap::new();
    let every = own.as_ref().or(fallback.as_ref());
    trunks.extend(every.map(|trunk| (trunk.clone(), Vec::new())));
    for number in store.numbers(None).await? {
        let rules = Rules::read(None, &number.rules);
        let (true, Ok(digits)) =
            (rules.config == Some(config.id), E164::from_digits(&number.digits))
        else {
            continue;
        };
        let trunk =
            own.clone().or_else(|| named(rules.trunk.as_deref())).or_else(|| fallback.clone());
        if let Some(trunk) = trunk.filter(|_| from.is_none_or(|from| from == digits)) {
            let caller = CallerId::new(digits, &rules.calls.unwrap_or_default());
            let numbers = trunks.entry(trunk).or_default();
            if !numbers.contains(&caller) {
                numbers.push(caller);
            }
        }
    }
    // One that has no row yet.
    if let (Some(from), Some(numbers)) = (from, every.and_then(|trunk| trunks.get_mut(trunk)))
        && numbers.is_empty()
    {
        numbers.push(from.into());
    }
    Ok(trunks)
}

fn client(context: &Context) -> Result<LiveKit, Failure> {
    Ok(LiveKit::new((&context.settings()?.tuning).into()))
}
