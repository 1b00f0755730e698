//! Values for columns that a file lacks, and names for columns that it calls something else.

use super::column::Column;
use super::separator::Separator;
use crate::number::{E164, TenantId};

/// What a file does not say itself, or not in our words.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// Whose numbers call, where a row does not say it.
    pub tenant: Option<TenantId>,
    /// Which number calls, where a row does not say it.
    pub from: Option<E164>,
    /// What separates the fields of CSV. Without it, it is looked for.
    pub separator: Option<Separator>,
    /// Headings and members that are columns of ours under names of their own.
    pub columns: Vec<(Column, String)>,
}
