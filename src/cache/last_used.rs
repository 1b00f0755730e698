//! When each config answered last, for people who ask themselves whether it is of use.
//!
//! It is noted where that costs a warm answer nothing: by loads, and by the sweep, which reads of each entry
//! when it answered last. So an answer from memory is known of when its entry is due, some minutes later.

use std::collections::HashMap;

use crate::clock::Moment;
use crate::number::ConfigId;
use crate::sync::{Mutex, PoisonError};

/// The last moments, as far as they are known here.
#[derive(Default)]
pub(crate) struct LastUsed(Mutex<HashMap<ConfigId, Moment>>);

impl LastUsed {
    /// Notes when configs were used.
    pub(crate) fn note(&self, uses: &[(ConfigId, Moment)]) {
        if uses.is_empty() {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for &(config, at) in uses {
            if known.len() >= MOST && !known.contains_key(&config) {
                known.clear();
            }
            let last = known.entry(config).or_insert(at);
            *last = (*last).max(at);
        }
    }

    /// When this one was used last. `None`: not since this process began.
    #[cfg(feature = "server")]
    pub(crate) fn of(&self, config: ConfigId) -> Option<Moment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&config).copied()
    }
}

/// How many configs are remembered. Beyond that all are forgotten.
const MOST: usize = 200_000;
