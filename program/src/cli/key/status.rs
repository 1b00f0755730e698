//! `key status`: how the keys stand.

use serde_json::json;
use trunkline::rotation::{KeyHome, KeyStatus, ShownKey};
use trunkline::store::{DataKeyPlace, KeyTurns};

use super::shown::{secrets, time};
use crate::cli::Context;
use crate::cli::failure::Done;
use crate::cli::output::{json_line, line, table};

pub(super) async fn run(context: &Context) -> Done {
    let status = context.rotation()?.status().await?;
    if context.json {
        return json_line(&json!(status));
    }
    table(
        &["key", "state", "since", "secrets", "lives in", "here", "nodes", "clean since"],
        status.keys.iter().map(|key| row(key, &status)),
    )?;
    if !status.is_recorded {
        line(format!(
            "the database names no key that seals: the first key of each ring does, {} here",
            status.sealing
        ))?;
    } else if status.keys.iter().any(|key| key.id == status.sealing && !key.in_ring) {
        line(format!("key {} seals, and is not in the ring of this process", status.sealing))?;
    }
    for unopened in &status.unopened {
        line(unopened.to_string())?;
    }
    if status.data_key_place == DataKeyPlace::Hidden {
        line("this role may not read trunkline_keys, where data keys rest")?;
    }
    if let Some(turns) = &status.turns {
        schedule(turns)?;
    }
    for left in &status.left {
        line(format!("\"{}\" is left as it is: {}", left.name, left.message))?;
    }
    for node in &status.unlisted {
        line(format!("nobody knows the keys of {} ({})", node.name, node.role))?;
    }
    Ok(())
}

fn row(key: &ShownKey, status: &KeyStatus) -> Vec<String> {
    let phase = match key.phase {
        Some(phase) => phase.as_str(),
        None if key.id == status.sealing => "seals",
        None => "opens",
    };
    let state = match key.compromised_at {
        Some(_) => format!("{phase}, compromised"),
        None => phase.to_owned(),
    };
    let here = if key.in_ring { "yes" } else { "no" };
    // Of a key that is not here nobody can say it.
    let many = if key.in_ring { secrets(key.configs) } else { "?".to_owned() };
    let nodes = format!("{} of {}", key.nodes.len(), status.nodes.len());
    let cells = [
        key.id.to_string(),
        state,
        time(key.since),
        many,
        home(key),
        here.to_owned(),
        nodes,
        time(key.clean_since),
    ];
    cells.to_vec()
}

/// How turning by schedule stands.
fn schedule(turns: &KeyTurns) -> Done {
    if let (Some(step), at) = (&turns.step, turns.step_at) {
        line(format!("by schedule: {step} at {}", time(at)))?;
    }
    match &turns.blocked_by {
        Some(why) => line(format!("the schedule waits since {}: {why}", time(turns.blocked_since))),
        None => Ok(()),
    }
}

/// Where a key lives.
fn home(key: &ShownKey) -> String {
    match (key.home, key.root) {
        (Some(KeyHome::Database), Some(root)) => format!("database, by {root}"),
        (Some(KeyHome::Settings), _) => "settings".to_owned(),
        _ => "-".to_owned(),
    }
}
