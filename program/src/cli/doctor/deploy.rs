//! The deployment checklist: each step that a machine can look at is looked at, and the others are printed
//! for who deploys. The steps and their order are those of `docs/operations.md`.

use std::time::Duration;

use trunkline::settings::ValueOrigin;
use trunkline::store::{Number, OpenStore, Store};
use trunkline::{Caller, E164, Reason, Resolver, Settings, Source};

use super::{DoctorFinding, State, bad, failed, good, warning};
use crate::cli::failure::Failure;
use crate::cli::healthcheck::get;
use crate::cli::{Context, open};

/// Goes through the list. `found` is what the other checks have found.
pub(super) async fn look(context: &Context, found: &[DoctorFinding]) -> Vec<DoctorFinding> {
    let settings = match context.settings() {
        Ok(settings) => settings,
        Err(failure) => return vec![failed("settings", failure)],
    };
    let mut list = vec![
        yours("1 backup", "take a backup of the two tables; the key must not be in it"),
        worst("2 key", found, &["key ring", "secrets"]),
        worst("3 settings", found, &["settings", "file", "tls"]),
        worst("4 migrated", found, &["database", "migrations", "tables", "schema", "change log"]),
        worst("5 rights", found, &["rights", "row security", "owners", "audit"]),
        worst("6 environment", found, &["environment"]),
    ];
    list.extend(daemon(&settings).await);
    list.push(yours(
        "8 as before",
        "with the flag off, place a call: it must go as it went before",
    ));
    list.extend(config(context).await);
    list.push(flag(context, &settings));
    list.push(yours(
        "11 call",
        "place a call from the test number, and look for `Using LiveKit credentials \
        from database` in the log; then `trunkline number unassign` it and place another",
    ));
    list.push(yours(
        "12 alerts",
        "load dashboards/alerts/ into Prometheus, and see that an alert reaches you",
    ));
    list.push(rollout(&settings).await);
    list.push(yours(
        "14 stages",
        "go on by `trunkline rollout`: a day at 10, two days at 50, then live",
    ));
    list
}

fn yours(check: &'static str, what: &str) -> DoctorFinding {
    DoctorFinding { check, state: State::Yours, found: what.to_owned(), hint: None }
}

/// The worst that these checks have found; and that they were not made is bad.
fn worst(check: &'static str, found: &[DoctorFinding], of: &[&str]) -> DoctorFinding {
    let looked_at = found.iter().filter(|finding| of.contains(&finding.check));
    match looked_at.max_by_key(|finding| finding.state) {
        Some(finding) if finding.state == State::Good => good(check, of.join(", ")),
        Some(finding) => DoctorFinding {
            check,
            state: finding.state,
            found: format!("{}: {}", finding.check, finding.found),
            hint: finding.hint.clone(),
        },
        None => bad(check, "not looked at", "mend what stands above, and run this again"),
    }
}

/// Whether the daemon runs here, is this version, is ready, and can be scraped.
async fn daemon(settings: &Settings) -> Vec<DoctorFinding> {
    const CHECK: &str = "7 daemon";
    let address = settings.http_listen;
    let run = "start it: `trunkline serve`, or the unit or image of deploy/";
    let version = match get(address, "/version").await {
        Ok((200, version)) => version,
        Ok((code, _)) => return vec![bad(CHECK, format!("{address} answers {code}"), run)],
        // A program with the library in it has probes of its own.
        Err(error) => return vec![warning(CHECK, error, Some(run))],
    };
    let ours = env!("CARGO_PKG_VERSION");
    if !version.contains(&format!("\"{ours}\"")) {
        let found = format!("at {address} another version runs: {}", version.trim_end());
        return vec![warning(CHECK, found, Some("deploy this one there, or ask with that one"))];
    }
    let mut list = vec![match get(address, "/readyz").await {
        Ok((200, _)) => good(CHECK, format!("version {ours} is ready at {address}")),
        Ok((_, why)) => bad(CHECK, format!("not ready: {}", why.trim_end()), "its log says more"),
        Err(error) => bad(CHECK, error, run),
    }];
    list.push(match get(address, "/metrics").await {
        Ok((200, text)) if text.contains("\ntrunkline_resolutions_total") => {
            good(CHECK, format!("Prometheus may scrape http://{address}/metrics"))
        }
        Ok((code, _)) => bad(CHECK, format!("/metrics answers {code}, without our series"), run),
        Err(error) => bad(CHECK, error, run),
    });
    list
}

/// Whether a config is there, and a number that it answers for: with the flag on, whatever it is.
async fn config(context: &Context) -> Vec<DoctorFinding> {
    const CHECK: &str = "9 config";
    let first = async || -> Result<Option<Caller>, Failure> {
        let store = context.database()?.admin();
        for config in store.configs().await? {
            if store.config_users(config.id).await? > 0 {
                return first_number(&*store, &config.id.to_string()).await;
            }
        }
        Ok(None)
    };
    match first().await {
        Ok(Some(caller)) => vec![answered(context, caller).await],
        Ok(None) => {
            let hint =
                "`trunkline livekit add`, `trunkline number assign`, `trunkline livekit check`";
            vec![warning(CHECK, "no number uses a LiveKit config yet", Some(hint))]
        }
        Err(failure) => vec![failed(CHECK, failure)],
    }
}

/// The first number whose rules name this config, as far as the first rows go.
async fn first_number(store: &(impl Store + ?Sized), id: &str) -> Result<Option<Caller>, Failure> {
    let mut after = None;
    loop {
        let page = store.numbers_after(after.as_ref(), ROWS_A_LOOK).await?;
        let whose = |number: &Number| {
            let names = number.rules["livekit_config"].as_str() == Some(id);
            let digits = names.then(|| E164::from_digits(&number.digits).ok()).flatten();
            digits.map(|digits| Caller::new(number.tenant, digits))
        };
        if let Some(caller) = page.iter().find_map(whose) {
            return Ok(Some(caller));
        }
        match page.into_iter().last() {
            Some(last) => after = Some(last),
            None => return Ok(None),
        }
    }
}

async fn answered(context: &Context, caller: Caller) -> DoctorFinding {
    const CHECK: &str = "9 config";
    let mut settings = match context.patient_settings() {
        Ok(settings) => settings,
        Err(failure) => return failed(CHECK, failure),
    };
    settings.enabled = true;
    let resolver = Resolver::builder(settings).unlisted().start();
    let answer = resolver.resolve(caller).await;
    resolver.stop(Duration::from_secs(1)).await;
    match answer {
        Ok(answer) if answer.source() == Source::Database => {
            let name = answer.config_name().unwrap_or("-").to_owned();
            good(
                CHECK,
                format!("with the flag on, \"{name}\" answers for {}", caller.number.masked()),
            )
        }
        Ok(answer) if matches!(answer.reason(), Some(Reason::OutsideRollout | Reason::Shadow)) => {
            let number = caller.number.masked();
            good(
                CHECK,
                format!(
                    "{number} is assigned, and outside of the rollout: `trunkline rollout compare` tells what \
                     the database would answer"
                ),
            )
        }
        Ok(answer) => {
            let reason = answer.reason().map_or("-", Reason::as_str);
            let hint = "`trunkline resolve --explain` says why, step by step";
            bad(CHECK, format!("the environment answers for an assigned number: {reason}"), hint)
        }
        Err(error) => failed(CHECK, Failure::from(error)),
    }
}

/// Whether the flag can be turned without a restart.
fn flag(context: &Context, settings: &Settings) -> DoctorFinding {
    const CHECK: &str = "10 flag";
    const FLAG: &str = "USE_SELFHOST_ROUTING_TABLE";
    let is = if settings.enabled { "on" } else { "off" };
    match context.values.origin(FLAG) {
        ValueOrigin::Environment => {
            let found =
                format!("{is}, by the process environment, which takes a restart to change");
            warning(CHECK, found, Some("set it in the .env file of the service, and nowhere else"))
        }
        ValueOrigin::Default => {
            let found = format!("{is}, since nothing sets it");
            warning(
                CHECK,
                found,
                Some("deploy with USE_SELFHOST_ROUTING_TABLE=false in the .env file"),
            )
        }
        _ => good(
            CHECK,
            format!("{is}; a line in the .env file of the service turns it while it runs"),
        ),
    }
}

/// The stage, and what stands in the way of the next ones.
async fn rollout(settings: &Settings) -> DoctorFinding {
    const CHECK: &str = "13 rollout";
    let stage = async || -> Result<String, Failure> {
        let database: OpenStore = open(settings)?;
        Ok(database.rollouts().rollout().await?.unwrap_or_default().in_words())
    };
    match stage().await {
        Ok(stage) => good(CHECK, format!("stage {stage}")),
        Err(failure) => failed(CHECK, failure),
    }
}

const ROWS_A_LOOK: usize = 1000;
