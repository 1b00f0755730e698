//! Which hosts LiveKit servers may be at.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use url::Host;

use super::ServerUrl;

/// Hosts by name (exact, or all below one: `*.example.com`) and networks of addresses (CIDR). With
/// none of them, every host is allowed.
///
/// ```
/// use trunkline::AllowedHosts;
///
/// let hosts: AllowedHosts = "calls.example, *.livekit.cloud, 10.0.0.0/8".parse()?;
/// assert!(hosts.allow(&"wss://my-project.livekit.cloud".parse()?));
/// assert!(hosts.allow(&"ws://10.1.2.3:7880".parse()?));
/// assert!(!hosts.allow(&"wss://elsewhere.example".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<Allowed>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Name(String),
    /// All names that end like this, which begins with a dot.
    Below(String),
    Network {
        first: u128,
        /// How many bits of an address count.
        bits: u32,
    },
}

impl AllowedHosts {
    /// Whether a server may be at this URL.
    #[must_use]
    pub fn allow(&self, url: &ServerUrl) -> bool {
        self.0.is_empty() || url.host().is_some_and(|host| self.0.iter().any(|it| it.is(&host)))
    }

    /// Whether every host is allowed.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.0.is_empty()
    }
}

impl Allowed {
    fn is(&self, host: &Host<String>) -> bool {
        match (self, host) {
            (Self::Name(name), Host::Domain(host)) => without_dot(host) == name,
            (Self::Below(end), Host::Domain(host)) => {
                without_dot(host).strip_suffix(end.as_str()).is_some_and(|below| !below.is_empty())
            }
            (Self::Network { first, bits }, Host::Ipv4(address)) => {
                masked(number((*address).into()), *bits) == *first
            }
            (Self::Network { first, bits }, Host::Ipv6(address)) => {
                masked(number((*address).into()), *bits) == *first
            }
            _ => false,
        }
    }
}

impl FromStr for AllowedHosts {
    type Err = AllowedHostsError;

    fn from_str(text: &str) -> Result<Self, AllowedHostsError> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let read = |(at, entry)| allowed(entry).ok_or(AllowedHostsError { entry: at + 1 });
        entries.enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }
}

fn allowed(entry: &str) -> Option<Allowed> {
    if let Some((address, bits)) = entry.split_once('/') {
        let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = (bits <= most).then_some(bits + 128 - most)?;
        let first = number(address);
        // Bits that do not count are a slip: the network meant may be another one.
        return (masked(first, bits) == first).then_some(Allowed::Network { first, bits });
    }
    let bare = entry.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')).unwrap_or(entry);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Allowed::Network { first: number(address), bits: 128 });
    }
    let (below, name) = match entry.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, entry),
    };
    if name.contains('*') {
        return None;
    }
    // As it stands in a URL: in small letters, and in ASCII.
    let Ok(Host::Domain(name)) = Host::parse(name) else { return None };
    let name = without_dot(&name);
    Some(if below { Allowed::Below(format!(".{name}")) } else { Allowed::Name(name.to_owned()) })
}

/// An address as IPv6 has it: one of IPv4 is the same, however it is written.
fn number(address: IpAddr) -> u128 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.to_bits()
}

fn masked(address: u128, bits: u32) -> u128 {
    address & u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

/// A name with a dot at its end is the same name.
pub(super) fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// An entry that is neither a host nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedHostsError {
    /// Which one, from 1.
    entry: usize,
}

impl fmt::Display for AllowedHostsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry } = self;
        write!(
            out,
            "entry {entry} is neither a host (calls.example, *.livekit.cloud), without scheme and \
             port, nor a network (10.0.0.0/8, fd00::/8), whose address ends where its bits do"
        )
    }
}

impl std::error::Error for AllowedHostsError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(hosts: &str, host: &str) -> bool {
        let hosts: AllowedHosts = hosts.parse().unwrap();
        hosts.allow(&format!("wss://{host}").parse().unwrap())
    }

    #[test]
    fn hosts_are_allowed_by_name_by_what_is_above_them_and_by_network() {
        for (hosts, host) in [
            ("", "anything.example"),
            (" , ", "anything.example"),
            ("eu.example", "eu.example:7880/path"),
            ("EU.example.", "eu.EXAMPLE"),
            ("eu.example", "eu.example."),
            ("a.example, eu.example", "eu.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.example", "eu.example"),
            ("*.example", "a.b.example"),
            ("10.0.0.0/8", "10.255.0.1"),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]"),
            ("::ffff:10.0.0.0/104", "10.1.2.3"),
            ("127.0.0.1", "127.0.0.1:7880"),
            ("127.0.0.1", "0x7f000001"),
            ("[::1]", "[::1]:7880"),
            ("fd00::/8", "[fd12::1]"),
            ("0.0.0.0/0", "192.0.2.1"),
            ("::/0", "[2001:db8::1]"),
        ] {
            assert!(allow(hosts, host), "{hosts:?} {host}");
        }
        for (hosts, host) in [
            ("eu.example", "us.example"),
            ("eu.example", "eu.example.evil.example"),
            ("eu.example", "a.eu.example"),
            ("*.example", "example"),
            ("*.example", "evilexample"),
            ("*.eu.example", "eu.example"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/8", "ten.example"),
            ("0.0.0.0/0", "[2001:db8::1]"),
            ("0.0.0.0/0", "eu.example"),
            ("*.1.2.3", "0.1.2.3"),
        ] {
            assert!(
                !hosts.parse::<AllowedHosts>().is_ok_and(|_| allow(hosts, host)),
                "{hosts:?} {host}"
            );
        }
    }

    #[test]
    fn what_is_neither_a_host_nor_a_network_is_refused_by_its_place() {
        for entry in [
            "wss://eu.example",
            "eu.example:7880",
            "key@eu.example",
            "*",
            "*.",
            "eu.*.example",
            "a b",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/",
            "eu.example/8",
        ] {
            let error = format!("us.example,{entry}").parse::<AllowedHosts>().unwrap_err();
            assert_eq!(error, AllowedHostsError { entry: 2 }, "{entry}");
        }
    }
}
