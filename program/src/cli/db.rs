//! `trunkline db`: the tables.

mod grants;
mod seed;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use trunkline::store::{Creators, MigrationStatus, Migrations, OpenStore};

pub(crate) use self::seed::{Sample, Seeded, sow};
use super::Context;
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, table};

#[derive(Subcommand)]
pub(crate) enum Db {
    /// Bring the tables up to date; existing tables are adopted with their rows
    Migrate {
        /// Whether edits send NOTIFY; `off` for applications with two-phase commit (Postgres)
        #[arg(long, value_name = "ON_OR_OFF")]
        notify: Option<Notify>,
    },
    /// Undo migrations; drops tables that trunkline made, and keeps adopted ones
    Rollback {
        /// How many migrations
        #[arg(long, default_value_t = 1, conflicts_with = "all")]
        steps: usize,
        /// Every migration
        #[arg(long)]
        all: bool,
        /// Do it; rows may be lost
        #[arg(long)]
        yes: bool,
    },
    /// Print which migrations are applied
    Status,
    /// Print the grants for a service and an editor, or run them (Postgres)
    Grants(grants::Granting),
    /// Add LiveKit configs and numbers as test data, of any size
    Seed(seed::Seed),
    /// Remove what `db seed` added
    Unseed(seed::Unseed),
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Notify {
    On,
    Off,
}

impl Db {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let database = context.database()?;
        match self {
            Self::Migrate { notify } => {
                let status = database.migrate(Migrations::Up).await?;
                if let Some(notify) = notify
                    && !database.notify(matches!(notify, Notify::On)).await?
                {
                    let message = "SQLite has no NOTIFY; leave --notify out";
                    return Err(Failure::usage("no_notify", message));
                }
                show(context, &status)?;
                for misfit in database.misfits().await? {
                    eprintln!("warning: {misfit}; the next major version will refuse it");
                }
                if let Some((found, hint)) = other_creators(&database).await? {
                    eprintln!("warning: {found}");
                    eprintln!("hint: {hint}");
                }
                Ok(())
            }
            Self::Status => {
                let status = database.migrate(Migrations::Status).await?;
                show(context, &status)?;
                if status.is_current() {
                    return refuse_unaudited(&database).await;
                }
                Err(Failure::new("not_migrated", "the tables are not up to date", Exit::Failed)
                    .hint("run `trunkline db migrate`"))
            }
            Self::Rollback { steps, all, yes } => {
                let status = database.migrate(Migrations::Status).await?;
                let applied: Vec<_> =
                    status.migrations.iter().filter(|(.., applied)| *applied).collect();
                let keep = if all { 0 } else { applied.len().saturating_sub(steps) };
                if !yes {
                    let undone: Vec<_> =
                        applied[keep..].iter().map(|(_, name, _)| name.as_str()).collect();
                    let message = format!("this undoes: {}", undone.join(", "));
                    return Err(Failure::usage("confirmation_needed", message)
                        .hint("tables made by trunkline go with their rows; say --yes to do it"));
                }
                let target = keep.checked_sub(1).map_or(0, |last| applied[last].0);
                show(context, &database.migrate(Migrations::DownTo(target)).await?)
            }
            Self::Grants(granting) => granting.run(context, &database).await,
            Self::Seed(seed) => seed.run(context, &database).await,
            Self::Unseed(unseed) => unseed.run(context, &database).await,
        }
    }
}

/// Fails where changes would be missing in the audit.
async fn refuse_unaudited(database: &OpenStore) -> Done {
    let missing = database.audit().unaudited().await?;
    let Some((place, what)) = missing.first() else { return Ok(()) };
    let message = match missing.len() {
        1 => format!("{what} of {place} is not audited: its trigger is missing or disabled"),
        many => {
            format!("{many} triggers of the audit are missing or disabled: {what} of {place}, …")
        }
    };
    Err(Failure::new("not_audited", message, Exit::Failed).hint(AUDITED_AGAIN))
}

pub(crate) const AUDITED_AGAIN: &str = "`trunkline db migrate` makes those that are missing; `alter table … \
    enable trigger user` turns those on that are disabled";

/// Who but its owner may create in the schema of the tables, and what to do about it.
pub(crate) async fn other_creators(
    database: &OpenStore,
) -> Result<Option<(String, String)>, Failure> {
    let Some(Creators { schema, roles }) = database.creators().await? else { return Ok(None) };
    if roles.is_empty() {
        return Ok(None);
    }
    let roles = roles.join(", ");
    let found = format!("others than the owner of the schema {schema} may create in it: {roles}");
    let hint = format!("revoke create on schema {schema} from {roles}");
    Ok(Some((found, hint)))
}

fn show(context: &Context, status: &MigrationStatus) -> Done {
    if context.json {
        let migrations: Vec<_> = status
            .migrations
            .iter()
            .map(|(version, name, applied)| json!({"version": version, "name": name, "applied": applied}))
            .collect();
        return json_line(&json!({
            "current": status.is_current(), "migrations": migrations, "unknown": status.unknown,
        }));
    }
    table(
        &["version", "migration", "applied"],
        status.migrations.iter().map(|(version, name, applied)| {
            vec![version.to_string(), name.clone(), if *applied { "yes" } else { "no" }.into()]
        }),
    )?;
    if !status.unknown.is_empty() {
        eprintln!("note: the database knows migrations that this program does not; update it");
    }
    Ok(())
}
