//! Addresses where no LiveKit server can be: link-local ones, and those where clouds hand
//! credentials to machines. A URL with one of them could make this machine ask for its own
//! credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

use super::ServerUrl;
use super::hosts::without_dot;

impl ServerUrl {
    /// Whether its host is a link-local address, or one where a cloud answers machines about
    /// themselves, by number or by name. Another name may lead to such an address, too; that is
    /// found out when a check connects.
    #[must_use]
    pub fn is_off_limits(&self) -> bool {
        match self.host() {
            Some(Host::Domain(name)) => {
                let name = without_dot(&name);
                OF_CLOUDS.contains(&name)
            }
            Some(Host::Ipv4(address)) => is_off_limits(address.into()),
            Some(Host::Ipv6(address)) => is_off_limits(address.into()),
            None => false,
        }
    }
}

/// Whether a URL leads to a link-local address, or to one where a cloud tells machines about themselves,
/// by its host or by what the name of that is looked up to be now. A name that is not found leads
/// nowhere.
#[cfg(any(feature = "dispatch", feature = "server"))]
pub async fn leads_off_limits(url: &ServerUrl) -> bool {
    if url.is_off_limits() {
        return true;
    }
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(url.address())).await;
    found.is_ok_and(|found| found.is_ok_and(|mut found| found.any(|it| is_off_limits(it.ip()))))
}

/// Whether an address is link-local, or one where a cloud answers machines about themselves.
pub(crate) fn is_off_limits(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || METADATA.contains(&address)
                || within(address).is_some_and(|address| address.is_link_local())
        }
    }
}

/// The IPv4 address that stands in an IPv6 one: mapped, compatible, or by NAT64 (RFC 6052).
fn within(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// How long a name is looked up.
#[cfg(any(feature = "dispatch", feature = "server"))]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// Of AWS, and of Google.
const METADATA: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The names under which clouds have them.
const OF_CLOUDS: [&str; 11] = [
    "instance-data",
    "instance-data.ec2.internal",
    "metadata",
    "metadata.azure.internal",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.oraclecloud.com",
    "metadata.packet.net",
    "metadata.platformequinix.com",
    "metadata.tencentyun.com",
    "rancher-metadata",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_metadata_hosts_are_off_limits_however_they_are_written() {
        for host in [
            "169.254.169.254",
            "169.254.0.1:80/latest",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
            "[fe80::1]",
            "[febf::1]",
            "[fd00:ec2::254]",
            "metadata.google.internal",
            "METADATA.google.internal.",
            "instance-data",
        ] {
            let url: ServerUrl = format!("ws://{host}").parse().unwrap();
            assert!(url.is_off_limits(), "{host}");
        }
        for host in [
            "eu.example",
            "127.0.0.1:7880",
            "10.0.0.1",
            "169.253.0.1",
            "[::1]",
            "[fec0::1]",
            "[fd00:ec2::253]",
            "[::ffff:10.0.0.1]",
            "metadata.example",
            "my.metadata.google.internal.example",
        ] {
            let url: ServerUrl = format!("ws://{host}").parse().unwrap();
            assert!(!url.is_off_limits(), "{host}");
        }
    }
}
