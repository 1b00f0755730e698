//! What people enter, checked before it becomes a row: configs, edits of configs, numbers,
//! clients, users, labels of tenants.
//!
//! Command line, API and pages fill in a draft and check it here, so they refuse the same input with
//! the same codes. A check looks at every field and returns all that is wrong, so that nobody mends
//! a form one error at a time. Nothing here asks a database or the network.

mod client;
mod config;
mod field;
mod number;
mod tenant;
mod user;

pub use self::client::ClientDraft;
pub use self::config::{ConfigDraft, ConfigEditDraft};
pub use self::field::{FieldError, FieldErrors, FieldProblem, is_hidden};
pub use self::number::{NumberDraft, NumberEditDraft};
pub use self::tenant::check_label;
pub use self::user::{UserDraft, check_password};
