//! By which way changes are heard, if any: tried.

use trunkline::{ChangeSource, Settings};

use super::{DoctorFinding, failed, good, warning};
use crate::cli::failure::{Exit, Failure};

/// Starts the engine for a moment and sees whether it hears changes.
pub(super) async fn look(settings: &Settings) -> DoctorFinding {
    if settings.database_off {
        return warning("hot reload", "not started under DATABASE_OFF", None);
    }
    let patience = settings.tuning.store_deadline + settings.tuning.lease;
    let mut probe = Settings::default();
    probe.database.clone_from(&settings.database);
    probe.tuning = settings.tuning.clone();
    let resolver = trunkline::Resolver::builder(probe).unlisted().start();
    let is_sqlite = settings.database.as_ref().is_some_and(|database| database.file().is_some());
    let best = if is_sqlite { ChangeSource::ChangeLog } else { ChangeSource::Notify };
    let becomes = async |patience, good_enough: &dyn Fn(ChangeSource) -> bool| {
        let waiting = async {
            while !good_enough(resolver.health().change_source) {
                tokio::time::sleep(settings.tuning.poll).await;
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    };
    if becomes(patience, &|source| source != ChangeSource::Nothing).await {
        // To try NOTIFY takes its time.
        becomes(settings.tuning.lease * 2, &|source| source == best).await;
    }
    let health = resolver.health();
    resolver.stop(settings.tuning.store_deadline).await;
    let trouble = health.trouble.unwrap_or_else(|| "no sign of life came back".into());
    match health.change_source {
        ChangeSource::Notify => good("hot reload", "changes are heard through NOTIFY"),
        ChangeSource::ChangeLog if is_sqlite => {
            let every = settings.tuning.poll;
            good("hot reload", format!("the file is looked at every {every:?}"))
        }
        ChangeSource::ChangeLog => {
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
