//! A database that has every number, each with a config of its own, and keeps none of them: what
//! is asked for is made up. Only [`Store::route`] answers; else it is like an empty one.

use async_trait::async_trait;
use serde_json::json;
use trunkline::store::{Config, Route, Store, StoreError};
use trunkline::{Caller, ConfigId, E164, Sealed, TenantId};
use uuid::Uuid;

/// The made-up rows.
pub(crate) struct Rows {
    /// What every config has.
    pub(crate) url: &'static str,
    pub(crate) api_key: &'static str,
    pub(crate) secret: Sealed,
}

#[async_trait]
impl Store for Rows {
    async fn route(&self, caller: Caller) -> Result<Option<Route>, StoreError> {
        let number = caller.number.as_u64();
        let id = Uuid::from_u128(number.into());
        let config = Config {
            id: ConfigId(id),
            name: number.to_string(),
            description: None,
            url: self.url.to_owned(),
            api_key: self.api_key.to_owned(),
            api_secret: self.secret.as_str().into(),
            trunk_id: Some("ST_eu".to_owned()),
            agent: None,
            created_at: None,
            updated_at: None,
            disabled_at: None,
        };
        let rules = json!({ "livekit_config": id });
        Ok(Some(Route { rules, provider: None, config: Some(config) }))
    }

    async fn owners(&self, _: E164) -> Result<Vec<TenantId>, StoreError> {
        Ok(Vec::new())
    }

    async fn config(&self, _: ConfigId) -> Result<Option<Config>, StoreError> {
        Ok(None)
    }

    async fn configs(&self) -> Result<Vec<Config>, StoreError> {
        Ok(Vec::new())
    }
}
