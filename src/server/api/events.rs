//! Answers that go on: server-sent events, until there are no more, the client leaves, or the daemon stops.
//!
//! Nothing runs that nobody reads: what makes the events is polled by whoever writes them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, interval_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::problem::Problem;

/// One event.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) name: &'static str,
    /// Where a client that comes back goes on from.
    pub(super) id: Option<String>,
    pub(super) data: Value,
}

impl Event {
    pub(super) fn new(name: &'static str, data: Value) -> Self {
        Self { name, id: None, data }
    }

    /// As it is written. JSON of one line has no line break in it.
    fn text(&self) -> Bytes {
        let id = self.id.as_ref().map(|id| format!("id: {id}\n")).unwrap_or_default();
        format!("{id}event: {}\ndata: {}\n\n", self.name, self.data).into()
    }
}

/// The answers of each client that go on.
#[derive(Default)]
pub(in crate::server) struct Streams {
    open: Arc<Mutex<HashMap<Place, u32>>>,
}

/// Whose, and of which kind.
type Place = (Uuid, &'static str);

/// An answer that goes on.
pub(in crate::server) struct Open {
    open: Arc<Mutex<HashMap<Place, u32>>>,
    place: Place,
}

impl Streams {
    /// Begins one more, unless the client has so many of that kind.
    pub(in crate::server) fn open(
        &self,
        client: Uuid,
        kind: &'static str,
        most: u32,
    ) -> Result<Open, Problem> {
        let place = (client, kind);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let many = open.entry(place).or_default();
        if *many >= most {
            return Err(Problem::too_many_at_once(kind, most));
        }
        *many += 1;
        Ok(Open { open: Arc::clone(&self.open), place })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(many) = open.get_mut(&self.place) {
            *many -= 1;
            if *many == 0 {
                open.remove(&self.place);
            }
        }
    }
}

/// Whether a client wants events rather than one document.
pub(super) fn are_wanted(headers: &HeaderMap) -> bool {
    let takes = |kind: &str| {
        let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        accepted.any(|value| value.contains(kind))
    };
    takes(KIND) || !takes("application/json")
}

type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// What is written, from one event to the next.
struct Writing {
    events: Events,
    stop: CancellationToken,
    quiet: Interval,
    is_over: bool,
    _open: Open,
}

/// These events as a body. A comment goes out where nothing else does, so that a connection that is dead
/// is found out.
pub(super) fn body(
    events: impl Stream<Item = Event> + Send + 'static,
    open: Open,
    stop: CancellationToken,
) -> Body {
    let quiet = interval_at(Instant::now() + QUIET, QUIET);
    let writing = Writing { events: Box::pin(events), stop, quiet, is_over: false, _open: open };
    Body::from_stream(stream::unfold(writing, async |mut writing| {
        let text = writing.next().await?;
        Some((Ok::<_, std::convert::Infallible>(text), writing))
    }))
}

impl Writing {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                self.is_over = true;
                Some(Event::new("end", json!({"reason": "stopping"})).text())
            }
            event = self.events.next() => {
                self.quiet.reset();
                event.map(|event| event.text())
            }
            _ = self.quiet.tick() => Some(Bytes::from_static(b":\n\n")),
        }
    }
}

/// The media type of events.
pub(super) const KIND: &str = "text/event-stream";
/// How long nothing may go out: less than what proxies wait for.
const QUIET: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use tokio::time::advance;

    use super::*;

    fn open() -> Open {
        Streams::default().open(Uuid::nil(), "checks", 1).unwrap()
    }

    fn many(of: usize) -> impl Stream<Item = Event> {
        stream::iter((0..of).map(|at| Event::new("check", json!({"at": at}))))
    }

    async fn text(body: Body) -> String {
        let bytes = axum::body::to_bytes(body, 1 << 16).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_is_a_block_and_the_last_one_ends_it() {
        let stop = CancellationToken::new();
        let with_id = Event { id: Some("7".into()), ..Event::new("change", json!("a\nb")) };
        let events = many(1).chain(stream::iter([with_id]));
        let expected =
            "event: check\ndata: {\"at\":0}\n\nid: 7\nevent: change\ndata: \"a\\nb\"\n\n";
        assert_eq!(text(body(events, open(), stop)).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_quiet_says_so_and_what_is_stopped_ends() {
        let stop = CancellationToken::new();
        let body = body(many(1).chain(stream::pending()), open(), stop.clone());
        let reading = text(body);
        tokio::pin!(reading);
        for _ in 0..3 {
            assert!(futures_util::poll!(&mut reading).is_pending());
            advance(QUIET).await;
        }
        assert!(futures_util::poll!(&mut reading).is_pending());
        stop.cancel();
        let text = reading.await;
        assert_eq!(text.matches(":\n\n").count(), 3, "{text}");
        assert!(text.ends_with("event: end\ndata: {\"reason\":\"stopping\"}\n\n"), "{text}");
    }

    #[test]
    fn a_client_has_so_many_of_a_kind_and_gets_the_place_back() {
        let streams = Streams::default();
        let (client, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let held = [streams.open(client, "checks", 2), streams.open(client, "checks", 2)];
        let refused = streams.open(client, "checks", 2).err().unwrap();
        assert_eq!((refused.status.as_u16(), refused.code), (429, "too_many_requests"));
        assert!(streams.open(other, "checks", 2).is_ok());
        assert!(streams.open(client, "changes", 2).is_ok());
        drop(held);
        assert!(streams.open(client, "checks", 2).is_ok());
        assert!(streams.open.lock().unwrap().is_empty());
    }

    #[test]
    fn who_takes_json_alone_gets_one_document() {
        for (accept, expected) in [
            (None, true),
            (Some("*/*"), true),
            (Some("text/event-stream"), true),
            (Some("text/event-stream, application/json"), true),
            (Some("application/json"), false),
        ] {
            let value = accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept)));
            assert_eq!(are_wanted(&value.into_iter().collect()), expected, "{accept:?}");
        }
    }
}
