//! By which name a node is known, and a fingerprint of the settings that all nodes must share.
//!
//! **Invariant:** nothing secret is part of the fingerprint, so nothing secret can be guessed from it.

use std::fs;

use sha2::{Digest, Sha256};

use super::reader::{parse_duration, switch};
use super::values::Values;

/// The name of the machine, or `node` where it has none.
#[must_use]
pub(crate) fn host_name() -> String {
    let read = |path| fs::read_to_string(path).ok();
    let named = ["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter().find_map(read);
    let name = named.as_deref().and_then(|text| node_name(text).ok());
    name.unwrap_or_else(|| "node".to_owned())
}

/// A name that fits into an `application_name`, where Postgres takes 63 bytes of printable ASCII.
pub(super) fn node_name(text: &str) -> Result<String, String> {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let name: String = text.trim().chars().map(plain).take(LONGEST_NAME).collect();
    if name.chars().any(|c| c.is_ascii_alphanumeric()) {
        return Ok(name);
    }
    Err("must have a letter or a digit of ASCII, such as eu-1".to_owned())
}

/// By what name sessions of a node are known to Postgres.
#[cfg(feature = "postgres")]
pub(super) fn application_name(node: &str) -> String {
    format!("{APPLICATION}{node}")
}

/// The fingerprint: 16 hex digits. However a time or a switch is written, the same one counts as the
/// same.
pub(super) fn fingerprint(values: &Values) -> String {
    let mut digest = Sha256::new();
    for name in SHARED {
        let text = values.get(name).unwrap_or_default().trim();
        let plain = match (switch(text), parse_duration(text)) {
            _ if text.is_empty() => String::new(),
            (_, Some(time)) if !text.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{} ms", time.as_millis())
            }
            (Ok(on), _) => on.to_string(),
            _ => text.to_owned(),
        };
        digest.update(format!("{name}={plain}\n"));
    }
    let digest = digest.finalize();
    let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{first:016x}")
}

/// The settings that decide what an answer is, and how old it may be. Those that suit one machine, such
/// as addresses, deadlines and sizes, may differ. Secrets are left out: of keys, a node tells the ids.
const SHARED: [&str; 20] = [
    "USE_SELFHOST_ROUTING_TABLE",
    "DATABASE_OFF",
    "FALLBACK_DENY",
    "LIVEKIT_HOSTS",
    "ROUTING",
    "ROUTING_COUNTRIES",
    "BOUND_SECRETS_ONLY",
    "LIVEKIT_URL",
    "LIVEKIT_API_KEY",
    "OUTBOUND_TRUNK_ID",
    "VOICE_AGENT_NAME",
    "DB_SCHEMA",
    "CACHE_TTL",
    "CACHE_TTL_JITTER",
    "NEGATIVE_TTL",
    "ERROR_TTL",
    "MAX_STALE",
    "LEASE",
    "SELF_CHECK_INTERVAL",
    "CHANGE_LOG_KEEP",
];

#[cfg(feature = "postgres")]
const APPLICATION: &str = "trunkline/";
/// What Postgres keeps of an `application_name`, without what ours begins with.
const LONGEST_NAME: usize = 53;

#[cfg(test)]
mod tests {
    use super::super::{VARIABLES, Variable};
    use super::*;

    fn of(name: &str, value: &str) -> String {
        fingerprint(&Values::of([(name.to_owned(), value.to_owned())], None))
    }

    #[test]
    fn a_name_fits_into_an_application_name_whatever_is_in_it() {
        assert_eq!(node_name(" eu-1\n").unwrap(), "eu-1");
        assert_eq!(node_name("b\u{fc}ro\u{1b}[2J").unwrap(), "b?ro?[2J");
        assert_eq!(node_name(&"x".repeat(200)).unwrap().len(), 53);
        for none in ["", " ", "--", "\u{5ba2}\u{670d}"] {
            assert!(node_name(none).is_err(), "{none:?}");
        }
        assert!(!host_name().is_empty());
    }

    #[test]
    fn each_shared_setting_changes_the_fingerprint_and_no_other_one_does() {
        let none = fingerprint(&Values::default());
        assert_eq!(none.len(), 16);
        for Variable { name, secret, .. } in VARIABLES {
            let shared = SHARED.contains(name);
            assert_eq!(of(name, "another value") != none, shared, "{name}");
            assert!(!(shared && *secret), "{name} is a secret");
        }
        assert!(SHARED.iter().all(|name| VARIABLES.iter().any(|known| known.name == *name)));
    }

    #[test]
    fn the_same_value_in_other_words_is_the_same() {
        assert_eq!(of("CACHE_TTL", "300s"), of("CACHE_TTL", "5m"));
        assert_eq!(of("CACHE_TTL", "5m"), fingerprint(&Values::default()));
        assert_eq!(of("DATABASE_OFF", "yes"), of("DATABASE_OFF", "true"));
        assert_ne!(of("DATABASE_OFF", "yes"), of("DATABASE_OFF", "no"));
    }
}
