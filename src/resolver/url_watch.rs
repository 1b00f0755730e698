//! Watches the URLs of configs, and logs two things: a URL that changed while key and secret stayed,
//! and a URL where no LiveKit server can be. The first may be an attack: somebody who may write rows,
//! and has no encryption key, could send calls and tokens to a server of their own that way.
//!
//! The cache forgets a config when it changes. So its last URL is remembered here as long as the
//! process runs, with a hash of key and sealed secret. No secret is kept.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use secrecy::ExposeSecret;

use super::loaded::Asked;
use super::metrics::Telemetry;
use super::source_log::{SourceLog, Topic};
use crate::cache::fence::Generation;
use crate::number::ConfigId;
use crate::server_url::ServerUrl;
use crate::store::Config;

/// The last row of each config.
#[derive(Default)]
pub(super) struct UrlWatch {
    last: Mutex<HashMap<ConfigId, Last>>,
    hasher: RandomState,
}

struct Last {
    /// When it was read.
    born: Generation,
    url: Box<str>,
    pair: u64,
}

impl UrlWatch {
    /// Compares the row of a config with the one before it, and logs where its calls go from now on.
    pub(super) fn watch(
        &self,
        config: &Config,
        Asked { born, at }: Asked,
        telemetry: &Telemetry,
        log: &SourceLog,
    ) {
        let (was, new) = self.record(config, born);
        if new && config.url.parse().is_ok_and(|url: ServerUrl| url.is_off_limits()) {
            warn_of_off_limits(config, log.admit(Topic::OffLimits, at));
        }
        let Some(was) = was else { return };
        telemetry.urls_changed.increment(1);
        let Some(kept_back) = log.admit(Topic::UrlChanged, at) else { return };
        tracing::error!(
            config = %config.id,
            name = config.name,
            was = shown(&was),
            now = shown(&config.url),
            kept_back,
            "the URL of a config was changed, and neither its key nor its secret: its calls go to \
             another server from now on"
        );
    }

    /// Remembers a row that was read in this generation. Returns its URL before, if only the URL has
    /// changed and neither key nor secret; and whether the URL is new.
    fn record(&self, config: &Config, born: Generation) -> (Option<Box<str>>, bool) {
        let pair = self.hasher.hash_one((&config.api_key, config.api_secret.expose_secret()));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MOST && !last.contains_key(&config.id) {
            last.clear();
        }
        let new = Last { born, url: config.url.as_str().into(), pair };
        let Some(there) = last.get_mut(&config.id) else {
            last.insert(config.id, new);
            return (None, true);
        };
        // An older row that arrives late.
        if there.born > born {
            return (None, false);
        }
        let was = std::mem::replace(there, new);
        let elsewhere = *was.url != *config.url;
        ((was.pair == pair && elsewhere).then_some(was.url), elsewhere)
    }
}

/// Such a config works today. It is warned of when it is first seen.
fn warn_of_off_limits(config: &Config, kept_back: Option<u64>) {
    if let Some(kept_back) = kept_back {
        tracing::warn!(
            config = %config.id,
            name = config.name,
            kept_back,
            "the URL of a config is a link-local or metadata address; checks refuse it, and the next \
             major version will refuse calls there"
        );
    }
}

/// The URL, if it is one: another text may hold a password.
fn shown(url: &str) -> &str {
    if url.parse::<ServerUrl>().is_ok() { url } else { "(malformed)" }
}

/// How many configs are remembered. Beyond that all are forgotten.
const MOST: usize = 200_000;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cache::fence::Fence;
    use crate::change::Change;

    fn row(url: &str, key: &str, sealed: &str) -> Config {
        Config {
            id: ConfigId(Uuid::from_u128(1)),
            name: "eu".into(),
            description: None,
            url: url.into(),
            api_key: key.into(),
            api_secret: sealed.to_owned().into(),
            trunk_id: None,
            agent: None,
            created_at: None,
            updated_at: None,
            disabled_at: None,
        }
    }

    #[test]
    fn a_url_that_alone_was_changed_is_noticed_once() {
        let (seen, fence) = (UrlWatch::default(), Fence::new());
        let look = |row: Config| seen.record(&row, fence.bump(Change::All)).0;
        assert_eq!(look(row("wss://a", "API", "s")), None, "it is new");
        assert_eq!(look(row("wss://a", "API", "s")), None);
        assert_eq!(look(row("wss://b", "API", "s")).as_deref(), Some("wss://a"));
        assert_eq!(look(row("wss://b", "API", "s")), None, "once");
        assert_eq!(look(row("wss://c", "API2", "s")), None, "another key");
        assert_eq!(look(row("wss://d", "API2", "t")), None, "another secret");
        let named = Config { name: "us".into(), ..row("wss://e", "API2", "t") };
        assert_eq!(look(named).as_deref(), Some("wss://d"), "whatever else was changed");
    }

    #[test]
    fn a_row_that_arrives_late_says_nothing() {
        let (seen, fence) = (UrlWatch::default(), Fence::new());
        let early = fence.generation();
        let newest = fence.bump(Change::All);
        assert_eq!(seen.record(&row("wss://b", "API", "s"), newest), (None, true));
        assert_eq!(seen.record(&row("wss://a", "API", "s"), early), (None, false));
        assert_eq!(seen.record(&row("wss://b", "API", "s"), newest), (None, false));
    }
}
