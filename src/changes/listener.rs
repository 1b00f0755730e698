//! Hears the doorbell of Postgres.
//!
//! A life of the listener is one connection: LISTEN first, then ring, because nobody knows what
//! happened before, then hear. Heartbeats are sent to it through NOTIFY, over another connection.
//! Notifications are delivered in the order of commits, so a heartbeat that came back proves that
//! everything committed before it was sent has rung.
//!
//! **Invariant:** every error, every "connection lost" and every silence ends the life. Nothing of
//! it is used again; sqlx's own way of reconnecting, which hides gaps, is never given the chance.
//!
//! A notification is a hint: anyone who may connect may send one, and as many as he likes. It makes
//! the change log be read, and only that is believed; they are read one by one, and none is kept.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{Instant, sleep_until, timeout};

use super::bell::Bell;
use super::watch::Watcher;
use crate::clock::{Clock, Moment};
use crate::store::{Notifier, PostgresStore};

/// What a life needs.
pub(crate) struct Listener {
    pub(crate) store: Arc<PostgresStore>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) heartbeat: Duration,
    pub(crate) lease: Duration,
}

impl Watcher for Listener {
    type Ended = LifeEnded;

    async fn life(&self) -> Result<Infallible, LifeEnded> {
        let ended = self.listen_and_beat().await;
        self.bell.fell_silent();
        ended
    }

    fn longest_wait(ended: &LifeEnded) -> Duration {
        match ended {
            // The log is read instead, and this does not change by itself in a moment.
            LifeEnded::Pooled | LifeEnded::Replica => Duration::from_secs(10),
            _ => Duration::from_secs(1),
        }
    }
}

impl Listener {
    async fn listen_and_beat(&self) -> Result<Infallible, LifeEnded> {
        let options = self.store.direct().ok_or(LifeEnded::Pooled)?;
        let patience = self.store.deadline();
        let (mut ear, channel) =
            timeout(patience, self.listen(options)).await.map_err(|_| LifeEnded::Late)??;
        self.bell.ring();

        let beats = Mutex::new(Beats::default());
        tokio::select! {
            ended = self.hear(&mut ear, &beats) => ended,
            ended = self.beat(&channel, &beats) => ended,
        }
    }

    async fn listen(&self, options: PgConnectOptions) -> Result<(PgListener, String), LifeEnded> {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let mut ear = PgListener::connect_with(&pool).await?;
        ear.eager_reconnect(false);
        let channel: String = sqlx::query_scalar(CHANNEL)
            .bind(self.store.schema())
            .fetch_optional(&mut ear)
            .await?
            .ok_or(LifeEnded::NoSchema)?;
        ear.listen(&channel).await.map_err(|error| match &error {
            sqlx::Error::Database(refused) if refused.code().as_deref() == Some("25006") => {
                LifeEnded::Replica
            }
            _ => error.into(),
        })?;
        Ok((ear, channel))
    }

    /// Hears one notification after the other. Nothing else is asked for on this connection: what
    /// arrives while a statement runs would be kept, however much it is.
    async fn hear(
        &self,
        ear: &mut PgListener,
        beats: &Mutex<Beats>,
    ) -> Result<Infallible, LifeEnded> {
        loop {
            let notification = ear.try_recv().await?.ok_or(LifeEnded::Lost)?;
            let recognized = {
                let mut beats = beats.lock().unwrap_or_else(PoisonError::into_inner);
                // Whatever it is, the connection lives.
                beats.awaited = None;
                match Sound::of(notification.payload()) {
                    Sound::Beat(word) => beats.recognize(word),
                    Sound::Ring => {
                        self.bell.ring();
                        None
                    }
                }
            };
            if let Some(sent_at) = recognized {
                self.bell.beat(sent_at);
            }
        }
    }

    /// Sends heartbeats over a connection of its own, and ends the life where nothing is heard after one
    /// that was sent. Somebody's flood may hold up both for long, and ends none.
    async fn beat(&self, channel: &str, beats: &Mutex<Beats>) -> Result<Infallible, LifeEnded> {
        let beats = || beats.lock().unwrap_or_else(PoisonError::into_inner);
        let mut notifier = Notifier::default();
        loop {
            let next = Instant::now() + self.heartbeat;
            let now = self.clock.now();
            if beats().awaited.is_some_and(|since| now.since(since) > self.lease) {
                return Err(LifeEnded::Silent);
            }
            let beat = beats().send(now)?;
            match timeout(self.lease, self.store.notify_over(&mut notifier, channel, &beat)).await {
                Ok(Ok(())) => {
                    beats().awaited.get_or_insert(self.clock.now());
                }
                Ok(Err(error)) => tracing::debug!(%error, "a heartbeat could not be sent"),
                Err(_) => tracing::debug!("a heartbeat could not be sent in time"),
            }
            sleep_until(next).await;
        }
    }
}

/// The heartbeats of one life that may still come back: a random word each, so that nobody can
/// send one before its time.
#[derive(Default)]
struct Beats {
    sent: VecDeque<(String, Moment)>,
    /// Since when one has been on its way without anything being heard.
    awaited: Option<Moment>,
}

impl Beats {
    fn send(&mut self, now: Moment) -> Result<String, LifeEnded> {
        let word = getrandom::u64().map_err(|_| LifeEnded::NoRandomness)?;
        let word = format!("{word:016x}");
        let payload = format!("{BEAT}{word}");
        self.sent.truncate(MOST_BEATS - 1);
        self.sent.push_front((word, now));
        Ok(payload)
    }

    fn recognize(&self, word: &str) -> Option<Moment> {
        self.sent.iter().find(|(sent, _)| sent == word).map(|&(_, at)| at)
    }
}

/// What a payload says, read without trust: anyone who may connect can send one.
#[derive(Debug, PartialEq, Eq)]
enum Sound<'a> {
    /// Somebody's heartbeat, and the word by which its sender knows it.
    Beat(&'a str),
    /// Anything else: there may be something to read.
    Ring,
}

impl<'a> Sound<'a> {
    /// Reads a payload.
    fn of(payload: &'a str) -> Self {
        payload.strip_prefix(BEAT).map_or(Self::Ring, Self::Beat)
    }
}

/// Why a life ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LifeEnded {
    #[error("{}", crate::store::lost_connection(.0))]
    Failed(#[from] sqlx::Error),
    #[error("the connection was lost")]
    Lost,
    #[error("connecting or LISTEN took too long")]
    Late,
    #[error("no heartbeat came back")]
    Silent,
    #[error("a pooler stands before the database, through which NOTIFY does not come")]
    Pooled,
    #[error("the server is a replica, which cannot LISTEN")]
    Replica,
    #[error("the schema does not exist; run `trunkline db migrate`")]
    NoSchema,
    #[error("the system has no randomness to give")]
    NoRandomness,
}

/// The channel of a schema.
const CHANNEL: &str =
    "select 'trunkline_' || md5(cast(nspname as text)) from pg_namespace where nspname = $1";
const MOST_BEATS: usize = 16;
/// What a heartbeat begins with.
const BEAT: &str = "beat:";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_life_knows_its_own_heartbeats_and_no_others() {
        let (mut ours, mut theirs) = (Beats::default(), Beats::default());
        let sent: Vec<_> =
            (1..=20).map(|at| (ours.send(Moment(at)).unwrap(), Moment(at))).collect();
        theirs.send(Moment(1)).unwrap();
        let recognized = |beats: &Beats, payload: &str| match Sound::of(payload) {
            Sound::Beat(word) => beats.recognize(word),
            Sound::Ring => panic!("{payload} is a heartbeat"),
        };
        for (payload, at) in &sent[4..] {
            assert_eq!(recognized(&ours, payload), Some(*at));
            assert_eq!(recognized(&theirs, payload), None);
        }
        assert_eq!(recognized(&ours, &sent[0].0), None, "too old to be remembered");
        assert_eq!(recognized(&ours, "beat:"), None);
    }

    proptest! {
        #[test]
        fn whatever_does_not_begin_as_a_heartbeat_rings(payload in any::<String>()) {
            let expected = payload.strip_prefix(BEAT).map_or(Sound::Ring, Sound::Beat);
            prop_assert_eq!(Sound::of(&payload), expected);
        }
    }
}
