//! Which key opens how many secrets at rest, and how old pairs are: for whoever turns them.

use secrecy::ExposeSecret;

use super::Resolver;
use crate::store::{KeyBook, PairAge, StoreError};

impl Resolver {
    /// The ids of the keys in the ring with their roles: `first` is the one that seals, wherever it
    /// stands, and older ones only open. And `none`, for what no key opens.
    pub(crate) fn key_ids(&self) -> Vec<(String, &'static str)> {
        let running = self.engine.live.running();
        let ring = running.ring.as_ref();
        let ids = ring.map(|ring| ring.key_ids()).unwrap_or_default();
        let sealing = ring.and_then(|ring| ring.sealing_id().ok());
        let role = |id| if Some(id) == sealing { "first" } else { "older" };
        let keys = ids.iter().map(|id| (id.to_string(), role(*id)));
        keys.chain([("none".to_owned(), "none")]).collect()
    }

    /// What the database knows of keys. `None`: nothing, or it is left alone.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(crate) async fn key_book(&self) -> Result<Option<KeyBook>, StoreError> {
        match &self.engine.database {
            Some(database) if self.engine.live.running().switches().configs => {
                database.key_rows().key_book().await
            }
            _ => Ok(None),
        }
    }

    /// How many pairs are in each phase, and how old the oldest is. Empty while the database is left alone.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(crate) async fn pair_ages(&self) -> Result<Vec<PairAge>, StoreError> {
        match &self.engine.database {
            Some(database) if self.engine.live.running().switches().configs => {
                database.pair_rows().pair_ages().await
            }
            _ => Ok(Vec::new()),
        }
    }

    /// How many configs each key opens the secret of. Empty while the flag is off: then the
    /// database is left alone.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(crate) async fn key_usage(&self) -> Result<Vec<(String, &'static str, u64)>, StoreError> {
        let running = self.engine.live.running();
        let (true, Some(store)) = (running.switches().configs, &self.engine.loader.store) else {
            return Ok(Vec::new());
        };
        let mut key_usage: Vec<_> =
            self.key_ids().into_iter().map(|(key, role)| (key, role, 0)).collect();
        // One that is refused is counted all the same.
        let ring = running.ring.as_ref().map(|ring| ring.ruled(None));
        let mut last = None;
        loop {
            let page = store.sealed_secrets(last, PAGE).await?;
            last = page.last().map(|&(id, _)| id);
            for (_, sealed) in &page {
                let key = ring.as_ref().and_then(|ring| {
                    let key = ring.key_of(sealed.expose_secret());
                    key.ok().map(|key| key.to_string())
                });
                let key = key.as_deref().unwrap_or("none");
                if let Some((_, _, many)) = key_usage.iter_mut().find(|(id, ..)| id == key) {
                    *many += 1;
                }
            }
            if page.len() < PAGE {
                break;
            }
        }
        for pair in store.other_pairs().await? {
            let key = ring.as_ref().and_then(|ring| {
                let key = ring.key_of(pair.config.api_secret.expose_secret());
                key.ok().map(|key| key.to_string())
            });
            let key = key.as_deref().unwrap_or("none");
            if let Some((_, _, many)) = key_usage.iter_mut().find(|(id, ..)| id == key) {
                *many += 1;
            }
        }
        Ok(key_usage)
    }
}

/// How many secrets are held at once. Each is bounded, and so is what counting them costs.
const PAGE: usize = 100;
