//! Looks names up when a connection is made, and minds those that lead where no LiveKit server is. A
//! check looks a name up once, before it connects: then the addresses are pinned. For clients of the API
//! they are pinned by each connection: it goes to the addresses that were looked at, and to no other.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

#[cfg(feature = "server")]
use super::origins::Origins;
use crate::server_url::is_off_limits;
#[cfg(feature = "server")]
use crate::server_url::is_public;

/// Looks names up, and minds those that lead where no LiveKit server is.
pub(super) struct Lookup(Found);

/// The addresses of a name.
type Find = fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// What a name leads to.
enum Found {
    /// What the system says. The first name that leads where no server is is told of.
    Sought(Find, Arc<AtomicBool>),
    /// What the system says, unless it leads where no server is, or into a private network by a URL that
    /// came over the API.
    #[cfg(feature = "server")]
    Guarded(Find, Origins),
    /// These, whatever the name.
    Pinned(Vec<SocketAddr>),
}

impl Lookup {
    /// For calls, which have been placed so far wherever a name led.
    pub(super) fn warning() -> Self {
        Self(Found::Sought(by_system, Arc::default()))
    }

    /// For calls of clients of the API, who may have written the URL.
    #[cfg(feature = "server")]
    pub(super) fn guarded(origins: Origins) -> Self {
        Self(Found::Guarded(by_system, origins))
    }

    /// For checks, which have looked the name up.
    pub(super) fn pinned(addresses: Vec<SocketAddr>) -> Self {
        Self(Found::Pinned(addresses))
    }

    pub(super) fn is_pinned(&self) -> bool {
        matches!(self.0, Found::Pinned(_))
    }

    pub(super) fn is_guarded(&self) -> bool {
        #[cfg(feature = "server")]
        return matches!(self.0, Found::Guarded(..));
        #[cfg(not(feature = "server"))]
        false
    }
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        match &self.0 {
            Found::Pinned(addresses) => {
                let addresses: Addrs = Box::new(addresses.clone().into_iter());
                Box::pin(std::future::ready(Ok(addresses)))
            }
            #[cfg(feature = "server")]
            Found::Guarded(find, origins) => {
                let (found, origins) = (find(name.as_str().to_owned()), origins.clone());
                Box::pin(async move {
                    let found = found.await?;
                    if found.iter().any(|found| is_off_limits(found.ip())) {
                        return Err(io::Error::other(format!("it leads to {OFF_LIMITS}")).into());
                    }
                    if found.iter().any(|found| !is_public(found.ip()))
                        && origins.refuse(name.as_str()).await
                    {
                        return Err(io::Error::other(PRIVATE).into());
                    }
                    Ok(Box::new(found.into_iter()) as Addrs)
                })
            }
            Found::Sought(find, warned) => {
                let (found, warned) = (find(name.as_str().to_owned()), Arc::clone(warned));
                Box::pin(async move {
                    let found = found.await?;
                    if found.iter().any(|found| is_off_limits(found.ip()))
                        && !warned.swap(true, Ordering::Relaxed)
                    {
                        tracing::warn!(host = name.as_str(), "{WARNING}");
                    }
                    Ok(Box::new(found.into_iter()) as Addrs)
                })
            }
        }
    }
}

fn by_system(name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
}

/// What is said of an address, or a name that leads to one, where no LiveKit server is.
pub(in crate::dispatch) const OFF_LIMITS: &str =
    "a link-local address, or one where a cloud tells machines about themselves";
#[cfg(feature = "server")]
const PRIVATE: &str = "its host leads into a private network, and the URL came over the API: LIVEKIT_HOSTS \
                       must name the host";
const WARNING: &str = "the host of a LiveKit URL leads to a link-local or metadata address; checks \
                       refuse it, and the next major version will refuse calls there";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{LiveKit, Timeouts};
    use super::*;
    #[cfg(feature = "server")]
    use crate::{Resolver, Settings};

    fn metadata(_: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        let found = ["192.0.2.1:0", "[::ffff:169.254.169.254]:0"].map(|at| at.parse().unwrap());
        Box::pin(async move { Ok(found.to_vec()) })
    }

    #[tokio::test]
    async fn a_call_goes_wherever_a_name_leads_and_that_is_told_once() {
        let warned = Arc::<AtomicBool>::default();
        let lookup = Lookup(Found::Sought(metadata, Arc::clone(&warned)));
        let found = lookup.resolve("calls.example".parse().unwrap()).await.unwrap();
        assert_eq!((found.count(), warned.load(Ordering::Relaxed)), (2, true));
        let warning = Lookup::warning().resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(warning.count() > 0);
    }

    #[cfg(feature = "server")]
    #[tokio::test]
    async fn a_call_of_a_client_goes_nowhere_that_no_server_is() {
        let resolver = Resolver::builder(Settings::default()).start();
        let lookup = Lookup(Found::Guarded(metadata, Origins::of(&resolver)));
        let error = lookup.resolve("calls.example".parse().unwrap()).await.err().unwrap();
        assert!(error.to_string().contains("metadata") || error.to_string().contains("link-local"));
        // Nobody named it over the API.
        let good = Lookup::guarded(Origins::of(&resolver));
        let good = good.resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(good.count() > 0);
        // Nor by a number, which nobody looks up.
        let timeout = Duration::from_secs(1);
        let client = LiveKit::guarded(&resolver);
        for url in ["ws://169.254.169.254", "ws://[fe80::1]:7880"] {
            let error = client.refuse_off_limits(&url.parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains(OFF_LIMITS), "{url}: {error}");
        }
        assert!(client.refuse_off_limits(&"ws://127.0.0.1:7880".parse().unwrap()).is_ok());
        let open = LiveKit::new(Timeouts { connect: timeout, answer: timeout });
        assert!(open.refuse_off_limits(&"ws://169.254.169.254".parse().unwrap()).is_ok());
    }

    #[tokio::test]
    async fn a_pinned_client_goes_to_its_addresses_whatever_the_name_leads_to() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let pinned: SocketAddr = nobody.local_addr().unwrap();
        drop(nobody);
        let timeout = Duration::from_secs(10);
        let timeouts = Timeouts { connect: timeout, answer: timeout };
        let client = LiveKit::pinned(timeouts, vec![pinned]);
        // A name that no DNS knows is not asked of it.
        let url = format!("ws://calls.invalid:{}", pinned.port()).parse().unwrap();
        let error = client.greet(&url).await.unwrap_err().to_string();
        assert!(error.to_lowercase().contains("refused"), "{error}");
    }
}
