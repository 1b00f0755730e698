//! Which config answers for many numbers: all of them get theirs, or none does.

use uuid::Uuid;

use super::steps::Steps;
use crate::store::edits::{Assignment, Behalf, Deciding, Edited, Whose};
use crate::store::sql::SqlStore;
use crate::store::sql::asked::list;
use crate::store::transaction::Transaction;
use crate::store::{Number, StoreError};

/// The steps that assigning is made of.
pub(super) trait AssigningSteps: Steps {
    async fn assign_all(
        &self,
        behalf: &Behalf,
        whose: &Whose,
        assignments: &[Assignment],
        decide: Deciding<'_, Vec<Number>, bool>,
    ) -> Result<Edited, StoreError> {
        let name = self.statements().editing.assign.name;
        let mut transaction = self.begin(name, behalf).await?;
        let refused = self.assign(&mut transaction, whose, assignments, decide).await;
        self.end(transaction, refused).await
    }

    async fn assign(
        &self,
        transaction: &mut Transaction<Self::Session>,
        whose: &Whose,
        assignments: &[Assignment],
        decide: Deciding<'_, Vec<Number>, bool>,
    ) -> Result<Option<Edited>, StoreError> {
        // In the order of ids, so that two who hold several configs do not wait for each other.
        let mut configs: Vec<_> = assignments.iter().filter_map(|(config, _)| *config).collect();
        configs.sort_unstable_by_key(|config| config.0);
        for config in configs {
            if !self.may_name(transaction, whose, Some(config)).await? {
                return Ok(Some(Edited::ConfigMissing));
            }
        }
        let ids: Vec<Uuid> = assignments.iter().flat_map(|(_, ids)| ids).copied().collect();
        let numbers = self.locked_numbers(transaction, whose, &ids).await?;
        let is_agreed = decide(&numbers);
        if numbers.len() != ids.len() {
            return Ok(Some(Edited::Missing));
        }
        if !is_agreed {
            return Ok(Some(Edited::Declined));
        }
        let statements = &self.statements().editing;
        for (config, ids) in assignments {
            match config {
                Some(config) => {
                    let values = [list(ids), config.to_string().into()];
                    transaction.write(&statements.assign, &values).await?;
                }
                None => {
                    transaction.write(&statements.unassign, &[list(ids)]).await?;
                }
            }
        }
        Ok(None)
    }
}

impl<S: SqlStore> AssigningSteps for S {}
