//! Where clients are answered, and which local users are which clients.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where the daemon answers clients. With neither an address nor a socket it answers none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiSettings {
    /// `API_LISTEN`: an address of this machine alone, unless there is TLS or a proxy before it.
    pub listen: Option<SocketAddr>,
    /// `HTTP_TLS_CERT` and `HTTP_TLS_KEY`: what proves to clients who answers at the address.
    pub tls: Option<TlsFiles>,
    /// `HTTP_BEHIND_PROXY`: whether a proxy that is trusted sends every request to the address.
    pub behind_proxy: bool,
    /// `HTTP_USER_HEADER` and `HTTP_USER_HEADER_FROM`: how a proxy says which person asks.
    pub user_header: Option<UserHeader>,
    /// `HTTP_SOCKET`: the path of a Unix socket.
    pub socket: Option<PathBuf>,
    /// `HTTP_SOCKET_USERS`: a local user, and the name of the client that he is.
    pub users: Vec<(SocketUser, String)>,
    /// `API_RATE`: how many questions a second each client may ask; 0 is as many as come.
    pub rate: u32,
}

impl ApiSettings {
    /// Whether any client is answered.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.listen.is_some() || self.socket.is_some()
    }
}

/// A header in which a proxy says which person asks, and from where it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserHeader {
    /// Its name, in small letters.
    pub name: String,
    /// From where alone it is believed.
    pub from: Vec<Network>,
}

/// An address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// The first of them.
    pub address: IpAddr,
    /// How many bits they have in common.
    pub bits: u8,
}

impl Network {
    /// Whether an address is one of them.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(own) & mask == u32::from(other) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(own) & mask == u128::from(other) & mask
            }
            _ => false,
        }
    }
}

/// Files in PEM, which are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The certificate, and after it those that vouch for it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketUser {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

/// `has_cover`: what crosses the network is encrypted, by us or by a proxy.
pub(super) fn listen(text: &str, has_cover: bool) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.trim().parse().map_err(|_| {
        "must be an address with its port, such as 127.0.0.1:9465 or [::1]:9465".to_owned()
    })?;
    if has_cover || address.ip().to_canonical().is_loopback() {
        return Ok(address);
    }
    Err("must be an address of this machine alone, such as 127.0.0.1:9465, since tokens would cross \
         the network in the clear; or set HTTP_TLS_CERT and HTTP_TLS_KEY, or HTTP_BEHIND_PROXY if a \
         proxy has TLS"
        .to_owned())
}

/// The name of a header that says nothing else of a request.
pub(super) fn user_header(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let has_other_use = NOT_A_USER.contains(&name.as_str()) || name.starts_with("sec-");
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) && !has_other_use {
        return Ok(name);
    }
    Err("must be the name of a header that has no other use, such as X-Forwarded-User".to_owned())
}

pub(super) fn networks(text: &str) -> Result<Vec<Network>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let networks: Option<Vec<_>> = entries.map(network).collect();
    networks.filter(|networks| !networks.is_empty()).ok_or_else(|| {
        "must be addresses or networks, separated by commas, such as 10.0.0.7,10.1.0.0/16"
            .to_owned()
    })
}

fn network(entry: &str) -> Option<Network> {
    let (address, bits) = match entry.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (entry, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    // Everybody is nobody in particular.
    (1..=most).contains(&bits).then_some(Network { address, bits })
}

pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    match PathBuf::from(text) {
        path if path.is_absolute() => Ok(path),
        _ => Err("must be the whole path of a file in PEM".to_owned()),
    }
}

pub(super) fn socket(text: &str) -> Result<PathBuf, String> {
    if text.len() > LONGEST_PATH {
        return Err(format!("must have at most {LONGEST_PATH} bytes, as every path of a socket"));
    }
    match PathBuf::from(text) {
        path if path.is_absolute() && path.file_name().is_some() => Ok(path),
        _ => Err("must be the whole path of a socket, such as /run/trunkline/api.sock".to_owned()),
    }
}

pub(super) fn users(text: &str) -> Result<Vec<(SocketUser, String)>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let mut users = Vec::<(SocketUser, String)>::new();
    for pair in pairs {
        let named = pair.split_once(':').map(|(user, client)| (user.trim(), client.trim()));
        let Some((user, client)) =
            named.filter(|(user, client)| !user.is_empty() && !client.is_empty())
        else {
            return Err(
                "must be user:client, separated by commas, such as dialler:calls".to_owned()
            );
        };
        let user = match user.parse() {
            Ok(id) => SocketUser::Id(id),
            Err(_) => SocketUser::Name(user.to_owned()),
        };
        if users.iter().any(|(known, _)| *known == user) {
            return Err(format!("names the user {} twice", pair.split(':').next().unwrap_or("")));
        }
        users.push((user, client.to_owned()));
    }
    Ok(users)
}

/// What proxies and browsers send for other reasons.
const NOT_A_USER: [&str; 9] = [
    "authorization",
    "cookie",
    "forwarded",
    "host",
    "idempotency-key",
    "origin",
    "user-agent",
    "x-forwarded-for",
    "x-request-id",
];

/// As many bytes as the address of a socket has on every system, less the zero at the end.
const LONGEST_PATH: usize = 103;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_this_machine_alone_is_listened_at() {
        for address in ["127.0.0.1:9465", "127.0.0.9:1", "[::1]:9465", "[::ffff:127.0.0.1]:1"] {
            assert!(listen(address, false).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:9465", "[::]:9465", "10.0.0.7:9465", "192.0.2.1:1"] {
            assert!(listen(address, true).is_ok(), "{address}");
            let refused = listen(address, false).unwrap_err();
            assert!(refused.contains("this machine alone"), "{address}: {refused}");
        }
        for address in ["9465", "localhost:9465", ""] {
            assert!(listen(address, true).unwrap_err().contains("with its port"), "{address}");
        }
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_so_and_no_other() {
        let of = |text: &str| networks(text).unwrap();
        let has = |text: &str, address: &str| {
            of(text).iter().any(|network| network.has(address.parse().unwrap()))
        };
        assert!(has("10.0.0.7", "10.0.0.7") && has("10.0.0.7", "::ffff:10.0.0.7"));
        assert!(has("10.1.0.0/16, 10.0.0.7", "10.1.255.255") && has("fd00::/8", "fdff::1"));
        for (text, address) in [
            ("10.0.0.7", "10.0.0.8"),
            ("10.1.0.0/16", "10.2.0.0"),
            ("fd00::/8", "fe00::1"),
            ("10.0.0.7", "::1"),
        ] {
            assert!(!has(text, address), "{text} {address}");
        }
        for text in
            ["", ",", "x", "10.0.0.0/0", "10.0.0.0/33", "::/0", "10.0.0.7/", "proxy.example"]
        {
            assert!(networks(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_header_that_has_another_use_says_nobody_s_name() {
        assert_eq!(user_header(" X-Forwarded-User "), Ok("x-forwarded-user".into()));
        for text in
            ["", "Cookie", "authorization", "X-Forwarded-For", "Sec-Fetch-Site", "a b", "a:b"]
        {
            assert!(user_header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_socket_has_a_whole_path() {
        assert!(socket("/run/trunkline/api.sock").is_ok());
        for path in ["api.sock", "./api.sock", "/", &format!("/{}", "x".repeat(103))] {
            assert!(socket(path).is_err(), "{path}");
        }
    }

    #[test]
    fn users_go_by_name_or_number_and_each_is_one_client() {
        let read = users("dialler:calls, 1001:jobs,").unwrap();
        let named = |name: &str| name.to_owned();
        assert_eq!(read[0], (SocketUser::Name("dialler".into()), named("calls")));
        assert_eq!(read[1], (SocketUser::Id(1001), named("jobs")));
        for text in ["dialler", ":calls", "dialler:", "a:b,a:c", "7:a,7:b"] {
            assert!(users(text).is_err(), "{text}");
        }
    }
}
