//! `key verify`: opens every secret.

use serde_json::json;
use trunkline::rotation::{Census, LeftSecret};

use super::shown::secrets;
use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, line};

pub(super) async fn run(context: &Context) -> Done {
    let census = context.rotation()?.verify().await?;
    show(context, &census)?;
    refuse_left(&census.left)
}

pub(super) fn show(context: &Context, census: &Census) -> Done {
    if context.json {
        let keys = census.by_key.iter().map(|(id, many)| json!({"id": id, "configs": many}));
        let keys: Vec<_> = keys.collect();
        return json_line(&json!({"step": "verify", "keys": keys, "left": census.left}));
    }
    for (key, many) in &census.by_key {
        line(format!("{} under key {key}", secrets(*many)))?;
    }
    show_left(&census.left)
}

pub(super) fn show_left(left: &[LeftSecret]) -> Done {
    left.iter()
        .try_for_each(|left| line(format!("\"{}\" is left as it is: {}", left.name, left.message)))
}

/// Fails where secrets are left that do not open.
pub(super) fn refuse_left(left: &[LeftSecret]) -> Done {
    if left.is_empty() {
        return Ok(());
    }
    let message = match left.len() {
        1 => "1 secret does not open, and is left as it is".to_owned(),
        many => format!("{many} secrets do not open, and are left as they are"),
    };
    let hint = "add the key that sealed them to the ring, or enter each again with `trunkline livekit edit`";
    Err(Failure::new("secrets_left", message, Exit::Failed).hint(hint))
}
