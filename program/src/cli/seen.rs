//! Which nodes have seen what a command wrote.

use trunkline::nodes::{Nodes, SeenBy};

use super::Context;
use super::output::short;

/// Tells on stderr how many nodes have seen the newest change, after `LEASE` at the most. Says nothing
/// where no node is listed, where the role may not look, and to a script.
pub(super) async fn tell_seen(context: &Context) {
    if context.json {
        return;
    }
    let (Ok(database), Ok(settings)) = (context.database(), context.settings()) else { return };
    let Ok(change) = database.change_log().newest_change().await else { return };
    let seen = Nodes::of(&database).seen_by(change, settings.tuning.lease).await;
    if let Ok(seen) = seen
        && seen.of > 0
    {
        eprintln!("{}", sentence(&seen));
    }
}

/// It in words.
pub(super) fn sentence(SeenBy { seen, of, after, .. }: &SeenBy) -> String {
    format!("seen by {seen} of {of} nodes after {}", short(*after))
}
