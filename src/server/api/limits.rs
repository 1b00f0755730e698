//! How often each client may ask, and how often an address may where nobody is known to ask.
//!
//! A bucket holds what may be asked in one second, and fills evenly. One that is empty refuses, and
//! says when to ask again; others are not slowed down by it. A token that is good is answered from
//! whatever address it comes, so nobody shuts a client out by guessing from beside it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::Instant;
use uuid::Uuid;

use super::problem::Problem;
use super::visitor::SESSION_ENDED;
use crate::access::Ticket;
use crate::server::connections::Peer;
use crate::store::Client;

/// The buckets of all who ask.
pub(in crate::server) struct Limits {
    /// The time in which one more may ask. Zero: as many as come.
    apart: Duration,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    clients: Buckets<Asker>,
    strangers: Buckets<Peer>,
}

/// Who asks, once it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::server) enum Asker {
    Client(Uuid),
    /// Whoever has this ticket, so that he does not take what its client may ask.
    Ticket(u64),
}

impl Asker {
    pub(in crate::server) fn of(client: &Client, ticket: Option<&Ticket>) -> Self {
        let Some(Ticket { client: maker, room, identity, .. }) = ticket else {
            return Self::Client(client.id);
        };
        let mut place = DefaultHasher::new();
        (maker, room, identity).hash(&mut place);
        Self::Ticket(place.finish())
    }
}

type Buckets<K> = HashMap<K, Bucket, foldhash::quality::RandomState>;

/// What one of them has taken.
#[derive(Clone, Copy)]
struct Bucket {
    /// When it is full again.
    full_at: Instant,
    /// How many of its questions are being answered.
    running: u32,
}

/// A question that is being answered.
pub(in crate::server) struct Running<'a> {
    limits: &'a Limits,
    asker: Asker,
}

impl Limits {
    /// So many questions a second; 0 is as many as come.
    pub(super) fn new(per_second: u32) -> Self {
        let apart = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { apart, asked: Mutex::default() }
    }

    /// Lets one who is known ask, if neither too much was asked nor too much is being answered.
    pub(in crate::server) fn admit(&self, asker: Asker) -> Result<Running<'_>, Problem> {
        let mut buckets = self.lock();
        let bucket = bucket(&mut buckets.clients, asker);
        if bucket.running >= MOST_AT_ONCE {
            return Err(too_many(SOON));
        }
        bucket.take(self.apart).map_err(too_many)?;
        bucket.running += 1;
        Ok(Running { limits: self, asker })
    }

    /// Counts a question of nobody who is known.
    pub(in crate::server) fn stranger(&self, peer: Peer) -> Result<(), Problem> {
        bucket(&mut self.lock().strangers, peer).take(self.apart).map_err(too_many)
    }

    /// Counts one that is refused: many times, if for who asks; and not if the fault is ours. Returns
    /// what is answered to it.
    pub(in crate::server) fn refused(&self, peer: Peer, problem: Problem) -> Problem {
        if problem.status.is_server_error() {
            return problem;
        }
        // Whose session has ended guesses nothing: his browser has shown what it was given.
        let is_login = matches!(problem.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            && problem.code != SESSION_ENDED;
        let time = self.apart * if is_login { FAILED_LOGIN } else { 1 };
        let taken = bucket(&mut self.lock().strangers, peer).take(time);
        taken.map_or_else(too_many, |()| problem)
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(bucket) = self.limits.lock().clients.get_mut(&self.asker) {
            bucket.running -= 1;
        }
    }
}

impl Bucket {
    /// Takes what fills again in `time`. An error: in how long that may be taken.
    fn take(&mut self, time: Duration) -> Result<(), Duration> {
        let now = Instant::now();
        let full_at = self.full_at.max(now) + time;
        let early = full_at.saturating_duration_since(now).saturating_sub(HOLDS.max(time));
        if early.is_zero() {
            self.full_at = full_at;
            Ok(())
        } else {
            Err(early)
        }
    }
}

/// The bucket of one of them. Those that are full and out of use are dropped now and then.
fn bucket<K: Hash + Eq>(buckets: &mut Buckets<K>, of: K) -> &mut Bucket {
    if buckets.len() >= MANY && !buckets.contains_key(&of) {
        let now = Instant::now();
        buckets.retain(|_, bucket| bucket.running > 0 || bucket.full_at > now);
    }
    buckets.entry(of).or_insert_with(|| Bucket { full_at: Instant::now(), running: 0 })
}

fn too_many(wait: Duration) -> Problem {
    Problem::too_many(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// How much a bucket holds: what may be asked in this time.
const HOLDS: Duration = Duration::from_secs(1);
/// How many questions of one client are answered at once.
const MOST_AT_ONCE: u32 = 512;
const SOON: Duration = Duration::from_secs(1);
/// How many questions a failed login counts for.
const FAILED_LOGIN: u32 = 50;
/// From how many buckets on those are looked for that are not needed.
const MANY: usize = 1024;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::time::advance;

    use super::*;

    const CLIENT: Asker = Asker::Client(Uuid::from_u128(1));

    fn refused(outcome: Result<Running<'_>, Problem>) -> Option<(u16, &'static str)> {
        outcome.err().map(|problem| (problem.status.as_u16(), problem.code))
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_may_be_asked_at_once_and_then_evenly() {
        let limits = Limits::new(10);
        for _ in 0..10 {
            assert!(limits.admit(CLIENT).is_ok());
        }
        assert_eq!(refused(limits.admit(CLIENT)), Some((429, "too_many_requests")));
        assert!(limits.admit(Asker::Client(Uuid::from_u128(2))).is_ok(), "others are let in");
        assert!(limits.admit(Asker::Ticket(1)).is_ok());
        advance(Duration::from_millis(100)).await;
        assert!(limits.admit(CLIENT).is_ok() && limits.admit(CLIENT).is_err());
        advance(Duration::from_secs(3600)).await;
        assert_eq!((0..100).filter(|_| limits.admit(CLIENT).is_ok()).count(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_is_none() {
        let limits = Limits::new(0);
        let peer = Peer::User(7);
        assert!((0..10_000).all(|_| limits.admit(CLIENT).is_ok()));
        assert!((0..10_000).all(|_| limits.stranger(peer).is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_so_many_answered_at_once() {
        let limits = Limits::new(0);
        let mut running: Vec<_> =
            (0..MOST_AT_ONCE).map(|_| limits.admit(CLIENT).unwrap()).collect();
        assert_eq!(refused(limits.admit(CLIENT)), Some((429, "too_many_requests")));
        assert!(limits.admit(Asker::Client(Uuid::from_u128(2))).is_ok());
        running.pop();
        assert!(limits.admit(CLIENT).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_login_counts_more_than_a_question() {
        let limits = Limits::new(100);
        let peer = Peer::Network(IpAddr::from([127, 0, 0, 1]));
        let login = |peer| limits.refused(peer, Problem::unauthorized("token_invalid", "x")).code;
        assert_eq!(
            [login(peer), login(peer), login(peer)],
            ["token_invalid", "token_invalid", "too_many_requests"]
        );
        assert!(limits.stranger(peer).is_err());
        let other = Peer::Network(IpAddr::from([127, 0, 0, 2]));
        assert_eq!(login(other), "token_invalid");
        assert_eq!((0..1000).filter(|_| limits.stranger(Peer::User(1)).is_ok()).count(), 100);
        assert!(limits.admit(CLIENT).is_ok(), "who has a token is let in none the less");
        advance(Duration::from_secs(1)).await;
        assert_eq!(login(peer), "token_invalid");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_rate_still_lets_one_in() {
        let limits = Limits::new(1);
        let peer = Peer::User(7);
        assert!(limits.admit(CLIENT).is_ok() && limits.admit(CLIENT).is_err());
        let problem = Problem::unauthorized("token_invalid", "x");
        assert_eq!(limits.refused(peer, problem).code, "token_invalid");
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_that_are_full_again_are_dropped() {
        let limits = Limits::new(10);
        let held = limits.admit(CLIENT);
        for at in 0..10_000_u64 {
            assert!(limits.admit(Asker::Ticket(at)).is_ok());
            advance(Duration::from_millis(1)).await;
        }
        assert!(limits.lock().clients.len() <= MANY);
        assert!(limits.lock().clients.contains_key(&CLIENT), "it is in use");
        drop(held);
    }
}
