//! `trunkline tenant`: what people call the tenants.

use clap::Subcommand;
use serde_json::json;
use trunkline::TenantId;
use trunkline::draft::check_label;
use trunkline::store::{StoreError, Tenant as Labelled, TenantStore};

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line, table};

/// A tenant is known by its id and needs no label; no answer depends on one.
#[derive(Subcommand)]
pub(crate) enum Tenant {
    /// List the tenants that have a label
    List {
        /// Only those with this in their label
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Give a tenant a label, by which people find and choose it
    Label {
        /// Its id, a UUID
        #[arg(value_name = "UUID")]
        id: TenantId,
        /// 1 to 100 characters that no other tenant has
        label: String,
    },
    /// Take the label away from a tenant
    Unlabel {
        /// Its id, a UUID
        #[arg(value_name = "UUID")]
        id: TenantId,
    },
}

impl Tenant {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let tenants = context.database()?.tenants();
        match self {
            Self::List { search } => list(context, &*tenants, search.as_deref()).await,
            Self::Label { id, label } => {
                let label = check_label(&label)
                    .map_err(|errors| Failure::usage("label_malformed", errors.to_string()))?;
                tenants.label_tenant(id, Some(&label)).await.map_err(explained)?;
                if context.json {
                    return json_line(&json!({"id": id, "label": label}));
                }
                line(format!("tenant {id} is \"{label}\""))
            }
            Self::Unlabel { id } => {
                if !tenants.label_tenant(id, None).await.map_err(explained)? {
                    let message = "this tenant has no label";
                    return Err(Failure::new("tenant_not_found", message, Exit::Failed)
                        .hint("`trunkline tenant list` shows those that have one"));
                }
                if context.json {
                    return json_line(&json!({"id": id, "label": null}));
                }
                line(format!("tenant {id} has no label"))
            }
        }
    }
}

async fn list(context: &Context, tenants: &dyn TenantStore, search: Option<&str>) -> Done {
    let mut found: Vec<Labelled> = Vec::new();
    loop {
        let after = found.last().map(|last| (last.label.clone(), last.id.0));
        let after = after.as_ref().map(|(label, id)| (label.as_str(), *id));
        let page = tenants.tenant_page(None, search, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        found.extend(page);
        if is_last {
            break;
        }
    }
    if context.json {
        return json_line(&json!(found));
    }
    if found.is_empty() {
        eprintln!("no tenant has such a label; `trunkline tenant label UUID LABEL` gives one");
        return Ok(());
    }
    table(
        &["label", "id"],
        found.into_iter().map(|tenant| vec![tenant.label, tenant.id.to_string()]),
    )
}

fn explained(error: StoreError) -> Failure {
    match error {
        StoreError::NotMigrated { .. } => {
            Failure::from(error).hint("`trunkline db migrate` makes the table")
        }
        error => error.into(),
    }
}

const PAGE: usize = 1000;
