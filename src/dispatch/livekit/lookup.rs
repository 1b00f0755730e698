//! Looks names up when a connection is made, and checks the addresses then: a name may lead to
//! another address than a moment ago.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::server_url::is_off_limits;

/// Looks names up, and minds those that lead where no LiveKit server is.
pub(super) struct Lookup {
    find: Find,
    host_policy: HostPolicy,
}

/// The addresses of a name.
type Find = fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// What becomes of a name that leads there.
#[derive(Clone)]
enum HostPolicy {
    Refuses,
    /// The first one is told of.
    Warns(Arc<AtomicBool>),
}

impl Lookup {
    /// For calls, which have been placed so far wherever a name led.
    pub(super) fn warning() -> Self {
        Self { find: by_system, host_policy: HostPolicy::Warns(Arc::default()) }
    }

    /// For checks.
    pub(super) fn refusing() -> Self {
        Self { find: by_system, host_policy: HostPolicy::Refuses }
    }

    pub(super) fn refuses(&self) -> bool {
        matches!(self.host_policy, HostPolicy::Refuses)
    }
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, host_policy) =
            ((self.find)(name.as_str().to_owned()), self.host_policy.clone());
        Box::pin(async move {
            let found = found.await?;
            if found.iter().any(|found| is_off_limits(found.ip())) {
                match host_policy {
                    HostPolicy::Refuses => return Err(OFF_LIMITS.into()),
                    HostPolicy::Warns(warned) if warned.swap(true, Ordering::Relaxed) => {}
                    HostPolicy::Warns(_) => tracing::warn!(host = name.as_str(), "{WARNING}"),
                }
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn by_system(name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
}

/// What is said of an address, or a name that leads to one, where no LiveKit server is.
pub(in crate::dispatch) const OFF_LIMITS: &str =
    "a link-local address, or one where a cloud tells machines about themselves";
const WARNING: &str = "the host of a LiveKit URL leads to a link-local or metadata address; checks \
                       refuse it, and the next major version will refuse calls there";

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::super::{LiveKit, Timeouts};
    use super::*;

    fn metadata(_: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        let found = ["192.0.2.1:0", "[::ffff:169.254.169.254]:0"].map(|at| at.parse().unwrap());
        Box::pin(async move { Ok(found.to_vec()) })
    }

    async fn asked(lookup: Lookup) -> Result<usize, Box<dyn Error + Send + Sync>> {
        Ok(lookup.resolve("calls.example".parse().unwrap()).await?.count())
    }

    #[tokio::test]
    async fn a_name_that_leads_to_such_an_address_is_refused_when_a_check_connects() {
        let refused = asked(Lookup { find: metadata, ..Lookup::refusing() }).await.unwrap_err();
        assert_eq!(refused.to_string(), OFF_LIMITS);
        assert_eq!(asked(Lookup { find: metadata, ..Lookup::warning() }).await.unwrap(), 2);
        let other = "localhost".parse().unwrap();
        assert!(Lookup::refusing().resolve(other).await.unwrap().count() > 0);
    }

    #[tokio::test]
    async fn what_a_client_of_checks_says_of_it_is_told_apart() {
        let lookup = Lookup { find: metadata, ..Lookup::refusing() };
        let timeout = std::time::Duration::from_secs(10);
        let client = LiveKit::looking_up(Timeouts { connect: timeout, answer: timeout }, lookup);
        let error = client.greet(&"ws://calls.example:7880".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().ends_with(OFF_LIMITS), "{error}");
    }
}
