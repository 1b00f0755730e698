//! Labels of tenants, the same statements on both databases but for lists and times.

use async_trait::async_trait;
use uuid::Uuid;

use super::SqlStore;
use super::asked::{list, pattern};
use crate::number::TenantId;
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};
use crate::store::transaction::Transaction;
use crate::store::{StoreError, Tenant, TenantStore};

/// The statements.
pub(super) struct Labelling {
    page: Statement,
    labelled: Statement,
    pub(super) update: Statement,
    insert: Statement,
    delete: Statement,
}

impl Labelling {
    pub(super) fn new(templates: &Templates) -> Self {
        Self {
            page: templates.statement("tenants", PAGE),
            labelled: templates.statement("tenant_labelled", LABELLED),
            update: templates.statement("label_tenant", UPDATE),
            insert: templates.statement("label_tenant", INSERT),
            delete: templates.statement("unlabel_tenant", DELETE),
        }
    }
}

#[async_trait]
impl<S: SqlStore> TenantStore for S {
    async fn tenant_page(
        &self,
        of: Option<&[TenantId]>,
        search: Option<&str>,
        after: Option<(&str, Uuid)>,
        most: usize,
    ) -> Result<Vec<Tenant>, StoreError> {
        let of = of.map(|of| of.iter().map(|tenant| tenant.0).collect::<Vec<_>>());
        let values = [
            of.map_or(Value::Text(None), |of| list(&of)),
            Value::Text(search.map(|search| pattern(search).into())),
            after.map(|(label, _)| label).into(),
            after.map_or(Uuid::nil(), |(_, id)| id).into(),
            most.into(),
        ];
        or_none(self.pool().read(&self.statements().labelling.page, &values, read_tenant).await)
    }

    async fn tenant_labelled(&self, label: &str) -> Result<Option<Tenant>, StoreError> {
        let statement = &self.statements().labelling.labelled;
        let found = self.pool().read(statement, &[label.into()], read_tenant).await;
        Ok(or_none(found)?.pop())
    }

    async fn label_tenant(&self, id: TenantId, label: Option<&str>) -> Result<bool, StoreError> {
        let name = self.statements().labelling.update.name;
        self.pool()
            .asking(name, async {
                let mut transaction = self.pool().begin(name).await?;
                let done = self.relabel(&mut transaction, id, label).await?;
                transaction.commit().await?;
                Ok(done)
            })
            .await
    }
}

/// The step that labelling is made of, in the transaction of its edit.
pub(super) trait LabellingSteps: SqlStore {
    /// An update and then an insert: what replaces a row by itself would be two rows of the audit.
    async fn relabel(
        &self,
        transaction: &mut Transaction<Self::Session>,
        id: TenantId,
        label: Option<&str>,
    ) -> Result<bool, StoreError> {
        let Labelling { update, insert, delete, .. } = &self.statements().labelling;
        let Some(label) = label else {
            return Ok(transaction.write(delete, &[id.0.into()]).await? > 0);
        };
        let values = [id.0.into(), label.into()];
        if transaction.write(update, &values).await? == 0 {
            transaction.write(insert, &values).await?;
        }
        Ok(true)
    }
}

impl<S: SqlStore> LabellingSteps for S {}

fn or_none(found: Result<Vec<Tenant>, StoreError>) -> Result<Vec<Tenant>, StoreError> {
    match found {
        Err(StoreError::NotMigrated { .. }) => Ok(Vec::new()),
        found => found,
    }
}

fn read_tenant(row: &impl Record) -> Result<Tenant, sqlx::Error> {
    Ok(Tenant {
        id: TenantId(row.own_id("id")?),
        label: row.own_text("label")?,
        labelled_at: row.time("labelled_at")?,
    })
}

const PAGE: &str = "
    select t.id, t.label, t.labelled_at
    from {schema}.trunkline_tenants as t
    where ($1 is null or t.id in ({listed_1}))
        and ($2 is null or lower(t.label) like $2 escape '\\')
        and ($3 is null or (t.label, t.id) > ($3, $4))
    order by t.label, t.id
    limit $5";

const LABELLED: &str = "
    select t.id, t.label, t.labelled_at
    from {schema}.trunkline_tenants as t
    where lower(t.label) = lower($1)";

const UPDATE: &str = "
    update {schema}.trunkline_tenants
    set labelled_at = case when label = $2 then labelled_at else {now} end, label = $2
    where id = $1";

const INSERT: &str = "insert into {schema}.trunkline_tenants (id, label) values ($1, $2)";

const DELETE: &str = "delete from {schema}.trunkline_tenants where id = $1";
