//! The program's own settings: typed, and valid as a whole or not at all.
//!
//! ("Config" always means a LiveKit config.) What is wrong is collected, so that one run names
//! every problem. No message repeats a value that may be secret.

pub mod env;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::env::{Origin, VARIABLES, Values, Variable};
use crate::environment::{EnvironmentValues, FallbackPolicy};
use crate::keyring::{KeyError, KeyRing, Secret};
use crate::reason::Reason;

/// Where settings are read from: the process environment and a `.env` file.
#[derive(Debug, Clone, Default)]
pub struct SettingsFiles {
    /// The `.env` file. It need not exist.
    pub dot_env: Option<PathBuf>,
}

impl SettingsFiles {
    /// Reads the values, unchecked.
    #[must_use]
    pub fn values(&self) -> Values {
        Values::of_process(self.dot_env.as_deref())
    }

    /// What changes when one of these files does.
    pub(crate) fn fingerprint(files: &[PathBuf]) -> Vec<Option<(SystemTime, u64)>> {
        env::fingerprint(files)
    }
}

/// All that a resolver is told from outside.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// `USE_SELFHOST_ROUTING_TABLE`: whether the database is asked.
    pub enabled: bool,
    /// The keys that secrets rest under. `None`: no sealed secret can be opened.
    pub ring: Option<Arc<KeyRing>>,
    /// The credentials of the environment, and when they may serve.
    pub environment: EnvironmentValues,
    /// Where configs and numbers are. `None`: the environment serves.
    pub database: Option<Database>,
    /// Times and sizes.
    pub tuning: Tuning,
    /// The values that take a restart, hashed, so that a reload can tell which ones differ.
    cold: BTreeMap<&'static str, u64>,
}

/// Which database, and how to reach it.
#[derive(Clone)]
#[non_exhaustive]
pub enum Database {
    /// Postgres, and the schema that holds the tables.
    #[cfg(feature = "postgres")]
    Postgres {
        /// Host, user, password, database, TLS.
        options: Box<sqlx::postgres::PgConnectOptions>,
        /// `DB_SCHEMA`.
        schema: String,
    },
    /// An SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite {
        /// The file.
        options: Box<sqlx::sqlite::SqliteConnectOptions>,
    },
}

impl fmt::Debug for Database {
    /// Says which kind it is and nothing of how it is reached, since that includes a password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres { schema, .. } => write!(out, "Postgres({schema})"),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { options } => write!(out, "Sqlite({})", options.get_filename().display()),
        }
    }
}

/// Times and sizes, with the defaults that [`VARIABLES`] documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// `DATABASE_CONNECTIONS`.
    pub connections: u32,
    /// `STORE_DEADLINE`.
    pub store_deadline: Duration,
    /// `CACHE_CAPACITY`, in answers.
    pub capacity: u64,
    /// `CACHE_TTL`.
    pub ttl: Duration,
    /// `CACHE_TTL_JITTER`, as a fraction from 0 to 1.
    pub ttl_jitter: f64,
    /// `NEGATIVE_TTL`.
    pub negative_ttl: Duration,
    /// `ERROR_TTL`.
    pub error_ttl: Duration,
    /// `MAX_STALE`.
    pub max_stale: Duration,
    /// `RESOLVE_DEADLINE`.
    pub resolve_deadline: Duration,
    /// `LEASE`.
    pub lease: Duration,
    /// `HEARTBEAT_INTERVAL`.
    pub heartbeat: Duration,
    /// `POLL_INTERVAL`.
    pub poll: Duration,
}

impl Default for Settings {
    /// What holds when no variable is set.
    fn default() -> Self {
        Self::read(&Values::default()).expect("the documented defaults are valid")
    }
}

impl Settings {
    /// Reads the process environment.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] with every problem there is.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::read(&Values::of_process(None))
    }

    /// Reads values that were found before.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] with every problem there is.
    pub fn read(values: &Values) -> Result<Self, SettingsError> {
        let mut reader = Reader { values, problems: values.problems().to_vec() };
        let settings = Self {
            enabled: reader.with("USE_SELFHOST_ROUTING_TABLE", switch).unwrap_or(true),
            ring: reader.ring(),
            environment: reader.environment(),
            database: reader.database(),
            tuning: reader.tuning(),
            cold: cold(values),
        };
        if reader.problems.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError { problems: reader.problems })
        }
    }
}

impl Settings {
    /// Which variables differ from these other settings and cannot be changed while running.
    pub(crate) fn needs_restart_from(&self, running: &Cold) -> Vec<&'static str> {
        let differs = |name: &&&'static str| self.cold.get(**name) != running.0.get(**name);
        self.cold.keys().filter(differs).copied().collect()
    }

    /// What a later reload is compared with.
    pub(crate) fn cold(&self) -> Cold {
        Cold(self.cold.clone())
    }
}

/// The hashes of the values that take a restart.
pub(crate) struct Cold(BTreeMap<&'static str, u64>);

fn cold(values: &Values) -> BTreeMap<&'static str, u64> {
    let hash = |name| foldhash::quality::FixedState::default().hash_one(values.get(name));
    let named = VARIABLES.iter().filter(|variable| !variable.hot).map(|variable| variable.name);
    named.chain(LIBPQ).map(|name| (name, hash(name))).collect()
}

/// Takes values out, typed, and keeps what is wrong with them.
struct Reader<'a> {
    values: &'a Values,
    problems: Vec<Problem>,
}

impl Reader<'_> {
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

    fn ring(&mut self) -> Option<Arc<KeyRing>> {
        let name = "LIVEKIT_SECRET_ENCRYPTION_KEY";
        match KeyRing::parse(self.values.get(name)?) {
            Ok(ring) => Some(Arc::new(ring)),
            Err(error) => {
                self.problem(name, error.to_string(), Some(error));
                None
            }
        }
    }

    fn environment(&mut self) -> EnvironmentValues {
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

    fn tuning(&mut self) -> Tuning {
        let tuning = Tuning {
            connections: self.number("DATABASE_CONNECTIONS", 1..=1000),
            store_deadline: self.duration("STORE_DEADLINE", "10ms", "10m"),
            capacity: self.number("CACHE_CAPACITY", 1..=1_000_000_000),
            ttl: self.duration("CACHE_TTL", "1s", "7d"),
            ttl_jitter: f64::from(self.number::<u32>("CACHE_TTL_JITTER", 0..=50)) / 100.0,
            negative_ttl: self.duration("NEGATIVE_TTL", "10ms", "1d"),
            error_ttl: self.duration("ERROR_TTL", "10ms", "1m"),
            max_stale: self.duration("MAX_STALE", "0s", "7d"),
            resolve_deadline: self.duration("RESOLVE_DEADLINE", "1ms", "1m"),
            lease: self.duration("LEASE", "20ms", "1m"),
            heartbeat: self.duration("HEARTBEAT_INTERVAL", "5ms", "30s"),
            poll: self.duration("POLL_INTERVAL", "1ms", "10s"),
        };
        if tuning.heartbeat * 2 >= tuning.lease {
            let message = "must be less than half of LEASE, or every lost one ends the lease";
            self.problem("HEARTBEAT_INTERVAL", message.into(), None);
        }
        if tuning.poll * 2 >= tuning.lease {
            let message = "must be less than half of LEASE, or every late one ends the lease";
            self.problem("POLL_INTERVAL", message.into(), None);
        }
        tuning
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

    fn database(&mut self) -> Option<Database> {
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

fn policy(text: &str) -> Result<FallbackPolicy, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let reasons = words.map(Reason::from_str).collect::<Result<Vec<_>, _>>().map_err(|_| {
        let known: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("holds a word that is no reason; reasons are {}", known.join(", "))
    })?;
    Ok(FallbackPolicy::denying(reasons))
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

/// Every problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which variable.
    pub variable: String,
    /// What is wrong with it, and what would be right. Never its value.
    pub message: String,
    /// The error of the key ring, where it is about that.
    pub key: Option<KeyError>,
}

impl SettingsError {
    /// The error of the key ring, if that is all that is wrong.
    #[must_use]
    pub fn only_key(&self) -> Option<&KeyError> {
        match self.problems.as_slice() {
            [Problem { key, .. }] => key.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the settings are not valid")?;
        for Problem { variable, message, .. } in &self.problems {
            write!(out, "\n  {variable}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// The variables of libpq that are read where there is no `DATABASE_URL`.
const LIBPQ: [&str; 5] = ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"];

/// The `.env` file of the folder that the program runs in.
#[must_use]
pub fn dot_env_here() -> PathBuf {
    PathBuf::from(".env")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Values::of(pairs.iter().map(owned), None)
    }

    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        let error = Settings::read(&values(pairs)).unwrap_err();
        error.problems.into_iter().map(|problem| problem.variable).collect()
    }

    #[test]
    fn the_documented_defaults_are_what_holds() {
        let settings = Settings::default();
        assert!(settings.enabled && settings.database.is_none() && settings.ring.is_none());
        assert_eq!(settings.tuning.ttl, Duration::from_secs(300));
        assert_eq!(settings.environment.agent.as_deref(), Some("inbound-agent"));
    }

    #[test]
    fn every_problem_is_named_and_no_value_is_repeated() {
        let pairs = [
            ("USE_SELFHOST_ROUTING_TABLE", "maybe"),
            ("LIVEKIT_SECRET_ENCRYPTION_KEY", "canary-key"),
            ("LIVEKIT_URL", "wss://key:canary@a.example"),
            ("FALLBACK_DENY", "flag_off,canary"),
            ("DATABASE_URL", "mysql://root:canary@host/db"),
            ("CACHE_TTL", "5 minutes"),
            ("DATABASE_CONNECTIONS", "0"),
            ("HEARTBEAT_INTERVAL", "1s"),
        ];
        let named = problems(&pairs);
        for (name, _) in pairs {
            assert!(named.iter().any(|variable| variable == name), "{name} in {named:?}");
        }
        let error = Settings::read(&values(&pairs)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }

    #[test]
    fn a_database_is_named_by_a_url_or_by_the_variables_of_libpq() {
        let kind = |pairs: &[(&str, &str)]| {
            format!("{:?}", Settings::read(&values(pairs)).unwrap().database)
        };
        assert_eq!(kind(&[]), "None");
        assert_eq!(kind(&[("DATABASE_URL", "sqlite:a/b.db")]), "Some(Sqlite(a/b.db))");
        let url = ("DATABASE_URL", "postgres://u:p@h/d");
        assert_eq!(kind(&[url, ("DB_SCHEMA", "lad_dev")]), "Some(Postgres(lad_dev))");
        assert_eq!(kind(&[("PGHOST", "h")]), "Some(Postgres(public))");
        for bad in ["sqlite::memory:", "sqlite:", "postgres://[", "/a/b.db"] {
            assert_eq!(problems(&[("DATABASE_URL", bad)]), ["DATABASE_URL"], "{bad}");
        }
        assert_eq!(problems(&[("DB_SCHEMA", "a\"; drop")]), ["DB_SCHEMA"]);
    }

    #[test]
    fn a_variable_of_the_process_wins_over_the_env_file_and_both_over_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        std::fs::write(&file, "CACHE_TTL=7m\nVOICE_AGENT_NAME='file agent'\n").unwrap();
        let process = [("CACHE_TTL".to_owned(), "9m".to_owned())];
        let values = Values::of(process, Some(&file));
        assert_eq!(values.get("CACHE_TTL"), Some("9m"));
        assert_eq!(values.get("VOICE_AGENT_NAME"), Some("file agent"));
        assert_eq!(values.get("LEASE"), Some("1s"));
        assert_eq!(values.origin("VOICE_AGENT_NAME"), Origin::DotEnv(file));
    }

    #[test]
    fn a_key_may_come_from_a_file_but_not_from_two_places() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, format!("{}\n", *KeyRing::generate().unwrap())).unwrap();
        let name = "LIVEKIT_SECRET_ENCRYPTION_KEY_FILE";
        let path = file.to_str().unwrap();
        assert!(Settings::read(&values(&[(name, path)])).unwrap().ring.is_some());
        let both = [(name, path), ("LIVEKIT_SECRET_ENCRYPTION_KEY", "x")];
        assert!(problems(&both).contains(&"LIVEKIT_SECRET_ENCRYPTION_KEY".to_owned()));
        assert_eq!(problems(&[(name, "/no/such/file")]), ["LIVEKIT_SECRET_ENCRYPTION_KEY"]);
    }

    #[test]
    fn a_broken_env_file_is_a_problem_that_does_not_repeat_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        std::fs::write(&file, "LIVEKIT_API_SECRET=two canary words\n").unwrap();
        let error = Settings::read(&Values::of([], Some(&file))).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    #[test]
    fn the_example_file_is_what_the_variables_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(kept, env::example(), "run `trunkline settings example > .env.example`");
    }
}
