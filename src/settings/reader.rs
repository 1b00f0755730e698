//! From text to typed settings. Every value is checked, and every problem is collected.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::values::Values;
use super::{Problem, Settings, Tuning, Warm, Warning};
use crate::environment::{EnvironmentValues, FallbackPolicy, RULES_UNKNOWN};
use crate::keyring::{KeyError, KeyRing, Secret};
use crate::reason::Reason;
#[cfg(feature = "dispatch")]
use crate::rules::Country;
use crate::server_url::AllowedHosts;

/// Takes values out, typed, and keeps what is wrong with them.
pub(super) struct SettingsReader<'a> {
    pub(super) values: &'a Values,
    problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

impl<'a> SettingsReader<'a> {
    pub(super) fn new(values: &'a Values) -> Self {
        Self { values, problems: values.problems().to_vec(), warnings: values.warnings().to_vec() }
    }

    /// Everything that was wrong.
    pub(super) fn problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Everything that is odd about settings that were read.
    pub(super) fn warnings(&mut self, settings: &Settings) -> Vec<Warning> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(super::doubts::doubts(settings, self.values));
        warnings
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
            _ => Err("must be text or json".to_owned()),
        };
        self.with("LOG_FORMAT", read);
    }

    #[cfg(feature = "server")]
    pub(super) fn http_listen(&mut self) -> std::net::SocketAddr {
        let read = |text: &str| {
            text.trim().parse().map_err(|_| {
                "must be an address with its port, such as 127.0.0.1:9464 or [::1]:9464".to_owned()
            })
        };
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        self.with("HTTP_LISTEN", read).unwrap_or(nowhere)
    }

    #[cfg(feature = "server")]
    pub(super) fn api(&mut self) -> super::ApiSettings {
        let tls = self.tls();
        let behind_proxy = self.with("HTTP_BEHIND_PROXY", switch).unwrap_or(false);
        let has_cover = tls.is_some() || behind_proxy;
        let user_header = self.user_header();
        super::ApiSettings {
            user_header,
            listen: self.with("API_LISTEN", |text| super::api::listen(text, has_cover)),
            tls,
            behind_proxy,
            socket: self.with("HTTP_SOCKET", super::api::socket),
            users: self.with("HTTP_SOCKET_USERS", super::api::users).unwrap_or_default(),
            rate: self.number("API_RATE", 0..=1_000_000),
        }
    }

    /// Both, or neither.
    #[cfg(feature = "server")]
    fn user_header(&mut self) -> Option<super::UserHeader> {
        let names = ["HTTP_USER_HEADER", "HTTP_USER_HEADER_FROM"];
        let given = names.map(|name| self.values.get(name).is_some());
        let name = self.with(names[0], super::api::user_header);
        let from = self.with(names[1], super::api::networks);
        if let [true, false] | [false, true] = given {
            let missing = names[usize::from(given[0])];
            let why = "must be set, too: a header is believed from named addresses alone";
            self.problem(missing, why.into(), None);
        }
        Some(super::UserHeader { name: name?, from: from? })
    }

    /// Both files, or neither.
    #[cfg(feature = "server")]
    fn tls(&mut self) -> Option<super::TlsFiles> {
        let names = ["HTTP_TLS_CERT", "HTTP_TLS_KEY"];
        let given = names.map(|name| self.values.get(name).is_some());
        let files = names.map(|name| self.with(name, super::api::file));
        if let [true, false] | [false, true] = given {
            let missing = names[usize::from(given[0])];
            self.problem(
                missing,
                "must be set, too: a certificate and its key go together".into(),
                None,
            );
        }
        let [Some(cert), Some(key)] = files else { return None };
        Some(super::TlsFiles { cert, key })
    }

    #[cfg(feature = "server")]
    pub(super) fn http_hosts(&mut self) -> Vec<String> {
        let read = |text: &str| {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            let names: Vec<_> = names.map(str::to_ascii_lowercase).collect();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if names.iter().all(|name| name.chars().all(plain)) {
                return Ok(names);
            }
            Err("must be names without a port, separated by commas".to_owned())
        };
        self.with("HTTP_HOSTS", read).unwrap_or_default()
    }

    pub(super) fn with<T>(
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
        let bound_only = self.with("BOUND_SECRETS_ONLY", switch).unwrap_or(false);
        match KeyRing::parse(self.values.get(name)?) {
            Ok(ring) => Some(Arc::new(ring.bound_only(bound_only))),
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
            hosts: Arc::new(self.with("LIVEKIT_HOSTS", hosts).unwrap_or_default()),
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
            log_poll: self.duration("LOG_POLL_INTERVAL", "5ms", "30s"),
            poll: self.duration("POLL_INTERVAL", "1ms", "10s"),
            self_check: self.duration_or_none("SELF_CHECK_INTERVAL", "10ms", "1d"),
            keep_audit: self.duration_or_none("AUDIT_KEEP", "30d", "36500d"),
            key_rotation: self.duration_or_none("KEY_ROTATION", "2d", "3650d"),
            keep_changes: self.duration_or_none("CHANGE_LOG_KEEP", "1h", "3650d"),
            livekit_connect: self.duration("LIVEKIT_CONNECT_TIMEOUT", "10ms", "1m"),
            livekit: self.duration("LIVEKIT_TIMEOUT", "10ms", "10m"),
        };
        let waits = tuning.ttl.max(tuning.max_stale) + Duration::from_secs(24 * 3600);
        if tuning.key_rotation.is_some_and(|period| period < waits * 2) {
            let message =
                "must be at least twice what one rotation waits: a day, and CACHE_TTL or MAX_STALE";
            self.problem("KEY_ROTATION", message.into(), None);
        }
        let rhythms = [("LOG_POLL_INTERVAL", tuning.log_poll), ("POLL_INTERVAL", tuning.poll)];
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
            _ => Err("must be none, recent or all".to_owned()),
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
                format!("must be a whole number from {} to {}", range.start(), range.end())
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
                    format!("must be a time from {least} to {most}, such as 250ms, 30s or 5m")
                })
        };
        self.with(name, read).unwrap_or_default()
    }

    pub(super) fn node_name(&mut self) -> String {
        self.with("NODE_NAME", super::node::node_name).unwrap_or_else(super::node::host_name)
    }

    pub(super) fn data_dir(&mut self) -> Option<PathBuf> {
        let folder = |text: &str| {
            let path = PathBuf::from(text.trim());
            let is_folder = path.is_dir();
            is_folder.then_some(path).ok_or("must be a folder that is there".to_owned())
        };
        self.with("DATA_DIR", folder)
    }

    #[cfg(feature = "relay")]
    pub(super) fn relay(&mut self) -> Option<super::RelayUrl> {
        self.with("RELAY_URL", super::RelayUrl::parse)
    }

    pub(super) fn problem(&mut self, variable: &str, message: String, key: Option<KeyError>) {
        let place = self.values.place(variable);
        let message = match place {
            Some(place) => format!("{message} ({place})"),
            None => message,
        };
        self.problems.push(Problem { variable: variable.to_owned(), message, key });
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false (1, 0, yes, no, on and off are read, too)".to_owned()),
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

fn hosts(text: &str) -> Result<AllowedHosts, String> {
    text.parse().map_err(|error: crate::AllowedHostsError| error.to_string())
}

fn policy(text: &str) -> Result<FallbackPolicy, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let (rules, reasons): (Vec<_>, Vec<_>) = words.partition(|word| *word == RULES_UNKNOWN);
    let reasons = reasons.into_iter().map(Reason::from_str).collect::<Result<Vec<_>, _>>();
    let reasons = reasons.map_err(|_| {
        let may_be_denied = Reason::ALL.iter().filter(|reason| !reason.is_by_rollout());
        let known: Vec<_> = may_be_denied.map(|reason| reason.as_str()).collect();
        let known = known.join(", ");
        format!("holds a word that is no reason; reasons are {known}, and {RULES_UNKNOWN}")
    })?;
    if let Some(reason) = reasons.iter().find(|reason| reason.is_by_rollout()) {
        return Err(format!("must not hold {reason}, which is no fault: the rollout wants it so"));
    }
    let policy = FallbackPolicy::denying(reasons);
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
