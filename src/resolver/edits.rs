//! What editing through the API takes of a running resolver: the database, the ring, the hosts, the
//! settings, and who has seen what was written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use uuid::Uuid;

use super::Resolver;
use crate::changes::Told;
use crate::keyring::KeyRing;
use crate::nodes::{Here, Nodes, WrittenSeen};
use crate::number::ConfigId;
use crate::rotation::Rotation;
use crate::schedule::Schedule;
use crate::server_url::AllowedHosts;
use crate::settings::{ShownSetting, Tuning};
use crate::store::{
    AuditLog, EditStore, LoggedChange, OpenStore, RolloutStore, StoreError, TenantStore, Written,
};

impl Resolver {
    /// The rows of its database. `None`: no database is named, or another store was given.
    pub(crate) fn edits(&self) -> Option<Arc<dyn EditStore>> {
        self.engine.database.as_ref().map(OpenStore::edits)
    }

    /// The rollout of its database. `None`: no database is named, or another store was given.
    pub(crate) fn rollouts(&self) -> Option<Arc<dyn RolloutStore>> {
        self.engine.database.as_ref().map(OpenStore::rollouts)
    }

    /// The runs of its rollout. `None`: no database is named, or another store was given.
    pub(crate) fn schedule(&self) -> Option<Schedule> {
        self.engine.database.as_ref().map(Schedule::of)
    }

    /// The labels of its tenants. `None`: no database is named, or another store was given.
    pub(crate) fn tenants(&self) -> Option<Arc<dyn TenantStore>> {
        self.engine.database.as_ref().map(OpenStore::tenants)
    }

    /// The encryption keys of its database. `None`: no database is named, or no key is set.
    pub(crate) fn rotation(&self) -> Option<Rotation> {
        self.engine.rotation()
    }

    /// Whether the flag is on.
    pub(crate) fn uses_configs(&self) -> bool {
        self.engine.live.running().uses_configs()
    }

    /// Its database. `None`: none is named, or another store was given.
    #[cfg(feature = "dispatch")]
    pub(crate) fn database(&self) -> Option<&OpenStore> {
        self.engine.database.as_ref()
    }

    /// The settings that cannot change while it runs.
    #[cfg(feature = "dispatch")]
    pub(crate) fn tuning(&self) -> &Tuning {
        &self.engine.tuning
    }

    /// `DATA_DIR`: where what must outlast a restart is kept.
    #[cfg(feature = "dispatch")]
    pub(crate) fn data_dir(&self) -> Option<&std::path::Path> {
        self.engine.data_dir.as_deref()
    }

    /// How long ago calls were resolved to this config here last, to within a few minutes. `None`: not since
    /// this process began.
    pub(crate) fn used_ago(&self, config: ConfigId) -> Option<Duration> {
        let last = self.engine.cache.last_used.of(config)?;
        Some(self.engine.clock.now().since(last))
    }

    /// The audit of its database. `None`: none is named, or another store was given.
    pub(crate) fn audit(&self) -> Option<Arc<dyn AuditLog>> {
        self.engine.database.as_ref().map(OpenStore::audit)
    }

    /// The row of this node among the nodes, while it has one.
    pub(crate) fn node_row(&self) -> Option<Uuid> {
        self.engine.registration.as_ref()?.row()
    }

    /// The ring that opens and seals at present.
    pub(crate) fn ring(&self) -> Option<Arc<KeyRing>> {
        self.engine.live.running().ring.clone()
    }

    /// The same by what the database says of keys at this moment, for those who seal.
    pub(crate) async fn sealing_ring(&self) -> Result<Option<Arc<KeyRing>>, StoreError> {
        match (self.ring(), &self.engine.database) {
            (Some(ring), Some(database)) => Ok(Some(Arc::new(database.ruled(&ring).await?))),
            (ring, _) => Ok(ring),
        }
    }

    /// The hosts that calls may use at present.
    pub(crate) fn hosts(&self) -> AllowedHosts {
        self.engine.live.running().environment.hosts().clone()
    }

    /// `OUTBOUND_TRUNK_ID`: the trunk where neither a config nor rules name one.
    #[cfg(feature = "dispatch")]
    pub(crate) fn outbound_trunk(&self) -> Option<String> {
        let running = self.engine.live.running();
        running.environment.trunk(None, None).map(|(trunk, _)| trunk.into())
    }

    /// The settings in force, without secrets.
    pub(crate) fn shown_settings(&self) -> Arc<[ShownSetting]> {
        Arc::clone(&self.engine.live.running().shown)
    }

    /// What the change feed applies from now on. `None`: there is no change feed.
    pub(crate) fn listen(&self) -> Option<broadcast::Receiver<Arc<Told>>> {
        self.engine.feed.as_ref().map(|feed| feed.applied().listeners.listen())
    }

    /// What has been committed since a position of the change feed, and the position after it. `None`:
    /// that is not known.
    pub(crate) async fn changes_since(
        &self,
        position: &str,
    ) -> Result<Option<(Vec<LoggedChange>, String)>, StoreError> {
        match &self.engine.database {
            Some(database) => database.changes_since(position).await,
            None => Ok(None),
        }
    }

    /// Waits until this node and every other live one answers by what was written, for `LEASE` at the
    /// most.
    pub(crate) async fn seen(&self, written: Option<Written>) -> WrittenSeen {
        let engine = &self.engine;
        let (Some(database), Some(feed)) = (&engine.database, &engine.feed) else {
            return WrittenSeen { applied: false, nodes: None };
        };
        let here = Here { applied: feed.applied().watch(), row: self.node_row() };
        Nodes::of(database).written_seen(written, here, engine.tuning.lease).await
    }
}
