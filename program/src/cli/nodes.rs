//! `trunkline nodes`: the processes that resolve from the database.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use trunkline::nodes::{Node, Nodes as Listed, SeenError, UnlistedNode};

use super::Context;
use super::call::time;
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line, raw, short, table};
use super::seen::sentence;
use super::signals::stop_requested;

#[derive(Subcommand)]
pub(crate) enum Nodes {
    /// List the nodes, and sessions of nodes that are not listed
    List {
        /// Print it again every two seconds, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Wait until every node has seen a change
    Wait(Wait),
}

#[derive(Args)]
pub(crate) struct Wait {
    /// The change, by its number in the change log (`seq` of `voice_agent_changes`)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    change: i64,
    /// How long to wait, such as 30s; LEASE by default
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
}

impl Nodes {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let nodes = Listed::of(&context.database()?);
        match self {
            Self::List { watch: false } => list(context, &nodes).await,
            Self::List { watch: true } => watch(context, &nodes).await,
            Self::Wait(wait) => wait.run(context, &nodes).await,
        }
    }
}

async fn list(context: &Context, nodes: &Listed) -> Done {
    let (listed, unlisted) = (nodes.list().await?, nodes.unlisted().await?);
    if context.json {
        let listed = listed.iter().map(|node| json!(node));
        return json_line(&Value::Array(
            listed.chain(unlisted.iter().map(unlisted_json)).collect(),
        ));
    }
    if listed.is_empty() && unlisted.is_empty() {
        eprintln!("no node is there; `trunkline serve` runs one");
        return Ok(());
    }
    table(
        &[
            "name",
            "host",
            "program",
            "version",
            "keys",
            "settings",
            "hears by",
            "in memory",
            "seen",
            "state",
        ],
        listed.iter().map(row).chain(unlisted.iter().map(unlisted_row)),
    )
}

/// A database that is away for a moment ends nothing.
async fn watch(context: &Context, nodes: &Listed) -> Done {
    let clears = !context.json && std::io::stdout().is_terminal();
    let printing = async {
        loop {
            if clears {
                // To the upper left corner, with nothing below.
                raw("\x1b[H\x1b[2J")?;
            }
            if let Err(failure) = list(context, nodes).await {
                if failure.exit != Exit::Store {
                    return Err(failure);
                }
                eprintln!("{}", failure.text(context.json));
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        ended = printing => ended,
        () = stop_requested() => Ok(()),
    }
}

impl Wait {
    async fn run(self, context: &Context, nodes: &Listed) -> Done {
        let within = match self.timeout {
            Some(timeout) => timeout,
            None => context.settings()?.tuning.lease,
        };
        let seen = nodes.seen_by(self.change, within).await?;
        if let Some(first) = seen.behind.first() {
            let names: Vec<_> = seen.behind.iter().take(NAMED).map(shown).collect();
            let more = match seen.behind.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!(
                "change {} was {}; not by {}{more}",
                self.change,
                sentence(&seen),
                names.join(", "),
            );
            let hint = format!(
                "`trunkline nodes list` shows how they are; one that has ended counts for its MAX_STALE, \
                 which is {} for {}",
                short(first.max_stale),
                first.name,
            );
            return Err(Failure::new("not_seen_by_all", message, Exit::Failed).hint(hint));
        }
        if context.json {
            let after = u64::try_from(seen.after.as_millis()).unwrap_or(u64::MAX);
            let change = self.change;
            return json_line(&json!({
                "change": change, "seen": seen.seen, "of": seen.of, "after_ms": after,
            }));
        }
        line(sentence(&seen))
    }
}

impl From<SeenError> for Failure {
    fn from(error: SeenError) -> Self {
        match error {
            SeenError::Store(error) => error.into(),
            other => Self::new("change_not_found", other.to_string(), Exit::Failed)
                .hint("changes are numbered by `seq` of the table voice_agent_changes"),
        }
    }
}

fn row(node: &Node) -> Vec<String> {
    vec![
        node.name.clone(),
        node.host.clone(),
        node.program.clone(),
        node.version.clone(),
        node.keys.join(","),
        node.settings.clone(),
        node.hearing.clone(),
        node.cached.to_string(),
        format!("{} ago", short(node.age)),
        node.state.as_str().to_owned(),
    ]
}

fn unlisted_row(node: &UnlistedNode) -> Vec<String> {
    let whose = format!("{} as {}", sessions(node.sessions), node.role);
    let cells = [&node.name, "-", &whose, "-", "-", "-", "-", "-", "-", UNLISTED];
    cells.map(ToOwned::to_owned).to_vec()
}

fn unlisted_json(node: &UnlistedNode) -> Value {
    json!({"name": node.name, "role": node.role, "sessions": node.sessions, "state": UNLISTED})
}

fn sessions(many: u64) -> String {
    if many == 1 { "1 session".to_owned() } else { format!("{many} sessions") }
}

/// A node, so that a person finds it.
fn shown(node: &Node) -> String {
    format!("{} ({}, {} ago)", node.name, node.state.as_str(), short(node.age))
}

const UNLISTED: &str = "unlisted";
const AGAIN: Duration = Duration::from_secs(2);
/// How many nodes a message names.
const NAMED: usize = 10;
