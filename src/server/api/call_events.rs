//! `GET /v1/calls/events`: what becomes of the calls of a client, on whichever node they are placed: that
//! they are dialled, how that ended, and that the phone left, as webhooks tell.
//!
//! The rows are read once a second, from a little before the last look on, since what is committed late
//! is seen late. So news may be told twice after a break, and never less than once.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::asking::Asking;
use super::calls::{CALL, Operation};
use super::events::{self, Event, Streams};
use super::fields::{Field, Kind, optional, required};
use super::hearer::Hearer;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use super::routes::{BARE, EventKind, Header, Operation as Of, Route};
use crate::access::Scope;
use crate::dispatch::recorded::{News, RecordedCalls};
use crate::number::TenantId;
use crate::resolver::Resolver;

#[derive(Deserialize)]
struct Parameters {
    tenant_id: Option<TenantId>,
}

pub(super) fn answer(
    asking: &Asking<'_>,
    question: &Question<'_>,
    calls: &RecordedCalls,
    (streams, stop): (&Streams, &CancellationToken),
) -> Result<Reply, Problem> {
    let Parameters { tenant_id } = question.parameters()?;
    if tenant_id.is_some_and(|tenant| !asking.permissions.may_ask_for(tenant)) {
        let why = "this client may not ask for this tenant";
        return Err(Problem::forbidden_field("tenant_not_allowed", "tenant_id", why));
    }
    let open = streams.open(asking.client.id, "listeners of calls", MOST_LISTENERS)?;
    let now = asking.resolver.unix_time().as_secs();
    let last = question.headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    let back = last.map(|last: u64| Duration::from_secs(now.saturating_sub(last)).min(LONGEST));
    let listening = Listening {
        resolver: asking.resolver.clone(),
        hearer: Hearer::of(asking, Scope::Calls),
        calls: calls.clone(),
        tenant: tenant_id,
        told: HashMap::new(),
        pending: vec![Event::new("ready", json!({"resumed": back.is_some()}))],
        back,
        is_first: true,
        is_over: false,
    };
    Ok(Reply::events(events::body(listening.stream(), open, stop.clone())))
}

/// One who listens.
struct Listening {
    resolver: Resolver,
    hearer: Hearer,
    calls: RecordedCalls,
    tenant: Option<TenantId>,
    /// What was told of each call, for as long as it may be met again.
    told: HashMap<(Uuid, News), u64>,
    /// What is yet to be written, the last one first.
    pending: Vec<Event>,
    /// How far back it goes on from. `None`: from now.
    back: Option<Duration>,
    is_first: bool,
    is_over: bool,
}

impl Listening {
    fn stream(self) -> impl Stream<Item = Event> + Send + 'static {
        stream::unfold(self, |mut listening| async {
            let event = listening.next().await?;
            Some((event, listening))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            if !self.is_first {
                sleep(EVERY).await;
            }
            match self.hearer.may_still(&self.resolver).await {
                Ok(()) => self.look().await,
                Err(reason) => {
                    self.is_over = true;
                    return Some(Event::new("end", json!({"reason": reason})));
                }
            }
        }
    }

    /// Reads what is new. What cannot be read now is read by the next look.
    async fn look(&mut self) {
        let now = self.resolver.unix_time().as_secs();
        let within = OVERLAP + self.back.unwrap_or_default();
        let found = match self.calls.news(self.hearer.client.id, self.tenant, within).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "news of calls cannot be read");
                // The next look goes back to where this one would have.
                self.back = Some((self.back.unwrap_or_default() + EVERY).min(LONGEST));
                return;
            }
        };
        // Who begins anew has missed nothing of before.
        let tells = !self.is_first || self.back.is_some();
        (self.is_first, self.back) = (false, None);
        let may_ask_for = |tenant| {
            let permissions = self.hearer.client.permissions.as_ref();
            permissions.is_some_and(|may| may.may_ask_for(tenant))
        };
        for (id, tenant, news, call) in found {
            let is_new = self.told.insert((id, news), now).is_none();
            if is_new && tells && may_ask_for(tenant) {
                let data = json!({"news": news.as_str(), "call": call});
                self.pending.push(Event { id: Some(now.to_string()), ..Event::new("call", data) });
            }
        }
        self.pending.reverse();
        let oldest = now.saturating_sub(2 * LONGEST.as_secs());
        self.told.retain(|_, told| *told > oldest);
    }
}

/// How often the rows are read.
const EVERY: Duration = Duration::from_secs(1);
/// How late a row may be seen: longer than any statement takes.
const OVERLAP: Duration = Duration::from_secs(10);
/// How far back a listener may go on from.
const LONGEST: Duration = Duration::from_secs(3600);
const MOST_LISTENERS: u32 = 4;
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) const ROUTES: &[Route] = &[Route {
    path: "/v1/calls/events",
    name: "listenToCalls",
    summary: "What becomes of the calls of the client, wherever they are placed: that they are dialled, how \
              that ended, and that the phone left.",
    scope: Some(Scope::Calls),
    query: &[optional("tenant_id", Kind::Id, "Those of this tenant.")],
    headers: &[Header {
        name: "Last-Event-ID",
        help: "The id of the last event that was read, to go on from there, an hour back at the most.",
    }],
    events: &[
        EventKind {
            name: "ready",
            help: "It listens.",
            holds: &[required("resumed", Kind::Flag, "Whether it goes on from the Last-Event-ID.")],
        },
        EventKind {
            name: "call",
            help: "There is news of a call; it may be told twice.",
            holds: NEWS,
        },
        EventKind {
            name: "end",
            help: "Nothing more comes: the daemon stops, the client has ended, or it cannot be told at present whether it has.",
            holds: &[required(
                "reason",
                Kind::Word(&["stopping", "client_ended", "clients_unknown"]),
                "Why.",
            )],
        },
    ],
    codes: &[200, 400, 401, 403, 429, 503],
    operation: Of::Calls(Operation::Listen),
    ..BARE
}];

const NEWS: &[Field] = &[
    required("news", Kind::Word(&["dialling", "ended", "left"]), "What is new of it."),
    required("call", Kind::Object(CALL), "How it stands."),
];
