//! Checks, step by step: of a draft, and of a config with the secret that it has.
//!
//! A URL may come from anybody who may edit configs, so a check goes over the internet, or to hosts that
//! `LIVEKIT_HOSTS` names, and repeats nothing that is answered there.

use std::collections::BTreeMap;

use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::asking::Asking;
use super::events::{self, Event, Streams};
use super::fields::{Field, Kind, optional, required};
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use super::routes::{BARE, EventKind, Operation as Of, Route};
use crate::access::Scope;
use crate::clock::SystemClock;
use crate::dispatch::check::{Finding, Reach, Subject, Verdict, check_telling};
use crate::dispatch::livekit::Timeouts;
use crate::keyring::{KeyError, PREFIX, Secret};
use crate::number::{ConfigId, E164};
use crate::routing::CallerId;
use crate::rules::Rules;
use crate::server_url::AllowedHosts;
use crate::store::{NumberFilter, Whose};

/// What is checked.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Draft,
    Config,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    url: String,
    api_key: String,
    api_secret: String,
    trunk_id: Option<String>,
    from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfConfig {
    from: Option<String>,
}

/// A check that is to be made.
pub(in crate::server) struct Plan {
    url: String,
    api_key: String,
    secret: Result<Secret, KeyError>,
    trunks: BTreeMap<String, Vec<CallerId>>,
    /// Whether more trunks or numbers use the config than are looked at.
    is_cut: bool,
    hosts: AllowedHosts,
    timeouts: Timeouts,
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
    (streams, stop): (&Streams, &CancellationToken),
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    let plan = match operation {
        Operation::Draft => draft(asking, question)?,
        Operation::Config => of_config(asking, question).await?,
    };
    let open = streams.open(asking.client.id, "checks", MOST_AT_ONCE)?;
    if events::are_wanted(question.headers) {
        return Ok(Reply::events(events::body(plan.events(), open, stop.clone())));
    }
    let findings = plan.make(&mut |_| {}).await;
    Ok(Reply::json(&json!({"ok": is_good(&findings), "checks": findings})))
}

fn draft(asking: &Asking<'_>, question: &Question<'_>) -> Result<Plan, Problem> {
    let body: Draft = question.body()?;
    let from = caller(body.from.as_deref())?;
    let entered = Secret::new(Box::new(body.api_secret));
    Ok(plan(asking, body.url, body.api_key, entered, body.trunk_id.as_deref(), from))
}

/// A check of what somebody entered.
pub(in crate::server) fn plan(
    asking: &Asking<'_>,
    url: String,
    api_key: String,
    entered: Secret,
    trunk_id: Option<&str>,
    from: Option<E164>,
) -> Plan {
    let is_sealed = secrecy::ExposeSecret::expose_secret(&entered).starts_with(PREFIX);
    let secret = if is_sealed {
        let sealed = secrecy::ExposeSecret::expose_secret(&entered);
        asking
            .resolver
            .ring()
            .ok_or(KeyError::KeyMissing)
            .and_then(|ring| ring.open(sealed).map(|opened| opened.secret))
    } else {
        Ok(entered)
    };
    let trunk = named(trunk_id).or_else(|| asking.resolver.outbound_trunk());
    let trunks = trunk.map(|trunk| (trunk, from.into_iter().map(CallerId::from).collect()));
    Plan {
        url,
        api_key,
        secret,
        trunks: trunks.into_iter().collect(),
        is_cut: false,
        hosts: asking.resolver.hosts(),
        timeouts: asking.resolver.tuning().into(),
    }
}

async fn of_config(asking: &Asking<'_>, question: &Question<'_>) -> Result<Plan, Problem> {
    let body: OfConfig = question.body()?;
    let from = caller(body.from.as_deref())?;
    plan_of(asking, question.id().ok_or_else(missing)?, from).await
}

/// A check of a config by the secret that it has.
pub(in crate::server) async fn plan_of(
    asking: &Asking<'_>,
    id: ConfigId,
    from: Option<E164>,
) -> Result<Plan, Problem> {
    let rows = asking.rows()?;
    let config = rows.config_seen(&Whose::ALL, id).await?.ok_or_else(missing)?;
    let (trunks, is_cut) = trunks_of(asking, id, config.trunk_id.as_deref(), from).await?;
    let ring = asking.resolver.ring().ok_or(KeyError::KeyMissing);
    let secret = ring.and_then(|ring| config.open(&ring).map(|opened| opened.secret));
    Ok(Plan {
        url: config.url,
        api_key: config.api_key,
        secret,
        trunks,
        is_cut,
        hosts: asking.resolver.hosts(),
        timeouts: asking.resolver.tuning().into(),
    })
}

/// The trunks that the numbers of a config call over, or the one `from`, and whether there are more: the
/// config's, else that of their rules, else the environment's.
async fn trunks_of(
    asking: &Asking<'_>,
    id: ConfigId,
    own: Option<&str>,
    from: Option<E164>,
) -> Result<(BTreeMap<String, Vec<CallerId>>, bool), Problem> {
    let (own, fallback) = (named(own), asking.resolver.outbound_trunk());
    let mut trunks: BTreeMap<String, Vec<CallerId>> = BTreeMap::new();
    let every = own.clone().or_else(|| fallback.clone());
    trunks.extend(every.clone().map(|trunk| (trunk, Vec::new())));
    let filter = NumberFilter { config: Some(id), ..NumberFilter::default() };
    let numbers = asking.rows()?.number_page(&Whose::ALL, &filter, None, MOST_NUMBERS + 1).await?;
    let mut is_cut = numbers.len() > MOST_NUMBERS;
    for number in numbers.iter().take(MOST_NUMBERS) {
        let Ok(digits) = E164::from_digits(&number.digits) else { continue };
        let rules = Rules::read(None, &number.rules);
        let trunk = own.clone().or_else(|| named(rules.trunk.as_deref()));
        let trunk = trunk.or_else(|| fallback.clone());
        let Some(trunk) = trunk.filter(|_| from.is_none_or(|from| from == digits)) else {
            continue;
        };
        if trunks.len() >= MOST_TRUNKS && !trunks.contains_key(&trunk) {
            is_cut = true;
            continue;
        }
        let caller = CallerId::new(digits, &rules.calls.unwrap_or_default());
        let numbers = trunks.entry(trunk).or_default();
        if !numbers.contains(&caller) {
            numbers.push(caller);
        }
    }
    // One that has no row yet.
    if let (Some(from), Some(numbers)) = (from, every.and_then(|trunk| trunks.get_mut(&trunk)))
        && numbers.is_empty()
    {
        numbers.push(from.into());
    }
    Ok((trunks, is_cut))
}

impl Plan {
    /// Makes it, and tells each finding when it is made.
    pub(in crate::server) async fn make(
        self,
        tell: &mut (dyn FnMut(&Finding) + Send),
    ) -> Vec<Finding> {
        let secret = match &self.secret {
            Ok(secret) => secret,
            Err(error) => {
                let finding = Finding::of_key_error(error);
                tell(&finding);
                return vec![finding];
            }
        };
        let trunks: Vec<_> =
            self.trunks.iter().map(|(trunk, numbers)| (trunk.as_str(), numbers.clone())).collect();
        let subject =
            Subject { url: &self.url, api_key: &self.api_key, api_secret: secret, trunks: &trunks };
        let reach = Reach::OnlyTo(&self.hosts);
        let clock = SystemClock::default();
        let mut findings = check_telling(self.timeouts, &clock, &subject, reach, &mut *tell).await;
        if self.is_cut && is_good(&findings) {
            let cut = Finding::of_too_many(MOST_TRUNKS, MOST_NUMBERS);
            tell(&cut);
            findings.push(cut);
        }
        findings
    }

    /// The same as events.
    fn events(self) -> impl Stream<Item = Event> + Send + 'static {
        let (told, telling) = mpsc::unbounded_channel();
        let making = async move {
            let findings = self
                .make(&mut |finding| {
                    let _ = told.send(Event::new("check", json!(finding)));
                })
                .await;
            let _ = told.send(Event::new("verdict", json!({"ok": is_good(&findings)})));
        };
        let making = stream::once(making).map(|()| None);
        let telling = stream::unfold(telling, async |mut telling| {
            let event = telling.recv().await?;
            Some((Some(event), telling))
        });
        stream::select(making, telling).filter_map(std::future::ready)
    }
}

fn caller(from: Option<&str>) -> Result<Option<E164>, Problem> {
    let read = from.map(str::parse::<E164>).transpose();
    read.map_err(|error| Problem::field("number_malformed", "from", &error.to_string()))
}

fn named(trunk: Option<&str>) -> Option<String> {
    trunk.map(str::trim).filter(|trunk| !trunk.is_empty()).map(ToOwned::to_owned)
}

pub(in crate::server) fn is_good(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Failed)
}

fn missing() -> Problem {
    Problem::missing("config_not_found", "there is no such config, or it is not for this client")
}

/// How many checks of one client are made at once.
pub(in crate::server) const MOST_AT_ONCE: u32 = 4;
/// How many trunks of a config are looked at, and how many of its numbers.
const MOST_TRUNKS: usize = 20;
const MOST_NUMBERS: usize = 5000;

pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/checks",
        method: "POST",
        name: "checkDraft",
        summary: "Whether credentials would place calls, step by step, before they are saved. Nothing is \
                  changed on the server, and nobody is called.",
        scope: Some(Scope::EditConfigs),
        asked: &[
            required("url", Kind::Text, "The URL of the LiveKit server."),
            required("api_key", Kind::Text, "The API key."),
            required("api_secret", Kind::Text, "The API secret, plain or sealed."),
            optional("trunk_id", Kind::Text, "The outbound SIP trunk; else OUTBOUND_TRUNK_ID."),
            optional("from", Kind::Text, "A number that the trunk must carry, in E.164."),
        ],
        answered: ANSWERED,
        events: EVENTS,
        codes: &[200, 400, 401, 403, 408, 413, 415, 429, 503],
        operation: Of::Checks(Operation::Draft),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/check",
        method: "POST",
        name: "checkConfig",
        summary: "Whether a LiveKit config would place calls, step by step, by the secret that it has and \
                  the trunks of its numbers.",
        scope: Some(Scope::EditConfigs),
        asked: &[optional("from", Kind::Text, "The one number to look at; else all of them.")],
        answered: ANSWERED,
        events: EVENTS,
        codes: &[200, 400, 401, 403, 404, 408, 413, 415, 429, 503],
        operation: Of::Checks(Operation::Config),
        ..BARE
    },
];

const OK: Field = required("ok", Kind::Flag, "Whether no step failed.");
const ANSWERED: &[Field] =
    &[OK, required("checks", Kind::List(FINDING), "What each step came to, in order.")];
const EVENTS: &[EventKind] = &[
    EventKind { name: "check", help: "A step has ended.", holds: FINDING },
    EventKind { name: "verdict", help: "The last step has ended.", holds: &[OK] },
    EventKind {
        name: "end",
        help: "The daemon stops; nothing more comes.",
        holds: &[required("reason", Kind::Word(&["stopping"]), "Why.")],
    },
];
const FINDING: &[Field] = &[
    required("step", Kind::Text, "What was looked at, such as dns, tcp, tls, key or trunk."),
    required("verdict", Kind::Word(&["ok", "warning", "failed"]), "How it is."),
    required("code", Kind::Text, "A stable word for it."),
    required("message", Kind::Text, "What was found, for people."),
    optional("hint", Kind::Text, "What to do about it."),
];
