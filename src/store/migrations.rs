//! Bringing the tables up and down: the migrations are inside the program.
//!
//! They keep their own book, `trunkline_migrations`, beside the tables, so that an application that
//! has migrations of its own in the same schema is not disturbed.

use sqlx::Connection;
use sqlx::migrate::{Migrate, MigrateError as MigrateFailure, Migrator};

use super::StoreError;
use super::pool::Lanes;
use super::record::Record;
use super::session::Session;
use super::statement::Templates;

/// Where migrating should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrations {
    /// At the newest migration.
    Up,
    /// At this one, undoing all that came after it; 0 undoes all.
    DownTo(i64),
    /// Where it is; only look.
    Status,
}

/// Which migrations there are, and which of them are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Version, description and whether it is applied, oldest first.
    pub migrations: Vec<(i64, String, bool)>,
    /// Versions that the database has and this program does not know: it is older than the database.
    pub unknown: Vec<i64>,
}

impl MigrationStatus {
    /// Whether the tables are just what this program expects.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.unknown.is_empty() && self.migrations.iter().all(|(_, _, applied)| *applied)
    }

    /// The newest version that is applied; 0 when none is.
    #[must_use]
    pub fn newest_applied(&self) -> i64 {
        let applied = self.migrations.iter().filter(|(_, _, applied)| *applied);
        applied.map(|(version, ..)| *version).max().unwrap_or(0)
    }
}

/// Why migrating failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A migration did not go through; it changed nothing.
    #[error("a migration failed: {why}")]
    Failed {
        /// In the database's words; migrations carry no data.
        why: String,
    },
}

/// Runs migrations up or down.
pub(super) async fn run<C>(
    connection: &mut C,
    migrator: &mut Migrator,
    to: Migrations,
) -> Result<(), MigrateError>
where
    C: Connection + Migrate,
    for<'c> &'c mut C: sqlx::Acquire<'c, Database = C::Database, Connection = &'c mut C>,
{
    let failed = |error: MigrateFailure| MigrateError::Failed { why: words(&error) };
    migrator.dangerous_set_table_name(BOOK);
    match to {
        Migrations::Up => migrator.run(&mut *connection).await.map_err(failed),
        Migrations::DownTo(version) => {
            migrator.undo(&mut *connection, version).await.map_err(failed)
        }
        Migrations::Status => Ok(()),
    }
}

/// Holds what the book says is applied against what there is.
pub(super) async fn status<S: Session>(
    lanes: &Lanes<S>,
    migrator: &Migrator,
) -> Result<MigrationStatus, MigrateError> {
    let applied = Templates::default().statement("list_migrations", APPLIED);
    let applied = match lanes.read(&applied, &[], |row| row.own_int("version")).await {
        // The book is not there before the first migration; then nothing is applied.
        Err(StoreError::NotMigrated { .. }) => Vec::new(),
        applied => applied?,
    };
    let ups = || migrator.iter().filter(|migration| !migration.migration_type.is_down_migration());
    Ok(MigrationStatus {
        migrations: ups()
            .map(|up| (up.version, up.description.to_string(), applied.contains(&up.version)))
            .collect(),
        unknown: applied
            .iter()
            .copied()
            .filter(|&version| ups().all(|up| up.version != version))
            .collect(),
    })
}

/// The chain of causes in one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let error_words = error.to_string();
        if !words.contains(&error_words) {
            words = format!("{words}: {error_words}");
        }
        cause = error.source();
    }
    words
}

const BOOK: &str = "trunkline_migrations";
const APPLIED: &str = "select version from trunkline_migrations order by version";
