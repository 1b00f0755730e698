//! Turns the key pair of a LiveKit config while calls flow: pending, current, previous.
//!
//! ```text
//! stage --> pending --promote--> current --promote, roll back--> previous --retire--> forgotten
//!              '--roll back--> forgotten     ^------- roll back ------'
//! ```
//!
//! A server must accept both pairs for a while: it is told of the new one by its operator, and forgets the
//! old one by his hand. Nothing here changes a server. The previous pair is kept as long as tokens that it
//! signed may be shown, and calls may be in the air that began with it.
//!
//! **Invariant:** a pair becomes the current one only after its server has accepted it, and unless it is said
//! otherwise, the one before it as well. No refusal by a server changes which pair is the current one.

mod bind;
mod compromise;
mod error;
mod moves;
mod retire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use self::bind::{PairBound, PairUnbound};
pub use self::compromise::{PairExposure, PairReplaced};
pub use self::error::PairError;
use self::moves::{checked, is_nothing, opened, refuse_kept, same_pair, staging, swap, usable};
pub use self::retire::{PairRetired, RetireTerms};
use crate::keyring::{KeyRing, Secret};
use crate::nodes::Nodes;
use crate::number::ConfigId;
use crate::settings::Tuning;
use crate::store::{
    Config, KeptPair, OnBehalf, OpenStore, PairAge, PairBook, PairMoves, PairPhase, PairRows,
    PairSlot, PairsChanged, ShownPair,
};

/// Why a server does not accept a pair, or that it could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairRefused {
    /// A stable word for it.
    pub code: &'static str,
    /// What was found. Holds no secret.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl PairRefused {
    /// It, in these words.
    #[must_use]
    pub fn new(code: &'static str, message: String, hint: Option<&'static str>) -> Self {
        Self { code, message, hint }
    }
}

/// Asks a server whether it accepts a pair.
pub trait PairCheck: Sync {
    /// Whether the server at this URL accepts this pair at this moment.
    fn accepts(
        &self,
        url: &str,
        api_key: &str,
        api_secret: &Secret,
    ) -> impl Future<Output = Result<(), PairRefused>> + Send;
}

/// A pair that somebody enters.
pub struct EnteredPair {
    /// The API key: 1 to 255 characters, without white space.
    pub api_key: String,
    /// The API secret, plain or sealed.
    pub api_secret: Secret,
}

impl fmt::Debug for EnteredPair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EnteredPair").field("api_key", &self.api_key).finish_non_exhaustive()
    }
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PairStep {
    /// Of which config.
    pub config_id: ConfigId,
    /// Its name.
    pub config_name: String,
    /// The key that calls are placed with.
    pub current: String,
    /// The key that is to be that.
    pub pending: Option<String>,
    /// The key that was that.
    pub previous: Option<String>,
    /// Whether it was so before.
    pub already: bool,
    /// When the previous pair may be retired, at the earliest. `None`: there is none.
    pub retire_from: Option<DateTime<Utc>>,
}

/// The pairs of a database's configs, for somebody who has its encryption keys.
pub struct Pairs {
    rows: Arc<dyn PairRows>,
    database: OpenStore,
    nodes: Nodes,
    ring: KeyRing,
    on_behalf: Option<OnBehalf>,
    /// For how long a node that hears of no change may go on with the pair that it knows.
    longest_in_memory: Duration,
    lease: Duration,
}

impl Pairs {
    /// Sealed by the keys of this ring.
    #[must_use]
    pub fn new(database: &OpenStore, ring: &KeyRing, tuning: &Tuning) -> Self {
        Self {
            rows: database.pair_rows(),
            database: database.clone(),
            nodes: Nodes::of(database),
            ring: ring.ruled(None),
            on_behalf: None,
            longest_in_memory: tuning.ttl.max(tuning.max_stale),
            lease: tuning.lease,
        }
    }

    /// The same for a client of the API.
    #[cfg(feature = "server")]
    pub(crate) fn on_behalf(self, behalf: OnBehalf) -> Self {
        Self { on_behalf: Some(behalf), ..self }
    }

    /// Every pair, or those of one config, by name of the config.
    ///
    /// # Errors
    ///
    /// [`PairError::Store`].
    pub async fn list(&self, of: Option<ConfigId>) -> Result<Vec<ShownPair>, PairError> {
        Ok(self.rows.shown_pairs(of).await?)
    }

    /// How many pairs are in each phase, and how old the oldest is, to be reminded of them. None, of a database
    /// from before pairs.
    ///
    /// # Errors
    ///
    /// [`PairError::Store`].
    pub async fn ages(&self) -> Result<Vec<PairAge>, PairError> {
        Ok(self.rows.pair_ages().await?)
    }

    /// The pairs of a config.
    ///
    /// # Errors
    ///
    /// [`PairError::Store`], [`PairError::NoConfig`].
    pub async fn book(&self, id: ConfigId) -> Result<PairBook, PairError> {
        self.rows.pair_book(id).await?.ok_or(PairError::NoConfig { id })
    }

    /// How a config's pairs stand.
    ///
    /// # Errors
    ///
    /// Those of [`book`](Self::book).
    pub async fn step(&self, id: ConfigId) -> Result<PairStep, PairError> {
        self.step_of(&self.book(id).await?, true).await
    }

    /// Keeps a pair that is to be the current one. Its server need not know it yet.
    ///
    /// # Errors
    ///
    /// A key or secret that cannot be one, the pair that is current or previous already, another one that is
    /// pending, and a previous one that is still kept.
    pub async fn stage(
        &self,
        id: ConfigId,
        entered: EnteredPair,
        unix_seconds: u64,
        dry_run: bool,
    ) -> Result<PairStep, PairError> {
        let ring = self.sealer().await?;
        let (key, secret) = checked(&ring, entered, unix_seconds)?;
        let mut decide = |book: &PairBook| {
            staging(&ring, book, &key, &secret, unix_seconds).map(|staged| {
                let pending = staged.map_or(PairSlot::Stays, |pair| PairSlot::Is(Box::new(pair)));
                PairMoves { pending, ..PairMoves::default() }
            })
        };
        let already = self.carry_out(id, dry_run, &mut decide).await?;
        let mut step = self.step_of(&self.book(id).await?, already).await?;
        step.pending.get_or_insert(key);
        Ok(step)
    }

    /// Makes the pending pair the current one, after the server has accepted both. The one that was current
    /// is the previous one then. `old_is_gone`: the server need not accept that one any more.
    ///
    /// # Errors
    ///
    /// [`PairError::NothingPending`], [`PairError::Refused`], [`PairError::OtherServer`],
    /// [`PairError::PreviousKept`], [`PairError::Raced`].
    pub async fn promote(
        &self,
        id: ConfigId,
        server: &impl PairCheck,
        old_is_gone: bool,
        unix_seconds: u64,
        dry_run: bool,
    ) -> Result<PairStep, PairError> {
        let (ring, read) = (self.sealer().await?, self.book(id).await?);
        let pending = read.pending.clone().ok_or(PairError::NothingPending)?;
        refuse_kept(&read)?;
        usable(&pending)?;
        self.accepted(server, &ring, &pending.config, PairPhase::Pending).await?;
        if !old_is_gone {
            self.accepted(server, &ring, &read.config, PairPhase::Current).await?;
        }
        let mut decide = |book: &PairBook| {
            let now = book.pending.as_ref().filter(|now| same_pair(&now.config, &pending.config));
            if now.is_none() || !same_pair(&book.config, &read.config) {
                return Err(PairError::Raced);
            }
            refuse_kept(book)?;
            swap(&ring, book, &pending, !old_is_gone, unix_seconds)
        };
        self.carry_out(id, dry_run, &mut decide).await?;
        self.step_of(&self.book(id).await?, false).await
    }

    /// Takes the last step back: forgets a pending pair, or else makes the previous one current again, after
    /// the server has accepted it. `unchecked`: whether it does or not.
    ///
    /// # Errors
    ///
    /// [`PairError::NothingPrevious`], [`PairError::Refused`], [`PairError::OtherServer`],
    /// [`PairError::Compromised`], [`PairError::Raced`].
    pub async fn roll_back(
        &self,
        id: ConfigId,
        server: &impl PairCheck,
        unchecked: bool,
        unix_seconds: u64,
        dry_run: bool,
    ) -> Result<PairStep, PairError> {
        let (ring, read) = (self.sealer().await?, self.book(id).await?);
        if read.pending.is_some() {
            let mut decide = |book: &PairBook| match &book.pending {
                None => Err(PairError::Raced),
                Some(_) => Ok(PairMoves { pending: PairSlot::Goes, ..PairMoves::default() }),
            };
            self.carry_out(id, dry_run, &mut decide).await?;
            return self.step_of(&self.book(id).await?, false).await;
        }
        let previous = read.previous.clone().ok_or(PairError::NothingPrevious)?;
        usable(&previous)?;
        if !unchecked {
            self.accepted(server, &ring, &previous.config, PairPhase::Previous).await?;
        }
        let mut decide = |book: &PairBook| {
            let now = book.previous.as_ref().filter(|now| same_pair(&now.config, &previous.config));
            if now.is_none() || !same_pair(&book.config, &read.config) {
                return Err(PairError::Raced);
            }
            swap(&ring, book, &previous, false, unix_seconds)
        };
        self.carry_out(id, dry_run, &mut decide).await?;
        self.step_of(&self.book(id).await?, false).await
    }

    /// The ring that seals by what the database says, and opens with every key.
    async fn sealer(&self) -> Result<KeyRing, PairError> {
        Ok(self.database.ruled(&self.ring).await?)
    }

    /// Asks the server of a config whether it accepts the pair that is in it.
    async fn accepted(
        &self,
        server: &impl PairCheck,
        ring: &KeyRing,
        config: &Config,
        phase: PairPhase,
    ) -> Result<(), PairError> {
        let secret = opened(ring, config)?;
        let accepted = server.accepts(&config.url, &config.api_key, &secret).await;
        accepted.map_err(|why| PairError::Refused { phase, api_key: config.api_key.clone(), why })
    }

    /// Changes the pairs by what is locked. Returns whether there was nothing to change.
    async fn carry_out(
        &self,
        id: ConfigId,
        dry_run: bool,
        decide: &mut (dyn FnMut(&PairBook) -> Result<PairMoves, PairError> + Send),
    ) -> Result<bool, PairError> {
        if dry_run {
            return Ok(is_nothing(&decide(&self.book(id).await?)?));
        }
        let (mut refused, mut nothing) = (None, false);
        let mut locked = |book: &PairBook| match decide(book) {
            Ok(moves) if is_nothing(&moves) => {
                nothing = true;
                None
            }
            Ok(moves) => Some(moves),
            Err(error) => {
                refused = Some(error);
                None
            }
        };
        match self.rows.change_pairs(self.on_behalf.as_ref(), id, &mut locked).await? {
            PairsChanged::Done => Ok(false),
            PairsChanged::Missing => Err(PairError::NoConfig { id }),
            PairsChanged::Declined if nothing => Ok(true),
            PairsChanged::Declined => Err(refused.unwrap_or(PairError::Raced)),
        }
    }

    async fn step_of(&self, book: &PairBook, already: bool) -> Result<PairStep, PairError> {
        let key = |pair: &Option<KeptPair>| pair.as_ref().map(|pair| pair.config.api_key.clone());
        let retire_from = match &book.previous {
            Some(previous) => Some(self.needed_until(book, previous, None).await?),
            None => None,
        };
        Ok(PairStep {
            config_id: book.config.id,
            config_name: book.config.name.clone(),
            current: book.config.api_key.clone(),
            pending: key(&book.pending),
            previous: key(&book.previous),
            already,
            retire_from,
        })
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pairs").field("ring", &self.ring).finish_non_exhaustive()
    }
}
