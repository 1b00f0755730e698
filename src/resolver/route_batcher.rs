//! Asks for the numbers that wait for a database connection together, in one statement.
//!
//! No number waits for others to join it: if a connection is free, it is asked for at once. Numbers
//! that come while all connections are busy wait, and the next free connection asks for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::number::Caller;
use crate::store::{Route, Store, StoreError};

/// The database's reply for one number.
pub(super) type Reply = Result<Option<Route>, Arc<StoreError>>;

/// The numbers that wait.
pub(super) struct RouteBatcher {
    waiting: Mutex<Vec<(Caller, oneshot::Sender<Reply>)>>,
    /// One for each statement that may run at once.
    permits: Semaphore,
}

impl RouteBatcher {
    pub(super) fn new(connections: u32) -> Self {
        Self { waiting: Mutex::default(), permits: Semaphore::new(connections as usize) }
    }

    /// Asks for a number: in a batch of this caller's own, or in that of another caller.
    pub(super) async fn route(&self, store: &dyn Store, caller: Caller) -> Reply {
        let (sender, mut receiver) = oneshot::channel();
        self.waiting().push((caller, sender));
        let asked = loop {
            tokio::select! {
                biased;
                asked = &mut receiver => break asked,
                Ok(permit) = self.permits.acquire() => {
                    let any_waited = self.ask(store).await;
                    drop(permit);
                    // Otherwise another caller's batch has this number already.
                    if !any_waited {
                        break (&mut receiver).await;
                    }
                }
            }
        };
        match asked {
            Ok(asked) => asked,
            // The caller that ran the batch has crashed, or a row of the batch is unreadable; that may
            // be another number's, so this one is asked for alone.
            Err(_) => store.route(caller).await.map_err(Arc::new),
        }
    }

    /// Asks for the waiting numbers and sends each its reply. `false`: none waits.
    async fn ask(&self, store: &dyn Store) -> bool {
        let (callers, sender): (Vec<_>, Vec<_>) = {
            let mut waiting = self.waiting();
            let many = waiting.len().min(MOST_AT_ONCE);
            waiting.drain(..many).unzip()
        };
        let asked = match callers[..] {
            [] => return false,
            [caller] => store.route(caller).await.map(|route| vec![route]),
            _ => store.routes(&callers).await,
        };
        match asked {
            Ok(routes) => {
                for (sender, route) in sender.into_iter().zip(routes) {
                    let _gone = sender.send(Ok(route));
                }
            }
            Err(StoreError::Row { .. }) if callers.len() > 1 => {}
            Err(error) => {
                let error = Arc::new(error);
                for sender in sender {
                    let _gone = sender.send(Err(Arc::clone(&error)));
                }
            }
        }
        true
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<(Caller, oneshot::Sender<Reply>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many as come back within a deadline that is meant for one.
const MOST_AT_ONCE: usize = 1000;
