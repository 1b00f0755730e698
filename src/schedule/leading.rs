//! Takes a run further, while this node leads it.

use uuid::Uuid;

use super::Schedule;
use crate::rollout::{Next, Run, RunEvent, RunState};
use crate::store::{RunWritten, StoreError, UnlistedNode};

/// What a look at the newest run came to.
#[derive(Debug)]
pub(crate) struct Led {
    /// It, as it is now.
    pub(crate) run: Run,
    /// Whether this node leads it.
    pub(crate) is_mine: bool,
    pub(crate) event: Option<RunEvent>,
}

impl Schedule {
    /// Looks at the newest run, and takes it further if nobody else does. `None`: there is none.
    pub(crate) async fn lead(&self, node: Uuid, name: &str) -> Result<Option<Led>, StoreError> {
        let Some(run) = self.newest().await? else { return Ok(None) };
        let is_free = run.leader == Some(node) || run.leads_until < run.now;
        if run.state != RunState::Running || !is_free {
            return Ok(Some(Led { run, is_mine: false, event: None }));
        }
        let run = if run.leader == Some(node) && run.leads_until - run.now > LEASE / 2.0 {
            run
        } else {
            match self.runs.lead_run(&run, node, name, LEASE).await? {
                Some(led) => led,
                None => return Ok(Some(Led { run, is_mine: false, event: None })),
            }
        };
        let rollout = self.rollouts.rollout().await?.unwrap_or_default();
        let nodes = self.node_rows.node_counts().await?;
        let unlisted = self.nodes.unlisted().await?.into_iter();
        let unlisted: Vec<_> = unlisted.map(|UnlistedNode { name, .. }| name).collect();
        let Next { run: next, rollout, event } = run.next(&rollout, &nodes, &unlisted);
        if next == run {
            return Ok(Some(Led { run, is_mine: true, event: None }));
        }
        match self.runs.write_run(None, &next, rollout.as_ref()).await? {
            RunWritten::Done => Ok(Some(Led { run: next, is_mine: true, event })),
            // Somebody has paused it, or another node has led it on. The next look tells, which is soon.
            RunWritten::Declined => Ok(Some(Led { run, is_mine: true, event: None })),
        }
    }
}

/// How often whoever leads looks, in seconds, and the others.
pub(crate) const SEEN_EVERY: [u64; 2] = [2, 5];
/// For how long a node leads without saying so again, in seconds.
const LEASE: f64 = 12.0;
