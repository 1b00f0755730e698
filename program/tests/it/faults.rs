//! Every fault that one machine can produce, and what holds under it: warm numbers never fail, what
//! is not marked stale is never older than the lease, and everything is back in two seconds.
//!
//! A figure that a busy machine may spoil is printed beside its promise, and held against it with
//! slack; staleness is held against the lease itself.

mod cuts;
mod lab;
mod network;
mod notifications;
mod proxy;
mod server;
mod storms;
mod topology;

pub use self::lab::version_of;
