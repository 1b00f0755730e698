//! Edits on trial, on SQLite.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite, Transaction};
use tokio::time::timeout;

use super::{SqliteStore, query};
use crate::store::StoreError;
use crate::store::access::NUMBERS;
use crate::store::error::typed;
use crate::store::record::Record;
use crate::store::statement::{Statement, Value};
use crate::store::trial::{PATIENCE, Probe, Seen, Trial};

impl SqliteStore {
    /// Inserts, changes and removes a row of each table, rolls that back, and says which of it was
    /// logged. SQLite has no TRUNCATE.
    ///
    /// # Errors
    ///
    /// [`StoreError`] where nothing could be tried, as while another program writes.
    pub(crate) async fn try_edits(&self) -> Result<Vec<Trial>, StoreError> {
        let refused = |error: sqlx::Error| typed(&error, "trial");
        let options = self.options().clone().busy_timeout(PATIENCE);
        let trying = async {
            let mut connection = SqliteConnection::connect_with(&options).await?;
            let mut trials = Vec::new();
            for probe in Probe::both(&self.templates) {
                // At once the only one who writes: later, a lock might not be had.
                let mut transaction = connection.begin_with("begin immediate").await?;
                self.try_one(&mut transaction, &probe, &mut trials).await?;
                transaction.rollback().await?;
            }
            connection.close().await?;
            Ok(trials)
        };
        let deadline = PATIENCE * 3;
        let tried = timeout(deadline, trying).await;
        tried.map_err(|_| StoreError::Timeout { after: deadline })?.map_err(refused)
    }

    async fn try_one(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        probe: &Probe,
        trials: &mut Vec<Trial>,
    ) -> Result<(), sqlx::Error> {
        let log = self.templates.statement("trial", READ);
        let name = probe.name();
        let before = newest(&self.templates.statement("trial", NEWEST), transaction).await?;
        for (operation, edit) in &probe.edits {
            let values: &[Value<'_>] = match *operation {
                "insert" if probe.table == NUMBERS => &[probe.id.into(), probe.key.into()],
                "insert" => &[probe.id.into(), name.as_str().into()],
                _ => &[probe.id.into()],
            };
            let done = query(edit, values).persistent(false).execute(&mut **transaction).await;
            let seen = match done {
                Err(error) => Err(typed(&error, edit.name)),
                Ok(done) if done.rows_affected() == 0 => Ok(Seen::NothingChanged),
                Ok(_) => {
                    let values =
                        [probe.entity.into(), (*operation).into(), probe.key.into(), before.into()];
                    let row = query(&log, &values).persistent(false).fetch_one(&mut **transaction);
                    let many = row.await?.own_int("many")?;
                    Ok(if many > 0 { Seen::Logged } else { Seen::NotLogged })
                }
            };
            let is_over = !matches!(seen, Ok(Seen::Logged | Seen::NotLogged));
            trials.push(Trial { operation, table: probe.table, seen });
            if is_over {
                break;
            }
        }
        Ok(())
    }
}

/// The newest place in the log.
async fn newest(
    statement: &Statement,
    transaction: &mut Transaction<'_, Sqlite>,
) -> Result<i64, sqlx::Error> {
    let row = query(statement, &[]).persistent(false).fetch_one(&mut **transaction).await?;
    row.own_int("newest")
}

const NEWEST: &str = "select coalesce(max(seq), 0) as newest from {schema}.voice_agent_changes";
const READ: &str = "
    select count(*) as many from {schema}.voice_agent_changes
    where seq > $4 and entity = $1 and operation = $2 and coalesce(config_id, tenant_id) = $3";
