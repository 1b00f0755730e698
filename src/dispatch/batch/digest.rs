//! What tells entries apart, in 64 bits.

use sha2::{Digest, Sha256};

/// The first 64 bits of a SHA-256 hash.
pub(super) fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    let (first, _) = digest.split_at(8);
    first.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
