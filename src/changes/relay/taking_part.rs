//! Takes part in the relay: over one connection after the other, each used until anything goes wrong with it.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::follower::{Places, Session, SessionEnded};
use super::stream::Stream;
use super::{OwnReading, Relay, RelayRole};
use crate::backoff::{Backoff, dice};

impl Relay {
    /// Takes part in the relay for as long as it is polled.
    pub(in crate::changes) async fn take_part(&self, reader: OwnReading<'_>) -> Infallible {
        let mut backoff = Backoff::default();
        loop {
            self.cease().await;
            let began = Instant::now();
            let Err(why) = self.session(reader).await;
            if self.follows() {
                // The others come to the database, too, and what was proven holds for a while.
                sleep((self.lease / 4).mul_f64(dice())).await;
            }
            self.looked.send_replace(None);
            self.become_one(RelayRole::Alone);
            if began.elapsed() > LASTED {
                backoff.succeeded();
            }
            let wait = backoff.failed(LONGEST_WAIT, Duration::ZERO);
            self.note(Some(why.to_string()));
            if backoff.failures() == 1 {
                tracing::warn!(%why, "the relay is not used");
            } else {
                tracing::debug!(%why, "the relay is still not used");
            }
            sleep(wait).await;
        }
    }

    /// What happens over one connection.
    async fn session(&self, reader: OwnReading<'_>) -> Result<Infallible, SessionEnded> {
        let about = self.about.get_or_try_init(|| self.store.identity()).await?;
        let mut session = Session::new(self, reader, about.clone());
        let mut stream = Stream::open(&self.url, session.names(), self.lease / 8).await?;
        let sent_at = self.clock.now();
        let last = stream.last().await?;
        let mut places = Places {
            changes: session.begin(last, sent_at),
            reports: stream.end_of_reports().await?,
        };
        loop {
            let sent_at = self.clock.now();
            let reports = self.leads_now().then_some(&places.reports);
            let reply = tokio::select! {
                reply = stream.read(&places.changes, reports, session.until_silence()) => reply?,
                () = self.ended.notified() => return Err(SessionEnded::Led),
            };
            session.take(reply, sent_at, &mut places).await;
            session.report(&mut stream).await?;
            if session.until_silence().is_zero() {
                session.silence().await?;
            }
        }
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(1);
const LASTED: Duration = Duration::from_secs(5);
