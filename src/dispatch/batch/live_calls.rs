//! How many calls of a run are up at the same time over one trunk: those being placed, and those
//! whose room still exists.
//!
//! The server is asked only while the trunk is full, and then every few seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::super::livekit::{LiveKit, Room};
use crate::cache::Resolution;

/// The calls of one trunk that are up.
#[derive(Debug, Default)]
pub(super) struct LiveCalls {
    up: Mutex<Up>,
    /// A call is not being placed any more.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Up {
    /// The rooms of calls, and when each was placed.
    rooms: HashMap<Box<str>, Instant>,
    placing: usize,
    asked_at: Option<Instant>,
}

/// One call that may go up.
#[derive(Debug)]
pub(super) struct LiveSlot(Arc<LiveCalls>);

impl LiveCalls {
    /// Waits until one more call may be up, of so many.
    pub(super) async fn slot(
        self: &Arc<Self>,
        most: usize,
        livekit: &LiveKit,
        on: &Resolution,
    ) -> LiveSlot {
        loop {
            let (rooms, ask_at) = {
                let mut up = self.lock();
                if up.rooms.len() + up.placing < most.max(1) {
                    up.placing += 1;
                    return LiveSlot(Arc::clone(self));
                }
                let ask_at = up.asked_at.map_or_else(Instant::now, |then| then + BETWEEN_QUESTIONS);
                (up.rooms.keys().cloned().collect::<Vec<_>>(), ask_at)
            };
            tokio::select! {
                () = self.ended.notified() => continue,
                () = sleep_until(ask_at), if !rooms.is_empty() => {}
            }
            self.lock().asked_at = Some(Instant::now());
            let names: Vec<_> = rooms.iter().map(AsRef::as_ref).collect();
            // Where the server does not answer, they are taken to be up.
            if let Ok(there) = livekit.rooms(on, &names).await {
                self.lock().forget_ended(&rooms, &there);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Up> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Up {
    /// Of the rooms that were asked for, those that are gone have ended, and those in which nobody is
    /// any more.
    fn forget_ended(&mut self, asked: &[Box<str>], there: &[Room]) {
        for name in asked {
            let room = there.iter().find(|room| room.name.as_str() == &**name);
            let came = self.rooms.get(name).is_some_and(|placed| placed.elapsed() > COMING);
            if room.is_none_or(|room| came && room.num_participants == 0) {
                self.rooms.remove(name);
            }
        }
    }
}

impl LiveSlot {
    /// The call is up, in this room.
    pub(super) fn up(self, room: &str) {
        self.0.lock().rooms.insert(room.into(), Instant::now());
    }
}

impl Drop for LiveSlot {
    fn drop(&mut self) {
        self.0.lock().placing -= 1;
        self.0.ended.notify_one();
    }
}

/// How long a full trunk's server is left alone between two questions.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(2);
/// How long an agent may take to come into its room.
const COMING: Duration = Duration::from_secs(60);
