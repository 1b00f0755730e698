//! Tenants by their labels: how pages name them, how people choose one, and where labels are given.

use std::collections::HashMap;

use askama::Template;

use super::fields::{Field, Kind, errors, query, with_cursor};
use super::frame::Frame;
use super::page_of;
use super::parts::When;
use super::visit::Visit;
use crate::access::{Permissions, Scope};
use crate::number::TenantId;
use crate::server::api::{Asking, Page, Problem, Reply, tenants as api};

/// The labels of the tenants that a page names.
pub(super) struct Labels(HashMap<TenantId, String>);

/// A tenant as a page names it: by its label, or by its id where it has none.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) id: String,
    pub(super) label: Option<String>,
}

impl Labels {
    /// Those of these tenants, as far as whoever asks may see numbers.
    pub(super) async fn of(
        asking: &Asking<'_>,
        mut tenants: Vec<TenantId>,
    ) -> Result<Self, Problem> {
        tenants.sort_unstable_by_key(|tenant| tenant.0);
        tenants.dedup();
        if tenants.is_empty() || !asking.permissions.may(Scope::Numbers) {
            return Ok(Self(HashMap::new()));
        }
        let store = asking.tenants()?;
        let found = store.tenant_page(Some(&tenants), None, None, tenants.len()).await?;
        Ok(Self(found.into_iter().map(|tenant| (tenant.id, tenant.label)).collect()))
    }

    pub(super) fn named(&self, tenant: TenantId) -> Named {
        Named { id: tenant.to_string(), label: self.0.get(&tenant).cloned() }
    }
}

impl Named {
    /// What it is called in a sentence.
    pub(super) fn words(&self) -> &str {
        self.label.as_ref().unwrap_or(&self.id)
    }
}

/// The tenant that somebody means by its id, its label or, if `loosely`, a part of that which no other one
/// has. `field` is where it was entered.
pub(super) async fn chosen(
    asking: &Asking<'_>,
    field: &'static str,
    entered: &str,
    loosely: bool,
) -> Result<TenantId, Problem> {
    if let Ok(id) = entered.parse::<TenantId>() {
        return Ok(id);
    }
    let missing = |why| Problem::field("tenant_not_found", field, why);
    let nobody = "must be the label of a tenant, or its id, which is a UUID";
    if !asking.permissions.may(Scope::Numbers) {
        return Err(missing(nobody));
    }
    let (tenants, permissions) = (asking.tenants()?, asking.permissions);
    if let Some(tenant) = tenants.tenant_labelled(entered.trim()).await?
        && permissions.may_ask_for(tenant.id)
    {
        return Ok(tenant.id);
    }
    if !loosely {
        return Err(missing(nobody));
    }
    let of = permissions.tenants.as_deref();
    match &tenants.tenant_page(of, Some(entered.trim()), None, 2).await?[..] {
        [only] => Ok(only.id),
        [] => Err(missing(nobody)),
        _ => Err(missing("several tenants have this in their label; enter more of it")),
    }
}

/// Labels to choose from while a tenant is entered.
pub(super) async fn suggestions(asking: &Asking<'_>) -> Result<Vec<String>, Problem> {
    if !asking.permissions.may(Scope::Numbers) {
        return Ok(Vec::new());
    }
    let of = asking.permissions.tenants.as_deref();
    let found = asking.tenants()?.tenant_page(of, None, None, MOST_SUGGESTED).await?;
    Ok(found.into_iter().map(|tenant| tenant.label).collect())
}

/// A field in which a tenant is entered.
pub(super) fn field(name: &'static str, value: &str, labels: Vec<String>) -> Field {
    Field::line(name, "Tenant", value).suggesting(labels).help("Its label, or its id.")
}

#[derive(Template)]
#[template(path = "tenants.html")]
struct TenantsPage<'t> {
    frame: &'t Frame<'t>,
    rows: Vec<(Named, Option<When>)>,
    search: String,
    fields: Vec<Field>,
    errors: Vec<(String, String)>,
    next: Option<String>,
    is_first: bool,
    may_edit: bool,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Numbers)?;
    let id = visit.query.given("id").unwrap_or_default();
    shown(visit, &asking, (&id, ""), None).await
}

async fn shown(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    (id, label): (&str, &str),
    problem: Option<&Problem>,
) -> Result<Reply, Problem> {
    let search = visit.query.given("search").unwrap_or_default();
    let filter = query(&[("search", &search)]);
    let cursor = visit.query.given("cursor");
    let page = Page::at(asking.client.id, "tenants", &filter, None, cursor.as_deref())?;
    let wanted = (!search.is_empty()).then_some(search.as_str());
    let (found, next) = api::labelled(asking, wanted, &page).await?;
    let row = |tenant: crate::store::Tenant| {
        let since = tenant.labelled_at.map(|at| When::new(at, visit.now));
        (Named { id: tenant.id.to_string(), label: Some(tenant.label) }, since)
    };
    let mut fields = vec![
        Field::line("id", "Tenant", id).required().help("Its id, a UUID."),
        Field::line("label", "Label", label)
            .required()
            .help("Such as Acme, Dubai. No two tenants have the same."),
    ];
    let errors = errors(&mut fields, problem);
    let frame = visit.frame("Tenants", "numbers");
    let reply = page_of(&TenantsPage {
        rows: found.into_iter().map(row).collect(),
        next: next.map(|next| with_cursor(&filter, &next)),
        is_first: cursor.is_none(),
        may_edit: visit.may(Scope::EditNumbers)
            && visit.client.permissions.as_ref().is_some_and(whole_tenants),
        search,
        fields,
        errors,
        frame: &frame,
    })?;
    Ok(reply.code(problem.map_or(200, |problem| problem.status.as_u16())))
}

/// A label is of all numbers of a tenant.
fn whole_tenants(permissions: &Permissions) -> bool {
    permissions.numbers.is_empty()
}

/// Gives a label, or takes one away.
pub(super) async fn save(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditNumbers)?;
    let (id, label) = (visit.form.get("id"), visit.form.get("label"));
    let is_removal = visit.form.get("do") == "unlabel";
    let outcome = match id.trim().parse::<TenantId>() {
        Ok(tenant) => {
            api::change(&asking, tenant, (!is_removal).then_some(label.as_str())).await.map(drop)
        }
        Err(error) => Err(Problem::field("tenant_malformed", "id", &error.to_string())),
    };
    match outcome {
        Ok(()) if is_removal => Ok(visit.to("tenants?did=unlabelled")),
        Ok(()) => Ok(visit.to("tenants?did=labelled")),
        Err(problem) => shown(visit, &asking, (&id, &label), Some(&problem)).await,
    }
}

const MOST_SUGGESTED: usize = 500;
