//! Whether this machine could take part in the relay: tried.

use std::time::Duration;

use trunkline::{RelayHealth, RelayRole, Resolver, Settings};

use super::{DoctorFinding, bad, good, warning};

/// Takes part for a moment, if the settings name a relay.
pub(super) async fn look(settings: &Settings) -> Option<DoctorFinding> {
    let url = settings.relay.as_ref()?;
    if settings.database.as_ref().is_some_and(|database| database.file().is_some()) {
        let found = "RELAY_URL has no effect: an SQLite file has no nodes on other machines";
        return Some(warning("relay", found, None));
    }
    if settings.ring.is_none() {
        let hint = "set LIVEKIT_SECRET_ENCRYPTION_KEY, under which messages are sealed";
        return Some(bad("relay", "there is no key that messages could be read with", hint));
    }
    let mut probe = Settings::default();
    probe.database.clone_from(&settings.database);
    probe.relay = Some(url.clone());
    probe.ring.clone_from(&settings.ring);
    probe.tuning = settings.tuning.clone();
    let resolver = Resolver::builder(probe).unlisted().start();
    let takes_part = async {
        while resolver.health().relay.is_none_or(|relay| relay.role == RelayRole::Alone) {
            tokio::time::sleep(settings.tuning.poll).await;
        }
    };
    let patience = settings.tuning.store_deadline + settings.tuning.lease * 5 + PATIENCE;
    tokio::time::timeout(patience, takes_part).await.ok();
    let health = resolver.health().relay;
    resolver.stop(settings.tuning.store_deadline).await;
    Some(said(health?))
}

fn said(RelayHealth { role, trouble, .. }: RelayHealth) -> DoctorFinding {
    match role {
        RelayRole::Leader => good("relay", "nobody else was there, and this machine could lead"),
        RelayRole::Alone => {
            let found = trouble.unwrap_or_else(|| "nothing was heard over it".into());
            bad("relay", found, "until then each such node reads the change log itself")
        }
        role => good("relay", format!("changes are heard over it, as a {}", role.as_str())),
    }
}

/// How long it may take to connect, and to hear two messages.
const PATIENCE: Duration = Duration::from_secs(2);
