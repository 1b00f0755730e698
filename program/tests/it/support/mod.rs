//! What tests stand on: databases to break, a ring to seal with, time to turn, stores to hold back.

pub mod browser;
pub mod certificate;
pub mod counters;
pub mod database;
pub mod events;
pub mod harm;
pub mod http;
pub mod live;
pub mod livekit;
pub mod panics;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod program;
pub mod proxy;
pub mod redis;
pub mod standby;
pub mod standin;
pub mod stores;
pub mod tap;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trunkline::clock::{Clock, Moment};
use trunkline::store::{NewConfig, NewNumber};
use trunkline::{Caller, ConfigId, KeyRing, TenantId};
use uuid::Uuid;

/// Where the repository lies.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// When tests take place: a Sunday in November 2025.
pub const NOW: u64 = 1_763_900_000;

/// How long tests wait for a LiveKit server.
pub const LIVEKIT_CONNECT: Duration = Duration::from_secs(5);
pub const LIVEKIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A fresh ring of one key.
pub fn ring() -> KeyRing {
    KeyRing::parse(&KeyRing::generate().unwrap()).unwrap()
}

/// A caller of a tenant, by small numbers.
pub fn caller(tenant: u128, number: u64) -> Caller {
    let number = format!("+{}", 971_500_000_000 + number).parse().unwrap();
    Caller::new(TenantId(Uuid::from_u128(tenant)), number)
}

/// A config whose secret says whose it is.
pub fn config(ring: &KeyRing, name: &str) -> NewConfig {
    NewConfig {
        name: name.to_owned(),
        description: None,
        url: format!("wss://{name}.example").parse().unwrap(),
        api_key: format!("API{name}"),
        api_secret: ring.seal(&secret_of(name), NOW).unwrap(),
        trunk_id: None,
        agent: None,
    }
}

/// The plaintext secret of the config with this name.
pub fn secret_of(name: &str) -> String {
    format!("canary-secret-of-{name}")
}

/// A number that uses a config, or none.
pub fn number(caller: Caller, config: Option<ConfigId>) -> NewNumber {
    let rules = match config {
        Some(id) => serde_json::json!({"outbound": true, "livekit_config": id}),
        None => serde_json::json!({"outbound": true}),
    };
    NewNumber { caller, provider: None, rules }
}

/// Waits until something holds, and fails loudly when it does not within ten seconds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = Duration::from_secs(10);
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(patience, waiting).await.is_ok(), "never came true: {what}");
}

/// A clock that a test turns.
#[derive(Default)]
pub struct HandClock {
    now: AtomicU64,
}

impl HandClock {
    pub fn advance(&self, time: Duration) {
        self.now.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment(self.now.load(Ordering::SeqCst))
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(NOW) + Duration::from_nanos(self.now.load(Ordering::SeqCst))
    }
}
