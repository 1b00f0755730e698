//! The statements that both databases share, and the one implementation of [`Store`] made of them.
//!
//! Placeholders, `returning`, UUIDs, JSON and time stamps mean the same on both through sqlx. What
//! differs (casts to a UUID, editing JSON, lists) is a const of the same name in `postgres.rs` and
//! `sqlite.rs`. Columns that an adopted table may leave null are read as empty text; what empty
//! text means is decided where rows are used.
//!
//! [`Store`]: super::Store

pub(super) const OWNERS: &str = "
    select distinct tenant_id from voice_agent_numbers
    where ltrim(country_code, '+0 ') || cast(base_number as text) = $1
    limit 2";

pub(super) const CREATE_CONFIG: &str = "
    insert into voice_agent_livekit
        (name, description, livekit_url, livekit_api_key, livekit_api_secret, trunk_id, worker_name)
    values ($1, $2, $3, $4, $5, $6, $7)
    returning id";

pub(super) const CONFIG: &str = "
    select id, coalesce(name, '') as name, description, coalesce(livekit_url, '') as url,
        coalesce(livekit_api_key, '') as api_key, coalesce(livekit_api_secret, '') as api_secret,
        trunk_id, worker_name,
        case when created_at between '1900-01-01' and '9999-01-01' then created_at end as created_at,
        case when updated_at between '1900-01-01' and '9999-01-01' then updated_at end as updated_at
    from voice_agent_livekit
    where id = $1";

pub(super) const CONFIG_NAMED: &str = "
    select id, coalesce(name, '') as name, description, coalesce(livekit_url, '') as url,
        coalesce(livekit_api_key, '') as api_key, coalesce(livekit_api_secret, '') as api_secret,
        trunk_id, worker_name,
        case when created_at between '1900-01-01' and '9999-01-01' then created_at end as created_at,
        case when updated_at between '1900-01-01' and '9999-01-01' then updated_at end as updated_at
    from voice_agent_livekit
    where name = $1";

pub(super) const CONFIGS: &str = "
    select id, coalesce(name, '') as name, description, coalesce(livekit_url, '') as url,
        coalesce(livekit_api_key, '') as api_key, coalesce(livekit_api_secret, '') as api_secret,
        trunk_id, worker_name,
        case when created_at between '1900-01-01' and '9999-01-01' then created_at end as created_at,
        case when updated_at between '1900-01-01' and '9999-01-01' then updated_at end as updated_at
    from voice_agent_livekit
    order by name, id";

/// What is sealed, and nothing that only people want to know.
pub(super) const SECRETS: &str =
    "select coalesce(livekit_api_secret, '') as api_secret from voice_agent_livekit";

pub(super) const UPDATE_CONFIG: &str = "
    update voice_agent_livekit set
        name = coalesce($2, name),
        description = case when $3 then $4 else description end,
        livekit_url = coalesce($5, livekit_url),
        livekit_api_key = coalesce($6, livekit_api_key),
        livekit_api_secret = coalesce($7, livekit_api_secret),
        trunk_id = case when $8 then $9 else trunk_id end,
        worker_name = case when $10 then $11 else worker_name end
    where id = $1";

pub(super) const DELETE_CONFIG: &str = "delete from voice_agent_livekit where id = $1";

/// However the rules spell the id; an index on the same expression serves.
pub(super) const CONFIG_USERS: &str = "
    select count(*) from voice_agent_numbers
    where replace(lower(trim(rules ->> 'livekit_config', '{}')), '-', '') = $1";

/// Adds nothing where the number is there: an adopted table has no index that would refuse it.
pub(super) const ADD_NUMBER: &str = "
    insert into voice_agent_numbers (tenant_id, country_code, base_number, provider, rules)
    select $1, $2, $3, $4, $5
    where not exists (
        select 1 from voice_agent_numbers
        where ltrim(country_code, '+0 ') || cast(base_number as text) = $6 and tenant_id = $1
    )
    returning id";

/// What a list of rows for one insert follows.
pub(super) const IMPORT: &str =
    "insert into voice_agent_numbers (tenant_id, country_code, base_number, provider, rules) ";

pub(super) const NUMBER: &str = "
    select id, tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits,
        provider, cast(rules as text) as rules
    from voice_agent_numbers
    where ltrim(country_code, '+0 ') || cast(base_number as text) = $1 and tenant_id = $2
    order by id limit 1";

pub(super) const NUMBERS: &str = "
    select id, tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits,
        provider, cast(rules as text) as rules
    from voice_agent_numbers
    order by tenant_id, digits, id";

pub(super) const NUMBERS_OF: &str = "
    select id, tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits,
        provider, cast(rules as text) as rules
    from voice_agent_numbers
    where tenant_id = $1
    order by digits, id";

/// By the columns of an index, so that no page is sorted.
pub(super) const NUMBERS_AFTER: &str = "
    select id, tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text) as digits,
        provider, cast(rules as text) as rules
    from voice_agent_numbers
    where (ltrim(country_code, '+0 ') || cast(base_number as text), tenant_id) > ($1, $2)
        and tenant_id is not null
    order by ltrim(country_code, '+0 ') || cast(base_number as text), tenant_id, id
    limit $3";

/// Among the newest changes only: the log may be long.
pub(super) const CHANGED_LATELY: &str = "
    select tenant_id, digits from (
        select seq, tenant_id, digits from voice_agent_changes order by seq desc limit 100000
    ) as newest
    where tenant_id is not null and digits is not null
    group by tenant_id, digits
    order by max(seq) desc
    limit $1";

pub(super) const REMOVE_NUMBER: &str = "
    delete from voice_agent_numbers
    where ltrim(country_code, '+0 ') || cast(base_number as text) = $1 and tenant_id = $2";

pub(super) const NEWEST_CHANGE: &str = "select coalesce(max(seq), 0) from voice_agent_changes";

pub(super) const DOUBLES: &str = "
    select count(*) from (
        select 1 from voice_agent_numbers
        group by tenant_id, ltrim(country_code, '+0 ') || cast(base_number as text)
        having count(*) > 1
    ) as doubles";

/// Rows of one insert; five values a row stay far below what either database takes.
pub(super) const ROWS_AN_INSERT: usize = 500;

/// Reads the rules of a row. JSON that cannot be held (a number beyond all bounds) becomes a text,
/// which is no object and so a reason, and no error of the whole statement.
pub(super) fn rules(text: Option<String>) -> serde_json::Value {
    use serde_json::Value;

    text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Implements `Store` for a type that has `lanes: Lanes<$db>`.
macro_rules! implement_store {
    ($store:ty, $db:ty, $row:ty) => {
        #[async_trait::async_trait]
        impl Store for $store {
            async fn route(&self, caller: Caller) -> Result<Option<Route>, StoreError> {
                let row = ask!(read self.lanes, "route", |db, keep| sqlx::query(ROUTE).persistent(keep)
                    .bind(caller.number.digits())
                    .bind(caller.tenant.0)
                    .try_map(|row: $row| read_route(&row))
                    .fetch_optional(db))?;
                Ok(row)
            }

            async fn routes(&self, callers: &[Caller]) -> Result<Vec<Option<Route>>, StoreError> {
                let found: Vec<(i64, Route)> = ask!(read self.lanes, "routes", |db, keep| {
                    wanted(sqlx::query(ROUTES).persistent(keep), callers)
                        .try_map(|row: $row| Ok((row.try_get("place")?, read_route(&row)?)))
                        .fetch_all(db)
                })?;
                let mut routes: Vec<_> = callers.iter().map(|_| None).collect();
                for (place, route) in found {
                    if let Some(at) = usize::try_from(place).ok().and_then(|at| routes.get_mut(at)) {
                        *at = Some(route);
                    }
                }
                Ok(routes)
            }

            async fn owners(&self, number: E164) -> Result<Vec<TenantId>, StoreError> {
                let owners: Vec<Uuid> = ask!(read self.lanes, "owners", |db, keep| {
                    sqlx::query_scalar(sql::OWNERS).persistent(keep).bind(number.digits()).fetch_all(db)
                })?;
                Ok(owners.into_iter().map(TenantId).collect())
            }

            async fn create_config(&self, config: &NewConfig) -> Result<ConfigId, StoreError> {
                let id = ask!(write self.lanes, "create_config", |db, keep| {
                    sqlx::query_scalar(sql::CREATE_CONFIG).persistent(keep)
                        .bind(&config.name)
                        .bind(&config.description)
                        .bind(config.url.as_str())
                        .bind(&config.api_key)
                        .bind(config.api_secret.as_str())
                        .bind(&config.trunk_id)
                        .bind(&config.agent)
                        .fetch_one(db)
                })?;
                Ok(ConfigId(id))
            }

            async fn config(&self, id: ConfigId) -> Result<Option<Config>, StoreError> {
                ask!(read self.lanes, "config", |db, keep| sqlx::query(sql::CONFIG).persistent(keep)
                    .bind(id.0)
                    .try_map(|row: $row| read_config(&row))
                    .fetch_optional(db))
            }

            async fn sealed_secrets(&self) -> Result<Vec<secrecy::SecretString>, StoreError> {
                ask!(read self.lanes, "secrets", |db, keep| sqlx::query(sql::SECRETS).persistent(keep)
                    .try_map(|row: $row| Ok(row.try_get::<String, _>("api_secret")?.into()))
                    .fetch_all(db))
            }

            async fn config_named(&self, name: &str) -> Result<Option<Config>, StoreError> {
                ask!(read self.lanes, "config_named", |db, keep| sqlx::query(sql::CONFIG_NAMED).persistent(keep)
                    .bind(name)
                    .try_map(|row: $row| read_config(&row))
                    .fetch_optional(db))
            }

            async fn update_config(
                &self,
                id: ConfigId,
                edit: &ConfigEdit,
            ) -> Result<bool, StoreError> {
                let done = ask!(write self.lanes, "update_config", |db, keep| {
                    sqlx::query(sql::UPDATE_CONFIG).persistent(keep)
                        .bind(id.0)
                        .bind(edit.name.as_ref())
                        .bind(edit.description.is_some())
                        .bind(edit.description.as_ref().and_then(Option::as_ref))
                        .bind(edit.url.as_ref().map(ServerUrl::as_str))
                        .bind(edit.api_key.as_ref())
                        .bind(edit.api_secret.as_ref().map(Sealed::as_str))
                        .bind(edit.trunk_id.is_some())
                        .bind(edit.trunk_id.as_ref().and_then(Option::as_ref))
                        .bind(edit.agent.is_some())
                        .bind(edit.agent.as_ref().and_then(Option::as_ref))
                        .execute(db)
                })?;
                Ok(done.rows_affected() > 0)
            }

            async fn delete_config(&self, id: ConfigId) -> Result<bool, StoreError> {
                let done = ask!(write self.lanes, "delete_config", |db, keep| {
                    sqlx::query(sql::DELETE_CONFIG).persistent(keep).bind(id.0).execute(db)
                })?;
                Ok(done.rows_affected() > 0)
            }

            async fn configs(&self) -> Result<Vec<Config>, StoreError> {
                ask!(read self.lanes, "configs", |db, keep| sqlx::query(sql::CONFIGS).persistent(keep)
                    .try_map(|row: $row| read_config(&row))
                    .fetch_all(db))
            }

            async fn config_users(&self, id: ConfigId) -> Result<u64, StoreError> {
                let users: i64 = ask!(read self.lanes, "config_users", |db, keep| {
                    sqlx::query_scalar(sql::CONFIG_USERS).persistent(keep)
                        .bind(id.0.simple().to_string())
                        .fetch_one(db)
                })?;
                Ok(users.unsigned_abs())
            }

            async fn add_number(&self, number: &NewNumber) -> Result<Uuid, StoreError> {
                let (code, base) = number.caller.number.split();
                let added = ask!(write self.lanes, "add_number", |db, keep| {
                    sqlx::query_scalar(sql::ADD_NUMBER).persistent(keep)
                        .bind(number.caller.tenant.0)
                        .bind(code)
                        .bind(base.cast_signed())
                        .bind(&number.provider)
                        .bind(Json(&number.rules))
                        .bind(number.caller.number.digits())
                        .fetch_optional(db)
                })?;
                added.ok_or(StoreError::Conflict { taken: Taken::Number })
            }

            async fn number(&self, caller: Caller) -> Result<Option<Number>, StoreError> {
                ask!(read self.lanes, "number", |db, keep| sqlx::query(sql::NUMBER).persistent(keep)
                    .bind(caller.number.digits())
                    .bind(caller.tenant.0)
                    .try_map(|row: $row| read_number(&row))
                    .fetch_optional(db))
            }

            async fn numbers(&self, tenant: Option<TenantId>) -> Result<Vec<Number>, StoreError> {
                match tenant {
                    Some(tenant) => ask!(read self.lanes, "numbers_of", |db, keep| {
                        sqlx::query(sql::NUMBERS_OF).persistent(keep)
                            .bind(tenant.0)
                            .try_map(|row: $row| read_number(&row))
                            .fetch_all(db)
                    }),
                    None => ask!(read self.lanes, "numbers", |db, keep| sqlx::query(sql::NUMBERS).persistent(keep)
                        .try_map(|row: $row| read_number(&row))
                        .fetch_all(db)),
                }
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
                ask!(read self.lanes, "numbers_after", |db, keep| {
                    sqlx::query(sql::NUMBERS_AFTER).persistent(keep)
                        .bind(digits)
                        .bind(tenant)
                        .bind(i64::try_from(most).unwrap_or(i64::MAX))
                        .try_map(|row: $row| read_number(&row))
                        .fetch_all(db)
                })
            }

            async fn changed_lately(&self, most: usize) -> Result<Vec<Caller>, StoreError> {
                let changed: Vec<(Uuid, String)> = ask!(read self.lanes, "changed_lately", |db, keep| {
                    sqlx::query_as(sql::CHANGED_LATELY).persistent(keep)
                        .bind(i64::try_from(most).unwrap_or(i64::MAX))
                        .fetch_all(db)
                })?;
                // What is no number is nobody's number.
                let caller = |(tenant, digits): (_, String)| {
                    Some(Caller::new(TenantId(tenant), E164::from_digits(&digits).ok()?))
                };
                Ok(changed.into_iter().filter_map(caller).collect())
            }

            async fn assign(
                &self,
                caller: Caller,
                config: Option<ConfigId>,
            ) -> Result<bool, StoreError> {
                let done = match config {
                    Some(id) => ask!(write self.lanes, "assign", |db, keep| sqlx::query(ASSIGN).persistent(keep)
                        .bind(caller.number.digits())
                        .bind(caller.tenant.0)
                        .bind(id.to_string())
                        .execute(db)),
                    None => ask!(write self.lanes, "unassign", |db, keep| sqlx::query(UNASSIGN).persistent(keep)
                        .bind(caller.number.digits())
                        .bind(caller.tenant.0)
                        .execute(db)),
                }?;
                Ok(done.rows_affected() > 0)
            }

            async fn remove_number(&self, caller: Caller) -> Result<bool, StoreError> {
                let done = ask!(write self.lanes, "remove_number", |db, keep| {
                    sqlx::query(sql::REMOVE_NUMBER).persistent(keep)
                        .bind(caller.number.digits())
                        .bind(caller.tenant.0)
                        .execute(db)
                })?;
                Ok(done.rows_affected() > 0)
            }

            async fn import(&self, numbers: &[NewNumber]) -> Result<u64, StoreError> {
                ask!(write self.lanes, "import", |db, _keep| async {
                    let mut transaction = db.begin().await?;
                    for rows in numbers.chunks(sql::ROWS_AN_INSERT) {
                        let mut insert = sqlx::QueryBuilder::<$db>::new(sql::IMPORT);
                        insert.push_values(rows, |mut values, number| {
                            let (code, base) = number.caller.number.split();
                            values
                                .push_bind(number.caller.tenant.0)
                                .push_bind(code)
                                .push_bind(base.cast_signed())
                                .push_bind(number.provider.as_deref())
                                .push_bind(Json(&number.rules));
                        });
                        insert.build().persistent(false).execute(&mut *transaction).await?;
                    }
                    transaction.commit().await
                })?;
                Ok(numbers.len() as u64)
            }

            async fn changes_after(
                &self,
                seq: i64,
            ) -> Result<Option<Vec<LoggedChange>>, StoreError> {
                // One for the row that was read last, one to tell "that many" from "more".
                let most = MOST_CHANGES.cast_signed() as i64 + 2;
                let mut changes = ask!(read self.lanes, "changes", |db, keep| {
                    sqlx::query(CHANGES_AFTER)
                        .persistent(keep)
                        .bind(seq)
                        .bind(most)
                        .try_map(|row: $row| read_change(&row))
                        .fetch_all(db)
                })?;
                if seq > 0 {
                    match changes.first() {
                        Some(first) if first.seq == seq => drop(changes.remove(0)),
                        _ => return Ok(None),
                    }
                }
                Ok((changes.len() <= MOST_CHANGES).then_some(changes))
            }

            async fn prune_changes(&self, older_than: Duration) -> Result<u64, StoreError> {
                let done = ask!(write self.lanes, "prune_changes", |db, keep| {
                    sqlx::query(PRUNE_CHANGES)
                        .persistent(keep)
                        .bind(older_than.as_secs_f64())
                        .execute(db)
                })?;
                Ok(done.rows_affected())
            }

            async fn newest_change(&self) -> Result<i64, StoreError> {
                ask!(read self.lanes, "changes", |db, keep| {
                    sqlx::query_scalar(sql::NEWEST_CHANGE).persistent(keep).fetch_one(db)
                })
            }

            async fn doubles(&self) -> Result<u64, StoreError> {
                let doubles: i64 = ask!(read self.lanes, "doubles", |db, keep| {
                    sqlx::query_scalar(sql::DOUBLES).persistent(keep).fetch_one(db)
                })?;
                Ok(doubles.unsigned_abs())
            }
        }

        fn read_config(row: &$row) -> Result<Config, sqlx::Error> {
            Ok(Config {
                id: ConfigId(row.try_get("id")?),
                name: row.try_get("name")?,
                description: row.try_get("description")?,
                url: row.try_get("url")?,
                api_key: row.try_get("api_key")?,
                api_secret: row.try_get::<String, _>("api_secret")?.into(),
                trunk_id: row.try_get("trunk_id")?,
                agent: row.try_get("worker_name")?,
                // Unchecked, since an adopted table may have these without a time zone (then UTC).
                created_at: row.try_get_unchecked("created_at")?,
                updated_at: row.try_get_unchecked("updated_at")?,
            })
        }

        fn read_route(row: &$row) -> Result<Route, sqlx::Error> {
            let config = match row.try_get("id")? {
                None => None,
                Some(id) => Some(Config {
                    id: ConfigId(id),
                    name: row.try_get("name")?,
                    description: None,
                    url: row.try_get("url")?,
                    api_key: row.try_get("api_key")?,
                    api_secret: row.try_get::<String, _>("api_secret")?.into(),
                    trunk_id: row.try_get("trunk_id")?,
                    agent: row.try_get("worker_name")?,
                    created_at: None,
                    updated_at: None,
                }),
            };
            Ok(Route {
                rules: sql::rules(row.try_get("rules")?),
                provider: row.try_get("provider")?,
                config,
            })
        }

        fn read_number(row: &$row) -> Result<Number, sqlx::Error> {
            Ok(Number {
                id: row.try_get("id")?,
                tenant: TenantId(row.try_get("tenant_id")?),
                digits: row.try_get::<Option<String>, _>("digits")?.unwrap_or_default(),
                provider: row.try_get("provider")?,
                rules: sql::rules(row.try_get("rules")?),
            })
        }

        pub(super) fn read_change(row: &$row) -> Result<LoggedChange, sqlx::Error> {
            let digits: Option<String> = row.try_get("digits")?;
            let change = crate::change::change(
                row.try_get("entity")?,
                row.try_get("fields")?,
                row.try_get("config_id")?,
                row.try_get("tenant_id")?,
                digits.as_deref(),
            );
            let age = std::time::Duration::try_from_secs_f64(row.try_get("age")?);
            Ok(LoggedChange { seq: row.try_get("seq")?, change, age: age.unwrap_or_default() })
        }
    };
}
pub(super) use implement_store;
