//! Warnings about values that are valid but odd: quotes that were kept, white space around a
//! secret, two of three values that belong together, keys that other programs refuse.
//!
//! Nothing here is refused, since it may be intended. No message repeats a value.

use super::names::LIBPQ;
use super::values::{ValueOrigin, Values};
use super::{Settings, VARIABLES, Warning};

/// What is odd about each value, and about the values together.
pub(super) fn doubts(settings: &Settings, values: &Values) -> Vec<Warning> {
    let mut warnings: Vec<_> = VARIABLES
        .iter()
        .map(|variable| variable.name)
        .chain(LIBPQ)
        .filter_map(|name| doubt(name, values))
        .collect();
    warnings.extend(incomplete(settings));
    warnings.extend(refused(settings));
    warnings.extend(off_limits(settings));
    warnings.extend(unpadded(values));
    warnings.extend(without_effect(values));
    warnings.extend(nothing_to_turn(settings));
    #[cfg(feature = "server")]
    warnings.extend(without_proxy(settings));
    warnings
}

fn doubt(name: &str, values: &Values) -> Option<Warning> {
    let value = values.get(name)?;
    let from_file = matches!(values.origin(name), ValueOrigin::DotEnv(_));
    let quoted = ['"', '\'']
        .iter()
        .any(|&quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote));
    let place = values.place(name).map(|place| format!(" ({place})")).unwrap_or_default();
    let message = if quoted && !from_file {
        "stands in quotes, which count as part of it: `docker run --env-file` keeps them; leave \
         them out"
    } else if EXACT.contains(&name) && value.trim() != value {
        "has white space around it, which counts as part of it; leave it out"
    } else {
        return None;
    };
    Some(Warning::new(name, format!("{message}{place}")))
}

/// All of the three, or none of them.
fn incomplete(settings: &Settings) -> Option<Warning> {
    let missing = settings.environment.missing();
    let (first, more) = missing.split_first()?;
    if more.len() == 2 {
        return None;
    }
    let message = match more.first() {
        Some(more) => format!("is missing, and so is {more}"),
        None => "is missing".to_owned(),
    };
    let message = format!(
        "{message}, so there is nothing to fall back to: set all three LIVEKIT values or none"
    );
    Some(Warning::new(first, message))
}

/// A host of the environment that its own settings refuse.
fn refused(settings: &Settings) -> Option<Warning> {
    let message =
        "its host is not in LIVEKIT_HOSTS, so the environment answers nobody: add it there";
    settings.environment.host_is_refused().then(|| Warning::new("LIVEKIT_URL", message))
}

/// A host of the environment where no LiveKit server is.
fn off_limits(settings: &Settings) -> Option<Warning> {
    let message = "its host is a link-local address, or one where a cloud tells machines about \
                   themselves; the next major version will refuse it";
    let url = settings.environment.url.as_ref()?;
    url.is_off_limits().then(|| Warning::new("LIVEKIT_URL", message))
}

/// Keys without their last character, which Python refuses.
fn unpadded(values: &Values) -> Option<Warning> {
    let name = "LIVEKIT_SECRET_ENCRYPTION_KEY";
    let keys = values.get(name)?.split(',').map(str::trim);
    let short = keys.enumerate().find(|(_, key)| !key.ends_with('='));
    short.map(|(index, _)| {
        let message = format!(
            "key {} is without the = at its end, and Python's cryptography refuses it; add it",
            index + 1,
        );
        Warning::new(name, message)
    })
}

/// A value that was of use to an earlier version.
fn without_effect(values: &Values) -> Option<Warning> {
    let name = "HEARTBEAT_INTERVAL";
    let message = "has no effect any more: no heartbeats are sent, and LEASE alone says how often \
                   the change log is read; take it out";
    values.get(name).map(|_| Warning::new(name, message))
}

/// A schedule for keys, where there are none, or no database.
fn nothing_to_turn(settings: &Settings) -> Option<Warning> {
    let is_odd = settings.tuning.key_rotation.is_some()
        && (settings.database.is_none() || settings.ring.is_none());
    let message = "turns nothing without DATABASE_URL and LIVEKIT_SECRET_ENCRYPTION_KEY: keys that it makes rest \
                   in the one, sealed by the other";
    is_odd.then(|| Warning::new("KEY_ROTATION", message))
}

/// A header of a proxy, where no proxy is.
#[cfg(feature = "server")]
fn without_proxy(settings: &Settings) -> Option<Warning> {
    let message =
        "is set, and HTTP_BEHIND_PROXY is not: requests that a proxy passed on are refused";
    let is_odd = settings.api.user_header.is_some() && !settings.api.behind_proxy;
    is_odd.then(|| Warning::new("HTTP_USER_HEADER", message))
}

/// Values that count to the last blank.
const EXACT: [&str; 5] = [
    "LIVEKIT_API_SECRET",
    "LIVEKIT_API_KEY",
    "OUTBOUND_TRUNK_ID",
    "VOICE_AGENT_NAME",
    "PGPASSWORD",
];
