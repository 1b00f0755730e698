//! `trunkline number`: the caller numbers of tenants.

mod import;
mod share;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use trunkline::draft::NumberDraft;
use trunkline::{Caller, Rules, TenantId};

use self::import::import;
use self::share::{Assign, Undo};
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line, number_json, or_dash, table};
use super::seen::tell_seen;
use super::{Context, livekit};

#[derive(Subcommand)]
pub(crate) enum Number {
    /// Add a number
    Add(Add),
    /// List the numbers of a tenant, or all
    List {
        /// The tenant
        #[arg(long, value_name = "UUID")]
        tenant: Option<String>,
    },
    /// Assign a LiveKit config to a number, or to a share of the numbers
    Assign(Assign),
    /// Take back what `assign --percent` did, by its journal
    UndoAssign(Undo),
    /// Remove the LiveKit config from a number's rules
    Unassign {
        #[command(flatten)]
        whose: Whose,
    },
    /// Remove a number
    Remove {
        #[command(flatten)]
        whose: Whose,
    },
    /// Add many numbers from CSV or JSON lines: all of them, or none
    ///
    /// Columns or members: tenant, number, and optionally provider, rules (JSON) and livekit (the id
    /// or name of a config).
    Import {
        /// The file; - is stdin
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Whose {
    /// The tenant
    #[arg(long, value_name = "UUID")]
    tenant: String,
    /// The number, such as +971501234567
    #[arg(long)]
    number: String,
}

#[derive(Args)]
pub(crate) struct Add {
    #[command(flatten)]
    whose: Whose,
    /// The carrier
    #[arg(long)]
    provider: Option<String>,
    /// The rules, a JSON object
    #[arg(long, value_name = "JSON")]
    rules: Option<String>,
    /// The LiveKit config for it, by id or name
    #[arg(long, value_name = "CONFIG")]
    livekit: Option<String>,
}

impl Number {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let writes = !matches!(self, Self::List { .. });
        self.carry_out(context).await?;
        if writes {
            tell_seen(context).await;
        }
        Ok(())
    }

    async fn carry_out(self, context: &Context) -> Done {
        match self {
            Self::Add(add) => add.run(context).await,
            Self::List { tenant } => list(context, tenant.as_deref()).await,
            Self::Assign(assign) => assign.run(context).await,
            Self::UndoAssign(undo) => undo.run(context).await,
            Self::Unassign { whose } => {
                let caller = whose.caller()?;
                let done = context.store()?.assign(caller, None).await?;
                changed(context, caller, done, "unassigned")
            }
            Self::Remove { whose } => {
                let caller = whose.caller()?;
                let done = context.store()?.remove_number(caller).await?;
                changed(context, caller, done, "removed")
            }
            Self::Import { file } => import(context, &file).await,
        }
    }
}

impl Whose {
    fn caller(&self) -> Result<Caller, Failure> {
        Ok(Caller::parse(&self.tenant, &self.number)?)
    }
}

impl Add {
    async fn run(self, context: &Context) -> Done {
        let rules = self.rules.as_deref().map(serde_json::from_str).transpose();
        let rules = rules.map_err(|error| {
            let message = format!("--rules: not JSON, at character {}", error.column());
            Failure::usage("rules_malformed", message)
        })?;
        let mut draft = NumberDraft {
            tenant: self.whose.tenant,
            number: self.whose.number,
            provider: self.provider,
            rules,
            livekit_config: None,
        };
        draft.check()?;
        let store = context.store()?;
        if let Some(config) = &self.livekit {
            draft.livekit_config = Some(livekit::find(&*store, config).await?.id);
        }
        let id = store.add_number(&draft.check()?).await?;
        if context.json { json_line(&json!({"id": id})) } else { line(id.to_string()) }
    }
}

async fn list(context: &Context, tenant: Option<&str>) -> Done {
    let tenant = tenant
        .map(str::parse::<TenantId>)
        .transpose()
        .map_err(|error| Failure::usage("tenant_malformed", error.to_string()))?;
    let numbers = context.store()?.numbers(tenant).await?;
    if context.json {
        return json_line(&numbers.iter().map(number_json).collect());
    }
    if numbers.is_empty() {
        eprintln!("no number yet; add one with `trunkline number add`");
        return Ok(());
    }
    table(
        &["tenant", "number", "provider", "livekit config", "trunk of the rules"],
        numbers.iter().map(|number| {
            let rules = Rules::read(None, &number.rules);
            let (config, trunk) = if rules.check().is_ok() {
                (
                    or_dash(rules.config.map(|id| id.to_string()).as_deref()),
                    or_dash(rules.trunk.as_deref()),
                )
            } else {
                ("malformed rules".to_owned(), "-".to_owned())
            };
            let provider = or_dash(number.provider.as_deref());
            vec![number.tenant.to_string(), format!("+{}", number.digits), provider, config, trunk]
        }),
    )
}

fn changed(context: &Context, caller: Caller, done: bool, what: &str) -> Done {
    if !done {
        return Err(Failure::new(
            "number_not_found",
            "the tenant has no such number",
            Exit::Failed,
        )
        .hint("`trunkline number list` shows what there is"));
    }
    if context.json {
        return json_line(&json!({what: {"tenant_id": caller.tenant, "number": caller.number}}));
    }
    line(format!("{what} {}", caller.number))
}
