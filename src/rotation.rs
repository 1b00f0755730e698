//! Turns the encryption keys while calls flow: stage, promote, seal again, verify, refuse, retire.
//!
//! Keys live in the settings of each process, or rest in the database, sealed by those. The database knows
//! them all by their ids: which one seals, and what becomes of the others. A key is staged once every process can open with it; then it is
//! promoted, and what it is to seal is sealed again, a few rows at a time. The old key is refused for a
//! while before it is retired, so that what still needs it is found while it is there.
//!
//! Each step looks at how things are and goes on from there, so it may be interrupted anywhere and be
//! asked for twice. It makes data keys alone, and learns no key that the keys of its settings do not open.
//!
//! **Invariant:** a row is sealed again only to the same secret, over the very text that was opened.

mod census;
mod compromise;
mod error;
mod gate;
mod pair;
mod reseal;
mod retire;
mod schedule;
mod stage;
mod status;
mod turn;
mod wrapped;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value as Json;

pub use self::census::{Census, LeftSecret};
pub use self::compromise::Exposure;
pub use self::error::RotationError;
pub use self::gate::{Gate, NodeRing};
pub use self::pair::{
    EnteredPair, PairBound, PairCheck, PairError, PairExposure, PairRefused, PairReplaced,
    PairRetired, PairStep, PairUnbound, Pairs, RetireTerms,
};
pub use self::reseal::{BATCH, Resealing};
pub use self::retire::{BackupNeed, Passing, Retiring};
pub use self::schedule::NotScheduled;
pub use self::stage::{Promoted, Staged};
pub use self::status::{KeyHome, KeyStatus, ShownKey};
pub(crate) use self::turn::STEPS;
pub use self::turn::{Blocked, Turn, TurnStep};
pub use self::wrapped::Rewrapped;
use crate::keyring::{KeyId, KeyRing, KeyRule};
use crate::nodes::Nodes;
use crate::settings::Tuning;
use crate::store::{KeyBook, KeyRows, KeyTurnRows, OpenStore, PairRows};

/// The keys of a database, seen by somebody who has a ring.
///
/// ```no_run
/// use trunkline::Settings;
/// use trunkline::rotation::Rotation;
/// use trunkline::store::OpenStore;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = Settings::from_env()?;
/// let database = settings.database.as_ref().expect("it is named");
/// let database = OpenStore::new(database, &settings.tuning);
/// let ring = settings.ring.expect("it is set");
/// let rotation = Rotation::new(&database, &ring, &settings.tuning);
/// for key in rotation.status().await?.keys {
///     println!("{} opens {} secrets", key.id, key.configs);
/// }
/// # Ok(()) }
/// ```
pub struct Rotation {
    rows: Arc<dyn KeyRows>,
    /// The pairs of configs beside the current ones: their secrets are sealed as well.
    pairs: Arc<dyn PairRows>,
    turns: Arc<dyn KeyTurnRows>,
    nodes: Nodes,
    /// By no rule: it opens with every key.
    ring: KeyRing,
    /// The same with the data keys of the database that it opens, as they were last read.
    whole: ArcSwap<KeyRing>,
    /// What the audit is told of who asks.
    claimed: Option<Json>,
    /// For how long an answer in memory may hold the sealed text of a row that was sealed again.
    longest_in_memory: Duration,
}

impl Rotation {
    /// With the keys of this ring.
    #[must_use]
    pub fn new(database: &OpenStore, ring: &KeyRing, tuning: &Tuning) -> Self {
        Self {
            rows: database.key_rows(),
            pairs: database.pair_rows(),
            turns: database.key_turn_rows(),
            nodes: Nodes::of(database),
            ring: ring.ruled(None),
            whole: ArcSwap::from_pointee(ring.ruled(None)),
            claimed: None,
            longest_in_memory: tuning.ttl.max(tuning.max_stale),
        }
    }

    /// The same for somebody of whom the audit is told this.
    pub(crate) fn claiming(self, claimed: Json) -> Self {
        Self { claimed: Some(claimed), ..self }
    }

    /// What the database knows of keys.
    async fn book(&self) -> Result<KeyBook, RotationError> {
        self.known().await?.ok_or(RotationError::NotMigrated)
    }

    /// The same. `None`: it is of an older step.
    async fn known(&self) -> Result<Option<KeyBook>, RotationError> {
        let book = self.rows.key_book().await?;
        if let Some(book) = &book {
            self.whole.store(Arc::new(book.whole_ring(&self.ring)));
        }
        Ok(book)
    }

    /// The keys of the settings, and the data keys that they open.
    fn ring(&self) -> Arc<KeyRing> {
        self.whole.load_full()
    }

    /// The key that seals: by the state, or else the first one of the ring.
    fn sealing(&self, book: &KeyBook) -> Result<KeyId, RotationError> {
        match book.sealing {
            Some(key) => Ok(key),
            None => Ok(self.ring().sealing_id()?),
        }
    }

    /// The ring that seals by the state, and opens with every key, a refused one too.
    fn sealer(&self, book: &KeyBook) -> KeyRing {
        self.ring().ruled(Some(KeyRule { refused: Vec::new(), ..book.rule() }))
    }

    fn has(&self, key: KeyId) -> bool {
        self.ring().key_ids().contains(&key)
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rotation").field("ring", &self.ring).finish_non_exhaustive()
    }
}
