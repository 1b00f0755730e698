//! Settings from a program that has its own way of being configured, in place of variables.

use super::names::is_ours;
use super::{Problem, Settings, SettingsError, Values};

/// Settings in the making, by the names of the variables and with their checks. The process
/// environment is not read, and what is not set has its documented default.
///
/// ```
/// use trunkline::{KeyRing, Settings};
///
/// let settings = Settings::builder()
///     .database_url("sqlite:calls.db")
///     .encryption_keys(KeyRing::generate()?.as_str())
///     .environment("wss://calls.example", "APIkey", "s3cret")
///     .set("CACHE_TTL", "1m")
///     .build()?;
/// assert_eq!(settings.tuning.ttl.as_secs(), 60);
///
/// let error = Settings::builder().set("CACHE_TTL", "soon").build().unwrap_err();
/// assert_eq!(error.problems[0].variable, "CACHE_TTL");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct SettingsBuilder {
    values: Vec<(String, String)>,
}

impl SettingsBuilder {
    /// Where configs and numbers are: `postgres://…` or `sqlite:…`.
    #[must_use]
    pub fn database_url(self, url: &str) -> Self {
        self.set("DATABASE_URL", url)
    }

    /// The schema of the tables in Postgres; `public` where it is not set.
    #[must_use]
    pub fn schema(self, schema: &str) -> Self {
        self.set("DB_SCHEMA", schema)
    }

    /// The keys that secrets rest under, with commas between them: the first seals, any opens.
    #[must_use]
    pub fn encryption_keys(self, keys: &str) -> Self {
        self.set("LIVEKIT_SECRET_ENCRYPTION_KEY", keys)
    }

    /// The credentials that answer where the database does not.
    #[must_use]
    pub fn environment(self, url: &str, api_key: &str, api_secret: &str) -> Self {
        self.set("LIVEKIT_URL", url)
            .set("LIVEKIT_API_KEY", api_key)
            .set("LIVEKIT_API_SECRET", api_secret)
    }

    /// Any other setting, by the name of its variable in [`VARIABLES`](super::VARIABLES) and as it is written there.
    #[must_use]
    pub fn set(mut self, variable: &str, value: &str) -> Self {
        self.values.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Checks them, as a whole.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] with every problem there is; a name that is no variable is one.
    pub fn build(self) -> Result<Settings, SettingsError> {
        let unknown = self.values.iter().filter(|(name, _)| !is_ours(name));
        let mut problems: Vec<_> = unknown
            .map(|(name, _)| Problem {
                variable: name.clone(),
                message: "must be the name of a setting; `settings::VARIABLES` has them all".into(),
                key: None,
            })
            .collect();
        let settings = Settings::read(&Values::of(self.values, None));
        if problems.is_empty() {
            return settings;
        }
        problems.extend(settings.err().into_iter().flat_map(|error| error.problems));
        Err(SettingsError { problems })
    }
}

impl std::fmt::Debug for SettingsBuilder {
    /// Shows the names that are set, and no value.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.values.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_setting_is_refused_beside_what_else_is_wrong() {
        let builder = Settings::builder().set("CACHE_TLL", "1m").set("CACHE_CAPACITY", "many");
        let problems = builder.build().unwrap_err().problems;
        let named: Vec<_> = problems.iter().map(|problem| problem.variable.as_str()).collect();
        assert_eq!(named, ["CACHE_TLL", "CACHE_CAPACITY"]);
    }

    #[test]
    fn it_shows_no_value_and_reads_no_environment() {
        let builder = Settings::builder().environment("wss://a.example", "canary", "canary");
        assert!(!format!("{builder:?}").contains("canary"));
        let settings = builder.build().unwrap();
        assert!(settings.database.is_none() && settings.environment.missing().is_empty());
    }
}
