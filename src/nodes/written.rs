//! Who has seen what this node wrote: it itself, and the others as far as they tell.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{LOOK, Nodes};
use crate::changes::reaches;
use crate::store::{NodeState, StoreError, Written};

/// This node, as far as it knows itself.
pub(crate) struct Here {
    /// Up to where it has applied changes.
    pub(crate) applied: watch::Receiver<Option<String>>,
    /// Its row among the nodes, if it has one.
    pub(crate) row: Option<Uuid>,
}

/// Who has seen a change that this node wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrittenSeen {
    /// Whether this node answers by it.
    pub(crate) applied: bool,
    /// How many live nodes do, this one included, and how many there are. `None`: nobody can tell.
    pub(crate) nodes: Option<(usize, usize)>,
}

impl Nodes {
    /// Waits until this node and every other live one has applied a change, for `within` at the most.
    /// `None`: nothing was logged, so nobody has anything to apply.
    pub(crate) async fn written_seen(
        &self,
        written: Option<Written>,
        mut here: Here,
        within: Duration,
    ) -> WrittenSeen {
        let began = Instant::now();
        let applied = match written {
            None => true,
            Some(Written { place, .. }) => is_applied(&mut here.applied, place, within).await,
        };
        loop {
            let nodes = self.live_and_seen(written, here.row.filter(|_| applied)).await;
            match nodes {
                Ok((seen, of)) if seen < of && began.elapsed() < within => {
                    sleep(LOOK.min(within.saturating_sub(began.elapsed()))).await;
                }
                Ok(nodes) => return WrittenSeen { applied, nodes: Some(nodes) },
                Err(error) => {
                    tracing::debug!(%error, "it is not known which nodes have seen a change");
                    return WrittenSeen { applied, nodes: None };
                }
            }
        }
    }

    /// `here`: this node, if it has applied it.
    async fn live_and_seen(
        &self,
        written: Option<Written>,
        here: Option<Uuid>,
    ) -> Result<(usize, usize), StoreError> {
        let nodes = match written {
            Some(Written { seq, .. }) => self.rows.nodes_and_change(seq).await?,
            None => self.rows.nodes().await?.into_iter().map(|node| (node, true)).collect(),
        };
        let live = || nodes.iter().filter(|(node, _)| node.state == NodeState::Live);
        let seen = live().filter(|(node, seen)| *seen || Some(node.id) == here).count();
        Ok((seen, live().count()))
    }
}

/// Waits until a change has been applied here. `false`: not within this time.
async fn is_applied(
    applied: &mut watch::Receiver<Option<String>>,
    place: i64,
    within: Duration,
) -> bool {
    let is_there = |at: &Option<String>| at.as_deref().is_some_and(|at| reaches(at, place));
    matches!(timeout(within, applied.wait_for(is_there)).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_waited_for_until_it_is_applied_here_and_for_so_long_at_the_most() {
        let (tells, mut applied) = watch::channel(Some("3".to_owned()));
        let (began, within) = (Instant::now(), Duration::from_secs(1));
        assert!(is_applied(&mut applied, 3, within).await);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(!is_applied(&mut applied, 4, within).await);
        assert_eq!(began.elapsed(), within);
        let heard = async {
            sleep(within / 2).await;
            tells.send_replace(Some("9".to_owned()));
        };
        assert!(tokio::join!(is_applied(&mut applied, 4, within), heard).0);
        assert_eq!(began.elapsed(), within * 3 / 2);
        drop(tells);
        assert!(!is_applied(&mut applied, 10, within).await, "nobody tells any more");
    }
}
