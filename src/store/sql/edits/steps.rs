//! The steps that edits are made of, each in the transaction of its edit.

use uuid::Uuid;

use super::values::seen_by;
use crate::number::ConfigId;
use crate::store::edits::{Behalf, Claim, EarlierAnswer, Edited, Whose, Written};
use crate::store::record::Record;
use crate::store::sql::asked::list;
use crate::store::sql::read::{read_config, read_number};
use crate::store::sql::{SqlStore, Statements};
use crate::store::transaction::Transaction;
use crate::store::{Config, Number, StoreError};

/// The steps that edits are made of.
pub(in crate::store::sql) trait Steps: SqlStore {
    /// Begins the transaction of an edit, which says on whose behalf.
    async fn begin(
        &self,
        name: &'static str,
        behalf: &Behalf,
    ) -> Result<Transaction<Self::Session>, StoreError> {
        let mut transaction = self.pool().begin(name).await?;
        let values = [behalf.claims().to_string().into()];
        match transaction.write(&self.statements().editing.say_behalf, &values).await {
            // An SQLite file without the audit has no place for it; the edit needs none.
            Ok(_) | Err(StoreError::NotMigrated { .. }) => Ok(transaction),
            Err(error) => Err(error),
        }
    }

    /// Takes a key, or tells what was answered to it before.
    async fn claim(
        &self,
        transaction: &mut Transaction<Self::Session>,
        claim: Option<Claim<'_>>,
    ) -> Result<Option<EarlierAnswer>, StoreError> {
        let Some(Claim { client, key, asked, answer }) = claim else { return Ok(None) };
        let statements = &self.statements().editing;
        transaction.write(&statements.forget_answer, &[client.into(), key.into()]).await?;
        let values = [client.into(), key.into(), asked.into(), answer.into()];
        if transaction.write(&statements.claim, &values).await? > 0 {
            return Ok(None);
        }
        let earlier = |row: &_| {
            let (asked, answer) =
                (Record::own_text(row, "asked")?, Record::own_text(row, "answer")?);
            Ok(EarlierAnswer { asked, answer })
        };
        let values = [client.into(), key.into()];
        let earlier = transaction.read_one(&statements.earlier, &values, earlier).await?;
        earlier.map(Some).ok_or(StoreError::Row { statement: statements.earlier.name })
    }

    async fn locked_config(
        &self,
        transaction: &mut Transaction<Self::Session>,
        id: ConfigId,
    ) -> Result<Option<Config>, StoreError> {
        let key = [id.0.into()];
        let Statements { editing, answering, .. } = self.statements();
        let id = |row: &_| Record::own_id(row, "id");
        transaction.read_one(&editing.lock_config, &key, id).await?;
        // Read after that: what a locking statement joins is from before it waited.
        transaction.read_one(&answering.config, &key, read_config).await
    }

    async fn locked_numbers(
        &self,
        transaction: &mut Transaction<Self::Session>,
        whose: &Whose,
        ids: &[Uuid],
    ) -> Result<Vec<Number>, StoreError> {
        let statement = &self.statements().editing.locked_numbers;
        let [tenants, prefixes] = seen_by(whose);
        transaction.read(statement, &[tenants, prefixes, list(ids)], read_number).await
    }

    /// Whether a config may stand in the rules of a number. Until the end of the transaction nobody
    /// removes it.
    async fn may_name(
        &self,
        transaction: &mut Transaction<Self::Session>,
        whose: &Whose,
        config: Option<ConfigId>,
    ) -> Result<bool, StoreError> {
        let Some(id) = config else { return Ok(true) };
        let [tenants, prefixes] = seen_by(whose);
        let statement = &self.statements().editing.named_config;
        let values = [tenants, prefixes, id.0.into()];
        let found = transaction.read_one(statement, &values, |row: &_| Record::own_id(row, "id"));
        Ok(found.await?.is_some())
    }

    /// Forgets on whose behalf the transaction is, where that stands in a table.
    async fn unsay(&self, transaction: &mut Transaction<Self::Session>) -> Result<(), StoreError> {
        let Some(unsay) = &self.statements().editing.unsay_behalf else { return Ok(()) };
        match transaction.write(unsay, &[]).await {
            Ok(_) | Err(StoreError::NotMigrated { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the transaction of an edit: keeps what its steps did and says which change it was, or nothing
    /// of it where one of them says why.
    async fn end(
        &self,
        mut transaction: Transaction<Self::Session>,
        refused: Result<Option<Edited>, StoreError>,
    ) -> Result<Edited, StoreError> {
        if let Some(refused) = refused? {
            transaction.roll_back().await;
            return Ok(refused);
        }
        self.unsay(&mut transaction).await?;
        let statement = &self.statements().editing.own_written;
        let written = transaction.read_one(statement, &[], read_written).await?;
        transaction.commit().await?;
        Ok(Edited::Done(written))
    }
}

impl<S: SqlStore> Steps for S {}

pub(in crate::store::sql) fn read_written(row: &impl Record) -> Result<Written, sqlx::Error> {
    Ok(Written { seq: row.own_int("seq")?, place: row.own_int("place")? })
}
