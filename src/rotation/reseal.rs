//! Seals secrets again under the key that seals, a few rows at a time.
//!
//! A secret is opened, sealed, opened again and compared before anything is written. It is written over
//! the very text that was opened, and a row that somebody is editing is passed over: so an edit always
//! wins, and waits for no more than one batch. Passes go on until one finds nothing to do.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::census::{LeftSecret, PAGE, named};
use super::{Rotation, RotationError};
use crate::keyring::{ExposeSecret, KeyError, KeyId, KeyRing, Sealed};
use crate::store::{Config, Resealed, StoreError};

/// What sealing again came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Resealing {
    /// How many secrets were sealed again, or would be.
    pub resealed: u64,
    /// How many are under the key that seals.
    pub done: u64,
    /// How many rows somebody was editing each time, so that they are left for the next run.
    pub busy: u64,
    /// Secrets that are left as they are: no key opens them, or they are not sealed.
    pub left: Vec<LeftSecret>,
    /// How many passes were made over all secrets.
    pub passes: u64,
}

/// How many rows one statement seals again, if nothing else is said: as many as are a change of single
/// configs each, and not of everything.
pub const BATCH: usize = 16;

impl Rotation {
    /// Seals every secret again that is not under the key that seals. `progress` is told of how many were
    /// done after each page. Only counts, where `dry_run`.
    ///
    /// # Errors
    ///
    /// [`RotationError::Store`], [`RotationError::NotMigrated`], and [`RotationError::Key`] where the key
    /// that seals is not in this ring. What was done until then stays done.
    pub async fn reseal(
        &self,
        batch: usize,
        unix_seconds: u64,
        dry_run: bool,
        mut progress: impl FnMut(&Resealing),
    ) -> Result<Resealing, RotationError> {
        let (mut so_far, mut stuck) = (Resealing::default(), 0);
        loop {
            let before = so_far.resealed;
            self.pass(batch, unix_seconds, dry_run, &mut so_far, &mut progress).await?;
            so_far.passes += 1;
            stuck = if so_far.resealed == before { stuck + 1 } else { 0 };
            let found_nothing = so_far.resealed == before && so_far.busy == 0;
            if found_nothing || dry_run || stuck > STUCK {
                return Ok(so_far);
            }
            if so_far.busy > 0 {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn pass(
        &self,
        batch: usize,
        unix_seconds: u64,
        dry_run: bool,
        so_far: &mut Resealing,
        progress: &mut impl FnMut(&Resealing),
    ) -> Result<(), RotationError> {
        (so_far.done, so_far.busy, so_far.left) = (0, 0, Vec::new());
        let mut last = None;
        loop {
            // Read anew for each page: somebody may have promoted another key.
            let book = self.book().await?;
            let (ring, sealing) = (self.sealer(&book), self.sealing(&book)?);
            // Tells by now if the key that seals is not here.
            ring.sealing_id()?;
            let page = self.rows.configs_after(last, PAGE).await?;
            last = page.last().map(|config| config.id);
            let mut due = Vec::new();
            for config in &page {
                match resealed(&ring, sealing, config, unix_seconds) {
                    Ok(None) => so_far.done += 1,
                    Ok(Some(sealed)) => due.push(Resealed { read: config, sealed }),
                    Err(error) => so_far.left.push(LeftSecret::new(config, &error)),
                }
            }
            let many = due.len() as u64;
            let written = if dry_run { many } else { self.write(due, batch).await? };
            so_far.resealed += written;
            so_far.done += written;
            so_far.busy += many - written;
            if many > 0 {
                progress(so_far);
            }
            if page.len() < PAGE {
                break;
            }
        }
        self.pass_over_pairs(unix_seconds, dry_run, so_far, progress).await
    }

    /// The same of pairs that are pending or previous. They are few, and written one by one.
    async fn pass_over_pairs(
        &self,
        unix_seconds: u64,
        dry_run: bool,
        so_far: &mut Resealing,
        progress: &mut impl FnMut(&Resealing),
    ) -> Result<(), RotationError> {
        let mut last = None;
        loop {
            let book = self.book().await?;
            let (ring, sealing) = (self.sealer(&book), self.sealing(&book)?);
            let page = self.pairs.pairs_after(last, PAGE).await?;
            last = page.last().map(|pair| (pair.config.id, pair.phase));
            for pair in &page {
                let sealed = match resealed(&ring, sealing, &pair.config, unix_seconds) {
                    Ok(None) => {
                        so_far.done += 1;
                        continue;
                    }
                    Ok(Some(sealed)) => sealed,
                    Err(error) => {
                        so_far.left.push(LeftSecret::new(&named(pair), &error));
                        continue;
                    }
                };
                let is_written = dry_run || self.pairs.reseal_pair(pair, &sealed).await?;
                so_far.resealed += u64::from(is_written);
                so_far.done += u64::from(is_written);
                so_far.busy += u64::from(!is_written);
                progress(so_far);
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Writes batches, two at a time, and returns how many rows took theirs.
    async fn write(&self, due: Vec<Resealed<'_>>, batch: usize) -> Result<u64, StoreError> {
        let batches = due.chunks(batch.max(1)).map(|batch| self.rows.reseal_all(batch));
        let written = stream::iter(batches.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        written.try_fold(0, async |sum, rows| Ok(sum + rows.len() as u64)).await
    }
}

/// The same secret under the key that seals. `None`: it is.
fn resealed(
    ring: &KeyRing,
    sealing: KeyId,
    config: &Config,
    unix_seconds: u64,
) -> Result<Option<Sealed>, KeyError> {
    let text = config.api_secret.expose_secret();
    if ring.key_of(text)? == sealing {
        return Ok(None);
    }
    let open = |text: &str| match ring.open_for(text, &config.binding()) {
        // Whether only bound ones may be used is the readers' concern.
        Err(KeyError::NotBound) => ring.open(text),
        opened => opened,
    };
    let opened = open(text)?;
    let secret = opened.secret.expose_secret();
    let sealed = if config.is_bound() {
        ring.seal_for(secret, &config.binding(), unix_seconds)
    } else {
        ring.seal_again(secret, unix_seconds)
    }?;
    let again = open(sealed.as_str())?;
    let same: bool = again.secret.expose_secret().as_bytes().ct_eq(secret.as_bytes()).into();
    if !same || again.key != sealing {
        return Err(KeyError::TokenMalformed { why: "it did not open to the same secret" });
    }
    Ok(Some(sealed))
}

const AT_ONCE: usize = 2;
/// How many passes may do nothing while rows are being edited.
const STUCK: u32 = 20;
const AGAIN: std::time::Duration = std::time::Duration::from_millis(50);
