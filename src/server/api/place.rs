//! What kind of place a request came to: what it may say of itself there, and who sent it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::header::{FORWARDED, STRICT_TRANSPORT_SECURITY};
use axum::http::{HeaderMap, HeaderValue};

use super::problem::Problem;
use crate::server::connections::Peer;
use crate::server::hosts::Hosts;

/// Where it is answered.
#[derive(Clone)]
pub(in crate::server) enum At {
    /// An address, and the names that a request may ask for there.
    Address { hosts: Arc<Hosts>, has_tls: bool },
    /// An address where a proxy that is trusted passes requests on.
    Proxy { hosts: Arc<Hosts> },
    /// A socket, where any name may be asked for.
    Socket,
}

impl At {
    /// Over the network a request that a proxy passed on, or that names another host, may be of
    /// somebody who cannot reach this address himself.
    pub(in crate::server) fn refuse_detours(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let (hosts, is_proxied) = match self {
            Self::Socket => return Ok(()),
            Self::Address { hosts, .. } => (hosts, false),
            Self::Proxy { hosts } => (hosts, true),
        };
        let is_passed_on =
            || headers.contains_key(FORWARDED_FOR) || headers.contains_key(FORWARDED);
        if !is_proxied && is_passed_on() {
            return Err(Problem::forwarded());
        }
        if hosts.refuses(headers) { Err(Problem::other_host()) } else { Ok(()) }
    }

    /// Who is at the other end. Of what a proxy passes on, who it says that was: the last address,
    /// since those before it came with the request.
    pub(super) fn peer(&self, connected: Peer, headers: &HeaderMap) -> Peer {
        let Self::Proxy { .. } = self else { return connected };
        let last = headers.get_all(FORWARDED_FOR).iter().next_back();
        let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
        last.and_then(address).map_or(connected, Peer::Network)
    }

    /// What answers say beside what all of them do.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        if let Self::Address { has_tls: true, .. } = self {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(A_YEAR));
        }
    }
}

/// With or without a port, as some proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    text.parse().ok().or_else(with_port)
}

const FORWARDED_FOR: &str = "x-forwarded-for";
/// For how long a browser must come back by TLS alone.
const A_YEAR: &str = "max-age=31536000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_proxy_the_last_address_asks_and_elsewhere_who_is_connected() {
        let hosts = Hosts::at(([10, 0, 0, 1], 1).into(), &[]);
        let connected = Peer::Network([10, 0, 0, 9].into());
        let peer = |at: &At, values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
            }
            at.peer(connected, &headers)
        };
        let proxy = At::Proxy { hosts: Arc::clone(&hosts) };
        let of = |text: &str| Peer::Network(text.parse().unwrap());
        for (values, expected) in [
            (&["198.51.100.1, 203.0.113.7"][..], of("203.0.113.7")),
            (&["198.51.100.1", "203.0.113.7"], of("203.0.113.7")),
            (&["203.0.113.7:4711"], of("203.0.113.7")),
            (&["[2001:db8::7]:4711"], of("2001:db8::7")),
            (&["2001:db8::7"], of("2001:db8::7")),
            (&[], connected),
            (&["203.0.113.7, unknown"], connected),
        ] {
            assert_eq!(peer(&proxy, values), expected, "{values:?}");
        }
        for at in [At::Address { hosts, has_tls: true }, At::Socket] {
            assert_eq!(peer(&at, &["203.0.113.7"]), connected);
        }
    }
}
