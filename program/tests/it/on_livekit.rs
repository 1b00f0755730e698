//! Calls on a real LiveKit server. `scripts/test` builds one where Go is there.

mod alike;
mod check;
mod official;
mod pair;
mod single;
mod twice;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline::dispatch::{CallRequest, Dispatcher, Report};
use trunkline::store::{AdminStore, NewNumber};
use trunkline::{Caller, ConfigId, KeyRing, Resolver};

use crate::support::database::{Kind, TestDatabase};
use crate::support::livekit::{client, config_on};

const INDIA: &str = "+919876543210";

/// A database with a config or two, and a dispatcher on it.
struct Lab {
    database: TestDatabase,
    store: Arc<dyn AdminStore>,
    ring: KeyRing,
    key: String,
}

impl Lab {
    async fn new(kind: Kind) -> Self {
        let database = TestDatabase::migrated(kind).await;
        let key = KeyRing::generate().unwrap().to_string();
        let ring = KeyRing::parse(&key).unwrap();
        Self { store: database.store(), database, ring, key }
    }

    fn dispatcher(&self, more: &[(&str, &str)]) -> Dispatcher {
        let mut variables = vec![("LIVEKIT_SECRET_ENCRYPTION_KEY", self.key.as_str())];
        variables.extend(more);
        let resolver = Resolver::builder(self.database.settings(&variables)).start();
        Dispatcher::new(resolver, client())
    }

    /// Adds a config of a server.
    async fn config(&self, url: &str, keys: (&str, &str), name: &str) -> ConfigId {
        self.store.create_config(&config_on(&self.ring, url, keys, name)).await.unwrap()
    }

    /// Adds a number with these rules beside its config.
    async fn number(&self, caller: Caller, config: Option<ConfigId>, rules: Value) {
        let mut rules = rules;
        if let Some(id) = config {
            rules["livekit_config"] = json!(id);
        }
        let number = NewNumber { caller, provider: Some("etisalat".into()), rules };
        self.store.add_number(&number).await.unwrap();
    }
}

/// A request with a job of this name and a field of its own.
fn request(from: Caller, job: &str) -> CallRequest {
    let fields: Map<String, Value> = [("voice_id".to_owned(), json!("v7"))].into_iter().collect();
    CallRequest { job: job.into(), fields, ..CallRequest::new(from, "+91 98765 43210") }
}

fn room_of(report: &Report) -> &str {
    &report.call.as_ref().unwrap_or_else(|| panic!("{report:?}")).room
}
