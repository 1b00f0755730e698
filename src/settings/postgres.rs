//! How Postgres is reached: the URL and the `PG*` variables together.
//!
//! The driver reads the `PG*` variables of the process by itself. Here those of a `.env` file have
//! the same rank, below the URL. The driver also logs parameters that it does not know, with their
//! values; so they are removed before it sees them.
//!
//! **Invariant:** whoever asks for security gets it, or an error. No message repeats a value.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::values::{ValueOrigin, Values};
use super::{Transport, Warning};

/// The way to a server, and what is odd about it.
pub(super) struct PostgresTarget {
    pub(super) options: PgConnectOptions,
    pub(super) warnings: Vec<Warning>,
}

/// What is wrong, and with which variable.
pub(super) type Wrong = (&'static str, String);

/// Reads the URL, or without one the `PG*` variables alone.
pub(super) fn way(url: Option<&str>, values: &Values) -> Result<PostgresTarget, Wrong> {
    let named_by = if url.is_some() { "DATABASE_URL" } else { "PGHOST" };
    let wrong = |message: &str| (named_by, message.to_owned());
    let mut url = Url::parse(url.unwrap_or("postgres:///")).map_err(|_| wrong(NO_URL))?;
    let mut warnings = Vec::new();
    let mut said = Vec::new();
    for (key, value) in pairs(&url) {
        match parameter(&key, &value).map_err(|message| (named_by, message))? {
            Parameter::Known => said.push((key, value)),
            Parameter::Is(key, value) => said.push((key.to_owned(), value)),
            Parameter::Odd(message) => warnings.push(Warning::new(named_by, message)),
        }
    }
    let by_url = |keys: &[&str]| said.iter().any(|(key, _)| keys.contains(&key.as_str()));
    let mut asks_for_tls = by_url(&["sslmode", "ssl-mode"]);
    let mut more = Vec::new();
    for variable in PARAMETERS {
        let Some(value) = values.get(variable.name) else { continue };
        if by_url(variable.keys) || (variable.in_authority)(&url) {
            continue;
        }
        match variable.name {
            "PGPORT" if value.parse::<u16>().is_err() => {
                return Err(("PGPORT", "must be a number from 1 to 65535".to_owned()));
            }
            "PGSSLMODE" if value.parse::<PgSslMode>().is_err() => {
                let message = "must be disable, allow, prefer, require, verify-ca or verify-full; \
                               it does nothing as it is, and the next major version will refuse it";
                warnings.push(Warning::new("PGSSLMODE", message));
                continue;
            }
            "PGSSLMODE" => asks_for_tls = true,
            // The driver adds these to those of the process, where they are already.
            "PGOPTIONS" if values.origin("PGOPTIONS") == ValueOrigin::Environment => continue,
            _ => {}
        }
        more.push((variable.keys[0].to_owned(), value.to_owned()));
    }
    url.set_query(None);
    if !more.is_empty() || !said.is_empty() {
        url.query_pairs_mut().extend_pairs(more.iter().chain(&said));
    }
    let options: PgConnectOptions = url.as_str().parse().map_err(|_| wrong(NO_URL))?;
    if !asks_for_tls && !on_this_machine(&options) {
        warnings.push(Warning { unsafe_so: true, ..Warning::new(named_by, IN_THE_CLEAR) });
    }
    Ok(PostgresTarget { options, warnings })
}

/// The place of a database for people: without a password, and without parameters.
pub(super) fn shown(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let (user, port) = (options.get_username(), options.get_port());
    let database = options.get_database().unwrap_or(user);
    format!("postgres://{user}@{host}:{port}/{database}")
}

/// How the way to the server is protected.
pub(super) fn transport(options: &PgConnectOptions) -> Transport {
    if on_this_machine(options) {
        return Transport::Local;
    }
    match options.get_ssl_mode() {
        PgSslMode::VerifyCa | PgSslMode::VerifyFull => Transport::Verified,
        PgSslMode::Require => Transport::Encrypted,
        PgSslMode::Allow | PgSslMode::Prefer => Transport::Offered,
        PgSslMode::Disable => Transport::Clear,
    }
}

/// What becomes of a parameter of the URL.
enum Parameter {
    Known,
    /// The same by the driver's name.
    Is(&'static str, String),
    Odd(String),
}

fn parameter(key: &str, value: &str) -> Result<Parameter, String> {
    let known = PARAMETERS.iter().any(|variable| variable.keys.contains(&key));
    if known || KNOWN.contains(&key) || key.starts_with("options[") {
        return Ok(Parameter::Known);
    }
    if key == "ssl" {
        match value {
            "true" | "1" => return Ok(Parameter::Is("sslmode", "require".to_owned())),
            "false" | "0" => {}
            mode if mode.parse::<PgSslMode>().is_ok() => {
                return Ok(Parameter::Is("sslmode", mode.to_owned()));
            }
            _ => return Err("asks by the parameter ssl for what is not known: say sslmode".into()),
        }
    }
    let asked = WANTED
        .iter()
        .find(|(name, least, _)| *name == key && (least.is_empty() || value == *least));
    if let Some((name, _, instead)) = asked {
        return Err(format!(
            "asks by the parameter {name} for security that is lacking here: {instead}"
        ));
    }
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    Ok(Parameter::Odd(match key {
        "channel_binding" if value == "require" => {
            "channel_binding is not looked at: say sslmode=verify-full, which is what it is for"
                .into()
        }
        key if plain && !key.is_empty() && key.len() <= 40 && !value.is_empty() => {
            format!("the parameter {key} is not known and does nothing")
        }
        _ => "a parameter of it is not known and does nothing; a ? in a password is written %3F"
            .into(),
    }))
}

fn pairs(url: &Url) -> Vec<(String, String)> {
    url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

fn on_this_machine(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// A `PG*` variable, and where a URL says the same.
struct LibpqVariable {
    name: &'static str,
    /// The first is what the driver is told.
    keys: &'static [&'static str],
    in_authority: fn(&Url) -> bool,
}

const fn variable(
    name: &'static str,
    keys: &'static [&'static str],
    in_authority: fn(&Url) -> bool,
) -> LibpqVariable {
    LibpqVariable { name, keys, in_authority }
}

const fn never(_: &Url) -> bool {
    false
}

fn names_host(url: &Url) -> bool {
    url.host_str().is_some_and(|host| !host.is_empty())
}

/// In the order in which the driver is told, where the last one counts.
const PARAMETERS: &[LibpqVariable] = &[
    variable("PGHOST", &["host", "hostaddr"], names_host),
    variable("PGHOSTADDR", &["hostaddr", "host"], names_host),
    variable("PGPORT", &["port"], |url| url.port().is_some()),
    variable("PGUSER", &["user"], |url| !url.username().is_empty()),
    variable("PGPASSWORD", &["password"], |url| url.password().is_some()),
    variable("PGDATABASE", &["dbname"], |url| !url.path().trim_start_matches('/').is_empty()),
    variable("PGSSLMODE", &["sslmode", "ssl-mode"], never),
    variable("PGSSLROOTCERT", &["sslrootcert", "ssl-root-cert", "ssl-ca"], never),
    variable("PGSSLCERT", &["sslcert", "ssl-cert"], never),
    variable("PGSSLKEY", &["sslkey", "ssl-key"], never),
    variable("PGAPPNAME", &["application_name"], never),
    variable("PGOPTIONS", &["options"], never),
];

/// What else the driver knows.
const KNOWN: [&str; 1] = ["statement-cache-capacity"];

/// Parameters that ask for security which the driver does not have, the value that asks (any, where
/// none is named), and what to say instead.
const WANTED: [(&str, &str, &str); 7] = [
    ("sslcrl", "", "leave it out, or verify the server by sslmode=verify-full alone"),
    ("sslcrldir", "", "leave it out, or verify the server by sslmode=verify-full alone"),
    ("require_auth", "", "leave it out, and say sslmode=verify-full"),
    ("requirepeer", "", "leave it out, and see to the rights of the socket's folder"),
    ("gssencmode", "require", "say sslmode=verify-full"),
    ("sslcertmode", "require", "leave it out, and name sslcert and sslkey"),
    ("ssl_min_protocol_version", "TLSv1.3", "let the server demand it"),
];
const NO_URL: &str = "must be a Postgres URL: postgres://user:password@host:5432/database, with special \
                      characters of the password percent-encoded";
const IN_THE_CLEAR: &str = "says no sslmode, so the connection is encrypted only if the server offers it, and \
                            to whoever answers: say sslmode=verify-full, or sslmode=disable where \
                            the network is to be trusted";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: Option<&str>, pairs: &[(&str, &str)]) -> Result<PostgresTarget, Wrong> {
        let owned = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        way(url, &Values::of(owned, None))
    }

    fn mode(url: Option<&str>, pairs: &[(&str, &str)]) -> PgSslMode {
        read(url, pairs).unwrap().options.get_ssl_mode()
    }

    #[test]
    fn variables_count_below_the_url() {
        let pairs = [
            ("PGHOST", "h"),
            ("PGPORT", "1"),
            ("PGUSER", "u"),
            ("PGDATABASE", "d"),
            ("PGSSLMODE", "require"),
        ];
        let alone = read(None, &pairs).unwrap().options;
        assert_eq!(shown(&alone), "postgres://u@h:1/d");
        assert!(matches!(alone.get_ssl_mode(), PgSslMode::Require));
        let below = read(Some("postgres://v:p@i/e?port=2"), &pairs).unwrap().options;
        assert_eq!(shown(&below), "postgres://v@i:2/e");
        assert!(matches!(below.get_ssl_mode(), PgSslMode::Require));
        let said = mode(Some("postgres://h/d?sslmode=verify-full"), &pairs);
        assert!(matches!(said, PgSslMode::VerifyFull));
        let socket = read(None, &[("PGHOST", "/run/postgresql"), ("PGUSER", "u")]).unwrap();
        assert_eq!(shown(&socket.options), "postgres://u@/run/postgresql:5432/u");
        assert_eq!(socket.warnings, []);
        assert_eq!(read(None, &[("PGPORT", "x")]).err().unwrap().0, "PGPORT");
    }

    #[test]
    fn an_unknown_parameter_is_named_without_its_value() {
        let way =
            read(Some("postgres://u@localhost/d?sslpassword=canary&x&can:ary=1"), &[]).unwrap();
        let said: Vec<_> = way.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert!(said[0].contains("sslpassword"), "{said:?}");
        assert_eq!(said.len(), 3);
        assert!(
            !said.concat().contains("canary") && !said.concat().contains("can:ary"),
            "{said:?}"
        );
    }

    #[test]
    fn security_that_is_asked_for_is_given_or_refused() {
        for query in ["ssl=true", "ssl=require", "sslmode=require"] {
            assert!(matches!(
                mode(Some(&format!("postgres://h/d?{query}")), &[]),
                PgSslMode::Require
            ));
        }
        for query in ["require_auth=scram-sha-256", "sslcrl=/x", "gssencmode=require", "ssl=canary"]
        {
            let (_, message) = read(Some(&format!("postgres://h/d?{query}")), &[]).err().unwrap();
            assert!(!message.contains("canary"), "{message}");
        }
        assert!(read(Some("postgres://h/d?sslmode=canary"), &[]).is_err());
        assert!(read(Some("postgres://h/d?gssencmode=prefer"), &[]).is_ok());
        let binding = read(Some("postgres://localhost/d?channel_binding=require"), &[]).unwrap();
        assert!(binding.warnings[0].message.contains("channel_binding"));
    }

    #[test]
    fn the_way_is_as_safe_as_its_mode_unless_it_stays_on_this_machine() {
        for (url, expected) in [
            ("postgres://localhost/d", Transport::Local),
            ("postgres:///d?host=/run/postgresql&sslmode=require", Transport::Local),
            ("postgres://db/d?sslmode=verify-full", Transport::Verified),
            ("postgres://db/d?sslmode=verify-ca", Transport::Verified),
            ("postgres://db/d?sslmode=require", Transport::Encrypted),
            ("postgres://db/d?sslmode=prefer", Transport::Offered),
            ("postgres://db/d", Transport::Offered),
            ("postgres://db/d?sslmode=disable", Transport::Clear),
        ] {
            assert_eq!(transport(&read(Some(url), &[]).unwrap().options), expected, "{url}");
        }
    }

    #[test]
    fn off_this_machine_and_without_a_mode_it_is_unsafe() {
        let warns = |url| !read(Some(url), &[]).unwrap().warnings.is_empty();
        for url in ["postgres://db/d", "postgres://10.0.0.1/d", "postgres://u:p@db.example:6432/d"]
        {
            assert!(warns(url), "{url}");
        }
        for url in [
            "postgres://localhost/d",
            "postgres://127.0.0.1:1/d",
            "postgres://[::1]/d",
            "postgres:///d?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/d",
            "postgres://db/d?sslmode=disable",
            "postgres://db/d?sslmode=prefer",
        ] {
            assert!(!warns(url), "{url}");
        }
        assert!(
            !read(Some("postgres://db/d"), &[("PGSSLMODE", "verify-full")])
                .unwrap()
                .warnings
                .iter()
                .any(|w| w.unsafe_so)
        );
        let malformed = read(Some("postgres://db/d"), &[("PGSSLMODE", "verify_full")]).unwrap();
        assert_eq!(malformed.warnings.len(), 2, "what it says, and that nothing is asked for");
    }
}
