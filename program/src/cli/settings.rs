//! `trunkline settings`: the program's own settings.

use clap::Subcommand;
use serde_json::json;
use trunkline::settings::{env, shown};

use super::Context;
use super::failure::Done;
use super::output::{json_line, line, or_dash, raw, table};

#[derive(Subcommand)]
pub(crate) enum Settings {
    /// Show each setting and where it comes from; secrets stay hidden
    Show,
    /// Check whether the settings are valid, and list every problem
    Check,
    /// Print a documented .env with every variable
    Example,
}

impl Settings {
    pub(crate) fn run(self, context: &Context) -> Done {
        match self {
            Self::Show => show(context),
            Self::Check => check(context),
            Self::Example => raw(env::example().trim_end()),
        }
    }
}

fn check(context: &Context) -> Done {
    let warnings = context.settings()?.warnings;
    if context.json {
        let rows = warnings
            .iter()
            .map(|warning| json!({"variable": warning.variable, "message": warning.message}));
        return json_line(&json!({"valid": true, "warnings": rows.collect::<Vec<_>>()}));
    }
    for warning in &warnings {
        line(format!("warning: {warning}"))?;
    }
    line("the settings are valid")
}

fn show(context: &Context) -> Done {
    let settings = shown(&context.values);
    if context.json {
        return json_line(&json!(settings));
    }
    table(
        &["setting", "value", "from"],
        settings.into_iter().map(|setting| {
            vec![setting.name.to_owned(), or_dash(setting.value.as_deref()), setting.origin]
        }),
    )
}
