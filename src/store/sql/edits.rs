//! What the API reads and edits, the same on both databases but for lists and locks.

mod assigning;
mod statements;
mod steps;
mod values;

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;

use self::assigning::AssigningSteps;

pub(super) use self::statements::{EDIT_PARTS, EditingStatements};
pub(super) use self::steps::{Steps, read_written};
use self::values::{end_of, named, named_word, read_change_row, seen_by};
use super::SqlStore;
use super::admin::{config_values, edit_values, how_many, new_number};
pub(super) use super::asked::list;
use super::asked::pattern;
use super::keys::HoldKeys;
use super::read::{read_config, read_number};
use super::rollout::{RollingOut, lists, read_rollout, rollout_values, understood};
use super::tenants::LabellingSteps;
use crate::number::{ConfigId, TenantId};
use crate::rollout::Rollout;
use crate::store::edits::{
    Assignment, Behalf, ChangeRow, Claim, ConfigFilter, Deciding, EditStore, Edited, NumberFilter,
    Whose, Written,
};
use crate::store::statement::Value;
use crate::store::{Config, ConfigEdit, NewConfig, NewNumber, Number, NumberEdit, StoreError};

#[async_trait]
impl<S: SqlStore> EditStore for S {
    async fn number_page(
        &self,
        whose: &Whose,
        filter: &NumberFilter,
        after: Option<(&str, Uuid)>,
        most: usize,
    ) -> Result<Vec<Number>, StoreError> {
        let [tenants, prefixes] = seen_by(whose);
        let bounds = filter.prefix.as_deref().map(|prefix| (prefix, end_of(prefix)));
        let values = [
            tenants,
            prefixes,
            Value::Text(filter.config.map(|id| id.0.simple().to_string().into())),
            bounds.as_ref().map(|(from, _)| *from).into(),
            bounds.as_ref().and_then(|(_, to)| to.as_deref()).into(),
            Value::Int(filter.assigned.map(i64::from)),
            after.map(|(digits, _)| digits).into(),
            after.map_or(Uuid::nil(), |(_, id)| id).into(),
            most.into(),
            filter.named.map(named_word).into(),
        ];
        let statement = self.statements().editing.number_page(filter.sort);
        self.pool().read(statement, &values, read_number).await
    }

    async fn numbers_of(
        &self,
        whose: &Whose,
        digits: &[String],
        most: usize,
    ) -> Result<Vec<Number>, StoreError> {
        let [tenants, prefixes] = seen_by(whose);
        let values = [tenants, prefixes, json!(digits).to_string().into(), most.into()];
        self.pool().read(&self.statements().editing.numbers_of, &values, read_number).await
    }

    async fn numbers_with(&self, whose: &Whose, ids: &[Uuid]) -> Result<Vec<Number>, StoreError> {
        let [tenants, prefixes] = seen_by(whose);
        let values = [tenants, prefixes, list(ids)];
        self.pool().read(&self.statements().editing.numbers_with, &values, read_number).await
    }

    async fn config_page(
        &self,
        whose: &Whose,
        filter: &ConfigFilter,
        after: Option<(&str, Uuid)>,
        most: usize,
    ) -> Result<Vec<Config>, StoreError> {
        let [tenants, prefixes] = seen_by(whose);
        let values = [
            tenants,
            prefixes,
            Value::Text(filter.search.as_deref().map(|text| pattern(text).into())),
            after.map(|(name, _)| name).into(),
            after.map_or(Uuid::nil(), |(_, id)| id).into(),
            most.into(),
            Value::Int(filter.disabled.map(i64::from)),
        ];
        let statement = self.statements().editing.config_page(filter.sort);
        self.pool().read(statement, &values, read_config).await
    }

    async fn config_seen(&self, whose: &Whose, id: ConfigId) -> Result<Option<Config>, StoreError> {
        let [tenants, prefixes] = seen_by(whose);
        let values = [tenants, prefixes, id.0.into()];
        self.pool().read_one(&self.statements().editing.config_seen, &values, read_config).await
    }

    async fn insert_config(
        &self,
        behalf: &Behalf,
        id: ConfigId,
        config: &NewConfig,
        claim: Option<Claim<'_>>,
    ) -> Result<Edited, StoreError> {
        let statement = &self.statements().editing.insert_config;
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.begin(statement.name, behalf).await?;
                let refused = async {
                    if let Some(earlier) = self.claim(&mut transaction, claim).await? {
                        return Ok(Some(Edited::Earlier(earlier)));
                    }
                    self.hold_keys(&mut transaction, Some(&config.api_secret)).await?;
                    let mut values = vec![id.0.into()];
                    values.extend(config_values(config));
                    transaction.write(statement, &values).await?;
                    Ok(None)
                };
                let refused = refused.await;
                self.end(transaction, refused).await
            })
            .await
    }

    async fn change_config(
        &self,
        behalf: &Behalf,
        id: ConfigId,
        decide: Deciding<'_, Config, Option<ConfigEdit>>,
    ) -> Result<Edited, StoreError> {
        let statement = &self.statements().administering.update_config;
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.begin(statement.name, behalf).await?;
                let refused = async {
                    let Some(config) = self.locked_config(&mut transaction, id).await? else {
                        return Ok(Some(Edited::Missing));
                    };
                    let Some(edit) = decide(&config) else {
                        return Ok(Some(Edited::Declined));
                    };
                    self.hold_keys(&mut transaction, edit.api_secret.as_ref()).await?;
                    transaction.write(statement, &edit_values(id, &edit)).await?;
                    Ok(None)
                };
                let refused = refused.await;
                self.end(transaction, refused).await
            })
            .await
    }

    async fn switch_config(
        &self,
        behalf: &Behalf,
        id: ConfigId,
        is_disabled: bool,
        decide: Deciding<'_, Config, bool>,
    ) -> Result<Edited, StoreError> {
        let statement = &self.statements().administering.disable_config;
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.begin(statement.name, behalf).await?;
                let refused = async {
                    let Some(config) = self.locked_config(&mut transaction, id).await? else {
                        return Ok(Some(Edited::Missing));
                    };
                    if !decide(&config) {
                        return Ok(Some(Edited::Declined));
                    }
                    transaction.write(statement, &[id.0.into(), is_disabled.into()]).await?;
                    Ok(None)
                };
                let refused = refused.await;
                self.end(transaction, refused).await
            })
            .await
    }

    async fn drop_config(
        &self,
        behalf: &Behalf,
        id: ConfigId,
        decide: Deciding<'_, Config, bool>,
    ) -> Result<Edited, StoreError> {
        let statements = self.statements();
        let statement = &statements.administering.delete_config;
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.begin(statement.name, behalf).await?;
                let refused = async {
                    let Some(config) = self.locked_config(&mut transaction, id).await? else {
                        return Ok(Some(Edited::Missing));
                    };
                    if !decide(&config) {
                        return Ok(Some(Edited::Declined));
                    }
                    // Asked after the row is locked: who assigns it locks it first.
                    let users = &statements.administering.config_users;
                    let key = [id.0.simple().to_string().into()];
                    let users = transaction.read_one(users, &key, how_many).await?.unwrap_or(0);
                    if users > 0 {
                        return Ok(Some(Edited::InUse(users)));
                    }
                    transaction.write(statement, &[id.0.into()]).await?;
                    Ok(None)
                };
                let refused = refused.await;
                self.end(transaction, refused).await
            })
            .await
    }

    async fn insert_number(
        &self,
        behalf: &Behalf,
        whose: &Whose,
        id: Uuid,
        number: &NewNumber,
        claim: Option<Claim<'_>>,
    ) -> Result<Edited, StoreError> {
        let statement = &self.statements().editing.insert_number;
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.begin(statement.name, behalf).await?;
                let refused = async {
                    if let Some(earlier) = self.claim(&mut transaction, claim).await? {
                        return Ok(Some(Edited::Earlier(earlier)));
                    }
                    if !self.may_name(&mut transaction, whose, named(&number.rules)).await? {
                        return Ok(Some(Edited::ConfigMissing));
                    }
                    let mut values = vec![id.into()];
                    values.extend(new_number(number));
                    values.push(number.caller.number.digits().into());
                    if transaction.write(statement, &values).await? == 0 {
                        return Err(StoreError::Conflict { taken: crate::store::Taken::Number });
                    }
                    Ok(None)
                };
                let refused = refused.await;
                self.end(transaction, refused).await
            })
            .await
    }

    async fn change_number(
        &self,
        behalf: &Behalf,
        whose: &Whose,
        id: Uuid,
        edit: &NumberEdit,
        decide: Deciding<'_, Number, Option<Number>>,
    ) -> Result<Edited, StoreError> {
        let statement = &self.statements().editing.update_number;
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.begin(statement.name, behalf).await?;
                let refused = async {
                    let mut locked = self.locked_numbers(&mut transaction, whose, &[id]).await?;
                    let Some(number) = locked.pop() else {
                        return Ok(Some(Edited::Missing));
                    };
                    let Some(new) = decide(&number) else {
                        return Ok(Some(Edited::Declined));
                    };
                    let config =
                        named(&new.rules).filter(|_| named(&new.rules) != named(&number.rules));
                    if !self.may_name(&mut transaction, whose, config).await? {
                        return Ok(Some(Edited::ConfigMissing));
                    }
                    let mut values = vec![id.into(), new.provider.as_deref().into()];
                    if edit.touches_rules() {
                        values.push(Value::Json(&new.rules));
                        let statement = &self.statements().editing.update_rules;
                        transaction.write(statement, &values).await?;
                    } else {
                        transaction.write(statement, &values).await?;
                    }
                    Ok(None)
                };
                let refused = refused.await;
                self.end(transaction, refused).await
            })
            .await
    }

    async fn drop_number(
        &self,
        behalf: &Behalf,
        whose: &Whose,
        id: Uuid,
        decide: Deciding<'_, Number, bool>,
    ) -> Result<Edited, StoreError> {
        let statement = &self.statements().editing.delete_number;
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.begin(statement.name, behalf).await?;
                let refused = async {
                    let mut locked = self.locked_numbers(&mut transaction, whose, &[id]).await?;
                    let Some(number) = locked.pop() else {
                        return Ok(Some(Edited::Missing));
                    };
                    if !decide(&number) {
                        return Ok(Some(Edited::Declined));
                    }
                    transaction.write(statement, &[id.into()]).await?;
                    Ok(None)
                };
                let refused = refused.await;
                self.end(transaction, refused).await
            })
            .await
    }

    async fn assign_numbers(
        &self,
        behalf: &Behalf,
        whose: &Whose,
        assignments: &[Assignment],
        decide: Deciding<'_, Vec<Number>, bool>,
    ) -> Result<Edited, StoreError> {
        let name = self.statements().editing.assign.name;
        let assigned = self.assign_all(behalf, whose, assignments, decide);
        self.pool().asking(name, assigned).await
    }

    async fn change_rollout(
        &self,
        behalf: &Behalf,
        decide: Deciding<'_, Rollout, Option<Rollout>>,
    ) -> Result<Edited, StoreError> {
        let RollingOut { read, write } = &self.statements().rolling_out;
        self.pool()
            .asking(write.name, async {
                let mut transaction = self.begin(write.name, behalf).await?;
                let refused = async {
                    let now = transaction.read_one(read, &[], read_rollout).await?;
                    let Some(new) = decide(&understood(now, read)?.unwrap_or_default()) else {
                        return Ok(Some(Edited::Declined));
                    };
                    // By its version: whoever was quicker has counted it up.
                    let [allow, deny] = lists(&new);
                    let written =
                        transaction.write(write, &rollout_values(&new, [&allow, &deny])).await?;
                    Ok((written == 0).then_some(Edited::Declined))
                };
                let refused = refused.await;
                self.end(transaction, refused).await
            })
            .await
    }

    async fn label_tenant_for(
        &self,
        behalf: &Behalf,
        id: TenantId,
        label: Option<&str>,
    ) -> Result<Edited, StoreError> {
        let name = self.statements().labelling.update.name;
        self.pool()
            .asking(name, async {
                let mut transaction = self.begin(name, behalf).await?;
                let labelled = self.relabel(&mut transaction, id, label).await;
                let refused = labelled.map(|is_done| (!is_done).then_some(Edited::Missing));
                self.end(transaction, refused).await
            })
            .await
    }

    async fn change_page(
        &self,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<ChangeRow>, StoreError> {
        let values = [Value::Int(Some(before.unwrap_or(i64::MAX))), most.into()];
        self.pool().read(&self.statements().editing.change_page, &values, read_change_row).await
    }

    async fn newest_written(&self) -> Result<Option<Written>, StoreError> {
        self.pool().read_one(&self.statements().editing.newest_written, &[], read_written).await
    }

    async fn forget_answers(&self) -> Result<u64, StoreError> {
        self.pool().write(&self.statements().editing.forget_answers, &[]).await
    }
}
