//! How often passwords are tried, from one address and for one name, whether there is such a user or not.
//!
//! This is of one node, and in memory. What counts over all of them is in the row of the user: it is
//! locked after some failures in a row.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::server::connections::Peer;

/// The attempts of late.
#[derive(Default)]
pub(super) struct Attempts {
    tried: Mutex<Tried>,
    hashing: RandomState,
}

#[derive(Default)]
struct Tried {
    /// When each of them has none left that counts.
    full_at: HashMap<u64, Instant>,
    /// When those were dropped last that need not be remembered.
    swept_at: Option<Instant>,
}

impl Attempts {
    /// Counts an attempt. An error: in how long one more may be made.
    pub(super) fn count(&self, peer: Peer, name: &str) -> Result<(), Duration> {
        let now = Instant::now();
        let keys = self.keys(peer, name);
        let mut tried = self.lock();
        let Tried { full_at: tried, swept_at } = &mut *tried;
        // Not each time, since it takes as long as there are many.
        if tried.len() >= MANY && swept_at.is_none_or(|at| now >= at + APART) {
            tried.retain(|_, full_at| *full_at > now);
            *swept_at = Some(now);
        }
        // Where too many are remembered still, those that are not share one place.
        let keys = keys
            .map(|key| if tried.len() < MOST || tried.contains_key(&key) { key } else { OTHERS });
        let full_at = keys.map(|key| tried.get(&key).copied().unwrap_or(now).max(now) + APART);
        let early = full_at.map(|full_at| (full_at - now).saturating_sub(APART * AT_ONCE));
        let wait = early.into_iter().max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        tried.extend(keys.into_iter().zip(full_at));
        Ok(())
    }

    /// Forgets one that went well.
    pub(super) fn forgive(&self, peer: Peer, name: &str) {
        let keys = self.keys(peer, name);
        let mut tried = self.lock();
        for key in keys {
            if let Some(full_at) = tried.full_at.get_mut(&key) {
                *full_at -= APART;
            }
        }
    }

    /// Where an address and a name are remembered. Who has an IPv6 network has all of its addresses.
    fn keys(&self, peer: Peer, name: &str) -> [u64; 2] {
        let peer = match peer {
            Peer::Network(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => {
                let network = u128::from(address) >> 64 << 64;
                Peer::Network(IpAddr::V6(Ipv6Addr::from(network)))
            }
            peer => peer,
        };
        let name = name.trim().to_lowercase();
        [self.key((0, peer)), self.key((1, name))]
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.hashing.hash_one(of)
    }

    fn lock(&self) -> MutexGuard<'_, Tried> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many may be made at once; then one in each of these times.
const AT_ONCE: u32 = 10;
const APART: Duration = Duration::from_secs(6);
/// From how many on those are looked for that need not be remembered, and how many are at the most.
const MANY: usize = 4096;
const MOST: usize = 65_536;
const OTHERS: u64 = 0;

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::Network([127, 0, 0, last].into())
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_made_at_once_from_an_address_whatever_the_names() {
        let attempts = Attempts::default();
        for at in 0..AT_ONCE {
            assert!(attempts.count(peer(1), &format!("name-{at}")).is_ok());
        }
        assert_eq!(attempts.count(peer(1), "one more"), Err(APART));
        assert!(attempts.count(peer(2), "one more").is_ok(), "others may");
        advance(APART).await;
        assert!(attempts.count(peer(1), "one more").is_ok());
        assert!(attempts.count(peer(1), "one more").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_made_at_once_for_a_name_from_wherever() {
        let attempts = Attempts::default();
        for at in 0..10 {
            assert!(attempts.count(peer(at), "Alice ").is_ok());
        }
        assert!(attempts.count(peer(99), "alice").is_err());
        assert!(attempts.count(peer(99), "bob").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_addresses_of_one_ipv6_network_are_one() {
        let attempts = Attempts::default();
        let of = |text: &str| Peer::Network(text.parse().unwrap());
        for at in 0..10 {
            assert!(attempts.count(of(&format!("2001:db8::{at}")), &at.to_string()).is_ok());
        }
        assert!(attempts.count(of("2001:db8::99"), "x").is_err());
        assert!(attempts.count(of("2001:db8:0:1::1"), "x").is_ok());
        assert!(attempts.count(of("::ffff:10.0.0.1"), "y").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_well_is_not_counted() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            assert!(attempts.count(peer(1), "alice").is_ok());
            attempts.forgive(peer(1), "alice");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_are_made_no_more_than_so_many_are_remembered() {
        let attempts = Attempts::default();
        for at in 0..100_000_u32 {
            let peer = Peer::Network(IpAddr::V4((0x0a00_0000 + at).into()));
            let _ = attempts.count(peer, &at.to_string());
        }
        assert!(attempts.lock().full_at.len() <= MOST + 2);
        assert!(attempts.count(peer(1), "alice").is_err(), "who comes then waits with the others");
        advance(Duration::from_secs(3600)).await;
        assert!(attempts.count(peer(1), "alice").is_ok());
        assert!(attempts.lock().full_at.len() <= 3);
    }
}
