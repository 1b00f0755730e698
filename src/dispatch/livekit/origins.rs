//! Whether calls may go to a host that leads into a private network: not where its URL came over the API and
//! `LIVEKIT_HOSTS` names no hosts. Where it is checked when it is saved, a name may lead elsewhere later.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::resolver::Resolver;

/// Knows of hosts whether their URLs came over the API. Cloning shares it.
#[derive(Clone)]
pub(super) struct Origins(Arc<Shared>);

struct Shared {
    resolver: Resolver,
    /// What was found out of each host, and when.
    known: Mutex<HashMap<String, (bool, Moment)>>,
    warned: AtomicBool,
}

impl fmt::Debug for Origins {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Origins").finish_non_exhaustive()
    }
}

impl Origins {
    pub(super) fn of(resolver: &Resolver) -> Self {
        let resolver = resolver.clone();
        Self(Arc::new(Shared { resolver, known: Mutex::default(), warned: AtomicBool::new(false) }))
    }

    /// Whether a call may not go to this host, which leads into a private network.
    ///
    /// A database that does not tell refuses none that was not refused before: calls go on without it.
    pub(super) async fn refuse(&self, host: &str) -> bool {
        let Shared { resolver, warned, .. } = &*self.0;
        if !resolver.hosts().are_all() {
            return false;
        }
        let now = resolver.now();
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner).get(host).copied();
        if let Some((refused, _)) = known.filter(|&(_, at)| now.since(at) < KNOWN_FOR) {
            return refused;
        }
        match resolver.came_over_api(host).await {
            Ok(came) => {
                let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= MOST_KNOWN {
                    known.clear();
                }
                known.insert(host.to_owned(), (came, now));
                came
            }
            Err(error) => {
                if known.is_none() && !warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        host,
                        "a LiveKit host leads into a private network, and the audit does not tell who named \
                         it: calls go there; name it in LIVEKIT_HOSTS, or grant the audit"
                    );
                }
                known.is_some_and(|(refused, _)| refused)
            }
        }
    }
}

/// How long an answer holds.
const KNOWN_FOR: Duration = Duration::from_secs(30);
const MOST_KNOWN: usize = 10_000;
