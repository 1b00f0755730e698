//! `livekit compromise`: a pair that others may have is replaced at once.

use clap::Args;
use serde_json::json;
use trunkline::rotation::PairReplaced;

use super::shown::time;
use super::{PairSource, Turning};
use crate::cli::Context;
use crate::cli::failure::Done;
use crate::cli::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Compromise {
    /// The id or name of the config
    config: String,
    #[command(flatten)]
    pair: PairSource,
    /// Use the pair that is pending
    #[arg(long, conflicts_with_all = ["api_key", "pair_file"])]
    pending: bool,
    /// Print what is exposed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Compromise {
    pub(super) async fn run(self, context: &Context) -> Done {
        let Turning { pairs, id, server, now } = Turning::new(context, &self.config).await?;
        let new = if self.dry_run || self.pending { None } else { Some(self.pair.read()?) };
        let replaced = pairs.compromise(id, new, &server, now, self.dry_run).await?;
        show(context, &replaced)
    }
}

fn show(context: &Context, PairReplaced { current, exposure, .. }: &PairReplaced) -> Done {
    if context.json {
        let (done, step) = (current.is_some(), "compromise");
        return json_line(
            &json!({"step": step, "done": done, "current": current, "exposure": exposure}),
        );
    }
    let key = &exposure.api_key;
    if let Some(current) = current {
        line(format!("calls of {} are placed with {current}", exposure.config_name))?;
        line(format!("{key} signs and verifies nothing here any more"))?;
        line(format!(
            "next, at once: remove {key} from the server (self-hosted: from its key file, and restart it; \
             cloud: revoke it in the console)"
        ))?;
    }
    line(format!("what stays exposed to whoever has {key}, until the server forgets it:"))?;
    line("- all of that server: rooms, calls, trunks, recordings; he signs tokens for anybody")?;
    line(format!(
        "- tokens that clients were given, until {} at the latest; when the server forgets the key they end \
         sooner, for those who hold them rightly as well",
        time(Some(exposure.tokens_until))
    ))?;
    line(match (exposure.calls, exposure.calls_until) {
        (None, _) => "- calls in the air: this role may not look how many".to_owned(),
        (Some(0), _) | (Some(_), None) => {
            "- calls in the air: none that a client placed".to_owned()
        }
        (Some(many), Some(until)) => {
            format!("- {many} calls in the air, until {} at the latest", time(Some(until)))
        }
    })?;
    line("- webhooks that he makes up: those of this key are refused from now on")?;
    line("- agents and other programs that sign with it: give them the new pair")?;
    if let Some(also) = &exposure.also {
        line(format!("remove {also} from the server as well: it was kept as the previous pair"))?;
    }
    if !exposure.nodes.is_empty() {
        line(format!("not heard of it yet: {}", exposure.nodes.join(", ")))?;
    }
    Ok(())
}
