//! What administration asks, the same statements on both databases but for editing JSON.

use async_trait::async_trait;
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::keys::HoldKeys;
use super::read::{read_config, read_number};
use super::{Dialect, SqlStore};
use crate::keyring::Sealed;
use crate::number::{Caller, ConfigId, TenantId};
use crate::server_url::ServerUrl;
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};
use crate::store::{
    AdminStore, Config, ConfigEdit, NewConfig, NewNumber, Number, StoreError, Taken,
};

/// The statements.
pub(super) struct Administering {
    create_config: Statement,
    config_named: Statement,
    pub(super) update_config: Statement,
    pub(super) disable_config: Statement,
    reseal: Statement,
    pub(super) delete_config: Statement,
    pub(super) config_users: Statement,
    add_number: Statement,
    import: Statement,
    number: Statement,
    numbers: Statement,
    numbers_of: Statement,
    assign: Statement,
    unassign: Statement,
    remove_number: Statement,
    remove_numbers_of: Statement,
    doubles: Statement,
}

impl Administering {
    pub(super) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        Self {
            create_config: templates.statement("create_config", CREATE_CONFIG),
            config_named: templates.statement("config_named", CONFIG_NAMED),
            update_config: templates.statement("update_config", UPDATE_CONFIG),
            disable_config: templates.statement("disable_config", DISABLE_CONFIG),
            reseal: templates.statement("reseal", RESEAL),
            delete_config: templates.statement("delete_config", DELETE_CONFIG),
            config_users: templates.statement("config_users", CONFIG_USERS),
            add_number: templates.statement("add_number", ADD_NUMBER),
            import: templates.statement("import", IMPORT),
            number: templates.statement("number", NUMBER),
            numbers: templates.statement("numbers", NUMBERS),
            numbers_of: templates.statement("numbers_of", NUMBERS_OF),
            assign: templates.statement("assign", dialect.assign),
            unassign: templates.statement("unassign", dialect.unassign),
            remove_number: templates.statement("remove_number", REMOVE_NUMBER),
            remove_numbers_of: templates.statement("remove_numbers_of", REMOVE_NUMBERS_OF),
            doubles: templates.statement("doubles", DOUBLES),
        }
    }
}

#[async_trait]
impl<S: SqlStore> AdminStore for S {
    async fn create_config(&self, config: &NewConfig) -> Result<ConfigId, StoreError> {
        let statement = &self.statements().administering.create_config;
        let (values, secret) = (config_values(config), &config.api_secret);
        let made = if secret.epoch().is_some() {
            self.write_sealed(statement, &values, secret, new_id).await?
        } else {
            self.pool().write_returning(statement, &values, new_id).await?
        };
        made.map(ConfigId).ok_or(StoreError::Row { statement: statement.name })
    }

    async fn config_named(&self, name: &str) -> Result<Option<Config>, StoreError> {
        let statement = &self.statements().administering.config_named;
        self.pool().read_one(statement, &[name.into()], read_config).await
    }

    async fn update_config(&self, id: ConfigId, edit: &ConfigEdit) -> Result<bool, StoreError> {
        let statement = &self.statements().administering.update_config;
        let values = edit_values(id, edit);
        let rows = match edit.api_secret.as_ref().filter(|secret| secret.epoch().is_some()) {
            Some(secret) => self.execute_sealed(statement, &values, secret).await?,
            None => self.pool().write(statement, &values).await?,
        };
        Ok(rows > 0)
    }

    async fn disable_config(&self, id: ConfigId, is_disabled: bool) -> Result<bool, StoreError> {
        let statement = &self.statements().administering.disable_config;
        Ok(self.pool().write(statement, &[id.0.into(), is_disabled.into()]).await? > 0)
    }

    async fn reseal(&self, read: &Config, sealed: &Sealed) -> Result<bool, StoreError> {
        let values = [
            read.id.0.into(),
            sealed.as_str().into(),
            read.api_secret.expose_secret().into(),
            read.url.as_str().into(),
            read.api_key.as_str().into(),
        ];
        let statement = &self.statements().administering.reseal;
        let rows = if sealed.epoch().is_some() {
            self.execute_sealed(statement, &values, sealed).await?
        } else {
            self.pool().write(statement, &values).await?
        };
        Ok(rows > 0)
    }

    async fn delete_config(&self, id: ConfigId) -> Result<bool, StoreError> {
        let statement = &self.statements().administering.delete_config;
        Ok(self.pool().write(statement, &[id.0.into()]).await? > 0)
    }

    async fn config_users(&self, id: ConfigId) -> Result<u64, StoreError> {
        let values = [id.0.simple().to_string().into()];
        let statement = &self.statements().administering.config_users;
        let users = self.pool().read_one(statement, &values, how_many).await?;
        Ok(users.unwrap_or(0))
    }

    async fn add_number(&self, number: &NewNumber) -> Result<Uuid, StoreError> {
        let [tenant, code, base, provider, rules] = new_number(number);
        let values = [tenant, code, base, provider, rules, number.caller.number.digits().into()];
        let statement = &self.statements().administering.add_number;
        let added = self.pool().write_returning(statement, &values, new_id).await?;
        added.ok_or(StoreError::Conflict { taken: Taken::Number })
    }

    async fn import(&self, numbers: &[NewNumber]) -> Result<u64, StoreError> {
        let import = &self.statements().administering.import;
        let inserts: Vec<_> = numbers
            .chunks(ROWS_AN_INSERT)
            .map(|rows| {
                let values: Vec<_> = rows.iter().flat_map(new_number).collect();
                (import.with_rows(rows.len(), COLUMNS_OF_A_NUMBER), values)
            })
            .collect();
        self.pool().write_all(import.name, &inserts).await?;
        Ok(numbers.len() as u64)
    }

    async fn number(&self, caller: Caller) -> Result<Option<Number>, StoreError> {
        let statement = &self.statements().administering.number;
        self.pool().read_one(statement, &this_number(caller), read_number).await
    }

    async fn numbers(&self, tenant: Option<TenantId>) -> Result<Vec<Number>, StoreError> {
        let statements = &self.statements().administering;
        match tenant {
            Some(tenant) => {
                let values = [tenant.0.into()];
                self.pool().read(&statements.numbers_of, &values, read_number).await
            }
            None => self.pool().read(&statements.numbers, &[], read_number).await,
        }
    }

    async fn assign(&self, caller: Caller, config: Option<ConfigId>) -> Result<bool, StoreError> {
        let [digits, tenant] = this_number(caller);
        let statements = &self.statements().administering;
        let done = match config {
            Some(id) => {
                let values = [digits, tenant, id.to_string().into()];
                self.pool().write(&statements.assign, &values).await
            }
            None => self.pool().write(&statements.unassign, &[digits, tenant]).await,
        };
        Ok(done? > 0)
    }

    async fn remove_number(&self, caller: Caller) -> Result<bool, StoreError> {
        let statement = &self.statements().administering.remove_number;
        Ok(self.pool().write(statement, &this_number(caller)).await? > 0)
    }

    async fn remove_numbers_of(
        &self,
        config: ConfigId,
        provider: &str,
        most: u32,
    ) -> Result<u64, StoreError> {
        let values =
            [config.0.simple().to_string().into(), provider.into(), i64::from(most).into()];
        let statement = &self.statements().administering.remove_numbers_of;
        self.pool().write(statement, &values).await
    }

    async fn count_duplicate_numbers(&self) -> Result<u64, StoreError> {
        let statement = &self.statements().administering.doubles;
        Ok(self.pool().read_one(statement, &[], how_many).await?.unwrap_or(0))
    }
}

/// The values of a config to be, in the order of the columns of its insert.
pub(super) fn config_values(config: &NewConfig) -> [Value<'_>; 7] {
    [
        config.name.as_str().into(),
        config.description.as_deref().into(),
        config.url.as_str().into(),
        config.api_key.as_str().into(),
        config.api_secret.as_str().into(),
        config.trunk_id.as_deref().into(),
        config.agent.as_deref().into(),
    ]
}

/// The values of an edit of a config.
pub(super) fn edit_values(id: ConfigId, edit: &ConfigEdit) -> [Value<'_>; 12] {
    let (description, trunk, agent) = (&edit.description, &edit.trunk_id, &edit.agent);
    [
        id.0.into(),
        edit.name.as_deref().into(),
        description.is_some().into(),
        description.as_ref().and_then(Option::as_deref).into(),
        edit.url.as_ref().map(ServerUrl::as_str).into(),
        edit.api_key.as_deref().into(),
        edit.api_secret.as_ref().map(Sealed::as_str).into(),
        trunk.is_some().into(),
        trunk.as_ref().and_then(Option::as_deref).into(),
        agent.is_some().into(),
        agent.as_ref().and_then(Option::as_deref).into(),
        edit.only_over.as_ref().map(ExposeSecret::expose_secret).into(),
    ]
}

/// The values of `{this_number}`.
fn this_number(caller: Caller) -> [Value<'static>; 2] {
    [caller.number.digits().into(), caller.tenant.0.into()]
}

/// The values of `{new_number_columns}`.
pub(super) fn new_number(number: &NewNumber) -> [Value<'_>; COLUMNS_OF_A_NUMBER] {
    let (code, base) = number.caller.number.split();
    [
        number.caller.tenant.0.into(),
        code.into(),
        base.cast_signed().into(),
        number.provider.as_deref().into(),
        Value::Json(&number.rules),
    ]
}

fn new_id(row: &impl Record) -> Result<Uuid, sqlx::Error> {
    row.own_id("id")
}

pub(super) fn how_many(row: &impl Record) -> Result<u64, sqlx::Error> {
    Ok(row.own_int("many")?.unsigned_abs())
}

const CREATE_CONFIG: &str = "
    insert into {schema}.voice_agent_livekit
        (name, description, livekit_url, livekit_api_key, livekit_api_secret, trunk_id, worker_name)
    values ($1, $2, $3, $4, $5, $6, $7)
    returning id";

const CONFIG_NAMED: &str = "
    select {config_columns}
    from {schema}.voice_agent_livekit as c
    where c.name = $1";

const UPDATE_CONFIG: &str = "
    update {schema}.voice_agent_livekit set
        name = coalesce($2, name),
        description = case when $3 then $4 else description end,
        livekit_url = coalesce($5, livekit_url),
        livekit_api_key = coalesce($6, livekit_api_key),
        livekit_api_secret = coalesce($7, livekit_api_secret),
        trunk_id = case when $8 then $9 else trunk_id end,
        worker_name = case when $10 then $11 else worker_name end
    where id = $1 and ($12 is null or livekit_api_secret = $12)";

/// One that is disabled already keeps its time.
const DISABLE_CONFIG: &str = "
    update {schema}.voice_agent_livekit
    set trunkline_disabled_at = case when $2 then coalesce(trunkline_disabled_at, {now}) end
    where id = $1";

const RESEAL: &str = "
    update {schema}.voice_agent_livekit set livekit_api_secret = $2
    where id = $1 and livekit_api_secret = $3
        and coalesce(livekit_url, '') = $4 and coalesce(livekit_api_key, '') = $5";

const DELETE_CONFIG: &str = "delete from {schema}.voice_agent_livekit where id = $1";

/// However the rules spell the id; an index on the same expression serves.
const CONFIG_USERS: &str = "
    select count(*) as many from {schema}.voice_agent_numbers
    where replace(lower(trim(rules ->> 'livekit_config', '{}')), '-', '') = $1";

/// Adds nothing where the number is there: an adopted table has no index that would refuse it.
const ADD_NUMBER: &str = "
    insert into {schema}.voice_agent_numbers ({new_number_columns})
    select $1, $2, $3, $4, $5
    where not exists (
        select 1 from {schema}.voice_agent_numbers where {digits} = $6 and tenant_id = $1
    )
    returning id";

/// What a list of rows follows.
const IMPORT: &str = "insert into {schema}.voice_agent_numbers ({new_number_columns})";

const NUMBER: &str = "
    select {number_columns}
    from {schema}.voice_agent_numbers as n
    where {this_number}
    order by n.id limit 1";

const NUMBERS: &str = "
    select {number_columns}
    from {schema}.voice_agent_numbers as n
    order by n.tenant_id, {digits}, n.id";

const NUMBERS_OF: &str = "
    select {number_columns}
    from {schema}.voice_agent_numbers as n
    where tenant_id = $1
    order by {digits}, n.id";

const REMOVE_NUMBER: &str = "delete from {schema}.voice_agent_numbers where {this_number}";

/// The same condition as that of `CONFIG_USERS`, for the same index.
const REMOVE_NUMBERS_OF: &str = "
    delete from {schema}.voice_agent_numbers where id in (
        select id from {schema}.voice_agent_numbers
        where replace(lower(trim(rules ->> 'livekit_config', '{}')), '-', '') = $1
            and provider = $2
        limit $3
    )";

const DOUBLES: &str = "
    select count(*) as many from (
        select 1 from {schema}.voice_agent_numbers
        group by tenant_id, {digits}
        having count(*) > 1
    ) as doubles";

/// Rows of one insert; so many values stay far below what either database takes.
const ROWS_AN_INSERT: usize = 500;
const COLUMNS_OF_A_NUMBER: usize = 5;
