//! The statements that answering needs, the same for both databases except for a number's route.
//!
//! A miss is one statement: number and config in one join. Text that is no UUID is kept from the
//! cast, so that it is a reason and not an SQL error.

use async_trait::async_trait;
use secrecy::SecretString;
use uuid::Uuid;

use super::pairs::{PairSteps, read_kept};
use super::read::{read_config, read_number, read_route};
use super::{Dialect, SqlStore};
use crate::number::{Caller, ConfigId, E164, TenantId};
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};
use crate::store::{Config, KeptPair, Number, Route, Store, StoreError};

/// The statements.
pub(super) struct Answering {
    route: Statement,
    routes: Statement,
    pub(super) config: Statement,
    configs: Statement,
    owners: Statement,
    numbers_after: Statement,
    changed_lately: Statement,
    secrets: Statement,
}

impl Answering {
    pub(super) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        Self {
            route: templates.statement("route", dialect.route),
            routes: templates.statement("routes", dialect.routes),
            config: templates.statement("config", CONFIG),
            configs: templates.statement("configs", CONFIGS),
            owners: templates.statement("owners", OWNERS),
            numbers_after: templates.statement("numbers_after", NUMBERS_AFTER),
            changed_lately: templates.statement("changed_lately", CHANGED_LATELY),
            secrets: templates.statement("secrets", SECRETS).in_passing(),
        }
    }
}

#[async_trait]
impl<S: SqlStore> Store for S {
    async fn route(&self, caller: Caller) -> Result<Option<Route>, StoreError> {
        let values = [caller.number.digits().into(), caller.tenant.0.into()];
        self.pool().read_one(&self.statements().answering.route, &values, read_route).await
    }

    async fn routes(&self, callers: &[Caller]) -> Result<Vec<Option<Route>>, StoreError> {
        let values = [Value::Callers(callers)];
        let statement = &self.statements().answering.routes;
        let placed = |row: &_| Ok((Record::own_int(row, "place")?, read_route(row)?));
        let found = self.pool().read(statement, &values, placed).await?;
        let mut routes: Vec<_> = callers.iter().map(|_| None).collect();
        for (place, route) in found {
            if let Some(at) = usize::try_from(place).ok().and_then(|at| routes.get_mut(at)) {
                *at = Some(route);
            }
        }
        Ok(routes)
    }

    async fn config(&self, id: ConfigId) -> Result<Option<Config>, StoreError> {
        let statement = &self.statements().answering.config;
        self.pool().read_one(statement, &[id.0.into()], read_config).await
    }

    async fn configs(&self) -> Result<Vec<Config>, StoreError> {
        self.pool().read(&self.statements().answering.configs, &[], read_config).await
    }

    async fn owners(&self, number: E164) -> Result<Vec<TenantId>, StoreError> {
        let statement = &self.statements().answering.owners;
        let owner = |row: &_| Ok(TenantId(Record::own_id(row, "tenant_id")?));
        self.pool().read(statement, &[number.digits().into()], owner).await
    }

    async fn numbers_after(
        &self,
        after: Option<&Number>,
        most: usize,
    ) -> Result<Vec<Number>, StoreError> {
        let (digits, tenant) = match after {
            Some(last) => (last.digits.as_str(), last.tenant.0),
            None => ("", Uuid::nil()),
        };
        let values = [digits.into(), tenant.into(), most.into()];
        self.pool().read(&self.statements().answering.numbers_after, &values, read_number).await
    }

    async fn changed_lately(&self, most: usize) -> Result<Vec<Caller>, StoreError> {
        let statement = &self.statements().answering.changed_lately;
        let changed = |row: &_| {
            let number = E164::from_digits(&Record::own_text(row, "digits")?).ok();
            let tenant = TenantId(Record::own_id(row, "tenant_id")?);
            Ok(number.map(|number| Caller::new(tenant, number)))
        };
        let callers = self.pool().read(statement, &[most.into()], changed).await?;
        // What is no number is nobody's number.
        Ok(callers.into_iter().flatten().collect())
    }

    async fn other_pairs(&self) -> Result<Vec<KeptPair>, StoreError> {
        if !self.knows_pairs().await? {
            return Ok(Vec::new());
        }
        self.pool().read(&self.statements().pairing.others, &[], read_kept).await
    }

    async fn sealed_secrets(
        &self,
        after: Option<ConfigId>,
        most: usize,
    ) -> Result<Vec<(ConfigId, SecretString)>, StoreError> {
        let statement = &self.statements().answering.secrets;
        let values = [after.map_or(Uuid::nil(), |after| after.0).into(), most.into()];
        let secret = |row: &_| {
            let id = ConfigId(Record::own_id(row, "id")?);
            Ok((id, Record::own_text(row, "api_secret")?.into()))
        };
        self.pool().read(statement, &values, secret).await
    }
}

const CONFIG: &str = "
    select {config_columns}
    from {schema}.voice_agent_livekit as c
    where c.id = $1";

const CONFIGS: &str = "
    select {config_columns}
    from {schema}.voice_agent_livekit as c
    order by c.name, c.id";

const OWNERS: &str = "
    select distinct tenant_id from {schema}.voice_agent_numbers
    where {digits} = $1
    limit 2";

/// By the columns of an index, so that no page is sorted.
const NUMBERS_AFTER: &str = "
    select {number_columns}
    from {schema}.voice_agent_numbers as n
    where ({digits}, tenant_id) > ($1, $2) and tenant_id is not null
        and octet_length({digits}) <= 64
    order by {digits}, tenant_id, n.id
    limit $3";

/// Among the newest changes only: the log may be long.
const CHANGED_LATELY: &str = "
    select tenant_id, digits from (
        select seq, tenant_id, digits from {schema}.voice_agent_changes order by seq desc limit 100000
    ) as newest
    where tenant_id is not null and octet_length(digits) <= 32
    group by tenant_id, digits
    order by max(seq) desc
    limit $1";

/// What is sealed, and nothing that only people want to know.
const SECRETS: &str = "
    select c.id, {sealed} as api_secret
    from {schema}.voice_agent_livekit as c
    where c.id > $1
    order by c.id
    limit $2";
