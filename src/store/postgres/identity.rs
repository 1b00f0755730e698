//! Which database this is, among all that the same nodes could mean.

use sqlx::postgres::PgRow;

use super::PostgresStore;
use crate::store::StoreError;
use crate::store::record::Record;

impl PostgresStore {
    /// The cluster, the database in it, and the schema; the same at every node and after a restart.
    pub(crate) async fn identity(&self) -> Result<Vec<u8>, StoreError> {
        let statement = self.statement("identity", IDENTITY).in_passing();
        let read = |row: &PgRow| row.own_text("identity");
        let identity = self.pool.read_one(&statement, &[], read).await?;
        Ok(identity.ok_or(StoreError::Row { statement: statement.name })?.into_bytes())
    }
}

const IDENTITY: &str = "
    select concat_ws('/', control.system_identifier, pg_database.oid, {schema_text}) as identity
    from pg_control_system() as control
    cross join pg_database
    where pg_database.datname = current_database()";
