//! The nodes: who resolves from this database, how far each has read, and where they differ.

use askama::Template;
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;

use super::frame::Frame;
use super::page_of;
use super::parts::{When, duration, grouped};
use super::visit::Visit;
use crate::access::Scope;
use crate::server::api::{Problem, Reply};
use crate::store::{Node, NodeState, UnlistedNode};

#[derive(Template)]
#[template(path = "nodes.html")]
struct NodesPage<'n> {
    frame: &'n Frame<'n>,
    rows: Vec<Row>,
    variants: Vec<(&'static str, usize)>,
    unlisted: Vec<String>,
}

/// A node as a row.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) host: String,
    pub(super) program: String,
    pub(super) version: String,
    pub(super) is_live: bool,
    pub(super) hearing: String,
    pub(super) applied: String,
    pub(super) cached: String,
    pub(super) keys: String,
    pub(super) settings: String,
    pub(super) since: Option<When>,
    pub(super) age: String,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::Fleet)?;
    let nodes = asking.resolver.nodes().ok_or_else(Problem::no_database)?;
    let (listed, unlisted) = (nodes.list().await?, nodes.unlisted().await?);
    let unlisted = unlisted.iter().map(unlisted_in_words).collect();
    let frame = visit.frame("Nodes", "nodes");
    let variants = variants(&listed);
    page_of(&NodesPage { rows: rows(listed, visit.now), variants, unlisted, frame: &frame })
}

pub(super) fn rows(nodes: Vec<Node>, now: DateTime<Utc>) -> Vec<Row> {
    let row = |node: Node| Row {
        id: node.id.to_string(),
        name: node.name,
        host: node.host,
        program: node.program,
        version: node.version,
        is_live: node.state == NodeState::Live,
        hearing: node.hearing,
        applied: node.applied.unwrap_or_else(|| "has not looked yet".into()),
        cached: grouped(node.cached),
        keys: node.keys.join(", "),
        settings: node.settings.chars().take(8).collect(),
        since: node.since.map(|since| When::new(since, now)),
        age: duration(node.age.as_secs_f64()),
    };
    nodes.into_iter().map(row).collect()
}

fn unlisted_in_words(node: &UnlistedNode) -> String {
    let UnlistedNode { name, role, sessions } = node;
    format!("{name}, logged in as {role}, sessions: {sessions}")
}

/// How many different key rings, settings and versions they have.
pub(super) fn variants(nodes: &[Node]) -> Vec<(&'static str, usize)> {
    let live = || nodes.iter().filter(|node| node.state == NodeState::Live);
    let many = |of: fn(&Node) -> String| live().map(of).collect::<BTreeSet<_>>().len();
    vec![
        ("key rings", many(|node| node.keys.join(","))),
        ("settings", many(|node| node.settings.clone())),
        ("versions", many(|node| node.version.clone())),
    ]
}
