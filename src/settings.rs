//! The program's own settings: typed, and valid as a whole or not at all.
//!
//! ("Config" always means a LiveKit config.) What is wrong is collected, so that one run names
//! every problem. No message repeats a value that may be secret.

#[cfg(feature = "server")]
mod api;
mod builder;
mod database;
mod dot_env;
mod doubts;
pub mod env;
mod file;
mod names;
mod node;
#[cfg(feature = "postgres")]
mod postgres;
mod problem;
mod reader;
#[cfg(feature = "relay")]
mod relay;
mod shown;
mod startup;
mod values;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "server")]
pub use self::api::{ApiSettings, Network, SocketUser, TlsFiles, UserHeader};
pub use self::builder::SettingsBuilder;
pub use self::env::{VARIABLES, Variable};
pub(crate) use self::file::FileStamp;
pub use self::names::LIBPQ;
pub(crate) use self::node::host_name;
pub use self::problem::{Problem, SettingsError, Warning};
use self::reader::SettingsReader;
pub use self::reader::parse_duration;
#[cfg(feature = "relay")]
pub use self::relay::RelayUrl;
pub use self::shown::{ShownSetting, shown};
pub(crate) use self::startup::StartupSettings;
use self::startup::startup;
pub use self::values::{ValueOrigin, Values};
use crate::environment::EnvironmentValues;
use crate::keyring::KeyRing;

/// Where settings are read from: the process environment and a `.env` file.
#[derive(Debug, Clone, Default)]
pub struct SettingsFiles {
    /// The `.env` file. It need not exist.
    pub dot_env: Option<PathBuf>,
    /// Defaults for variables that neither of them sets.
    pub defaults: Vec<(String, String)>,
}

impl SettingsFiles {
    /// Reads the values, unchecked.
    #[must_use]
    pub fn values(&self) -> Values {
        Values::of_process_over(&self.defaults, self.dot_env.as_deref())
    }

    /// What changes when one of these files does.
    pub(crate) fn stamps(files: &[PathBuf]) -> Vec<Option<FileStamp>> {
        files.iter().map(|path| FileStamp::now(path)).collect()
    }
}

/// Everything that you can set: read from the environment, or made with a [builder](Self::builder).
///
/// ```
/// use trunkline::Settings;
///
/// let settings = Settings::default();
/// assert!(settings.enabled && settings.database.is_none());
/// assert_eq!(settings.tuning.lease.as_millis(), 1000);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// `USE_SELFHOST_ROUTING_TABLE`: whether the database is asked.
    pub enabled: bool,
    /// `DATABASE_OFF`: whether the database is left alone altogether.
    pub database_off: bool,
    /// The keys that secrets rest under. `None`: no sealed secret can be opened.
    pub ring: Option<Arc<KeyRing>>,
    /// The credentials of the environment, and when they may serve.
    pub environment: EnvironmentValues,
    /// `NODE_NAME`, else the name of the machine: how people tell this process from others.
    pub node_name: String,
    /// `DATA_DIR`: where what must outlast a restart is kept. `None`: nowhere.
    pub data_dir: Option<PathBuf>,
    /// Where configs and numbers are. `None`: the environment serves.
    pub database: Option<Database>,
    /// `RELAY_URL`: the Redis through which nodes tell each other of changes. `None`: each reads the
    /// change log itself.
    #[cfg(feature = "relay")]
    pub relay: Option<RelayUrl>,
    /// How destinations without a country code are read.
    #[cfg(feature = "dispatch")]
    pub routing: crate::routing::Reading,
    /// Where the daemon listens.
    #[cfg(feature = "server")]
    pub http_listen: std::net::SocketAddr,
    /// Host names that the daemon accepts besides those of the machine, in lower case.
    #[cfg(feature = "server")]
    pub http_hosts: Vec<String>,
    /// Where the daemon answers clients.
    #[cfg(feature = "server")]
    pub api: ApiSettings,
    /// Times and sizes.
    pub tuning: Tuning,
    /// Warnings: values that are valid and probably not meant.
    pub warnings: Vec<Warning>,
    /// Of the settings that all nodes must share.
    fingerprint: String,
    /// Each one as anybody may see it.
    shown: Arc<[ShownSetting]>,
    /// The values that take a restart, hashed, so that a reload can tell which ones differ.
    startup: StartupSettings,
}

/// Which database, and how to reach it.
#[derive(Clone)]
pub struct Database(pub(crate) DatabaseTarget);

/// The way to a database of either kind.
#[derive(Clone)]
pub(crate) enum DatabaseTarget {
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

impl Database {
    /// How the way to it is protected.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match &self.0 {
            #[cfg(feature = "postgres")]
            DatabaseTarget::Postgres { options, .. } => postgres::transport(options),
            #[cfg(feature = "sqlite")]
            DatabaseTarget::Sqlite { .. } => Transport::Local,
        }
    }

    /// The file, of an SQLite database.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.0 {
            #[cfg(feature = "postgres")]
            DatabaseTarget::Postgres { .. } => None,
            #[cfg(feature = "sqlite")]
            DatabaseTarget::Sqlite { options } => Some(options.get_filename()),
        }
    }

    /// Where it is, without a password: `postgres://user@host:5432/database` or `sqlite:file`.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.0 {
            #[cfg(feature = "postgres")]
            DatabaseTarget::Postgres { options, .. } => postgres::shown(options),
            #[cfg(feature = "sqlite")]
            DatabaseTarget::Sqlite { options } => {
                format!("sqlite:{}", options.get_filename().display())
            }
        }
    }
}

/// How what is said to a database is protected on its way, as far as the settings tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// It does not leave this machine.
    Local,
    /// Encrypted, to a server whose certificate is verified.
    Verified,
    /// Encrypted, to whoever answers.
    Encrypted,
    /// Encrypted where the server offers it.
    Offered,
    /// In the clear.
    Clear,
}

impl fmt::Debug for Database {
    /// Says which kind it is and nothing of how it is reached, since that includes a password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            #[cfg(feature = "postgres")]
            DatabaseTarget::Postgres { schema, .. } => write!(out, "Postgres({schema})"),
            #[cfg(feature = "sqlite")]
            DatabaseTarget::Sqlite { options } => {
                write!(out, "Sqlite({})", options.get_filename().display())
            }
        }
    }
}

/// Times and sizes, with the defaults that [`VARIABLES`] documents.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// `DATABASE_CONNECTIONS`.
    pub connections: u32,
    /// `STORE_DEADLINE`.
    pub store_deadline: Duration,
    /// `CACHE_CAPACITY`, in answers.
    pub capacity: u64,
    /// `WARM`.
    pub warm: Warm,
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
    /// `LOG_POLL_INTERVAL`.
    pub log_poll: Duration,
    /// `POLL_INTERVAL`.
    pub poll: Duration,
    /// `SELF_CHECK_INTERVAL`; `None` is never.
    pub self_check: Option<Duration>,
    /// `AUDIT_KEEP`; `None` is for ever.
    pub keep_audit: Option<Duration>,
    /// `KEY_ROTATION`: how long a data key seals before the next one does; `None` is until somebody turns it.
    pub key_rotation: Option<Duration>,
    /// `CHANGE_LOG_KEEP`; `None` is for ever.
    pub keep_changes: Option<Duration>,
    /// `LIVEKIT_CONNECT_TIMEOUT`.
    pub livekit_connect: Duration,
    /// `LIVEKIT_TIMEOUT`.
    pub livekit: Duration,
}

/// Which numbers are loaded before anyone asks for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warm {
    /// None: each is loaded when it is asked for.
    #[default]
    None,
    /// Those that changed lately, as far as the change log tells.
    Recent,
    /// All that there is room for.
    All,
}

impl Default for Settings {
    /// What holds when no variable is set.
    fn default() -> Self {
        Self::read(&Values::default()).expect("the documented defaults are valid")
    }
}

impl Settings {
    /// Starts to build settings that come from no environment.
    #[must_use]
    pub fn builder() -> SettingsBuilder {
        SettingsBuilder::default()
    }

    /// A fingerprint of the settings that all nodes must share, in 16 hex digits: those that decide what
    /// an answer is, and how old it may be. No secret is part of it.
    ///
    /// ```
    /// use trunkline::Settings;
    ///
    /// let written = |ttl| Settings::builder().set("CACHE_TTL", ttl).build().map(|it| it.fingerprint().to_owned());
    /// assert_eq!(written("5m")?, written("300s")?);
    /// assert_ne!(written("5m")?, written("10m")?);
    /// # Ok::<(), trunkline::settings::SettingsError>(())
    /// ```
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Each setting as anybody may see it: no secret, and where the value comes from.
    #[must_use]
    pub fn shown(&self) -> &Arc<[ShownSetting]> {
        &self.shown
    }

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
        let mut reader = SettingsReader::new(values);
        reader.log_format();
        let node_name = reader.node_name();
        let mut settings = Self {
            enabled: reader.enabled(),
            database_off: reader.database_off(),
            #[cfg(feature = "dispatch")]
            routing: reader.routing(),
            ring: reader.ring(),
            environment: reader.environment(),
            data_dir: reader.data_dir(),
            database: reader.database(&node_name),
            #[cfg(feature = "relay")]
            relay: reader.relay(),
            node_name,
            #[cfg(feature = "server")]
            http_listen: reader.http_listen(),
            #[cfg(feature = "server")]
            http_hosts: reader.http_hosts(),
            #[cfg(feature = "server")]
            api: reader.api(),
            tuning: reader.tuning(),
            warnings: Vec::new(),
            fingerprint: node::fingerprint(values),
            shown: Arc::default(),
            startup: startup(values),
        };
        settings.shown = shown::look(values, settings.database.as_ref(), &[]).into();
        settings.warnings = reader.warnings(&settings);
        match reader.problems() {
            problems if problems.is_empty() => Ok(settings),
            problems => Err(SettingsError { problems }),
        }
    }
}

/// The `.env` file of the folder that the program runs in.
#[must_use]
pub fn dot_env_here() -> PathBuf {
    PathBuf::from(".env")
}

#[cfg(test)]
mod tests;
