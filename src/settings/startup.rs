//! The settings that a process started with, as hashes: a reload compares with them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;
use std::path::PathBuf;

use foldhash::quality::FixedState;
use url::Url;

use super::file::FileStamp;
use super::names::LIBPQ;
use super::{Settings, VARIABLES, Values};

/// What a process began with: the hashes of its values, and the files that it read.
///
/// Hidden: a password could be guessed from its hash.
#[derive(Clone)]
pub(crate) struct StartupSettings {
    /// Of the values that take a restart, the password of the database apart.
    at_restart: BTreeMap<&'static str, u64>,
    /// Of the values that a reload takes.
    at_reload: BTreeMap<&'static str, u64>,
    files: Vec<PathBuf>,
    stamps: Vec<Option<FileStamp>>,
}

impl StartupSettings {
    /// What these files were when they were read, if it was these.
    pub(crate) fn stamps(&self, files: &[PathBuf]) -> Option<Vec<Option<FileStamp>>> {
        (self.files == files).then(|| self.stamps.clone())
    }
}

impl fmt::Debug for StartupSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("StartupSettings(hidden)")
    }
}

pub(super) fn startup(values: &Values) -> StartupSettings {
    let hashed = |name| (name, FixedState::default().hash_one(values.get(name)));
    let names = |hot| {
        let some = VARIABLES.iter().filter(move |variable| variable.hot == hot);
        some.map(|variable| variable.name)
    };
    let mut at_restart: BTreeMap<_, _> = names(false).chain(LIBPQ).map(hashed).collect();
    // A password may be another one while it runs; where it is sent to may not.
    at_restart.remove(PASSWORD);
    let place = values.get(URL).map(without_password);
    at_restart.insert(URL, FixedState::default().hash_one(place));
    StartupSettings {
        at_restart,
        at_reload: names(true).chain([URL, PASSWORD]).map(hashed).collect(),
        files: values.files().to_vec(),
        stamps: values.stamps().to_vec(),
    }
}

/// A URL that differs from one with another password in nothing.
fn without_password(url: &str) -> Cow<'_, str> {
    let Ok(mut url) = Url::parse(url) else { return url.into() };
    let _none_in_a_path = url.set_password(None);
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    url.set_query(None);
    url.query_pairs_mut().extend_pairs(pairs.iter().filter(|(name, _)| name != "password"));
    String::from(url).into()
}

const URL: &str = "DATABASE_URL";
const PASSWORD: &str = "PGPASSWORD";

impl Settings {
    /// Which variables differ from these other settings and cannot be changed while running.
    pub(crate) fn needs_restart_from(&self, running: &StartupSettings) -> Vec<&'static str> {
        let differs = |name: &&&'static str| {
            self.startup.at_restart.get(**name) != running.at_restart.get(**name)
        };
        self.startup.at_restart.keys().filter(differs).copied().collect()
    }

    /// Which variables that can be changed while running differ from an earlier reading.
    pub(crate) fn changed_since(&self, earlier: &StartupSettings) -> Vec<&'static str> {
        let differs = |name: &&&'static str| {
            self.startup.at_reload.get(**name) != earlier.at_reload.get(**name)
        };
        self.startup.at_reload.keys().filter(differs).copied().collect()
    }

    /// What a later reload is compared with.
    pub(crate) fn startup(&self) -> StartupSettings {
        self.startup.clone()
    }
}
