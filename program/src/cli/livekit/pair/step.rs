//! The steps: rotate, stage, promote, roll back, retire.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use trunkline::rotation::{PairStep, RetireTerms};
use trunkline::settings::parse_duration;

use super::shown::{step_json, time};
use super::{PairSource, Turning};
use crate::cli::Context;
use crate::cli::failure::Done;
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Rotate {
    /// The id or name of the config
    config: String,
    #[command(flatten)]
    pair: PairSource,
    /// The server need not accept the old pair any more
    #[arg(long)]
    old_is_gone: bool,
    /// Look whether it would go well, ask nobody, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Stage {
    /// The id or name of the config
    config: String,
    #[command(flatten)]
    pair: PairSource,
    /// Look whether it would go well, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Promote {
    /// The id or name of the config
    config: String,
    /// The server need not accept the old pair any more
    #[arg(long)]
    old_is_gone: bool,
    /// Ask the server, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct RollBack {
    /// The id or name of the config
    config: String,
    /// Do not ask the server whether it accepts the previous pair
    #[arg(long)]
    unchecked: bool,
    /// Ask the server, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Retire {
    /// The id or name of the config
    config: String,
    /// Do not wait: whoever holds a token of that pair is cut off when the server forgets it
    #[arg(long)]
    now: bool,
    /// How long tokens may be good that other programs sign with the pair, such as `6h`
    #[arg(long, value_name = "TIME", value_parser = longest)]
    longest: Option<Duration>,
    /// Print whether it may be retired, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Rotate {
    pub(super) async fn run(self, context: &Context) -> Done {
        let turning = Turning::new(context, &self.config).await?;
        let Turning { pairs, id, server, now } = &turning;
        let staged = pairs.stage(*id, self.pair.read()?, *now, self.dry_run).await?;
        if self.dry_run {
            return show(context, "rotate", &staged, true);
        }
        show_staged(context, &staged, false)?;
        let step = pairs.promote(*id, server, self.old_is_gone, *now, false).await?;
        show(context, "promote", &step, false)
    }
}

impl Stage {
    pub(super) async fn run(self, context: &Context) -> Done {
        let Turning { pairs, id, now, .. } = Turning::new(context, &self.config).await?;
        let step = pairs.stage(id, self.pair.read()?, now, self.dry_run).await?;
        show_staged(context, &step, self.dry_run)
    }
}

impl Promote {
    pub(super) async fn run(self, context: &Context) -> Done {
        let Turning { pairs, id, server, now } = Turning::new(context, &self.config).await?;
        let step = pairs.promote(id, &server, self.old_is_gone, now, self.dry_run).await?;
        show(context, "promote", &step, self.dry_run)
    }
}

impl RollBack {
    pub(super) async fn run(self, context: &Context) -> Done {
        let Turning { pairs, id, server, now } = Turning::new(context, &self.config).await?;
        let step = pairs.roll_back(id, &server, self.unchecked, now, self.dry_run).await?;
        show(context, "roll_back", &step, self.dry_run)
    }
}

impl Retire {
    pub(super) async fn run(self, context: &Context) -> Done {
        let Turning { pairs, id, server, .. } = Turning::new(context, &self.config).await?;
        let Self { now, longest: longest_token, dry_run, .. } = self;
        let retired =
            pairs.retire(id, &server, RetireTerms { now, longest_token, dry_run }).await?;
        if context.json {
            return json_line(&json!({"step": "retire", "done": !dry_run, "retired": retired}));
        }
        let is = if dry_run { "may be forgotten" } else { "is forgotten" };
        line(format!("the previous pair {} of {} {is}", retired.api_key, retired.config_name))?;
        if !retired.calls_known {
            line("this role may not look whether calls are in the air with it")?;
        }
        if !dry_run {
            line(format!(
                "next: remove {} from the server (self-hosted: from its key file, and restart it; cloud: in \
                 the console)",
                retired.api_key
            ))?;
        }
        Ok(())
    }
}

fn show_staged(context: &Context, step: &PairStep, dry_run: bool) -> Done {
    if context.json {
        return json_line(&step_json("stage", step, dry_run));
    }
    let key = step.pending.as_deref().unwrap_or_default();
    let is = match (dry_run, step.already) {
        (true, _) => "would be pending",
        (false, true) => "was pending before",
        (false, false) => "is pending",
    };
    line(format!("the pair {key} of {} {is}", step.config_name))
}

/// What a step came to, and what comes next.
fn show(context: &Context, what: &str, step: &PairStep, dry_run: bool) -> Done {
    if context.json {
        return json_line(&step_json(what, step, dry_run));
    }
    if dry_run {
        return line(format!(
            "nothing stands against it; nothing was changed of {}",
            step.config_name
        ));
    }
    line(format!("calls of {} are placed with {}", step.config_name, step.current))?;
    let (Some(previous), Some(from)) = (&step.previous, step.retire_from) else { return Ok(()) };
    line(format!("the previous pair is {previous}; the server must go on accepting it"))?;
    line("next: give the new pair to agents and to all else that signs for this server, then,")?;
    line(format!("from {}: trunkline livekit retire {}", time(Some(from)), step.config_id))
}

fn longest(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "must be a time such as 30m, 6h or 1d".to_owned())
}
