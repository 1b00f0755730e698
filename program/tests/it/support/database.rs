//! A migrated database of either kind, empty, and what to reach it with.

use std::sync::Arc;

use trunkline::Settings;
use trunkline::settings::Values;
use trunkline::store::{AdminStore, ChangeLog, Migrations, OpenStore};

use super::postgres::Cluster;

/// Which kind of database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Sqlite,
}

/// Both kinds, for promises that hold on both.
pub const BOTH: [Kind; 2] = [Kind::Postgres, Kind::Sqlite];

/// A database of a test. Its file, if it is one, goes with it.
pub struct TestDatabase {
    pub kind: Kind,
    pub url: String,
    pub open: OpenStore,
    _folder: Option<tempfile::TempDir>,
}

impl TestDatabase {
    /// A database without tables.
    pub fn empty(kind: Kind) -> Self {
        let (url, folder) = match kind {
            Kind::Postgres => (Cluster::shared().database(), None),
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                (format!("sqlite:{}", folder.path().join("test.db").display()), Some(folder))
            }
        };
        let open = open(&settings(&url, &[]));
        Self { kind, url, open, _folder: folder }
    }

    /// A database with the tables.
    pub async fn migrated(kind: Kind) -> Self {
        let database = Self::empty(kind);
        database.open.migrate(Migrations::Up).await.unwrap();
        database
    }

    /// A Postgres database that is there already.
    pub fn on(url: &str) -> Self {
        Self::at(Kind::Postgres, url)
    }

    /// The same of either kind.
    pub fn at(kind: Kind, url: &str) -> Self {
        let open = open(&settings(url, &[]));
        Self { kind, url: url.to_owned(), open, _folder: None }
    }

    pub fn store(&self) -> Arc<dyn AdminStore> {
        self.open.admin()
    }

    pub fn log(&self) -> Arc<dyn ChangeLog> {
        self.open.change_log()
    }

    /// Settings that name this database, and these variables.
    pub fn settings(&self, variables: &[(&str, &str)]) -> Settings {
        settings(&self.url, variables)
    }

    /// The one value that a query gives, as text.
    pub async fn value(&self, query: &str) -> String {
        let query = format!("select cast(({query}) as text)");
        match self.kind {
            Kind::Postgres => super::postgres::psql(&self.url, &query),
            Kind::Sqlite => {
                use sqlx::{AssertSqlSafe, Connection};
                let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
                let value = sqlx::query_scalar(AssertSqlSafe(query));
                value.fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// Runs SQL in a session of its own, as an operator would by hand.
    pub async fn sql(&self, statement: &str) {
        match self.kind {
            Kind::Postgres => {
                let (url, statement) = (self.url.clone(), statement.to_owned());
                // In a thread of its own: the engine beside it goes on.
                let (done, waits) = tokio::sync::oneshot::channel();
                std::thread::spawn(move || done.send(super::postgres::psql(&url, &statement)));
                waits.await.expect("psql did as it was told");
            }
            Kind::Sqlite => {
                use sqlx::{AssertSqlSafe, Connection};
                let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }
}

/// Settings of these variables, none of the process, and a database.
pub fn settings(url: &str, variables: &[(&str, &str)]) -> Settings {
    // A busy machine is no fault of the database; tests of deadlines name their own.
    let patient = [("DATABASE_URL", url), ("RESOLVE_DEADLINE", "20s"), ("STORE_DEADLINE", "20s")];
    let pairs = patient.iter().chain(variables);
    let pairs = pairs.map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Settings::read(&Values::of(pairs, None)).unwrap()
}

pub fn open(settings: &Settings) -> OpenStore {
    OpenStore::new(settings.database.as_ref().unwrap(), &settings.tuning)
}
