//! `/v1/tenants`: what people call the tenants. A client reads and gives labels of its own tenants.

mod table;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::configs::given;
use super::page::Page;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use crate::draft::check_label;
use crate::number::TenantId;
use crate::store::{Edited, Tenant, TenantStore};

#[derive(Deserialize)]
struct Listing {
    search: Option<String>,
    limit: Option<u64>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[expect(clippy::option_option, reason = "to leave a field alone, and to empty it, are two things")]
#[serde(deny_unknown_fields)]
struct Patch {
    #[serde(default, deserialize_with = "given")]
    label: Option<Option<String>>,
}

impl Asking<'_> {
    /// The labels of tenants.
    pub(in crate::server) fn tenants(&self) -> Result<Arc<dyn TenantStore>, Problem> {
        self.resolver.tenants().ok_or_else(Problem::no_database)
    }
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
) -> Result<Reply, Problem> {
    match operation {
        Operation::List => {
            let Listing { search, limit, cursor } = question.parameters()?;
            let page = Page::of(asking, question, limit, cursor.as_deref())?;
            let (tenants, next) = labelled(asking, search.as_deref(), &page).await?;
            Ok(Reply::json(&json!({"tenants": tenants, "next": next})))
        }
        Operation::Change => {
            let id = question.id().ok_or_else(missing)?;
            let Patch { label } = question.body()?;
            let label = label.ok_or_else(|| {
                Problem::field("field_missing", "label", "must be there: a text, or null for none")
            })?;
            let label = change(asking, id, label.as_deref()).await?;
            Ok(Reply::json(&json!({"id": id, "label": label})))
        }
    }
}

/// A page of the tenants that have a label, as far as the client may ask for them.
pub(in crate::server) async fn labelled(
    asking: &Asking<'_>,
    search: Option<&str>,
    page: &Page,
) -> Result<(Vec<Tenant>, Option<String>), Problem> {
    let of = asking.permissions.tenants.as_deref();
    let tenants = asking.tenants()?;
    let mut found = tenants.tenant_page(of, search, page.after(), page.most()).await?;
    let next = page.cut(&mut found, |tenant| (&tenant.label, tenant.id.0));
    Ok((found, next))
}

/// Gives a tenant a label, or takes the one away that it has. Returns the label as it is then.
pub(in crate::server) async fn change(
    asking: &Asking<'_>,
    id: TenantId,
    label: Option<&str>,
) -> Result<Option<String>, Problem> {
    asking.whose_of(id)?;
    // A label is of all numbers of a tenant.
    if !asking.permissions.numbers.is_empty() {
        asking.needs_all()?;
    }
    let label = label.map(check_label).transpose()?;
    match asking.rows()?.label_tenant_for(&asking.behalf(), id, label.as_deref()).await? {
        Edited::Done(_) => Ok(label),
        _ => Err(missing()),
    }
}

fn missing() -> Problem {
    Problem::missing("not_found", "there is no tenant of this id that has a label")
}
