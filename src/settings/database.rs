//! Which database the settings name.

use super::reader::SettingsReader;
use super::{Database, DatabaseTarget};

impl SettingsReader<'_> {
    pub(super) fn database(&mut self, node_name: &str) -> Option<Database> {
        let schema = self.with("DB_SCHEMA", schema)?;
        let url = self.values.get("DATABASE_URL");
        #[cfg(feature = "sqlite")]
        if let Some(url) = url.filter(|url| url.starts_with("sqlite:")) {
            return match sqlite(url) {
                Ok(options) => {
                    Some(Database(DatabaseTarget::Sqlite { options: Box::new(options) }))
                }
                Err(message) => {
                    self.problem("DATABASE_URL", message.to_owned(), None);
                    None
                }
            };
        }
        #[cfg(feature = "postgres")]
        if url.map_or_else(|| self.names_a_server(), is_postgres) {
            return self.postgres(url, schema, node_name);
        }
        if url.is_some() {
            let message = "must begin with postgres://, postgresql:// or sqlite:";
            self.problem("DATABASE_URL", message.to_owned(), None);
        }
        let _ = (schema, node_name);
        None
    }

    /// Whether at least one of the `PG*` variables says that there is a Postgres.
    #[cfg(feature = "postgres")]
    fn names_a_server(&self) -> bool {
        ["PGHOST", "PGDATABASE"].iter().any(|name| self.values.get(name).is_some())
    }

    #[cfg(feature = "postgres")]
    fn postgres(&mut self, url: Option<&str>, schema: String, node_name: &str) -> Option<Database> {
        match super::postgres::way(url, self.values) {
            Ok(way) => {
                self.warnings.extend(way.warnings);
                // Also where the URL names another one: sessions are found by it.
                let options =
                    way.options.application_name(&super::node::application_name(node_name));
                Some(Database(DatabaseTarget::Postgres { options: Box::new(options), schema }))
            }
            Err((variable, message)) => {
                self.problem(variable, message, None);
                None
            }
        }
    }
}

#[cfg(feature = "postgres")]
fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

#[cfg(feature = "sqlite")]
fn sqlite(url: &str) -> Result<sqlx::sqlite::SqliteConnectOptions, &'static str> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err("names a database in memory, which no second connection sees; name a file");
    }
    let options: sqlx::sqlite::SqliteConnectOptions =
        url.parse().map_err(|_| "must be an SQLite URL: sqlite:path/to/file.db")?;
    if options.get_filename().as_os_str().is_empty() {
        return Err("must name a file: sqlite:path/to/file.db");
    }
    Ok(options)
}

fn schema(text: &str) -> Result<String, String> {
    let sane = |character: char| character.is_ascii_alphanumeric() || "_-$".contains(character);
    if text.len() <= 63 && text.chars().all(sane) {
        Ok(text.to_owned())
    } else {
        Err("must be the name of a schema: up to 63 letters, digits, _, - and $".to_owned())
    }
}
