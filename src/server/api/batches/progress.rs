//! `GET /v1/batches/{id}/events`: how far a batch is, as its row says it, from whichever node.

use std::time::Duration;

use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{seen_by, shown};
use crate::access::Scope;
use crate::dispatch::uploaded::UploadedBatches;
use crate::resolver::Resolver;
use crate::server::api::asking::Asking;
use crate::server::api::events::{self, Event, Streams};
use crate::server::api::hearer::Hearer;
use crate::server::api::problem::Problem;
use crate::server::api::reply::Reply;
use crate::store::BatchRow;

pub(super) fn answer(
    asking: &Asking<'_>,
    batches: &UploadedBatches,
    row: BatchRow,
    (streams, stop): (&Streams, &CancellationToken),
) -> Result<Reply, Problem> {
    let open = streams.open(asking.client.id, "batches", MOST_WATCHERS)?;
    let watching = Watching {
        resolver: asking.resolver.clone(),
        hearer: Hearer::of(asking, Scope::Calls),
        batches: batches.clone(),
        id: row.id,
        next: Some(row),
        told: Value::Null,
        is_over: false,
    };
    Ok(Reply::events(events::body(watching.stream(), open, stop.clone())))
}

/// One who watches a batch.
struct Watching {
    resolver: Resolver,
    hearer: Hearer,
    batches: UploadedBatches,
    id: Uuid,
    /// The row, where it was read and not told yet.
    next: Option<BatchRow>,
    /// What was told last.
    told: Value,
    is_over: bool,
}

impl Watching {
    fn stream(self) -> impl Stream<Item = Event> + Send + 'static {
        stream::unfold(self, |mut watching| async {
            let event = watching.event().await?;
            Some((event, watching))
        })
    }

    async fn event(&mut self) -> Option<Event> {
        while !self.is_over {
            let row = match self.next.take() {
                Some(row) => row,
                None => match self.look().await {
                    Ok(row) => row,
                    Err(reason) => return Some(self.end(reason)),
                },
            };
            let now = shown(&self.hearer.client, &self.batches, &row);
            if now != self.told {
                self.told = now.clone();
                // It is told how it ended before it is told that nothing more comes.
                self.next = (!row.state.is_open()).then_some(row);
                return Some(Event::new("progress", now));
            }
            if !row.state.is_open() {
                return Some(self.end("ended"));
            }
        }
        None
    }

    /// The row a moment later. An error: why nothing more comes.
    async fn look(&mut self) -> Result<BatchRow, &'static str> {
        loop {
            sleep(EVERY).await;
            self.hearer.may_still(&self.resolver).await?;
            let of = seen_by(&self.hearer.client);
            match self.batches.rows().batch(&of, self.id).await {
                Ok(row) => return row.ok_or("gone"),
                Err(error) => tracing::debug!(%error, "the row of a batch cannot be read"),
            }
        }
    }

    fn end(&mut self, reason: &'static str) -> Event {
        self.is_over = true;
        Event::new("end", json!({"reason": reason}))
    }
}

/// How often the row is read.
const EVERY: Duration = Duration::from_secs(1);
/// How many batches a client may watch at once.
const MOST_WATCHERS: u32 = 16;
