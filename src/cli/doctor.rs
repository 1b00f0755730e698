//! `trunkline doctor`: looks at everything that a resolution depends on, and says what to do.

use std::collections::BTreeMap;

use serde_json::json;
use trunkline::store::{Config, Migrations, OpenStore};
use trunkline::{Hearing, KeyRing, Settings};

use super::db::other_creators;
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line};
use super::{Context, open};

/// What one look found.
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Warning,
    Bad,
}

pub(crate) async fn run(context: &Context) -> Done {
    let findings = examine(context).await;
    let bad = findings.iter().filter(|finding| finding.state == State::Bad).count();
    for finding in &findings {
        let word = match finding.state {
            State::Good => "ok",
            State::Warning => "warn",
            State::Bad => "FAIL",
        };
        if context.json {
            json_line(&json!({
                "check": finding.check, "state": word.to_lowercase(), "found": finding.found,
                "hint": finding.hint,
            }))?;
            continue;
        }
        line(format!("{word:<5}{:<13}{}", finding.check, finding.found))?;
        if let Some(hint) = &finding.hint {
            line(format!("{:18}hint: {hint}", ""))?;
        }
    }
    match bad {
        0 => Ok(()),
        1 => Err(Failure::new("unhealthy", "one check failed", Exit::Failed)),
        more => Err(Failure::new("unhealthy", format!("{more} checks failed"), Exit::Failed)),
    }
}

async fn examine(context: &Context) -> Vec<Finding> {
    let settings = match context.settings() {
        Ok(settings) => settings,
        Err(failure) => return vec![failed("settings", failure)],
    };
    let mut findings = vec![good("settings", "valid")];
    findings.extend(odd(&settings));
    findings.extend([flag(&settings), environment(&settings)]);
    match &settings.ring {
        Some(ring) => {
            let ids: Vec<_> = ring.key_ids().iter().map(ToString::to_string).collect();
            findings.push(good("key ring", format!("keys {}; the first seals", ids.join(", "))));
        }
        None => findings.push(failed("key ring", trunkline::KeyError::KeyMissing.into())),
    }
    findings.extend(database(&settings).await);
    findings
}

/// What is odd about valid settings.
fn odd(settings: &Settings) -> impl Iterator<Item = Finding> {
    settings.warnings.iter().map(|told| {
        let state = if told.unsafe_so { State::Bad } else { State::Warning };
        Finding { state, ..warning("settings", told.to_string(), None) }
    })
}

fn flag(settings: &Settings) -> Finding {
    if settings.database_off {
        let found = "DATABASE_OFF is set: only the environment answers, and NO RULES HOLD";
        let hint = "take it out once the database is well; until then every country may be called";
        warning("flag", found, Some(hint))
    } else if settings.enabled {
        good("flag", "on: the database is asked first")
    } else {
        let found = "USE_SELFHOST_ROUTING_TABLE is off: the environment answers, by the rules of each \
                     number";
        warning("flag", found, None)
    }
}

fn environment(settings: &Settings) -> Finding {
    let missing = settings.environment.missing();
    if missing.is_empty() {
        return good("environment", "complete: it can answer when the database does not");
    }
    let found = format!("lacks {}: there is nothing to fall back to", missing.join(", "));
    let hint = "set all three, or leave it so if no call may fall back";
    warning("environment", found, Some(hint))
}

async fn database(settings: &Settings) -> Vec<Finding> {
    let database = match open(settings) {
        Ok(database) => database,
        Err(failure) => return vec![failed("database", failure)],
    };
    let status = match database.migrate(Migrations::Status).await {
        Ok(status) => status,
        Err(error) => return vec![failed("database", error.into())],
    };
    let mut findings = vec![good("database", "answers")];
    let found = format!("at migration {}, not up to date", status.newest_applied());
    let hint = "run `trunkline db migrate`";
    if !status.is_enough() {
        let failure = Failure::new("not_migrated", found, Exit::Failed);
        findings.push(failed("migrations", failure.hint(hint)));
        return findings;
    }
    findings.push(if status.is_current() {
        good("migrations", format!("up to date ({})", status.newest_applied()))
    } else {
        warning("migrations", found, Some(hint))
    });
    match database.misfits().await {
        Ok(misfits) => findings.extend(misfits.iter().map(|misfit| {
            let hint = "alter it; the next major version will refuse it";
            warning("tables", misfit.to_string(), Some(hint))
        })),
        Err(error) => findings.push(failed("tables", error.into())),
    }
    match other_creators(&database).await {
        Ok(None) => {}
        Ok(Some((found, hint))) => findings.push(warning("schema", found, Some(&hint))),
        Err(failure) => findings.push(failed("schema", failure)),
    }
    match rows(&database, settings).await {
        Ok(more) => findings.extend(more),
        Err(failure) => findings.push(failed("rows", failure)),
    }
    findings.push(hot_reload(settings).await);
    findings
}

async fn rows(database: &OpenStore, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let store = database.admin();
    let configs = store.configs().await?;
    let newest = database.change_log().newest_change().await?;
    let mut findings = vec![
        good("configs", configs.len().to_string()),
        good("change log", format!("can be read, up to place {newest}")),
    ];
    let bad_urls =
        configs.iter().filter(|config| config.url.parse::<trunkline::ServerUrl>().is_err());
    for config in bad_urls {
        let found = format!("\"{}\" has a malformed URL", config.name);
        let hint = "mend it with `trunkline livekit edit --url`";
        findings.push(Finding { state: State::Bad, ..warning("configs", found, Some(hint)) });
    }
    findings.extend(elsewhere(&configs, settings));
    findings.extend(off_limits(&configs));
    if let Some(ring) = &settings.ring {
        findings.extend(secrets(&configs, ring));
    }
    let doubles = store.doubles().await?;
    if doubles > 0 {
        let found = format!("{doubles} stand twice within their tenant; the lowest row id answers");
        findings.push(warning("numbers", found, Some("remove the rows that are not meant")));
    }
    Ok(findings)
}

/// Configs whose host `LIVEKIT_HOSTS` refuses.
fn elsewhere(configs: &[Config], settings: &Settings) -> impl Iterator<Item = Finding> {
    let refused = |config: &&Config| {
        config.url.parse().is_ok_and(|url| !settings.environment.hosts.allow(&url))
    };
    configs.iter().filter(refused).map(|config| {
        let found = format!("\"{}\" is at a host that is not in LIVEKIT_HOSTS", config.name);
        let hint = "add the host there, or mend the URL with `trunkline livekit edit --url`";
        Finding { state: State::Bad, ..warning("configs", found, Some(hint)) }
    })
}

/// Configs whose host is where no LiveKit server is.
fn off_limits(configs: &[Config]) -> impl Iterator<Item = Finding> {
    let there = |config: &&Config| {
        config.url.parse().is_ok_and(|url: trunkline::ServerUrl| url.is_off_limits())
    };
    configs.iter().filter(there).map(|config| {
        let found = format!("\"{}\" is at a link-local or metadata address", config.name);
        let hint =
            "mend it with `trunkline livekit edit --url`; the next major version will refuse it";
        warning("configs", found, Some(hint))
    })
}

/// How many secrets each key opens, and which ones none does.
fn secrets(configs: &[Config], ring: &KeyRing) -> Vec<Finding> {
    let mut by_key = BTreeMap::<_, u64>::new();
    let mut findings = Vec::new();
    for config in configs {
        match config.open(ring) {
            Ok(opened) => *by_key.entry(opened.key).or_default() += 1,
            Err(error) => {
                let mut failure = Failure::from(error);
                failure.message = format!("of \"{}\": {}", config.name, failure.message);
                findings.push(failed("secrets", failure));
            }
        }
    }
    let spread = by_key.iter().map(|(key, count)| format!("{count} open with key {key}"));
    findings.extend(spread.map(|found| good("secrets", found)));
    findings
}

/// Starts the engine for a moment and sees whether it hears changes.
async fn hot_reload(settings: &Settings) -> Finding {
    if settings.database_off {
        return warning("hot reload", "not started under DATABASE_OFF", None);
    }
    let patience = settings.tuning.store_deadline + settings.tuning.lease;
    let mut probe = Settings::default();
    probe.database.clone_from(&settings.database);
    probe.tuning = settings.tuning.clone();
    let resolver = trunkline::Resolver::builder(probe).start();
    let is_sqlite = matches!(settings.database, Some(trunkline::settings::Database::Sqlite { .. }));
    let best = if is_sqlite { Hearing::ChangeLog } else { Hearing::Notify };
    let becomes = async |patience, good_enough: &dyn Fn(Hearing) -> bool| {
        let waiting = async {
            while !good_enough(resolver.health().hearing) {
                tokio::time::sleep(settings.tuning.poll).await;
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    };
    if becomes(patience, &|hearing| hearing != Hearing::Nothing).await {
        // The first heartbeat takes its time.
        becomes(settings.tuning.lease * 2, &|hearing| hearing == best).await;
    }
    let health = resolver.health();
    resolver.stop(settings.tuning.store_deadline).await;
    let trouble = health.trouble.unwrap_or_else(|| "no sign of life came back".into());
    match health.hearing {
        Hearing::Notify => good("hot reload", "changes are heard through NOTIFY"),
        Hearing::ChangeLog if is_sqlite => {
            let every = settings.tuning.poll;
            good("hot reload", format!("the file is looked at every {every:?}"))
        }
        Hearing::ChangeLog => {
            let every = settings.tuning.log_poll;
            let found = format!("NOTIFY is not heard ({trouble}); the log is read every {every:?}");
            let hint = "NOTIFY needs a direct connection to the primary: not PgBouncer in \
                        transaction mode, not a replica";
            warning("hot reload", found, Some(hint))
        }
        _ => {
            let failure = Failure::new("deaf", trouble, Exit::Failed);
            failed(
                "hot reload",
                failure.hint(
                    "without `trunkline db migrate`, enabled triggers and the right to read \
                 voice_agent_changes the database is asked for every call",
                ),
            )
        }
    }
}

fn good(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, state: State::Good, found: found.into(), hint: None }
}

fn warning(check: &'static str, found: impl Into<String>, hint: Option<&str>) -> Finding {
    let hint = hint.map(ToOwned::to_owned);
    Finding { check, state: State::Warning, found: found.into(), hint }
}

fn failed(check: &'static str, failure: Failure) -> Finding {
    Finding { check, state: State::Bad, found: failure.message, hint: failure.hint }
}
