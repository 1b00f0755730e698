//! `trunkline settings`: the program's own settings.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::json;
use trunkline::settings::{Database, SettingsError, VARIABLES, ValueOrigin, Values, Variable, env};

use super::Context;
use super::failure::Done;
use super::output::{json_line, line, raw, table};

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
    let values = &context.values;
    let settings = trunkline::Settings::read(values);
    let rows = VARIABLES.iter().map(|variable| {
        (variable, shown(variable, values, &settings), origin(values, variable.name))
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
            vec![variable.name.to_owned(), value.as_deref().unwrap_or("-").to_owned(), origin]
        }),
    )
}

/// A value as anybody may see it.
fn shown(
    variable: &Variable,
    values: &Values,
    settings: &Result<trunkline::Settings, SettingsError>,
) -> Option<String> {
    let value = values.get(variable.name);
    let problems = settings.as_ref().err().map_or(&[][..], |error| &error.problems);
    // What is not valid may be a secret in the wrong place.
    if value.is_some() && problems.iter().any(|problem| problem.variable == variable.name) {
        return Some("(not valid)".to_owned());
    }
    match (variable.name, value, settings) {
        ("DATABASE_URL", Some(url), Ok(_)) => Some(masked(url)),
        // The PG variables name it.
        ("DATABASE_URL", None, Ok(settings)) => settings.database.as_ref().map(Database::place),
        (_, Some(_), _) if variable.secret => Some("(set)".to_owned()),
        (_, Some(value), _) if value.contains("://") => Some(masked(value)),
        (_, value, _) => value.map(ToOwned::to_owned),
    }
}

/// A URL with `***` in place of its password, and without parameters, which may hold another one.
fn masked(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else { return "(set)".to_owned() };
    let hidden = url.password().is_none() || url.set_password(Some("***")).is_ok();
    url.set_query(None);
    url.set_fragment(None);
    if hidden { url.into() } else { "(set)".to_owned() }
}

fn origin(values: &Values, name: &str) -> String {
    let mut text = String::new();
    let _ = match values.origin(name) {
        ValueOrigin::Environment => write!(text, "environment"),
        ValueOrigin::DotEnv(path) | ValueOrigin::File(path) => write!(text, "{}", path.display()),
        ValueOrigin::Program | ValueOrigin::Default => write!(text, "default"),
    };
    text
}
