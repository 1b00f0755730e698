//! Which Redis the nodes of a fleet tell each other of changes through.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// The way to a Redis: `RELAY_URL`. Its `Debug` shows neither user nor password.
#[derive(Clone)]
pub struct RelayUrl {
    /// Servers, or sentinels that know where the server is, each as `host:port`.
    hosts: Vec<String>,
    /// The name by which sentinels know the server. `None`: the only host is the server.
    sentinel_name: Option<String>,
    tls: bool,
    /// `user:password@`, as it stands in a URL.
    login: SecretString,
    database: u16,
}

impl RelayUrl {
    /// Reads a URL. The error says what would be right, and holds nothing of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(EXPECTED)?;
        let (tls, sentinel) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+sentinel" => (false, true),
            "rediss+sentinel" => (true, true),
            _ => return Err(EXPECTED.to_owned()),
        };
        if rest.contains(['?', '#']) {
            return Err("must have nothing after a ? or a #; rediss:// is TLS".to_owned());
        }
        let (login, place) =
            rest.rsplit_once('@').map_or(("", rest), |(login, place)| (login, place));
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let port = if sentinel { SENTINEL_PORT } else { REDIS_PORT };
        let hosts =
            hosts.split(',').map(|host| with_port(host, port)).collect::<Result<Vec<_>, _>>()?;
        let (name, database) = match (sentinel, path.split_once('/')) {
            (true, Some((name, database))) => (Some(name), database),
            (true, None) => (Some(path), ""),
            (false, _) => (None, path),
        };
        if name.is_some_and(str::is_empty) {
            return Err("must end with the name by which the sentinels know the server".to_owned());
        }
        if !sentinel && hosts.len() > 1 {
            return Err(
                "must name one server, or several sentinels as redis+sentinel://".to_owned()
            );
        }
        let database = match database.trim_end_matches('/') {
            "" => 0,
            digits => {
                digits.parse().map_err(|_| "must end with the number of a database, or nothing")?
            }
        };
        let login = match login {
            "" => String::new(),
            login if login.contains(':') => format!("{login}@"),
            _ => return Err("must have user:password before the @, or :password".to_owned()),
        };
        let relay = Self {
            hosts,
            sentinel_name: name.map(str::to_owned),
            tls,
            login: login.into(),
            database,
        };
        Url::parse(relay.of(&relay.hosts[0]).expose_secret()).map_err(|_| EXPECTED.to_owned())?;
        Ok(relay)
    }

    /// Servers, or sentinels, each as `host:port`.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The name by which sentinels know the server, if the hosts are sentinels.
    pub(crate) fn sentinel_name(&self) -> Option<&str> {
        self.sentinel_name.as_deref()
    }

    /// The URL of a server at that place, with the login.
    pub(crate) fn of(&self, place: &str) -> SecretString {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let login = self.login.expose_secret();
        format!("{scheme}://{login}{place}/{}", self.database).into()
    }

    /// The URL of a sentinel at that place. Sentinels are asked without a login.
    pub(crate) fn of_sentinel(&self, place: &str) -> String {
        format!("{}://{place}/", if self.tls { "rediss" } else { "redis" })
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("RelayUrl").field(&self.to_string()).finish()
    }
}

/// As anybody may see it.
impl fmt::Display for RelayUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, hosts) = (if self.tls { "s" } else { "" }, self.hosts.join(","));
        match &self.sentinel_name {
            Some(name) => write!(out, "redis{tls}+sentinel://{hosts}/{name}/{}", self.database),
            None => write!(out, "redis{tls}://{hosts}/{}", self.database),
        }
    }
}

fn with_port(host: &str, port: u16) -> Result<String, String> {
    let (name, given) = match host.rsplit_once(':') {
        Some((name, digits)) if !name.is_empty() && !digits.contains(']') => (name, Some(digits)),
        _ => (host, None),
    };
    if name.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    let port = given.map_or(Ok(port), str::parse).map_err(|_| "has a port that is none")?;
    Ok(format!("{name}:{port}"))
}

const EXPECTED: &str =
    "must be as redis://user:password@host/, rediss://host/ or redis+sentinel://host,host/NAME";
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_a_redis_is_read_and_shown_without_its_login() {
        for (text, shown, url) in [
            ("redis://host", "redis://host:6379/0", "redis://host:6379/0"),
            ("rediss://u:pw@host:7/3", "rediss://host:7/3", "rediss://u:pw@host:7/3"),
            ("redis://:p%40w@[::1]:7/", "redis://[::1]:7/0", "redis://:p%40w@[::1]:7/0"),
            ("redis://:pw@[::1]", "redis://[::1]:6379/0", "redis://:pw@[::1]:6379/0"),
            (
                "redis+sentinel://u:pw@a,b:1/main/2",
                "redis+sentinel://a:26379,b:1/main/2",
                "redis://u:pw@a:26379/2",
            ),
        ] {
            let relay = RelayUrl::parse(text).unwrap();
            assert_eq!(relay.to_string(), shown);
            assert_eq!(relay.of(&relay.hosts()[0]).expose_secret(), url);
            assert!(!format!("{relay:?}").contains("pw"));
        }
    }

    #[test]
    fn what_is_no_way_to_a_redis_is_refused_without_a_word_of_it() {
        for text in [
            "",
            "host",
            "http://host",
            "redis://",
            "redis://a,b",
            "redis://hunter2@host",
            "redis://host:hunter2",
            "redis://host/hunter2",
            "redis://host/?password=hunter2",
            "redis+sentinel://host",
            "redis+sentinel://host/",
            "redis://:hunter2@/0",
        ] {
            let error = RelayUrl::parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}
