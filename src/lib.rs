//! Which LiveKit server, with which key, secret and SIP trunk, places the call from this number?
//!
//! Trunkline answers that from memory. It reads the answer from the database that operators edit,
//! opens the sealed secret, keeps what is needed to sign with it, and drops the answer the moment
//! the row changes.
//!
//! ```
#![doc = include_str!("../examples/embed.rs")]
//! ```
//!
//! **Use the library** inside a dispatcher that places calls from Rust: a warm answer is a function
//! call. **Use the program** (`trunkline --help`) to keep configs and numbers, to seal secrets, to
//! migrate the tables and to ask why a call went where it went. **Use neither** when one LiveKit
//! project serves all your calls: three environment variables do that, and there is nothing to
//! resolve.
//!
//! # The two flows
//!
//! ```text
//! number in                                    change in
//!   E164, TenantId: parsed once                  a trigger writes the change log and notifies
//!   in memory and current? credentials           the change feed reads what is new in the log
//!   else one load: number joined with config     the cached answer and its secret are discarded
//!   flag off? the environment's credentials      the next call loads the new row
//!   else the key ring opens the secret
//! credentials out: url, key, signer, trunk, agent, source
//! ```
//!
//! # Features
//!
//! `postgres` and `sqlite` bring the two databases, `dispatch` the calls, `server` metrics and health
//! over HTTP; all are on by default, and each only adds. An embedder takes
//! `default-features = false, features = ["postgres"]`. Off by default is `livekit-api`, which brings
//! `Answer::livekit_api`, the official client. The program is a package of its own, in `program/`.
//!
//! # What it needs
//!
//! Rust 1.95 or newer and Unix. It is tested on Linux; Windows is not supported. A newer Rust may be
//! required by a minor release.
//!
//! Public signatures hold types of uuid 1, serde 1, `serde_json` 1 and chrono 0.4, and re-exported ones:
//! [`Secret`] and [`ExposeSecret`] of secrecy, and the `CancellationToken` of tokio-util.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(not(any(feature = "postgres", feature = "sqlite")))]
compile_error!("name a database: feature `postgres`, `sqlite` or both");

// Text in.
mod number;
mod rules;
mod server_url;
// Credentials out.
mod answer;
mod credentials;
mod environment;
mod keyring;
mod reason;
mod token;
// Who may ask.
pub mod access;
// Who changed what.
pub mod audit;
// How one becomes the other.
mod cache;
mod change;
mod changes;
pub mod nodes;
mod resolver;
pub mod rollout;
pub mod rotation;
pub mod schedule;
pub mod store;
// What people enter.
pub mod draft;
// Call out.
#[cfg(feature = "dispatch")]
pub mod dispatch;
#[cfg(feature = "livekit-api")]
mod official;
#[cfg(feature = "dispatch")]
pub mod routing;
// What runs it.
mod backoff;
pub mod clock;
mod lifecycle;
#[cfg(feature = "server")]
pub mod server;
pub mod settings;
mod sync;
pub mod telemetry;

pub use self::answer::{Answer, ResolveError, Source, TrunkOrigin};
pub use self::cache::Resolution;
pub use self::change::Change;
pub use self::changes::ChangeSource;
#[cfg(feature = "relay")]
pub use self::changes::{RelayHealth, RelayRole};
pub use self::credentials::CredentialError;
pub use self::environment::{Environment, EnvironmentValues, FallbackPolicy};
pub use self::keyring::{
    Binding, Converted, ExposeSecret, KeyError, KeyId, KeyRing, KeyRule, Opened, PREFIX, Sealed,
    Secret, UnopenedKey, WrappedKey,
};
pub use self::number::{
    Caller, CallerError, ConfigId, E164, IdError, Masked, NumberError, TenantId,
};
pub use self::reason::{Reason, UnknownReason};
pub use self::resolver::{
    Compared, Explanation, Health, Moving, NotReady, ReloadError, Resolver, ResolverBuilder,
    RolloutSurvey, Step, Verified, VerifyError,
};
pub use self::rules::{
    CallRules, CallerCheck, Country, Destinations, NoCountry, Phone, PhoneError, Piece, Rules,
    RulesError, RulesStatus,
};
pub use self::server_url::{AllowedHosts, AllowedHostsError, ServerUrl, ServerUrlError};
pub use self::settings::Settings;
pub use self::token::{
    AccessToken, RoomAgent, RoomConfig, SipGrant, TokenRequest, TrackSource, VideoGrant,
};
