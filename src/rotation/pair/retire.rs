//! The last step: a previous pair is forgotten, once nothing needs it any more.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::moves::same_pair;
use super::{PairCheck, PairError, Pairs};
use crate::nodes::SeenError;
use crate::number::ConfigId;
use crate::store::{KeptPair, PairBook, PairMoves, PairPhase, PairSlot, StoreError};

/// On which terms a previous pair is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetireTerms {
    /// Do not wait, for nobody and nothing.
    pub now: bool,
    /// How long the longest token may be good that some program signs with the pair. `None`: as the clients
    /// of the API may ask, or a day where this role may not read those.
    pub longest_token: Option<Duration>,
    /// Only look.
    pub dry_run: bool,
}

/// A previous pair that is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PairRetired {
    /// Of which config.
    pub config_id: ConfigId,
    /// Its name.
    pub config_name: String,
    /// The API key, which its server may forget now.
    pub api_key: String,
    /// Until when tokens may have been shown that it signed.
    pub needed_until: DateTime<Utc>,
    /// Whether this role could look for calls that may be in the air with it.
    pub calls_known: bool,
}

impl Pairs {
    /// Forgets the previous pair of a config. Its server must accept the current one by itself.
    ///
    /// # Errors
    ///
    /// [`PairError::NothingPrevious`], [`PairError::Refused`], [`PairError::TooEarly`],
    /// [`PairError::CallsUp`], [`PairError::NodesBehind`], [`PairError::Raced`].
    pub async fn retire(
        &self,
        id: ConfigId,
        server: &impl PairCheck,
        terms: RetireTerms,
    ) -> Result<PairRetired, PairError> {
        let read = self.book(id).await?;
        let previous = read.previous.clone().ok_or(PairError::NothingPrevious)?;
        let needed_until = self.needed_until(&read, &previous, terms.longest_token).await?;
        let mut calls_known = true;
        // Of another server, or in wrong hands: nothing is to need it.
        let is_of_use = previous.is_here && previous.compromised_at.is_none();
        if is_of_use && !terms.now {
            self.unused_by_nodes().await?;
            if read.now < needed_until {
                return Err(PairError::TooEarly { until: needed_until });
            }
            calls_known = self.no_calls(&read).await?;
            let ring = self.sealer().await?;
            self.accepted(server, &ring, &read.config, PairPhase::Current).await?;
        }
        let mut decide = |book: &PairBook| match &book.previous {
            Some(now) if same_pair(&now.config, &previous.config) => {
                Ok(PairMoves { previous: PairSlot::Goes, ..PairMoves::default() })
            }
            _ => Err(PairError::Raced),
        };
        self.carry_out(id, terms.dry_run, &mut decide).await?;
        Ok(PairRetired {
            config_id: id,
            config_name: read.config.name,
            api_key: previous.config.api_key,
            needed_until,
            calls_known,
        })
    }

    /// Until when a token may be shown that a previous pair signed: the last node may have signed one until
    /// `MAX_STALE` after it stopped being current, and servers allow for a minute.
    pub(super) async fn needed_until(
        &self,
        book: &PairBook,
        previous: &KeptPair,
        longest_token: Option<Duration>,
    ) -> Result<DateTime<Utc>, PairError> {
        let token = match longest_token {
            Some(said) => said,
            None => self.longest_token().await?,
        };
        let since = previous.since.unwrap_or(book.now);
        Ok(since + delta(self.longest_of_nodes().await?) + delta(token) + LEEWAY)
    }

    /// The longest life of a token that a client may ask for.
    pub(super) async fn longest_token(&self) -> Result<Duration, PairError> {
        match self.database.clients().clients().await {
            Ok(clients) => {
                let longest = clients.iter().map(|client| match &client.permissions {
                    Some(permissions) => permissions.tokens.longest,
                    // What this version does not know may be anything.
                    None => LONGEST,
                });
                Ok(longest.max().unwrap_or_default().max(SHORTEST))
            }
            Err(error) if is_not_for_us(&error) => Ok(LONGEST),
            Err(error) => Err(error.into()),
        }
    }

    /// For how long a node that hears of nothing goes on with what it knows.
    pub(super) async fn longest_of_nodes(&self) -> Result<Duration, PairError> {
        match self.nodes.list().await {
            Ok(nodes) => {
                let theirs = nodes.iter().map(|node| node.max_stale).max();
                Ok(self.longest_in_memory.max(theirs.unwrap_or_default()))
            }
            Err(error) if is_not_for_us(&error) => Ok(self.longest_in_memory),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses while a node that counts has not applied all that was changed until now.
    async fn unused_by_nodes(&self) -> Result<(), PairError> {
        let behind = match self.behind().await {
            Ok(behind) => behind,
            // Who may not look waits for as long as any node may go on.
            Err(SeenError::Store(error)) if is_not_for_us(&error) => Vec::new(),
            Err(SeenError::Store(error)) => return Err(error.into()),
            Err(SeenError::NoSuchChange { .. }) => Vec::new(),
        };
        if behind.is_empty() { Ok(()) } else { Err(PairError::NodesBehind { nodes: behind }) }
    }

    /// The nodes that have not applied the newest change.
    pub(super) async fn behind(&self) -> Result<Vec<String>, SeenError> {
        let newest = self.database.change_log().newest_change().await?;
        let seen = self.nodes.seen_by(newest, self.lease).await?;
        Ok(seen.behind.into_iter().map(|node| node.name).collect())
    }

    /// Refuses while calls may be in the air with it. Returns whether that is known.
    async fn no_calls(&self, book: &PairBook) -> Result<bool, PairError> {
        let Some(up) = self.rows.calls_up(book.config.id).await? else { return Ok(false) };
        if up.many == 0 {
            return Ok(true);
        }
        let until = book.now - delta(up.youngest) + delta(LONGEST_CALL);
        Err(PairError::CallsUp { many: up.many, until })
    }
}

/// Whether the role may not look there, or there is nothing to look at.
pub(super) fn is_not_for_us(error: &StoreError) -> bool {
    matches!(error, StoreError::NotMigrated { .. })
        || matches!(error, StoreError::Refused { code, .. } if code == "42501")
}

pub(super) fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX / 4)
}

/// What servers allow clocks to differ by.
const LEEWAY: TimeDelta = TimeDelta::seconds(60);
/// The life of a token of whom nothing was said.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest that any client may be given.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long LiveKit's SIP service lets a call last.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(24 * 3600);
