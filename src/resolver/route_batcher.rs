//! Numbers that wait for a connection to the database are asked for together, in one statement.
//!
//! Nothing waits for company: a number that finds a connection free is asked for at once, by itself.
//! Those that come while all are busy gather, and the next one to be free asks for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::number::Caller;
use crate::store::{Route, Store, StoreError};

/// What the database said of one number.
pub(super) type Reply = Result<Option<Route>, Arc<StoreError>>;

/// The numbers that wait.
pub(super) struct RouteBatcher {
    waiting: Mutex<Vec<(Caller, oneshot::Sender<Reply>)>>,
    /// How many may ask at once.
    permits: Semaphore,
}

impl RouteBatcher {
    pub(super) fn new(connections: u32) -> Self {
        Self { waiting: Mutex::default(), permits: Semaphore::new(connections as usize) }
    }

    /// Asks for a number, with those that wait or by one of them.
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
                    // Else it is being asked for, by whoever took it from those that wait.
                    if !any_waited {
                        break (&mut receiver).await;
                    }
                }
            }
        };
        match asked {
            Ok(asked) => asked,
            // Whoever asked for it has crashed, or met a row that cannot be read, which may be
            // another number's.
            Err(_) => store.route(caller).await.map_err(Arc::new),
        }
    }

    /// Asks for those that wait, and tells them. `false`: nobody waits.
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

/// So many come back within a deadline that was meant for one.
const MOST_AT_ONCE: usize = 1000;
