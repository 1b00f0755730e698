//! The promises, one file each, on a real Postgres and on SQLite.
//!
//! `cargo test --test it` needs Postgres's `initdb` and `postgres` on this machine; `scripts/test`
//! installs them. The tests start a private cluster of their own and leave nothing behind.

#![expect(unreachable_pub, reason = "one crate: what support offers is for its siblings")]

mod support;

mod api;
mod audit;
mod calls;
mod catch_up;
mod cli;
mod disabled;
mod embed;
mod faults;
mod freshness;
mod interop;
mod many;
mod migrations;
mod nodes;
mod observed;
mod on_livekit;
mod redaction;
mod relay;
mod reload;
mod resolve;
mod runs;
mod soak;
mod store;
mod strangers;
mod upkeep;
mod verification;
