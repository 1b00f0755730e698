//! A pair that others may have: what is done at once, and what stays exposed.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::moves::{checked, same_pair, staging, swap, usable};
use super::retire::{LONGEST_CALL, delta, is_not_for_us};
use super::{EnteredPair, PairCheck, PairError, Pairs};
use crate::nodes::SeenError;
use crate::number::ConfigId;
use crate::store::{PairBook, PairMoves, PairPhase, PairSlot};

/// What whoever has a pair may do, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PairExposure {
    /// Of which config.
    pub config_id: ConfigId,
    /// Its name.
    pub config_name: String,
    /// The API key of the pair. Until its server forgets it, whoever has the secret may do anything there.
    pub api_key: String,
    /// Until when tokens are good that were signed with it for clients, unless its server forgets it sooner.
    pub tokens_until: DateTime<Utc>,
    /// How many calls may be in the air that were placed with it. `None`: this role may not look.
    pub calls: Option<u64>,
    /// Until when the last of them may be, at the latest.
    pub calls_until: Option<DateTime<Utc>>,
    /// Nodes that have not heard of the new pair yet.
    pub nodes: Vec<String>,
    /// A pair that was kept as the previous one and is not any more; its server is to forget that as well.
    pub also: Option<String>,
}

/// What replacing it came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PairReplaced {
    /// The key that calls are placed with. `None`: nothing was done.
    pub current: Option<String>,
    /// What stays exposed.
    pub exposure: PairExposure,
}

impl Pairs {
    /// Replaces the current pair at once: by the one that was entered, or else by the pending one. Its server
    /// must accept the new one, and is not asked for the old one, which signs and verifies nothing from now
    /// on. Only looks, where `dry_run`.
    ///
    /// # Errors
    ///
    /// [`PairError::NothingPending`] without a new pair; else those of [`stage`](Self::stage) and
    /// [`promote`](Self::promote).
    pub async fn compromise(
        &self,
        id: ConfigId,
        new: Option<EnteredPair>,
        server: &impl PairCheck,
        unix_seconds: u64,
        dry_run: bool,
    ) -> Result<PairReplaced, PairError> {
        let before = self.book(id).await?;
        let also = before.previous.as_ref().map(|previous| previous.config.api_key.clone());
        if dry_run {
            let exposure = self.pair_exposure(&before, also).await?;
            return Ok(PairReplaced { current: None, exposure });
        }
        if let Some(new) = new {
            self.stage_over(id, new, unix_seconds).await?;
        }
        let (ring, read) = (self.sealer().await?, self.book(id).await?);
        let pending = read.pending.clone().ok_or(PairError::NothingPending)?;
        usable(&pending)?;
        self.accepted(server, &ring, &pending.config, PairPhase::Pending).await?;
        let mut decide = |book: &PairBook| {
            let now = book.pending.as_ref().filter(|now| same_pair(&now.config, &pending.config));
            if now.is_none() || !same_pair(&book.config, &before.config) {
                return Err(PairError::Raced);
            }
            let mut moves = swap(&ring, book, &pending, false, unix_seconds)?;
            if let PairSlot::Is(previous) = &mut moves.previous {
                previous.is_compromised = true;
            }
            Ok(moves)
        };
        self.carry_out(id, false, &mut decide).await?;
        let exposure = self.pair_exposure(&before, also).await?;
        Ok(PairReplaced { current: Some(pending.config.api_key), exposure })
    }

    /// Keeps a pair as the pending one, whatever was that or is kept as the previous one.
    async fn stage_over(
        &self,
        id: ConfigId,
        new: EnteredPair,
        unix_seconds: u64,
    ) -> Result<(), PairError> {
        let ring = self.sealer().await?;
        let (key, secret) = checked(&ring, new, unix_seconds)?;
        let mut decide = |book: &PairBook| {
            let alone = PairBook { pending: None, previous: None, ..book.clone() };
            let staged = staging(&ring, &alone, &key, &secret, unix_seconds)?;
            let pending = staged.map_or(PairSlot::Stays, |pair| PairSlot::Is(Box::new(pair)));
            Ok(PairMoves { pending, ..PairMoves::default() })
        };
        self.carry_out(id, false, &mut decide).await.map(drop)
    }

    /// What whoever has the pair that was current in this book may do.
    async fn pair_exposure(
        &self,
        before: &PairBook,
        also: Option<String>,
    ) -> Result<PairExposure, PairError> {
        let id = before.config.id;
        let (token, memory) = (self.longest_token().await?, self.longest_of_nodes().await?);
        let up = self.rows.calls_up(id).await?;
        let nodes = match self.behind().await {
            Ok(behind) => behind,
            Err(SeenError::Store(error)) if !is_not_for_us(&error) => return Err(error.into()),
            Err(_) => Vec::new(),
        };
        Ok(PairExposure {
            config_id: id,
            config_name: before.config.name.clone(),
            api_key: before.config.api_key.clone(),
            tokens_until: before.now + delta(memory) + delta(token),
            calls: up.map(|up| up.many),
            calls_until: up
                .filter(|up| up.many > 0)
                .map(|up| before.now - delta(up.youngest) + delta(LONGEST_CALL)),
            nodes,
            also,
        })
    }
}
