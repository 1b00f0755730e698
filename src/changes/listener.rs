//! Listens for the doorbell of Postgres.
//!
//! A life of the listener is one connection, opened once the log can be read: LISTEN first, then a look at the log, because nobody knows
//! what happened before, then listen. One notification, which the life has sent to itself, proves that
//! it hears. Nothing more is sent, since each notification wakes every listener of the database.
//!
//! **Invariant:** every error, every "connection lost", every silence before the proof and every change
//! that was not heard of ends the life. Nothing of it is used again; sqlx's own way of reconnecting,
//! which hides gaps, is never given the chance.
//!
//! A notification is a hint: anyone who may connect may send one, and as many as he likes. It makes
//! the change log be read, and only that is believed; they are read one by one, and none is kept.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{Instant, sleep, timeout};

use super::doorbell::{Doorbell, Life};
use super::watch::Watcher;
use crate::backoff::Backoff;
use crate::store::PostgresStore;

/// What a life needs.
pub(crate) struct Listener {
    pub(crate) store: Arc<PostgresStore>,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) lease: Duration,
    /// How many lives in a row the server was too slow for. Each gives it twice the time.
    pub(crate) slow: AtomicU32,
}

impl Watcher for Listener {
    type Ended = ListenerEnded;

    async fn life(&self) -> Result<Infallible, ListenerEnded> {
        self.doorbell.until_looks_are_made().await;
        let ended = self.listen_and_prove().await;
        let slow = matches!(&ended, Err(why) if Self::was_too_slow(why));
        let lives = if slow { self.slow.load(Ordering::Relaxed) + 1 } else { 0 };
        self.slow.store(lives.min(MOST_DOUBLINGS), Ordering::Relaxed);
        self.doorbell.end_life();
        ended
    }

    fn longest_wait(ended: &ListenerEnded) -> Duration {
        match ended {
            // The log is read instead, and this does not change by itself in a moment.
            ListenerEnded::Pooled | ListenerEnded::Replica | ListenerEnded::Silent => {
                Duration::from_secs(10)
            }
            _ => Duration::from_secs(1),
        }
    }

    fn was_too_slow(ended: &ListenerEnded) -> bool {
        matches!(ended, ListenerEnded::Late | ListenerEnded::Silent)
    }
}

impl Listener {
    async fn listen_and_prove(&self) -> Result<Infallible, ListenerEnded> {
        let options = self.store.direct().ok_or(ListenerEnded::Pooled)?;
        let patience = self.store.deadline() * self.patience();
        let (mut listening, channel) =
            timeout(patience, self.listen(options)).await.map_err(|_| ListenerEnded::Late)??;
        let life = self.doorbell.begin_life();
        let proof = Proof::new()?;
        tokio::select! {
            ended = self.hear(&mut listening, life, &proof) => ended,
            ended = self.prove(&channel, &proof) => ended,
            () = self.doorbell.is_found_deaf(life) => Err(ListenerEnded::Deaf),
        }
    }

    /// By how much more time is given than should do.
    fn patience(&self) -> u32 {
        1 << self.slow.load(Ordering::Relaxed)
    }

    async fn listen(
        &self,
        options: PgConnectOptions,
    ) -> Result<(PgListener, String), ListenerEnded> {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let mut listening = PgListener::connect_with(&pool).await?;
        listening.eager_reconnect(false);
        let channel: String = sqlx::query_scalar(CHANNEL)
            .bind(self.store.schema())
            .fetch_optional(&mut listening)
            .await?
            .ok_or(ListenerEnded::NoSchema)?;
        listening.listen(&channel).await.map_err(|error| match &error {
            sqlx::Error::Database(refused) if refused.code().as_deref() == Some("25006") => {
                ListenerEnded::Replica
            }
            _ => error.into(),
        })?;
        Ok((listening, channel))
    }

    /// Hears one notification after the other. Nothing else is asked for on this connection: what
    /// arrives while a statement runs would be kept, however much it is.
    async fn hear(
        &self,
        listening: &mut PgListener,
        life: Life,
        proof: &Proof,
    ) -> Result<Infallible, ListenerEnded> {
        loop {
            let notification = listening.try_recv().await?.ok_or(ListenerEnded::Lost)?;
            match Payload::of(notification.payload()) {
                Payload::Ring => self.doorbell.ring(),
                Payload::Proof(word) => {
                    self.doorbell.note_notification();
                    if word == proof.0 {
                        self.doorbell.prove(life);
                    }
                }
            }
        }
    }

    /// Sends the proof, over a connection that is opened for that, and ends the life where nothing at
    /// all is heard after it. Somebody's flood may hold it up for long, and ends none.
    async fn prove(&self, channel: &str, proof: &Proof) -> Result<Infallible, ListenerEnded> {
        let (mut backoff, mut began) = (Backoff::default(), Instant::now());
        while let Err(error) = self.store.send(channel, &proof.payload()).await {
            tracing::debug!(%error, "the doorbell could not be tried");
            sleep(backoff.failed(Self::longest_wait(&ListenerEnded::Lost), began.elapsed())).await;
            began = Instant::now();
        }
        let mut heard = self.doorbell.heard();
        loop {
            sleep(self.lease * self.patience()).await;
            let by_now = self.doorbell.heard();
            if self.doorbell.is_proven() {
                return pending().await;
            }
            if by_now == heard {
                return Err(ListenerEnded::Silent);
            }
            heard = by_now;
        }
    }
}

/// What a life sends to itself: a random word, so that nobody can send it before its time.
struct Proof(String);

impl Proof {
    fn new() -> Result<Self, ListenerEnded> {
        let word = getrandom::u64().map_err(|_| ListenerEnded::NoRandomness)?;
        Ok(Self(format!("{word:016x}")))
    }

    fn payload(&self) -> String {
        format!("{PROOF}{}", self.0)
    }
}

/// What a payload says, read without trust: anyone who may connect can send one.
#[derive(Debug, PartialEq, Eq)]
enum Payload<'a> {
    /// Somebody's proof, and the word by which its sender knows it.
    Proof(&'a str),
    /// Anything else: there may be something to read.
    Ring,
}

impl<'a> Payload<'a> {
    /// Reads a payload.
    fn of(payload: &'a str) -> Self {
        payload.strip_prefix(PROOF).map_or(Self::Ring, Self::Proof)
    }
}

/// Why a life ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenerEnded {
    #[error("{}", crate::store::lost_connection(.0))]
    Failed(#[from] sqlx::Error),
    #[error("the connection was lost")]
    Lost,
    #[error("connecting or LISTEN took too long")]
    Late,
    #[error("no heartbeat came back")]
    Silent,
    #[error("a change was found in the log that NOTIFY did not tell of")]
    Deaf,
    #[error("a pooler stands before the database, through which NOTIFY does not come")]
    Pooled,
    #[error("the server is a replica, which cannot LISTEN")]
    Replica,
    #[error("the schema does not exist; run `trunkline db migrate`")]
    NoSchema,
    #[error("the system has no randomness to give")]
    NoRandomness,
}

/// How often in a row the time that a life is given is doubled.
const MOST_DOUBLINGS: u32 = 4;
/// The channel of a schema.
const CHANNEL: &str =
    "select 'trunkline_' || md5(cast(nspname as text)) from pg_namespace where nspname = $1";
/// What a proof begins with. Versions before this one sent them several times a second, and take ours
/// for one of those.
const PROOF: &str = "beat:";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_life_knows_its_own_proof_and_no_other() {
        let (ours, theirs) = (Proof::new().unwrap(), Proof::new().unwrap());
        assert_eq!(Payload::of(&ours.payload()), Payload::Proof(&ours.0));
        assert_ne!(Payload::of(&theirs.payload()), Payload::Proof(&ours.0));
    }

    proptest! {
        #[test]
        fn whatever_does_not_begin_as_a_proof_rings(payload in any::<String>()) {
            let expected = payload.strip_prefix(PROOF).map_or(Payload::Ring, Payload::Proof);
            prop_assert_eq!(Payload::of(&payload), expected);
        }
    }
}
