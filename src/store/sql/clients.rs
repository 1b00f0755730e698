//! Clients, the same statements on both databases but for times.

use async_trait::async_trait;
use uuid::Uuid;

use super::SqlStore;
use crate::access::{Permissions, TokenHash};
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};
use crate::store::{Client, ClientStore, NewClient, StoreError};

/// The statements.
pub(super) struct Clients {
    list: Statement,
    create: Statement,
    revoke: Statement,
    rotate: Statement,
    remove: Statement,
}

impl Clients {
    pub(super) fn new(templates: &Templates) -> Self {
        Self {
            list: templates.statement("clients", LIST),
            create: templates.statement("create_client", CREATE),
            revoke: templates.statement("revoke_client", REVOKE),
            rotate: templates.statement("rotate_client", ROTATE),
            remove: templates.statement("remove_client", REMOVE),
        }
    }
}

#[async_trait]
impl<S: SqlStore> ClientStore for S {
    async fn clients(&self) -> Result<Vec<Client>, StoreError> {
        self.pool().read(&self.statements().clients.list, &[], read_client).await
    }

    async fn create_client(
        &self,
        client: &NewClient,
        token: &TokenHash,
    ) -> Result<Uuid, StoreError> {
        let statement = &self.statements().clients.create;
        let [scopes, grants] = client.permissions.columns();
        let values = [
            client.name.as_str().into(),
            token.to_hex().into(),
            Value::Json(&scopes),
            Value::Json(&grants),
            Value::Int(client.expires_at.map(|at| at.timestamp())),
        ];
        let made = self.pool().write_returning(statement, &values, |row| row.own_id("id")).await?;
        made.ok_or(StoreError::Row { statement: statement.name })
    }

    async fn revoke_client(&self, name: &str) -> Result<bool, StoreError> {
        let statement = &self.statements().clients.revoke;
        Ok(self.pool().write(statement, &[name.into()]).await? > 0)
    }

    async fn rotate_client(&self, name: &str, token: &TokenHash) -> Result<bool, StoreError> {
        let statement = &self.statements().clients.rotate;
        Ok(self.pool().write(statement, &[name.into(), token.to_hex().into()]).await? > 0)
    }

    async fn remove_client(&self, name: &str) -> Result<bool, StoreError> {
        let statement = &self.statements().clients.remove;
        Ok(self.pool().write(statement, &[name.into()]).await? > 0)
    }
}

fn read_client(row: &impl Record) -> Result<Client, sqlx::Error> {
    Ok(Client {
        id: row.own_id("id")?,
        name: row.own_text("name")?,
        token_hash: TokenHash::from_hex(&row.own_text("token_hash")?),
        permissions: Permissions::read(&row.own_text("scopes")?, &row.own_text("grants")?),
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        revoked_at: row.time("revoked_at")?,
    })
}

/// A time beyond those that can be read is a time that is past: whoever was to end then has ended.
const LIST: &str = "
    select id, name, token_hash,
        case when octet_length(cast(scopes as text)) <= 4096 then cast(scopes as text) end as scopes,
        case when octet_length(cast(grants as text)) <= 262144 then cast(grants as text) end as grants,
        case when created_at between '1900-01-01' and '9999-01-01' then created_at end as created_at,
        case when expires_at between '1900-01-01' and '9999-01-01' or expires_at is null
            then expires_at else '1970-01-01T00:00:00.000Z' end as expires_at,
        case when revoked_at between '1900-01-01' and '9999-01-01' or revoked_at is null
            then revoked_at else '1970-01-01T00:00:00.000Z' end as revoked_at
    from {schema}.trunkline_clients
    order by name";

const CREATE: &str = "
    insert into {schema}.trunkline_clients (name, token_hash, scopes, grants, expires_at)
    values ($1, $2, $3, $4, {time_of_5})
    returning id";

/// One that is revoked already keeps the time of that.
const REVOKE: &str = "
    update {schema}.trunkline_clients set revoked_at = coalesce(revoked_at, {now})
    where name = $1";

/// A revoked one gets no other token: it stays revoked.
const ROTATE: &str = "
    update {schema}.trunkline_clients set token_hash = $2
    where name = $1 and revoked_at is null";

const REMOVE: &str = "delete from {schema}.trunkline_clients where name = $1";
