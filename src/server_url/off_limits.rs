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
    url.is_off_limits() || leads_to(url, is_off_limits).await
}

/// Whether a URL leads into a private network, or to this machine, by what its host is looked up to be
/// now. A name that is not found leads nowhere.
#[cfg(feature = "server")]
pub(crate) async fn leads_into_private(url: &ServerUrl) -> bool {
    leads_to(url, |address| !is_public(address)).await
}

#[cfg(any(feature = "dispatch", feature = "server"))]
async fn leads_to(url: &ServerUrl, wanted: impl Fn(IpAddr) -> bool) -> bool {
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(url.address())).await;
    found.is_ok_and(|found| found.is_ok_and(|mut found| found.any(|it| wanted(it.ip()))))
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

/// Whether an address is one of the internet, and not of a private network, of this machine, of a
/// carrier's own, or of no machine at all.
#[cfg(any(feature = "dispatch", feature = "server"))]
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => {
            let [first, second, third, ..] = address.segments();
            let of_internet = address.to_bits() >> 125 == 1;
            let is_nat64 = (first, second, third) == (0x64, 0xff9b, 0);
            let teredo = (first, second) == (0x2001, 0);
            let embedded = match first {
                0x2002 => Some(Ipv4Addr::from((u32::from(second) << 16) | u32::from(third))),
                _ => within(address),
            };
            match embedded {
                // What is mapped is reached as the IPv4 address that it is.
                Some(embedded) => is_public_v4(embedded),
                None => (of_internet || is_nat64) && !teredo && !is_off_limits(address.into()),
            }
        }
    }
}

#[cfg(any(feature = "dispatch", feature = "server"))]
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a >= 224
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address == OF_AZURE
        || (a == 100 && b & 0xc0 == 64)
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && b & 0xfe == 18))
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

/// Where Azure answers machines about themselves beside the usual place.
#[cfg(any(feature = "dispatch", feature = "server"))]
const OF_AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

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

    #[cfg(any(feature = "dispatch", feature = "server"))]
    #[test]
    fn what_is_not_of_the_internet_is_private_however_it_is_written() {
        let is_public = |host: &str| {
            let url: ServerUrl = format!("ws://{host}").parse().unwrap();
            let address: IpAddr = url.address().0.parse().unwrap();
            is_public(address)
        };
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "0",
            "10.0.0.1",
            "0x0a000001",
            "012.0.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "198.19.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::10.0.0.1]",
            "[2002:a00:1::]",
            "[2002:7f00:1::1]",
            "[2001:0:a00:1::]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
        ] {
            assert!(!is_public(host), "{host}");
        }
        for host in [
            "1.1.1.1",
            "100.63.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[::ffff:1.1.1.1]",
            "[64:ff9b::1.1.1.1]",
            "[2002:101:101::]",
        ] {
            assert!(is_public(host), "{host}");
        }
    }

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
