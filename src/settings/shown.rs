//! The settings as anybody may see them: each value, and where it comes from, without a secret.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Database, Problem, Settings, VARIABLES, ValueOrigin, Values, Variable};

/// A setting as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShownSetting {
    /// The name of its variable.
    pub name: &'static str,
    /// Its value; of a secret, that it is set. `None`: it is not.
    pub value: Option<String>,
    /// Where that comes from: `environment`, `default`, or a file.
    pub origin: String,
    /// Whether a reload takes it.
    pub hot: bool,
}

/// Each setting of these values, valid or not.
#[must_use]
pub fn shown(values: &Values) -> Vec<ShownSetting> {
    match Settings::read(values) {
        Ok(settings) => settings.shown().to_vec(),
        Err(error) => look(values, None, &error.problems),
    }
}

pub(super) fn look(
    values: &Values,
    database: Option<&Database>,
    problems: &[Problem],
) -> Vec<ShownSetting> {
    let shown = |variable: &Variable| ShownSetting {
        name: variable.name,
        value: value(variable, values, database, problems),
        origin: origin(values, variable.name),
        hot: variable.hot,
    };
    VARIABLES.iter().map(shown).collect()
}

fn value(
    variable: &Variable,
    values: &Values,
    database: Option<&Database>,
    problems: &[Problem],
) -> Option<String> {
    let value = values.get(variable.name);
    // What is not valid may be a secret in the wrong place.
    if value.is_some() && problems.iter().any(|problem| problem.variable == variable.name) {
        return Some("(not valid)".to_owned());
    }
    match (variable.name, value) {
        ("DATABASE_URL", Some(url)) if problems.is_empty() => Some(masked(url)),
        // The PG variables name it.
        ("DATABASE_URL", None) => database.map(Database::place),
        (_, Some(_)) if variable.secret => Some("(set)".to_owned()),
        (_, Some(value)) if value.contains("://") => Some(masked(value)),
        (_, value) => value.map(ToOwned::to_owned),
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
