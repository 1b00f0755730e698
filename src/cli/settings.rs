//! `trunkline settings`: the program's own settings.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::json;
use trunkline::settings::{Origin, VARIABLES, Values, env};

use super::Context;
use super::failure::Done;
use super::output::{json_line, line, table};

#[derive(Subcommand)]
pub(crate) enum Settings {
    /// Show each setting and where it comes from; secrets stay hidden
    Show,
    /// Say whether the settings are valid, and name everything that is wrong
    Check,
    /// Print a documented .env with every variable
    Example,
}

impl Settings {
    pub(crate) fn run(self, context: &Context) -> Done {
        match self {
            Self::Show => show(context),
            Self::Check => {
                context.settings()?;
                if context.json {
                    json_line(&json!({"valid": true}))
                } else {
                    line("the settings are valid")
                }
            }
            Self::Example => line(env::example().trim_end()),
        }
    }
}

fn show(context: &Context) -> Done {
    let values = context.values();
    // What is not valid may be a secret in the wrong place.
    let problems =
        trunkline::Settings::read(&values).err().map_or(Vec::new(), |error| error.problems);
    let invalid = |name| problems.iter().any(|problem| problem.variable == name);
    let rows = VARIABLES.iter().map(|variable| {
        let value = match values.get(variable.name) {
            Some(_) if invalid(variable.name) => Some("(not valid)"),
            Some(_) if variable.secret => Some("(set)"),
            value => value,
        };
        (variable, value, origin(&values, variable.name))
    });
    if context.json {
        let rows = rows.map(|(variable, value, origin)| {
            json!({"name": variable.name, "value": value, "origin": origin, "hot": variable.hot})
        });
        return json_line(&rows.collect());
    }
    table(
        &["setting", "value", "from"],
        rows.map(|(variable, value, origin)| {
            vec![variable.name.to_owned(), value.unwrap_or("-").to_owned(), origin]
        }),
    )
}

fn origin(values: &Values, name: &str) -> String {
    let mut text = String::new();
    let _ = match values.origin(name) {
        Origin::Environment => write!(text, "environment"),
        Origin::DotEnv(path) | Origin::File(path) => write!(text, "{}", path.display()),
        Origin::Program | Origin::Default => write!(text, "default"),
    };
    text
}
