//! `trunkline db seed` and `db unseed`: test data of any size, and its way back.
//!
//! **Invariant:** what `unseed` removes is what `seed` made: configs with its description, and numbers with
//! its provider that use one of them. A config that a number of somebody else uses stays.

use clap::Args;
use serde_json::json;
use trunkline::clock::{Clock, SystemClock};
use trunkline::store::{AdminStore, Config, NewConfig, NewNumber, OpenStore};
use trunkline::{Caller, ConfigId, E164, KeyRing, TenantId};
use uuid::Uuid;

use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Seed {
    #[command(flatten)]
    sample: Sample,
    /// Add them even if there are configs or numbers already
    #[arg(long)]
    force: bool,
}

/// How much of it.
#[derive(Args, Clone, Copy)]
pub(crate) struct Sample {
    /// How many numbers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    numbers: u32,
    /// How many LiveKit configs use them
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    configs: u32,
    /// How many tenants own them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tenants: u32,
}

#[derive(Args)]
pub(crate) struct Unseed {
    /// Do it
    #[arg(long)]
    yes: bool,
}

impl Sample {
    /// So many numbers of three tenants, which use two configs.
    pub(crate) fn of(numbers: u32) -> Self {
        Self { numbers, configs: 2, tenants: 3 }
    }
}

impl Seed {
    pub(super) async fn run(self, context: &Context, database: &OpenStore) -> Done {
        let store = database.admin();
        let is_empty = store.configs().await?.is_empty();
        let is_free = is_empty && store.numbers_after(None, 1).await?.is_empty();
        if !self.force && !is_free {
            let what = if is_empty { "numbers" } else { "LiveKit configs" };
            let message = format!("there are {what} already");
            return Err(Failure::new("not_empty", message, Exit::Conflict)
                .hint("say --force to add the sample data beside them"));
        }
        let run = if is_empty { String::new() } else { format!("-{:.8}", Uuid::new_v4().simple()) };
        let ring = database.ruled(&*context.ring()?).await?;
        sow(&*store, &ring, self.sample, &run).await?.show(context)
    }
}

impl Unseed {
    pub(super) async fn run(self, context: &Context, database: &OpenStore) -> Done {
        let store = database.admin();
        let configs = store.configs().await?;
        let samples: Vec<_> = configs.iter().filter(|config| is_sample(config)).collect();
        if !self.yes {
            return Err(unconfirmed(&samples));
        }
        let (mut numbers, mut removed, mut used) = (0, 0, Vec::new());
        for config in samples {
            numbers += remove_numbers(&*store, config.id).await?;
            if store.config_users(config.id).await? > 0 {
                used.push(config.name.as_str());
            } else if store.delete_config(config.id).await? {
                removed += 1;
            }
        }
        if context.json {
            json_line(&json!({"configs": removed, "numbers": numbers, "stay": used}))?;
        } else {
            line(format!("removed {removed} LiveKit configs and {numbers} numbers"))?;
        }
        if used.is_empty() {
            return Ok(());
        }
        let message = format!("numbers that are no samples use {}, which stays", used.join(", "));
        Err(Failure::new("config_in_use", message, Exit::Conflict)
            .hint("give them another config with `trunkline number assign`, and run it again"))
    }
}

fn unconfirmed(samples: &[&Config]) -> Failure {
    let names: Vec<_> = samples.iter().map(|config| config.name.as_str()).collect();
    let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
    let message = match names.len() {
        0 => "there is no sample data".to_owned(),
        1..=NAMES_SHOWN => format!("this removes the configs {shown}, and their sample numbers"),
        many => format!("this removes {many} configs ({shown}, …), and their sample numbers"),
    };
    Failure::usage("confirmation_needed", message).hint("say --yes to do it")
}

fn is_sample(config: &Config) -> bool {
    config.description.as_deref() == Some(DESCRIPTION)
}

async fn remove_numbers(store: &dyn AdminStore, config: ConfigId) -> Result<u64, Failure> {
    let mut all = 0;
    loop {
        match store.remove_numbers_of(config, PROVIDER, ROWS_A_REMOVAL).await? {
            0 => return Ok(all),
            some => all += some,
        }
    }
}

/// What [`sow`] made.
pub(crate) struct Seeded {
    pub(crate) configs: Vec<ConfigId>,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) numbers: u32,
}

impl Seeded {
    /// The caller number `index`; tenants take turns.
    pub(crate) fn caller(&self, index: u32) -> Caller {
        let digits = (FIRST_NUMBER + u64::from(index)).to_string();
        let number = E164::from_digits(&digits).expect("twelve digits that begin with 971");
        Caller::new(self.tenants[index as usize % self.tenants.len()], number)
    }

    /// Which config it uses: after each round of the tenants the next one.
    fn config(&self, index: u32) -> ConfigId {
        self.configs[index as usize / self.tenants.len() % self.configs.len()]
    }

    fn row(&self, index: u32) -> NewNumber {
        NewNumber {
            caller: self.caller(index),
            provider: Some(PROVIDER.to_owned()),
            rules: json!({
                "inbound": true, "outbound": true, "allowed_outbound": "global",
                "required_lead_format": ["country_code", "base_number"],
                "livekit_config": self.config(index),
            }),
        }
    }

    fn show(&self, context: &Context) -> Done {
        let first = self.caller(0);
        if context.json {
            return json_line(&json!({
                "configs": self.configs, "tenants": self.tenants, "numbers": self.numbers,
                "first": {"tenant_id": first.tenant, "number": first.number},
            }));
        }
        let (configs, tenants) = (self.configs.len(), self.tenants.len());
        let numbers = self.numbers;
        line(format!("{configs} LiveKit configs, {numbers} numbers of {tenants} tenants; try"))?;
        line(format!("  trunkline resolve --tenant {} --from {}", first.tenant, first.number))
    }
}

/// Adds configs, tenants, and numbers that use the one config or the other. `run` ends the names of the
/// configs.
pub(crate) async fn sow(
    store: &dyn AdminStore,
    ring: &KeyRing,
    sample: Sample,
    run: &str,
) -> Result<Seeded, Failure> {
    let mut configs = Vec::new();
    for index in 0..sample.configs {
        configs.push(store.create_config(&new_config(ring, index, run)?).await?);
    }
    let tenants = (0..sample.tenants).map(|_| TenantId(Uuid::new_v4())).collect();
    let seeded = Seeded { configs, tenants, numbers: sample.numbers };
    for start in (0..sample.numbers).step_by(ROWS_A_TURN as usize) {
        let end = sample.numbers.min(start.saturating_add(ROWS_A_TURN));
        let rows: Vec<_> = (start..end).map(|index| seeded.row(index)).collect();
        store.import(&rows).await?;
    }
    Ok(seeded)
}

/// Its secret is made up for each seeding, so that none is known beforehand.
fn new_config(ring: &KeyRing, index: u32, run: &str) -> Result<NewConfig, Failure> {
    let name = match index {
        0 => "europe".to_owned(),
        1 => "america".to_owned(),
        more => format!("region-{:04}", more + 1),
    };
    let secret = KeyRing::generate()?;
    Ok(NewConfig {
        name: format!("{name}{run}"),
        description: Some(DESCRIPTION.to_owned()),
        url: format!("wss://{name}.livekit.example")
            .parse()
            .map_err(|error| Failure::new("url_malformed", format!("{error}"), Exit::Failed))?,
        api_key: format!("API{name}"),
        api_secret: ring.seal(&secret, SystemClock::default().unix_seconds())?,
        trunk_id: Some(format!("ST_{name}")),
        agent: None,
    })
}

const DESCRIPTION: &str = "sample data of `trunkline db seed`";
const PROVIDER: &str = "sample";
const FIRST_NUMBER: u64 = 971_500_000_000;
/// Rows of one transaction.
const ROWS_A_TURN: u32 = 10_000;
/// Rows of one statement, which ends well within the deadline of a statement.
const ROWS_A_REMOVAL: u32 = 2_000;
const NAMES_SHOWN: usize = 5;
