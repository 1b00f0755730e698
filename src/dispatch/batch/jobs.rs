//! The jobs that the entries of a file bear, each of them once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sha2::{Digest, Sha256};

use super::no_batch::NoBatch;

/// The jobs that were met, each with its line: 20 bytes a job, and what a table has beside.
#[derive(Default)]
pub(super) struct Jobs(HashMap<[u8; 16], u32>);

impl Jobs {
    /// Notes the job of an entry, and refuses it if another one bears it.
    pub(super) fn note(&mut self, job: &str, line: u64) -> Result<(), NoBatch> {
        let digest = Sha256::digest(job.as_bytes());
        let (half, _) = digest.split_at(16);
        let half = half.try_into().unwrap_or_default();
        match self.0.entry(half) {
            Entry::Occupied(taken) => {
                let (job, first) = (job.to_owned(), u64::from(*taken.get()));
                Err(NoBatch::JobTwice { job, first, line })
            }
            Entry::Vacant(free) => {
                free.insert(u32::try_from(line).map_err(|_| NoBatch::TooManyLines)?);
                Ok(())
            }
        }
    }
}
