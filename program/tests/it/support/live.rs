//! A resolver on a real database, with hot reload.

use std::sync::Arc;

use trunkline::store::{AdminStore, ConfigEdit};
use trunkline::{Caller, ConfigId, KeyRing, Resolver, ResolverBuilder, Settings};

use super::database::{Kind, TestDatabase};
use super::{caller, config, eventually, number};

/// Makes settings for a database, with more variables.
pub type SettingsOf = dyn Fn(&[(&str, &str)]) -> Settings;

/// A resolver on a real database, with hot reload, and one number that it answers.
pub struct Live {
    pub database: TestDatabase,
    pub store: Arc<dyn AdminStore>,
    pub settings: Box<SettingsOf>,
    pub resolver: Resolver,
    pub ring: KeyRing,
    pub config: ConfigId,
    pub caller: Caller,
}

impl Live {
    pub async fn new(kind: Kind) -> Self {
        Self::on(TestDatabase::migrated(kind).await).await
    }

    pub async fn on(database: TestDatabase) -> Self {
        Self::with(database, &[], |builder| builder).await
    }

    /// One that nothing but the change feed tells of a change, and that writes no row of its own.
    pub async fn unchecked_on(database: TestDatabase) -> Self {
        Self::with(database, &[("SELF_CHECK_INTERVAL", "0s")], ResolverBuilder::unlisted).await
    }

    async fn with(
        database: TestDatabase,
        more: &[(&str, &str)],
        how: impl FnOnce(ResolverBuilder) -> ResolverBuilder,
    ) -> Self {
        let key = KeyRing::generate().unwrap().to_string();
        let ring = KeyRing::parse(&key).unwrap();
        let store = database.store();
        let config = store.create_config(&config(&ring, "eu")).await.unwrap();
        let caller = caller(1, 1);
        store.add_number(&number(caller, Some(config))).await.unwrap();
        let url = database.url.clone();
        let settings = move |more: &[(&str, &str)]| {
            let mut variables = vec![
                ("LIVEKIT_SECRET_ENCRYPTION_KEY", key.as_str()),
                ("LIVEKIT_URL", "wss://env.example"),
                ("LIVEKIT_API_KEY", "APIenv"),
                ("LIVEKIT_API_SECRET", "canary-secret-of-env"),
            ];
            variables.extend(more);
            crate::support::database::settings(&url, &variables)
        };
        let resolver = how(Resolver::builder(settings(more))).start();
        let settings = Box::new(settings);
        let live = Self { database, store, settings, resolver, ring, config, caller };
        live.hears().await;
        live
    }

    pub async fn hears(&self) {
        eventually("changes are heard", async || self.resolver.hears_changes()).await;
    }

    /// Waits until what the resolver says about the trunk is this.
    pub async fn trunk_becomes(&self, trunk: Option<&str>) {
        eventually("the new trunk is used", async || {
            self.resolver.resolve(self.caller).await.unwrap().trunk_id() == trunk
        })
        .await;
    }

    pub async fn set_trunk(&self, trunk: &str) {
        let edit = ConfigEdit { trunk_id: Some(Some(trunk.into())), ..ConfigEdit::default() };
        assert!(self.store.update_config(self.config, &edit).await.unwrap());
    }

    /// Takes new settings: these variables beside those it began with.
    pub fn reload(&self, more: &[(&str, &str)]) {
        self.resolver.reload((self.settings)(more)).unwrap();
    }
}
