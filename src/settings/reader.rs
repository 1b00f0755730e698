//! From text to typed settings: every value is checked, and every problem is kept.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::env::Values;
use super::{Database, Problem, Tuning, Warm};
use crate::environment::{EnvironmentValues, FallbackPolicy, RULES_UNKNOWN};
use crate::keyring::{KeyError, KeyRing, Secret};
use crate::reason::Reason;
#[cfg(feature = "dispatch")]
use crate::rules::Country;

/// Takes values out, typed, and keeps what is wrong with them.
pub(super) struct Reader<'a> {
    values: &'a Values,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(values: &'a Values) -> Self {
        Self { values, problems: values.problems().to_vec() }
    }

    /// Everything that was wrong.
    pub(super) fn problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn enabled(&mut self) -> bool {
        self.with("USE_SELFHOST_ROUTING_TABLE", switch).unwrap_or(true)
    }

    pub(super) fn database_off(&mut self) -> bool {
        self.with("DATABASE_OFF", switch).unwrap_or(false)
    }

    #[cfg(feature = "dispatch")]
    pub(super) fn routing(&mut self) -> crate::routing::Reading {
        use crate::routing::Reading;
        let named = self.with("ROUTING_COUNTRIES", countries).unwrap_or_default();
        let read = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
            "region" => Ok(Reading::Region { named }),
            "heuristic" => Ok(Reading::Heuristic),
            _ => Err("must be region or heuristic".to_owned()),
        };
        self.with("ROUTING", read).unwrap_or_default()
    }

    /// What only the program reads, for it to be named with the rest where it is wrong.
    pub(super) fn log_format(&mut self) {
        let read = |text: &str| match text {
            "text" | "json" => Ok(()),
            _ => Err("is neither text nor json".to_owned()),
        };
        self.with("LOG_FORMAT", read);
    }

    #[cfg(feature = "server")]
    pub(super) fn http_listen(&mut self) -> std::net::SocketAddr {
        let read = |text: &str| {
            text.trim().parse().map_err(|_| {
                "is an address with its port, such as 127.0.0.1:9464 or [::1]:9464".to_owned()
            })
        };
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        self.with("HTTP_LISTEN", read).unwrap_or(nowhere)
    }

    fn with<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.values.get(name)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(name, message, None);
                None
            }
        }
    }

    pub(super) fn ring(&mut self) -> Option<Arc<KeyRing>> {
        let name = "LIVEKIT_SECRET_ENCRYPTION_KEY";
        match KeyRing::parse(self.values.get(name)?) {
            Ok(ring) => Some(Arc::new(ring)),
            Err(error) => {
                self.problem(name, error.to_string(), Some(error));
                None
            }
        }
    }

    pub(super) fn environment(&mut self) -> EnvironmentValues {
        let text = |name| self.values.get(name).map(ToOwned::to_owned);
        let secret = |text: String| Arc::new(Secret::new(Box::new(text)));
        EnvironmentValues {
            api_key: text("LIVEKIT_API_KEY"),
            api_secret: text("LIVEKIT_API_SECRET").map(secret),
            trunk: text("OUTBOUND_TRUNK_ID"),
            agent: text("VOICE_AGENT_NAME"),
            url: self.with("LIVEKIT_URL", |url| {
                url.parse().map_err(|error: crate::ServerUrlError| error.to_string())
            }),
            policy: self.with("FALLBACK_DENY", policy).unwrap_or_default(),
        }
    }

    pub(super) fn tuning(&mut self) -> Tuning {
        let tuning = Tuning {
            connections: self.number("DATABASE_CONNECTIONS", 1..=1000),
            store_deadline: self.duration("STORE_DEADLINE", "10ms", "10m"),
            capacity: self.number("CACHE_CAPACITY", 1..=1_000_000_000),
            warm: self.warm(),
            ttl: self.duration("CACHE_TTL", "1s", "7d"),
            ttl_jitter: f64::from(self.number::<u32>("CACHE_TTL_JITTER", 0..=50)) / 100.0,
            negative_ttl: self.duration("NEGATIVE_TTL", "10ms", "1d"),
            error_ttl: self.duration("ERROR_TTL", "10ms", "1m"),
            max_stale: self.duration("MAX_STALE", "0s", "7d"),
            resolve_deadline: self.duration("RESOLVE_DEADLINE", "1ms", "1m"),
            lease: self.duration("LEASE", "20ms", "1m"),
            heartbeat: self.duration("HEARTBEAT_INTERVAL", "5ms", "30s"),
            log_poll: self.duration("LOG_POLL_INTERVAL", "5ms", "30s"),
            poll: self.duration("POLL_INTERVAL", "1ms", "10s"),
            self_check: self.duration_or_none("SELF_CHECK_INTERVAL", "10ms", "1d"),
            keep_changes: self.duration_or_none("CHANGE_LOG_KEEP", "1h", "3650d"),
            livekit_connect: self.duration("LIVEKIT_CONNECT_TIMEOUT", "10ms", "1m"),
            livekit: self.duration("LIVEKIT_TIMEOUT", "10ms", "10m"),
        };
        let rhythms = [
            ("HEARTBEAT_INTERVAL", tuning.heartbeat),
            ("LOG_POLL_INTERVAL", tuning.log_poll),
            ("POLL_INTERVAL", tuning.poll),
        ];
        for (name, interval) in rhythms {
            if interval * 2 >= tuning.lease {
                let message = "must be less than half of LEASE, or every late one ends the lease";
                self.problem(name, message.into(), None);
            }
        }
        tuning
    }

    fn warm(&mut self) -> Warm {
        let read = |text: &str| match text {
            "none" => Ok(Warm::None),
            "recent" => Ok(Warm::Recent),
            "all" => Ok(Warm::All),
            _ => Err("is none, recent or all".to_owned()),
        };
        self.with("WARM", read).unwrap_or_default()
    }

    fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<T>,
    ) -> T {
        let read = |text: &str| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| {
                format!("is a whole number from {} to {}", range.start(), range.end())
            })
        };
        self.with(name, read).unwrap_or(*range.start())
    }

    /// A time, or `0s` for "never".
    fn duration_or_none(
        &mut self,
        name: &'static str,
        least: &str,
        most: &str,
    ) -> Option<Duration> {
        match self.values.get(name).and_then(parse_duration) {
            Some(Duration::ZERO) => None,
            _ => Some(self.duration(name, least, most)),
        }
    }

    fn duration(&mut self, name: &'static str, least: &str, most: &str) -> Duration {
        let bound = |text| parse_duration(text).unwrap_or_default();
        let read = |text: &str| {
            parse_duration(text)
                .filter(|time| (bound(least)..=bound(most)).contains(time))
                .ok_or_else(|| {
                    format!("is a time from {least} to {most}, such as 250ms, 30s or 5m")
                })
        };
        self.with(name, read).unwrap_or_default()
    }

    pub(super) fn database(&mut self) -> Option<Database> {
        let schema = self.with("DB_SCHEMA", schema)?;
        match self.values.get("DATABASE_URL") {
            Some(url) => {
                let database = database(url, &schema);
                database.map_err(|message| self.problem("DATABASE_URL", message, None)).ok()
            }
            #[cfg(feature = "postgres")]
            None => self.libpq(schema),
            #[cfg(not(feature = "postgres"))]
            None => None,
        }
    }

    /// The `PG*` variables, when at least one of them says that there is a Postgres.
    #[cfg(feature = "postgres")]
    fn libpq(&mut self, schema: String) -> Option<Database> {
        let get = |name| self.values.get(name);
        get("PGHOST").or(get("PGDATABASE"))?;
        let mut options = sqlx::postgres::PgConnectOptions::new();
        // sqlx reads them from the process; those of a .env file are set here.
        if let Some(host) = get("PGHOST") {
            options = options.host(host);
        }
        if let Some(user) = get("PGUSER") {
            options = options.username(user);
        }
        if let Some(password) = get("PGPASSWORD") {
            options = options.password(password);
        }
        if let Some(database) = get("PGDATABASE") {
            options = options.database(database);
        }
        let port = get("PGPORT").map(|port| port.parse().map_err(|_| ()));
        match port.transpose() {
            Ok(port) => options = options.port(port.unwrap_or(5432)),
            Err(()) => self.problem("PGPORT", "is a number from 1 to 65535".into(), None),
        }
        Some(Database::Postgres { options: Box::new(options), schema })
    }

    fn problem(&mut self, variable: &str, message: String, key: Option<KeyError>) {
        self.problems.push(Problem { variable: variable.to_owned(), message, key });
    }
}

fn database(url: &str, schema: &str) -> Result<Database, String> {
    #[cfg(feature = "postgres")]
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let options = url.parse().map_err(|_| {
            "is no Postgres URL: postgres://user:password@host:5432/database, with special \
             characters of the password percent-encoded"
        })?;
        return Ok(Database::Postgres { options: Box::new(options), schema: schema.to_owned() });
    }
    #[cfg(feature = "sqlite")]
    if url.starts_with("sqlite:") {
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err("names a database in memory, which no second connection sees; name a file"
                .to_owned());
        }
        let options: sqlx::sqlite::SqliteConnectOptions =
            url.parse().map_err(|_| "is no SQLite URL: sqlite:path/to/file.db")?;
        if options.get_filename().as_os_str().is_empty() {
            return Err("names no file: sqlite:path/to/file.db".to_owned());
        }
        return Ok(Database::Sqlite { options: Box::new(options) });
    }
    let _ = (url, schema);
    Err("begins with none of postgres://, postgresql:// and sqlite:".to_owned())
}

fn schema(text: &str) -> Result<String, String> {
    let sane = |character: char| character.is_ascii_alphanumeric() || "_-$".contains(character);
    if text.len() <= 63 && text.chars().all(sane) {
        Ok(text.to_owned())
    } else {
        Err("is the name of a schema: up to 63 letters, digits, _, - and $".to_owned())
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("is true or false (1, 0, yes, no, on and off are read, too)".to_owned()),
    }
}

/// Codes with commas between them.
#[cfg(feature = "dispatch")]
fn countries(text: &str) -> Result<Box<[Country]>, String> {
    let codes = text.split(',').map(str::trim).filter(|code| !code.is_empty());
    codes
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| "must be ISO 3166 codes with commas between them, such as AE,IN".to_owned())
}

fn policy(text: &str) -> Result<FallbackPolicy, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let (rules, reasons): (Vec<_>, Vec<_>) = words.partition(|word| *word == RULES_UNKNOWN);
    let reasons = reasons.into_iter().map(Reason::from_str).collect::<Result<Vec<_>, _>>();
    let policy = FallbackPolicy::denying(reasons.map_err(|_| {
        let known: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        let known = known.join(", ");
        format!("holds a word that is no reason; reasons are {known}, and {RULES_UNKNOWN}")
    })?);
    Ok(if rules.is_empty() { policy } else { policy.denying_unknown_rules() })
}

/// Reads `250ms`, `30s`, `5m`, `1h`, `7d`; a bare number is seconds.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86_400),
        _ => None,
    }
}
