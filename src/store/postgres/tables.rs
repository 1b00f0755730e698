//! Making and changing the tables of Postgres, and who else may.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::{PostgresStore, quoted};
use crate::store::error::typed;
use crate::store::lock_holder;
use crate::store::migrations::Book;
use crate::store::record::Record;
use crate::store::{Creators, MigrateError, MigrationStatus, Migrations, Misfit, StoreError};

impl PostgresStore {
    /// Brings the tables up to date, or down to `target` (0 is before the first migration).
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; a migration that failed has changed nothing.
    pub async fn migrate(&self, to: Migrations) -> Result<MigrationStatus, MigrateError> {
        let book = Book::new(&sqlx::migrate!("migrations/postgres"), RELEASED, &self.templates);
        if to != Migrations::Status {
            if to == Migrations::Up && book.status(&self.pool).await?.newest_applied() < ADOPTED {
                let misfits = self.misfits().await?;
                if !misfits.is_empty() {
                    return Err(MigrateError::Unfit { misfits });
                }
            }
            let mut connection = self.connect().await?;
            let waiting = lock_holder::bound(&mut connection)
                .await
                .map_err(|error| typed(&error, "bound_waiting"))?;
            let migrating = async {
                self.create_schema(&mut connection).await?;
                book.run(&mut connection, to).await?;
                if to == Migrations::Up {
                    self.make_triggers(&mut connection, "").await?;
                }
                Ok(())
            };
            lock_holder::naming(self.direct().as_ref(), waiting, migrating).await?;
        }
        book.status(&self.pool).await
    }

    /// Has edits ring with NOTIFY, or not, once the tables are there. An application that commits in
    /// two phases cannot edit while they do.
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; then nothing is changed.
    pub async fn notify(&self, on: bool) -> Result<(), MigrateError> {
        let mut connection = self.connect().await?;
        self.make_triggers(&mut connection, if on { "on" } else { "off" }).await
    }

    async fn make_triggers(
        &self,
        connection: &mut PgConnection,
        notify: &str,
    ) -> Result<(), MigrateError> {
        let made = self.templates.fill(include_str!("triggers.sql")).replace("{notify}", notify);
        sqlx::raw_sql(sqlx::AssertSqlSafe(made))
            .execute(connection)
            .await
            .map_err(|error| typed(&error, "make_triggers"))?;
        Ok(())
    }

    /// What of the tables is not as it must be: of another kind, or a column of another type.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    pub async fn misfits(&self) -> Result<Vec<Misfit>, StoreError> {
        let statement = self.statement("misfits", include_str!("misfits.sql"));
        let misfit = |row: &_| {
            Ok(Misfit {
                place: Record::own_text(row, "place")?,
                what: Record::own_text(row, "what")?,
            })
        };
        self.pool.read(&statement, &[], misfit).await
    }

    /// Who may create in the schema of the tables beside its owner.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    pub async fn creators(&self) -> Result<Creators, StoreError> {
        let statement = self.statement("creators", CREATORS);
        let values = [self.schema.as_str().into()];
        let roles = self.pool.read(&statement, &values, |row| row.own_text("role")).await?;
        Ok(Creators { schema: quoted(&self.schema), roles })
    }

    /// A connection whose statements may take as long as they need.
    pub(super) async fn connect(&self) -> Result<PgConnection, MigrateError> {
        let session = tokio::time::timeout(self.deadline, self.open_session())
            .await
            .map_err(|_| StoreError::Timeout { after: self.deadline })??;
        drop(session);
        let direct = self.direct().ok_or_else(|| MigrateError::Failed {
            why: "a pooler in transaction mode stands before the database; migrate over a direct \
                  connection"
                .into(),
        })?;
        let patient = direct.options([("statement_timeout", "0")]);
        let connection = tokio::time::timeout(self.deadline, PgConnection::connect_with(&patient))
            .await
            .map_err(|_| StoreError::Timeout { after: self.deadline })?
            .map_err(|error| typed(&error, "connect"))?;
        Ok(connection)
    }

    /// Looked for first, since `create schema if not exists` wants a right even where it exists.
    async fn create_schema(&self, connection: &mut PgConnection) -> Result<(), MigrateError> {
        let refused = |error| typed(&error, "create_schema");
        let usable: Option<bool> = sqlx::query_scalar(SCHEMA_USABLE)
            .bind(&self.schema)
            .fetch_optional(&mut *connection)
            .await
            .map_err(refused)?;
        if usable == Some(false) {
            let why = format!(
                "the role may not use the schema {}; grant it usage and create",
                self.schema
            );
            return Err(MigrateError::Failed { why });
        }
        if usable.is_none() {
            let statement = format!("create schema {}", quoted(&self.schema));
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
                .execute(connection)
                .await
                .map_err(refused)?;
        }
        Ok(())
    }
}

/// The step after which both tables are there.
const ADOPTED: i64 = 2;

const SCHEMA_USABLE: &str = "
    select has_schema_privilege(oid, 'usage') and has_schema_privilege(oid, 'create')
    from pg_namespace where nspname = $1";

/// Superusers are left out: they need no grant.
const CREATORS: &str = "
    select case when grantee = 0 then 'public' else quote_ident(rolname) end as role
    from pg_namespace
    cross join lateral aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
    left join pg_roles on pg_roles.oid = grantee
    where nspname = $1 and privilege_type = 'CREATE' and grantee <> nspowner
        and not coalesce(rolsuper, false)
    order by grantee = 0 desc, role";

/// Steps that were released with another text, and the checksums of that: the names in them did not
/// say their schema. What they make is the same.
const RELEASED: &[(i64, &str)] = &[
    (
        1,
        "a4b047e206feb3abcff3c8328462df08b174efd9ec8489f3c26f419c731cdfcc\
         8edfda4e9b5dcaf32c3025d891ca377c",
    ),
    (
        2,
        "a9a70e0dca1bddb1889c81304ea6bf5b7a3f9e5d90e6573d8ba946878d4b8c48\
         5ec511e79a4d2920b68508c41488ad81",
    ),
    (
        3,
        "c5e7ec67499bbc6d105aed5750bc89401d9b6305e8a0ad6ee0e65e80675a34f2\
         a4f434bd6f0e9c14a1b7db4b8540efa4",
    ),
];
