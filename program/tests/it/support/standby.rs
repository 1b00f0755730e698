//! A standby that streams from a cluster, answers reads, and can be promoted.

use super::postgres::{Cluster, wait};

impl Cluster {
    /// A standby of this cluster, up and following.
    pub fn standby(&self) -> Self {
        let source = format!("-h {} -p {} -U owner", self.folder.display(), self.port);
        let copy = format!("@bin/pg_basebackup {source} -D data -R -X stream -c fast --no-sync");
        Self::made_by(&copy, &[])
    }

    /// Waits until a standby has everything that this cluster has committed.
    pub fn is_followed_by(&self, standby: &Self) {
        let here = self.psql("postgres", "select pg_current_wal_lsn()");
        let sql = format!("select pg_last_wal_replay_lsn() >= '{here}'");
        wait("the standby has caught up", || standby.psql("postgres", &sql) == "t");
    }

    /// Makes a standby the primary, and waits until it is.
    pub fn promote(&self) {
        assert_eq!(self.psql("postgres", "select pg_promote(true, 20)"), "t");
    }
}
