//! `GET /v1/changes/events`: what changed, as the change feed of this node applies it.
//!
//! Nobody who listens costs the database anything, but for one statement where he goes on from where he
//! was. Where that was is sealed, since it tells how much is done on the whole server.
//!
//! **Invariant:** a client that is limited hears of its own numbers alone, and when it ends, so does what
//! it hears.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::asking::Asking;
use super::events::{self, Event, Streams};
use super::fields::{Field, Kind, optional, required};
use super::hearer::Hearer;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use super::routes::{BARE, EventKind, Header, Operation as Of, Route};
use crate::access::{Permissions, Scope};
use crate::change::Change;
use crate::changes::Told;
use crate::resolver::Resolver;
use crate::store::LoggedChange;

/// Where a client has read to. Nobody else reads it, and it is taken from no other client.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    listener: Uuid,
    position: String,
}

pub(super) async fn answer(
    asking: &Asking<'_>,
    question: &Question<'_>,
    (streams, stop): (&Streams, &CancellationToken),
) -> Result<Reply, Problem> {
    let (resolver, id) = (asking.resolver, asking.client.id);
    // From here on nothing is missed, whatever is read of before.
    let live = resolver.listen().ok_or_else(Problem::no_database)?;
    let open = streams.open(id, "listeners", MOST_LISTENERS)?;
    let mut listening = Listening::new(resolver.clone(), Hearer::of(asking, Scope::Changes), live);
    let last = question.headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or_default());
    let mut since = None;
    if let Some(place) = last.and_then(|text| Place::open(text, id, resolver)) {
        since = resolver.changes_since(&place.position).await?;
    }
    listening.events.push_back(Event::new("ready", json!({"resumed": since.is_some()})));
    match since {
        Some((changes, position)) => {
            listening.show(&changes, &position);
            listening.told_before = changes.iter().map(|change| change.seq).collect();
            let place = listening.place(&position);
            if let [ready] = listening.events.make_contiguous() {
                ready.id = place;
            }
        }
        None if last.is_some() => listening.gap(None),
        None => {}
    }
    Ok(Reply::events(events::body(listening.stream(), open, stop.clone())))
}

/// One who listens.
struct Listening {
    resolver: Resolver,
    hearer: Hearer,
    live: broadcast::Receiver<Arc<Told>>,
    /// What is yet to be written.
    events: VecDeque<Event>,
    /// Places in the log that were read when it began, and may be told once more.
    told_before: HashSet<i64>,
    look: Interval,
    is_over: bool,
}

impl Listening {
    fn new(resolver: Resolver, hearer: Hearer, live: broadcast::Receiver<Arc<Told>>) -> Self {
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (events, told_before) = (VecDeque::new(), HashSet::new());
        Self { resolver, hearer, live, events, told_before, look, is_over: false }
    }

    fn stream(self) -> impl Stream<Item = Event> + Send + 'static {
        stream::unfold(self, |mut listening| async {
            let event = listening.next().await?;
            Some((event, listening))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            let told = tokio::select! {
                biased;
                told = self.live.recv() => Some(told),
                _ = self.look.tick() => None,
            };
            if let Err(reason) = self.hearer.may_still(&self.resolver).await {
                self.end(Event::new("end", json!({"reason": reason})));
                continue;
            }
            match told {
                Some(Ok(told)) if told.is_whole => self.show(&told.changes, &told.position),
                Some(Ok(told)) => self.gap(Some(&told.position)),
                Some(Err(RecvError::Lagged(_))) => {
                    self.end(Event::new("dropped", json!({"reason": "too_slow"})));
                }
                Some(Err(RecvError::Closed)) => self.is_over = true,
                None => {}
            }
        }
    }

    fn end(&mut self, event: Event) {
        self.events.push_back(event);
        self.is_over = true;
    }

    /// Tells what of these changes the client may see. Who breaks off between two of them hears them once
    /// more.
    fn show(&mut self, changes: &[LoggedChange], position: &str) {
        let Some(permissions) = &self.hearer.client.permissions else { return };
        let is_new = |change: &&LoggedChange| {
            self.told_before.is_empty() || !self.told_before.contains(&change.seq)
        };
        let seen = changes.iter().filter(is_new).filter_map(|change| shown(change, permissions));
        let mut seen: Vec<_> = seen.map(|data| Event::new("change", data)).collect();
        if let Some(last) = seen.last_mut() {
            last.id = self.place(position);
        }
        self.events.extend(seen);
    }

    /// Tells that changes may have been missed.
    fn gap(&mut self, position: Option<&str>) {
        let id = position.and_then(|position| self.place(position));
        self.events.push_back(Event { id, ..Event::new("gap", json!({"reason": "not_known"})) });
    }

    fn place(&self, position: &str) -> Option<String> {
        let place = Place { listener: self.hearer.client.id, position: position.to_owned() };
        place.seal(&self.resolver)
    }
}

impl Place {
    /// `None`: there is no key, so nobody goes on from here.
    fn seal(&self, resolver: &Resolver) -> Option<String> {
        let inside = serde_json::to_vec(self).ok()?;
        let now = resolver.unix_time().as_secs();
        let sealed = resolver.ring()?.seal_ticket(&inside, now).ok()?;
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open(text: &str, of: Uuid, resolver: &Resolver) -> Option<Self> {
        let sealed = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let inside = resolver.ring()?.open_ticket(&sealed)?;
        let place: Self = serde_json::from_slice(&inside).ok()?;
        (place.listener == of).then_some(place)
    }
}

/// A change as the client may see it. `None`: it may not.
fn shown(logged: &LoggedChange, permissions: &Permissions) -> Option<Value> {
    let is_limited = permissions.is_limited();
    let LoggedChange { seq, change, operation, fields, .. } = logged;
    let (entity, config, caller) = match change {
        Change::Number(caller) => {
            let may =
                permissions.may_ask_for(caller.tenant) && permissions.may_call_from(caller.number);
            ("number", None, Some(*caller).filter(|_| may))
        }
        Change::Config(id) => ("config", Some(*id), None),
        Change::Clients => ("clients", None, None),
        Change::Rollout => ("rollout", None, None),
        Change::Keys => ("keys", None, None),
        Change::Numbers => ("numbers", None, None),
        Change::All => ("all", None, None),
    };
    // Of many at once nothing is told but that.
    let is_of_many = matches!(change, Change::Numbers | Change::Rollout | Change::All);
    if caller.is_none() && (is_limited && !is_of_many || matches!(change, Change::Number(_))) {
        return None;
    }
    let fields = fields.split(',').filter(|field| !field.is_empty());
    let fields: Vec<_> = fields.filter(|_| config.is_some() || caller.is_some()).collect();
    let operation = (!is_limited || !is_of_many).then_some(operation);
    Some(json!({
        "seq": (!is_limited).then_some(seq),
        "entity": entity,
        "operation": operation,
        "fields": fields,
        "config_id": config,
        "tenant_id": caller.map(|caller| caller.tenant),
        "number": caller.map(|caller| caller.number.to_string()),
    }))
}

/// How many listeners a client may have.
const MOST_LISTENERS: u32 = 16;
/// How often it is looked whether a client that hears nothing may still listen.
const LOOK: Duration = Duration::from_secs(5);
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) const ROUTES: &[Route] = &[Route {
    path: "/v1/changes/events",
    name: "listenToChanges",
    summary: "What changes, as it changes. A client that is limited to tenants or numbers hears of its own \
              numbers.",
    scope: Some(Scope::Changes),
    headers: &[Header {
        name: "Last-Event-ID",
        help: "The id of the last event that was read, to go on from there.",
    }],
    events: &[
        EventKind {
            name: "ready",
            help: "It listens. Unless it went on from the Last-Event-ID, read anew what you need to know.",
            holds: &[required("resumed", Kind::Flag, "Whether nothing was missed since then.")],
        },
        EventKind {
            name: "change",
            help: "Something changed; it may be told twice.",
            holds: CHANGE,
        },
        EventKind {
            name: "gap",
            help: "Changes may have been missed: read anew what you need to know.",
            holds: &[required("reason", Kind::Word(&["not_known"]), "Why.")],
        },
        EventKind {
            name: "dropped",
            help: "The client reads too slowly, and nothing more comes: come back with the last id.",
            holds: &[required("reason", Kind::Word(&["too_slow"]), "Why.")],
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
    codes: &[200, 401, 403, 429, 503],
    operation: Of::Listen,
    ..BARE
}];

const CHANGE: &[Field] = &[
    optional(
        "seq",
        Kind::Whole(0, i64::MAX.cast_unsigned()),
        "Its place in the change log; null for a limited client.",
    ),
    required(
        "entity",
        Kind::Word(&["config", "number", "numbers", "clients", "rollout", "keys", "all"]),
        "What changed: one config or number, many numbers, clients, the rollout, the encryption keys, or anything.",
    ),
    optional("operation", Kind::Text, "What was done, such as insert, update or delete."),
    required("fields", Kind::TextList, "Which columns of it, in an update."),
    optional("config_id", Kind::Id, "Which config."),
    optional("tenant_id", Kind::Id, "Whose number."),
    optional("number", Kind::Text, "Which number, in E.164."),
];
