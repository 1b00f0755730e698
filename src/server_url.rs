//! The URL of a LiveKit server, checked once.
//!
//! A URL with a user name, a query or a line break was pasted from the wrong place. It is refused
//! with the reason, and never repaired.

mod hosts;
mod off_limits;

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

pub use self::hosts::{AllowedHosts, AllowedHostsError};
#[cfg(feature = "server")]
pub(crate) use self::off_limits::leads_into_private;
#[cfg(any(feature = "dispatch", feature = "server"))]
pub use self::off_limits::leads_off_limits;
#[cfg(feature = "dispatch")]
pub(crate) use self::off_limits::{is_off_limits, is_public};

/// A `ws`, `wss`, `http` or `https` URL with a host, and without user name, query or fragment.
///
/// ```
/// use trunkline::ServerUrl;
///
/// let url: ServerUrl = "wss://calls.livekit.cloud".parse()?;
/// assert_eq!(url.as_str(), "wss://calls.livekit.cloud");
/// # Ok::<(), trunkline::ServerUrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(Box<str>);

impl ServerUrl {
    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is sent there is encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        matches!(self.url().scheme(), "wss" | "https")
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.url().host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// Its host, without the brackets of an IPv6 address, and its port.
    #[must_use]
    pub fn address(&self) -> (String, u16) {
        let url = self.url();
        let host = url.host().map(|host| match host {
            Host::Ipv6(address) => address.to_string(),
            other => other.to_string(),
        });
        (host.unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
    }

    /// Host, port and path, the same for every way of writing them.
    #[cfg(feature = "dispatch")]
    pub(crate) fn place(&self) -> String {
        let (host, port) = self.address();
        format!("{host}:{port}{}", self.url().path().trim_end_matches('/'))
    }

    fn host(&self) -> Option<Host<String>> {
        self.url().host().map(|host| host.to_owned())
    }

    fn url(&self) -> Url {
        Url::parse(&self.0).expect("it was parsed before")
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        if text.is_empty() {
            return Err(ServerUrlError::Empty);
        }
        if text.len() > LONGEST {
            return Err(ServerUrlError::TooLong { length: text.len() });
        }
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(ServerUrlError::WhiteSpace);
        }
        let url = Url::parse(text).map_err(|_| ServerUrlError::NoUrl)?;
        if !matches!(url.scheme(), "ws" | "wss" | "http" | "https") {
            return Err(ServerUrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ServerUrlError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ServerUrlError::Query);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(ServerUrlError::NoUrl);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

/// Why a text is no [`ServerUrl`]. Never repeats the text, which may carry a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerUrlError {
    /// Nothing at all.
    #[error("the URL is empty; a LiveKit URL looks like wss://calls.livekit.cloud")]
    Empty,
    /// More than the 500 characters that the table holds.
    #[error("the URL has {length} bytes; it must have at most 500")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A blank, a line break or a control character, often at the end of something pasted.
    #[error(
        "the URL has white space or a control character in it, perhaps a line break at its end"
    )]
    WhiteSpace,
    /// No URL with a host.
    #[error("not a URL; a LiveKit URL looks like wss://calls.livekit.cloud")]
    NoUrl,
    /// Another scheme.
    #[error("the URL must begin with ws://, wss://, http:// or https://")]
    Scheme,
    /// A user name or password before the host.
    #[error(
        "the URL must not have a user name or password; API key and secret have their own fields"
    )]
    UserInfo,
    /// A query or fragment.
    #[error("the URL must not have a query or fragment; a LiveKit URL ends after its host or path")]
    Query,
}

const LONGEST: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_url_is_told_what_is_wrong_with_it() {
        for (text, error) in [
            ("", ServerUrlError::Empty),
            ("wss://a.example\n", ServerUrlError::WhiteSpace),
            ("wss://a.example\0", ServerUrlError::WhiteSpace),
            (" wss://a.example", ServerUrlError::WhiteSpace),
            ("a.example", ServerUrlError::NoUrl),
            ("wss://", ServerUrlError::NoUrl),
            ("ftp://a.example", ServerUrlError::Scheme),
            ("javascript:alert(1)", ServerUrlError::Scheme),
            ("wss://key:secret@a.example", ServerUrlError::UserInfo),
            ("wss://a.example?token=1", ServerUrlError::Query),
            ("wss://a.example/#x", ServerUrlError::Query),
        ] {
            assert_eq!(text.parse::<ServerUrl>(), Err(error), "{text:?}");
        }
        let long = format!("wss://{}.example", "a".repeat(500));
        assert_eq!(long.parse::<ServerUrl>(), Err(ServerUrlError::TooLong { length: 514 }));
    }

    #[test]
    fn every_scheme_port_and_path_that_livekit_takes_is_kept_as_written() {
        for text in [
            "ws://127.0.0.1:7880",
            "wss://a.example/sub/path/",
            "http://[::1]:7880",
            "HTTPS://A.example",
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().as_str(), text);
        }
    }
}
