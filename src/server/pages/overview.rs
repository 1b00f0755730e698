//! The first page: whether all is well in one sentence, what to do if not, and the last hour.

use askama::Template;
use std::time::Duration;

use super::chart::Chart;
use super::frame::Frame;
use super::history::{self, Sample, Span};
use super::page_of;
use super::parts::{duration, grouped, rounded};
use super::visit::Visit;
use super::{audit, nodes, rules};
use crate::access::Scope;
use crate::changes::ChangeSource;
use crate::reason::Reason;
use crate::resolver::{Health, NotReady, Resolver};
use crate::server::api::{Problem, Reply};
use crate::store::{AuditFilter, Node, NodeState, StoreError};

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'o> {
    frame: &'o Frame<'o>,
    state: State,
    tiles: Vec<Tile>,
    answers: Plot,
    times: Plot,
    fallbacks: Vec<Fallback>,
    nodes: Vec<nodes::Row>,
    changes: Vec<audit::Few>,
    may_audit: bool,
    hears_by: &'static str,
    /// What the charts show: the last so much, in words, and where it begins and is half over.
    shown: &'static Shown,
}

/// How much of the last hour there is to be shown.
struct Shown {
    seconds: u64,
    title: &'static str,
    begin: &'static str,
    half: &'static str,
}

impl Shown {
    #[expect(clippy::cast_precision_loss, reason = "an hour is short")]
    fn width(&self) -> f64 {
        self.seconds as f64
    }
}

/// How it is.
struct State {
    level: &'static str,
    title: String,
    facts: Vec<String>,
    /// What to do, and the command that tells more.
    next: Option<(String, Next)>,
}

/// Where the next step is taken.
enum Next {
    Command(&'static str),
    /// A page: its path from the root of all, and what it is called.
    Page(&'static str, &'static str),
}

struct Tile {
    label: &'static str,
    value: String,
    unit: &'static str,
    note: String,
    chart: Option<Chart>,
}

/// A chart with the figures beside it.
struct Plot {
    chart: Chart,
    top: String,
}

struct Fallback {
    reason: String,
    many: String,
    /// Of a hundred.
    width: u32,
    advice: &'static str,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    visit.asking_of_all(Scope::Fleet)?;
    let shared = &visit.place.shared;
    let resolver = &shared.resolver;
    resolver.record_metrics();
    let now = Sample::read(resolver.unix_time().as_secs(), &shared.exporter.render());
    let samples = shared.pages.history.until(now);
    let spans: Vec<_> =
        samples.windows(2).map(|two| (two[1].at, Span::between(&two[0], &two[1]))).collect();
    let newest = samples.last().map_or(0, |sample| sample.at);
    let since = |seconds: u64| {
        let first = samples.iter().find(|sample| sample.at + seconds >= newest);
        Span::between(first.unwrap_or(&samples[0]), &samples[samples.len() - 1])
    };
    let (minutes, hour) = (since(300), since(3600));
    let listed = listed(resolver).await;
    let changes = match resolver.audit().filter(|_| visit.may(Scope::Audit)) {
        Some(audit) => audit
            .audit_page(&AuditFilter::default(), None, LOOKED_THROUGH)
            .await
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let asking = visit.asking(Scope::Fleet)?;
    let changes = audit::lines(&asking, &changes, visit.now).await.unwrap_or_default();
    let health = resolver.health();
    let begun = newest.saturating_sub(samples[0].at);
    let shown =
        SHOWN.iter().find(|shown| begun <= shown.seconds).unwrap_or(&SHOWN[SHOWN.len() - 1]);
    let frame = visit.frame("Overview", "");
    let page = Overview {
        state: state(&health, resolver.hears_changes(), listed.as_deref(), &minutes, &hour),
        tiles: tiles(&spans, &hour, (newest, shown.width()), &samples[samples.len() - 1]),
        answers: answers(&spans, newest, shown.width()),
        times: times(&spans, newest, shown.width()),
        fallbacks: fallbacks(&hour),
        nodes: nodes::rows(listed.unwrap_or_default(), visit.now),
        changes: audit::few(changes, LAST_CHANGES),
        may_audit: visit.may(Scope::Audit),
        hears_by: hears_by(health.change_source),
        shown,
        frame: &frame,
    };
    page_of(&page)
}

async fn listed(resolver: &Resolver) -> Result<Vec<Node>, StoreError> {
    match resolver.nodes() {
        Some(nodes) => nodes.list().await,
        None => Ok(Vec::new()),
    }
}

/// One sentence, and the next step where it is not a good one.
fn state(
    health: &Health,
    has_lease: bool,
    nodes: Result<&[Node], &StoreError>,
    minutes: &Span,
    hour: &Span,
) -> State {
    let doctor = Next::Command("trunkline doctor");
    let say = |level, title: String, next: &str, by| State {
        level,
        title,
        facts: facts(health, nodes.unwrap_or_default(), hour),
        next: Some((next.to_owned(), by)),
    };
    if let Err(error) = nodes {
        let title = format!("The database does not answer: {error}.");
        let next = "Calls go on with the last good answers. Look whether the database runs and can be \
                    reached from here.";
        return say("bad", title, next, doctor);
    }
    if let Some(why) = health.not_ready {
        let next = match why {
            NotReady::Warming => "Wait until it has loaded them; it answers meanwhile.",
            NotReady::NothingToAnswerWith => {
                "Mend the connection to the database, or set LIVEKIT_URL and its key."
            }
            _ => "Look at what it says of the database and of its change feed.",
        };
        return say("bad", format!("Not ready for calls: {why}."), next, doctor);
    }
    if !health.enabled {
        let title = "Configs of the database are switched off: the environment answers every call."
            .to_owned();
        let next = "Set USE_SELFHOST_ROUTING_TABLE=true, and send SIGHUP.";
        return say("warn", title, next, Next::Command("trunkline settings"));
    }
    if !has_lease {
        let title =
            "It is not proven that no change was missed, so calls read the database each time."
                .to_owned();
        return say(
            "warn",
            title,
            "Answers are right, and slower. See why changes are not heard.",
            doctor,
        );
    }
    let few = minutes.unwanted();
    if let Some((reason, _)) = minutes.fallbacks.first().filter(|_| few > 0.0) {
        let title = format!(
            "{} of the answers of the last 5 minutes came from the environment, mostly by {reason}.",
            rounded(few)
        );
        let next = reason.parse().map_or("", rules::advice);
        return say("warn", title, next, Next::Page("why", "See why a number resolves as it does"));
    }
    let nodes = nodes.unwrap_or_default();
    let silent = nodes.iter().filter(|node| node.state != NodeState::Live).count();
    if silent > 0 {
        let title = format!("{silent} of {} nodes are silent.", nodes.len());
        let next =
            "A silent node may go on answering from memory until MAX_STALE. Look whether it runs.";
        return say("warn", title, next, Next::Page("nodes", "See the nodes"));
    }
    if nodes::variants(nodes).iter().any(|(_, many)| *many > 1) {
        let next = "Give all nodes the same key ring and settings, or finish the rollout that is under way.";
        return say("warn", "The nodes differ.".to_owned(), next, Next::Page("nodes", "See where"));
    }
    State {
        level: "good",
        title: "All is well: the database answers.".to_owned(),
        facts: facts(health, nodes, hour),
        next: None,
    }
}

fn facts(health: &Health, nodes: &[Node], hour: &Span) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(delay) = hour.delay(0.99) {
        facts.push(format!("Edits of the last hour were used within {}.", duration(delay)));
    }
    if nodes.len() > 1 {
        facts.push(format!("{} nodes resolve from this database.", nodes.len()));
    }
    facts.extend(health.trouble.as_ref().map(|trouble| format!("Change feed: {trouble}.")));
    facts.extend(health.unlisted.as_ref().map(|why| format!("This node is not listed: {why}.")));
    if health.found_stale > 0 {
        facts.push(format!(
            "The self-check found {} of {} answers staler than allowed.",
            health.found_stale, health.checked
        ));
    }
    facts
}

fn hears_by(source: ChangeSource) -> &'static str {
    match source {
        ChangeSource::Nothing => "nothing: changes are not heard",
        _ => source.as_str(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "an hour is short")]
fn back(newest: u64, at: u64) -> f64 {
    newest.saturating_sub(at) as f64
}

fn tiles(
    spans: &[(u64, Span)],
    hour: &Span,
    (newest, width): (u64, f64),
    now: &Sample,
) -> Vec<Tile> {
    let spark = |label: String, value: &dyn Fn(&Span) -> Option<f64>| {
        let points = spans.iter().map(|(at, span)| (back(newest, *at), [value(span), None]));
        Some(Chart { label, points: points.collect(), width, has_grid: false })
    };
    let last_minute: Vec<_> = spans.iter().rev().take(4).map(|(_, span)| span).collect();
    let per_second = |count: &dyn Fn(&Span) -> f64| {
        let seconds: f64 = last_minute.iter().map(|span| span.seconds).sum();
        if seconds > 0.0 {
            last_minute.iter().map(|span| count(span)).sum::<f64>() / seconds
        } else {
            0.0
        }
    };
    let share = |part: f64, all: f64| {
        if all > 0.0 { format!("{:.1}", part / all * 100.0) } else { "–".into() }
    };
    let rate = per_second(&Span::answers);
    let cold = hour.cold(0.99).map_or_else(|| "–".to_owned(), duration);
    let warm = hour.warm(0.99).map_or_else(|| "none yet".to_owned(), duration);
    let unwanted = hour.unwanted();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are counts")]
    let (entries, fallen) = (now.entries as u64, hour.environment as u64);
    vec![
        Tile {
            label: "Answers a second",
            value: rounded(rate),
            unit: "",
            note: format!("{} in the last hour", rounded(hour.answers())),
            chart: spark("Answers a second over the last hour".into(), &|span| {
                Some(span.answers() / span.seconds)
            }),
        },
        Tile {
            label: "From the database",
            value: share(hour.database, hour.answers()),
            unit: "%",
            note: format!("{} from memory", share(hour.from_memory, hour.database) + " %"),
            chart: spark("Part of the answers that the database gave".into(), &|span| {
                (span.answers() > 0.0).then(|| span.database / span.answers())
            }),
        },
        Tile {
            label: "99 of 100 loads within",
            value: cold,
            unit: "",
            note: format!("warm ones within {warm}"),
            chart: spark("Time of 99 of 100 loads".into(), &|span| span.cold(0.99)),
        },
        Tile {
            label: "Fallbacks in the last hour",
            value: grouped(fallen),
            unit: "",
            note: if unwanted > 0.0 {
                format!("{} unwanted", rounded(unwanted))
            } else {
                "none unwanted".into()
            },
            chart: spark("Fallbacks a second".into(), &|span| {
                Some(span.environment / span.seconds)
            }),
        },
        Tile {
            label: "Answers in memory",
            value: grouped(entries),
            unit: "",
            note: if hour.refused > 0.0 {
                format!("{} refused", rounded(hour.refused))
            } else if hour.stale > 0.0 {
                format!("{} served stale", rounded(hour.stale))
            } else {
                "none served stale".into()
            },
            chart: None,
        },
    ]
}

fn answers(spans: &[(u64, Span)], newest: u64, width: f64) -> Plot {
    let points = spans.iter().map(|(at, span)| {
        (
            back(newest, *at),
            [Some(span.database / span.seconds), Some(span.environment / span.seconds)],
        )
    });
    let label =
        "Answers a second over the last hour, of the database and of the environment".into();
    let chart = Chart { label, points: points.collect(), width, has_grid: true };
    Plot { top: format!("{}/s", rounded(chart.highest())), chart }
}

fn times(spans: &[(u64, Span)], newest: u64, width: f64) -> Plot {
    let points =
        spans.iter().map(|(at, span)| (back(newest, *at), [span.cold(0.5), span.cold(0.99)]));
    let label = "Time of loads over the last hour: of half of them, and of 99 of 100".into();
    let chart = Chart { label, points: points.collect(), width, has_grid: true };
    Plot { top: duration(chart.highest()), chart }
}

fn fallbacks(hour: &Span) -> Vec<Fallback> {
    let all: f64 = hour.fallbacks.iter().map(|(_, many)| many).sum();
    let of = |(reason, many): &(String, f64)| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most a hundred"
        )]
        let width = (many / all * 100.0).round().clamp(1.0, 100.0) as u32;
        let advice = reason.parse::<Reason>().map_or("", rules::advice);
        Fallback { reason: reason.clone(), many: rounded(*many), width, advice }
    };
    hour.fallbacks.iter().map(of).collect()
}

const LAST_CHANGES: usize = 8;
/// Among how many they are looked for: many of one kind are shown as one.
const LOOKED_THROUGH: usize = 100;
const SHOWN: [Shown; 3] = [
    Shown { seconds: 600, title: "last 10 minutes", begin: "10 min ago", half: "5 min" },
    Shown { seconds: 1800, title: "last 30 minutes", begin: "30 min ago", half: "15 min" },
    Shown { seconds: 3600, title: "last hour", begin: "1 hour ago", half: "30 min" },
];
/// How often the page fetches itself anew while it is looked at.
pub(super) const EVERY: Duration = history::EVERY;
