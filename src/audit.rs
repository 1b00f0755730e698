//! The audit, apart from any database: what a row says, how rows are chained, and how a chain is
//! verified, in a database or in a file that was exported.
//!
//! **Invariant:** whoever has a row, the hash before it and its own hash can verify it: `hash` is the
//! SHA-256 of the hash before it and the SHA-256 of the row, both in hex, and a row is the text that
//! [`AuditRow::text`] writes.

mod chain;
mod line;
mod row;

pub use self::chain::{Broken, ChainHash, ChainWalk};
pub use self::line::{AuditLine, NoLine};
pub use self::row::AuditRow;
