//! Hears of changes in Postgres.
//!
//! A life of the listener is one connection: LISTEN first, then doubt everything that is cached,
//! then hear. It sends itself a heartbeat through NOTIFY. Notifications are delivered in the order
//! of commits, so a heartbeat that came back proves that everything committed before it was sent
//! has been heard, and renews the lease.
//!
//! **Invariant:** every error, every "connection lost" and every silence ends the life. Nothing of
//! it is used again; sqlx's own way of reconnecting, which hides gaps, is never given the chance.
//!
//! A notification is a hint. It names places in the change log, and only the log is believed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{Instant, timeout, timeout_at};

use crate::cache::Cache;
use crate::clock::{Clock, Moment};
use crate::store::{ChangesWanted, PostgresStore, Store};

/// What a life needs.
pub(crate) struct Listener {
    pub(crate) store: Arc<PostgresStore>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) heartbeat: Duration,
    pub(crate) lease: Duration,
    /// How long connecting and LISTEN may take.
    pub(crate) patience: Duration,
}

impl Listener {
    /// Listens until something goes wrong, and says what.
    pub(crate) async fn life(&self) -> Result<Infallible, LifeEnded> {
        let mut ear =
            timeout(self.patience, self.listen()).await.map_err(|_| LifeEnded::Late)??;
        self.cache.fence.doubt();
        tracing::info!("listening for changes");

        let mut beats = Beats::new()?;
        let mut heard = self.clock.now();
        loop {
            let sent = beats.send(self.clock.now());
            let beat = sqlx::query("select pg_notify($1, $2)").bind(&ear.channel).bind(sent);
            let next = Instant::now() + self.heartbeat;
            timeout(self.lease, beat.execute(&mut ear.listener))
                .await
                .map_err(|_| LifeEnded::Late)??;
            while let Ok(notification) = timeout_at(next, ear.listener.try_recv()).await {
                let mut payloads = vec![notification?.ok_or(LifeEnded::Lost)?.payload().to_owned()];
                while let Some(more) = ear.listener.next_buffered() {
                    payloads.push(more.payload().to_owned());
                }
                if self.hear(&payloads, &beats, &mut heard).await {
                    self.cache.fence.renew_lease(heard.after(self.lease));
                }
            }
            if self.clock.now().since(heard) > self.lease {
                return Err(LifeEnded::Silent);
            }
        }
    }

    async fn listen(&self) -> Result<Ear, LifeEnded> {
        let pool =
            PgPoolOptions::new().max_connections(1).connect_lazy_with(self.store.options().clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        let (channel, triggers): (String, i64) = sqlx::query_as(CHANNEL)
            .bind(self.store.schema())
            .fetch_optional(&mut listener)
            .await?
            .ok_or(LifeEnded::NoSchema)?;
        // A heartbeat proves that the channel is heard, and not that anybody rings it.
        if triggers < TRIGGERS {
            return Err(LifeEnded::NoTriggers);
        }
        listener.listen(&channel).await?;
        Ok(Ear { listener, channel })
    }

    /// Applies what was heard. `true`: a heartbeat was among it.
    async fn hear(&self, payloads: &[String], beats: &Beats, heard: &mut Moment) -> bool {
        let mut seqs = Vec::new();
        let mut beaten = false;
        for payload in payloads {
            if let Some(sent_at) = beats.recognize(payload) {
                *heard = sent_at.max(*heard);
                beaten = true;
            } else if let Some(more) = places(payload) {
                seqs.extend(more);
            }
        }
        if !seqs.is_empty() {
            match self.store.changes(ChangesWanted::At(&seqs)).await {
                Ok(changes) => {
                    // A place without a row was pruned, or is not for us to read, or made up.
                    if changes.len() < seqs.len() {
                        self.cache.fence.doubt();
                    }
                    for logged in changes {
                        self.cache.apply(logged.change);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the change log cannot be read; everything is in doubt");
                    self.cache.fence.doubt();
                }
            }
        }
        beaten
    }
}

struct Ear {
    listener: PgListener,
    channel: String,
}

/// The heartbeats of one life, told from those of other lives and processes by a random word.
struct Beats {
    nonce: String,
    count: u64,
    /// When the last few were sent, by count.
    sent: [Moment; 16],
}

impl Beats {
    fn new() -> Result<Self, LifeEnded> {
        let nonce = getrandom::u64().map_err(|_| LifeEnded::NoRandomness)?;
        Ok(Self { nonce: format!("beat:{nonce:016x}:"), count: 0, sent: [Moment::default(); 16] })
    }

    fn send(&mut self, now: Moment) -> String {
        self.count += 1;
        let payload = format!("{}{}", self.nonce, self.count);
        self.sent[usize::try_from(self.count % 16).unwrap_or(0)] = now;
        payload
    }

    fn recognize(&self, payload: &str) -> Option<Moment> {
        let count: u64 = payload.strip_prefix(self.nonce.as_str())?.parse().ok()?;
        let known = count <= self.count && self.count - count < 16;
        known.then(|| self.sent[usize::try_from(count % 16).unwrap_or(0)])
    }
}

/// The places in the log that a payload names. Anything else in it is not for us.
fn places(payload: &str) -> Option<Vec<i64>> {
    payload.split(',').map(|seq| seq.parse().ok()).collect()
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
    #[error("the schema does not exist; run `trunkline db migrate`")]
    NoSchema,
    #[error("the triggers are missing or disabled; run `trunkline db migrate`, or enable them")]
    NoTriggers,
    #[error("the system has no randomness to give")]
    NoRandomness,
}

/// The channel of a schema, and how many triggers there are to ring it.
const CHANNEL: &str = "
    select 'trunkline_' || md5(cast(nspname as text)), (
        select count(*) from pg_trigger join pg_class on pg_class.oid = tgrelid
        where relnamespace = pg_namespace.oid and tgenabled <> 'D'
            and relname in ('voice_agent_livekit', 'voice_agent_numbers')
            and starts_with(cast(tgname as text), 'trunkline_log_')
    )
    from pg_namespace where nspname = $1";
/// Insert, update, delete and truncate, on two tables.
const TRIGGERS: i64 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_life_knows_its_own_heartbeats_and_no_others() {
        let (mut ours, theirs) = (Beats::new().unwrap(), Beats::new().unwrap());
        let sent: Vec<_> = (1..=20).map(|at| (ours.send(Moment(at)), Moment(at))).collect();
        for (payload, at) in &sent[4..] {
            assert_eq!(ours.recognize(payload), Some(*at));
            assert_eq!(theirs.recognize(payload), None);
        }
        assert_eq!(ours.recognize(&sent[0].0), None, "too old to be remembered");
        assert_eq!(ours.recognize(&format!("{}21", ours.nonce)), None, "never sent");
    }

    #[test]
    fn a_payload_names_places_in_the_log_or_nothing() {
        assert_eq!(places("7"), Some(vec![7]));
        assert_eq!(places("7,8,9"), Some(vec![7, 8, 9]));
        for foreign in ["", ",", "7,", "7;8", "all", "99999999999999999999", "{\"seq\":7}"] {
            assert_eq!(places(foreign), None, "{foreign:?}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics_the_listener(payload in any::<String>()) {
            let _ = places(&payload);
            let _ = Beats::new().unwrap().recognize(&payload);
        }
    }
}
