//! Migrates the tables up and down. The migrations are part of the program.
//!
//! They are recorded in `trunkline_migrations`, beside the tables, so that an application with
//! migrations of its own in the same schema is not disturbed.
//!
//! **Invariant:** migrating down removes nothing from a table that the migrations did not make,
//! except what they added to it.

use std::borrow::Cow;

use sqlx::Connection;
use sqlx::migrate::{Migrate, Migration, Migrator};

use super::pool::Pool;
use super::record::Record;
use super::session::Session;
use super::statement::{Statement, Templates};
use super::{Misfit, StoreError};

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

    /// Whether a program of this version can work with the tables. Steps that only guard them may
    /// come later, and what a newer program brought only adds.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        let needed = self.migrations.iter().filter(|(version, ..)| *version <= NEEDED);
        needed.into_iter().all(|(_, _, applied)| *applied)
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
    /// Tables that stand there already cannot be adopted; nothing was changed.
    #[error("the tables cannot be adopted: {}", listed(misfits))]
    Unfit {
        /// What is not as it must be.
        misfits: Vec<Misfit>,
    },
    /// A migration did not go through; it changed nothing.
    #[error("a migration failed: {why}")]
    Failed {
        /// In the database's words; migrations carry no data.
        why: String,
    },
}

/// The steps for one store, and the book in which it is kept which of them are applied.
pub(super) struct Book {
    migrator: Migrator,
    applied: Statement,
}

impl Book {
    /// Fills in the steps, as statements are.
    ///
    /// `released`: the checksums, in hex, of the texts with which steps were released, where those
    /// are others.
    pub(super) fn new(
        steps: &Migrator,
        released: &[(i64, &'static str)],
        templates: &Templates,
    ) -> Self {
        let filled = steps.iter().map(|step| {
            let released = released.iter().find(|(version, _)| *version == step.version);
            Migration {
                sql: templates.statement("migrate", step.sql.as_str()).sql(),
                checksum: released.map_or_else(|| step.checksum.clone(), |(_, hex)| bytes(hex)),
                ..step.clone()
            }
        });
        let mut migrator = Migrator::with_migrations(filled.collect());
        migrator.dangerous_set_table_name(templates.fill(BOOK));
        let applied = templates.statement("list_migrations", APPLIED).in_passing();
        Self { migrator, applied }
    }

    /// Runs steps up or down.
    pub(super) async fn run<C>(
        &self,
        connection: &mut C,
        to: Migrations,
    ) -> Result<(), MigrateError>
    where
        C: Connection + Migrate,
        for<'c> &'c mut C: sqlx::Acquire<'c, Database = C::Database, Connection = &'c mut C>,
    {
        let done = match to {
            Migrations::Up => self.migrator.run(&mut *connection).await,
            Migrations::DownTo(version) => self.migrator.undo(&mut *connection, version).await,
            Migrations::Status => Ok(()),
        };
        done.map_err(|error| MigrateError::Failed { why: words(&error) })
    }

    /// Holds what is applied against what there is.
    pub(super) async fn status<S: Session>(
        &self,
        pool: &Pool<S>,
    ) -> Result<MigrationStatus, MigrateError> {
        let applied = match pool.read(&self.applied, &[], |row| row.own_int("version")).await {
            // The book is not there before the first step; then nothing is applied.
            Err(StoreError::NotMigrated { .. }) => Vec::new(),
            applied => applied?,
        };
        let ups = || {
            let steps = self.migrator.iter();
            steps.filter(|step| !step.migration_type.is_down_migration())
        };
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
}

fn listed(misfits: &[Misfit]) -> String {
    misfits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The bytes of a checksum in hex.
fn bytes(hex: &str) -> Cow<'static, [u8]> {
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    hex.as_bytes().chunks(2).map(|pair| byte(pair).unwrap_or(0)).collect()
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

/// The newest step that this program cannot do without.
const NEEDED: i64 = 3;
const BOOK: &str = "{schema}.trunkline_migrations";
const APPLIED: &str = "select version from {schema}.trunkline_migrations order by version";
