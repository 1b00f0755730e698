//! The keys of a trunk and of an account on a server. Limits, breakers, queues and the numbers of a
//! trunk are stored under them.
//!
//! A trunk belongs to its server, whichever API key is used. A server is the same one however its
//! URL is written.

use crate::cache::Resolution;

/// A trunk of a server, or the server alone where calls name no trunk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TrunkKey {
    server: Box<str>,
    trunk: Option<Box<str>>,
}

/// An API key on a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct AccountKey {
    server: Box<str>,
    api_key: Box<str>,
}

impl TrunkKey {
    /// The trunk that calls with these credentials go over.
    pub(super) fn of(answer: &Resolution) -> Self {
        let trunk = answer.trunk_id().map(Into::into);
        Self { server: answer.url().place().into(), trunk }
    }

    /// Its server.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    #[cfg(test)]
    pub(super) fn named(trunk: &str) -> Self {
        Self { server: "server:443".into(), trunk: Some(trunk.into()) }
    }
}

impl AccountKey {
    pub(super) fn of(answer: &Resolution) -> Self {
        Self { server: answer.url().place().into(), api_key: answer.api_key().into() }
    }
}

#[cfg(test)]
mod tests {
    use crate::server_url::ServerUrl;

    #[test]
    fn a_server_is_the_same_one_however_its_url_is_written() {
        let place = |url: &str| url.parse::<ServerUrl>().unwrap().place();
        assert_eq!(place("wss://calls.example"), "calls.example:443");
        for same in ["wss://calls.example/", "https://CALLS.example:443", "WSS://calls.example"] {
            assert_eq!(place(same), place("wss://calls.example"), "{same}");
        }
        for other in ["ws://calls.example", "wss://calls.example/eu", "wss://calls.example:7880"] {
            assert_ne!(place(other), place("wss://calls.example"), "{other}");
        }
        assert_eq!(place("ws://[::1]:7880/eu/"), "::1:7880/eu");
    }
}
