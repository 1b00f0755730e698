//! Which host names a request may use while the server listens on loopback.
//!
//! A web page in a browser on this machine may point a name of its own at 127.0.0.1, and read the
//! answers as its own. It cannot hide that name from the request, so such names are refused.

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The names that are answered to.
pub(super) struct Hosts {
    /// `None`: any, since others than this machine may ask.
    names: Option<Vec<String>>,
    warned: AtomicBool,
}

impl Hosts {
    /// At an address of this machine alone: its own names, addresses and `more`.
    pub(super) fn at(address: SocketAddr, more: &[String]) -> Arc<Self> {
        let names = address.ip().to_canonical().is_loopback().then(|| more.to_vec());
        Arc::new(Self { names, warned: AtomicBool::new(false) })
    }

    /// Whether a request names another host. Who names none is no browser.
    pub(super) fn refuses(&self, headers: &HeaderMap) -> bool {
        let strange = |host: &HeaderValue| {
            host.to_str().map_or(true, |host| !host.is_empty() && !self.admits(host))
        };
        headers.get_all(HOST).iter().any(strange)
    }

    fn admits(&self, host: &str) -> bool {
        let Some(names) = &self.names else { return true };
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        // A name can be pointed anywhere; an address is what it is.
        let address = host.parse::<IpAddr>().is_ok()
            || host.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok();
        address || host == "localhost" || host.ends_with(".localhost") || names.contains(&host)
    }
}

/// Turns away who asks for another name.
pub(super) async fn check(
    State(hosts): State<Arc<Hosts>>,
    request: Request,
    next: Next,
) -> Response {
    if !hosts.refuses(request.headers()) {
        return next.run(request).await;
    }
    if !hosts.warned.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "a request for another host was turned away; if a proxy sent it, add the proxy's name \
             to HTTP_HOSTS"
        );
    }
    let why = "not a name of this server; HTTP_HOSTS adds the names of a proxy\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_this_machine_only_its_own_names_and_those_of_a_proxy_are_answered() {
        let more = ["metrics.example".to_owned()];
        let hosts = Hosts::at("127.0.0.1:1".parse().unwrap(), &more);
        for host in [
            "localhost",
            "LOCALHOST:9464",
            "a.localhost.",
            "127.0.0.1:9464",
            "[::1]:9464",
            "10.0.0.7",
            "Metrics.example:443",
        ] {
            assert!(hosts.admits(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b"]
        {
            assert!(!hosts.admits(host), "{host}");
        }
        assert!(!Hosts::at("[::1]:1".parse().unwrap(), &[]).admits("evil.example"));
        assert!(Hosts::at("0.0.0.0:1".parse().unwrap(), &[]).admits("evil.example"));
    }
}
