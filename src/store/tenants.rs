//! Labels of tenants: what people call them. A tenant needs none, and no answer depends on one.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::StoreError;
use crate::number::TenantId;

/// A tenant that has a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What people call it: 1 to 100 characters, which no other tenant has, in capital or small letters.
    pub label: String,
    /// Since when.
    pub labelled_at: Option<DateTime<Utc>>,
}

/// The tenants that have a label. A database of a step before that of labels has none.
#[async_trait]
pub trait TenantStore: Send + Sync + 'static {
    /// So many by label and id, after these: among those `of` which it is asked, or all; with `search` in
    /// their label, in capital or small letters.
    async fn tenant_page(
        &self,
        of: Option<&[TenantId]>,
        search: Option<&str>,
        after: Option<(&str, Uuid)>,
        most: usize,
    ) -> Result<Vec<Tenant>, StoreError>;

    /// The one with this label, in capital or small letters.
    async fn tenant_labelled(&self, label: &str) -> Result<Option<Tenant>, StoreError>;

    /// Gives a tenant this label in place of any other, or takes the one away that it has. `false`: it has
    /// none to take away.
    async fn label_tenant(&self, id: TenantId, label: Option<&str>) -> Result<bool, StoreError>;
}
