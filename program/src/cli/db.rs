//! `trunkline db`: the tables.

mod grants;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use trunkline::clock::{Clock, SystemClock};
use trunkline::store::{
    AdminStore, Creators, MigrationStatus, Migrations, NewConfig, NewNumber, OpenStore,
};
use trunkline::{Caller, ConfigId, E164, KeyRing, TenantId};
use uuid::Uuid;

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line, table};

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
    /// Add two LiveKit configs and numbers of three tenants as test data
    Seed(Seed),
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Notify {
    On,
    Off,
}

#[derive(Args)]
pub(crate) struct Seed {
    /// How many numbers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    numbers: u32,
    /// Add them even if there are configs already
    #[arg(long)]
    force: bool,
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
            Self::Seed(seed) => {
                let store = database.admin();
                let empty = store.configs().await?.is_empty();
                if !seed.force && !empty {
                    let message = "there are LiveKit configs already";
                    return Err(Failure::new("not_empty", message, Exit::Conflict)
                        .hint("say --force to add the sample data beside them"));
                }
                let run =
                    if empty { String::new() } else { format!("-{:.8}", Uuid::new_v4().simple()) };
                let ring = database.ruled(&*context.ring()?).await?;
                let seeded = sow(&*store, &ring, seed.numbers, &run).await?;
                seeded.show(context)
            }
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

/// What [`sow`] made.
pub(crate) struct Seeded {
    pub(crate) configs: [ConfigId; 2],
    pub(crate) tenants: [TenantId; 3],
    pub(crate) numbers: u32,
}

impl Seeded {
    /// The caller number `index`; every tenant has each third of them.
    pub(crate) fn caller(&self, index: u32) -> Caller {
        caller(&self.tenants, index)
    }

    fn show(&self, context: &Context) -> Done {
        let first = self.caller(0);
        if context.json {
            return json_line(&json!({
                "configs": self.configs, "tenants": self.tenants, "numbers": self.numbers,
                "first": {"tenant_id": first.tenant, "number": first.number},
            }));
        }
        line(format!("2 LiveKit configs, {} numbers of 3 tenants; try", self.numbers))?;
        line(format!("  trunkline resolve --tenant {} --from {}", first.tenant, first.number))
    }
}

/// Adds two configs, three tenants and numbers that use one config or the other. `run` ends the
/// names of the configs.
pub(crate) async fn sow(
    store: &dyn AdminStore,
    ring: &KeyRing,
    numbers: u32,
    run: &str,
) -> Result<Seeded, Failure> {
    let now = SystemClock::default().unix_seconds();
    let config = |name: &str, secret: &str| -> Result<NewConfig, Failure> {
        Ok(NewConfig {
            name: format!("{name}{run}"),
            description: Some("sample data of `trunkline db seed`".to_owned()),
            url: format!("wss://{name}.livekit.example")
                .parse()
                .map_err(|error| Failure::new("url_malformed", format!("{error}"), Exit::Failed))?,
            api_key: format!("API{name}"),
            api_secret: ring.seal(secret, now)?,
            trunk_id: Some(format!("ST_{name}")),
            agent: None,
        })
    };
    // Made up for each seeding, so that no sample secret is known beforehand.
    let (eu, us) = (KeyRing::generate()?, KeyRing::generate()?);
    let configs = [
        store.create_config(&config("europe", &eu)?).await?,
        store.create_config(&config("america", &us)?).await?,
    ];
    let tenants = [(); 3].map(|()| TenantId(Uuid::new_v4()));
    for start in (0..numbers).step_by(ROWS_A_TURN) {
        let end = numbers.min(start.saturating_add(u32::try_from(ROWS_A_TURN).unwrap_or(u32::MAX)));
        let rows: Vec<_> = (start..end)
            .map(|index| NewNumber {
                caller: caller(&tenants, index),
                provider: Some("sample".to_owned()),
                rules: json!({
                    "inbound": true, "outbound": true, "allowed_outbound": "global",
                    "required_lead_format": ["country_code", "base_number"],
                    "livekit_config": configs[index as usize / 3 % 2],
                }),
            })
            .collect();
        store.import(&rows).await?;
    }
    Ok(Seeded { configs, tenants, numbers })
}

fn caller(tenants: &[TenantId; 3], index: u32) -> Caller {
    let digits = (FIRST_NUMBER + u64::from(index)).to_string();
    let number = E164::from_digits(&digits).expect("twelve digits that begin with 971");
    Caller::new(tenants[index as usize % 3], number)
}

const FIRST_NUMBER: u64 = 971_500_000_000;
/// Rows of one transaction.
const ROWS_A_TURN: usize = 10_000;
