//! Settings change while the engine runs: whole, or not at all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use trunkline::settings::{SettingsFiles, Values};
use trunkline::store::Migrations;
use trunkline::{
    ChangeSource, KeyRing, Reason, ReloadError, Resolver, Settings, Source, TokenRequest,
};

use crate::support::database::{Kind, TestDatabase};
use crate::support::postgres::Cluster;
use crate::support::{caller, config, eventually, number};

/// A `.env` file and a resolver that follows it.
struct Lab {
    database: TestDatabase,
    folder: tempfile::TempDir,
    key: String,
    resolver: Resolver,
    nudge: Arc<Notify>,
}

impl Lab {
    async fn new() -> Self {
        let database = TestDatabase::migrated(Kind::Sqlite).await;
        let folder = tempfile::tempdir().unwrap();
        let key = KeyRing::generate().unwrap().to_string();
        let ring = KeyRing::parse(&key).unwrap();
        let store = database.store();
        let id = store.create_config(&config(&ring, "eu")).await.unwrap();
        store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
        let nudge = Arc::new(Notify::new());
        std::fs::write(folder.path().join(".env"), env_file(&database.url, &key, "")).unwrap();
        let files =
            SettingsFiles { dot_env: Some(folder.path().join(".env")), ..SettingsFiles::default() };
        let values = Values::of([], files.dot_env.as_deref());
        let resolver = Resolver::builder(Settings::read(&values).unwrap()).start();
        #[expect(clippy::disallowed_methods, reason = "ends with the resolver")]
        tokio::spawn(resolver.clone().follow_settings(files, Arc::clone(&nudge)));
        Self { database, folder, key, resolver, nudge }
    }

    fn write(&self, more: &str) {
        let text = env_file(&self.database.url, &self.key, more);
        let (file, fresh) = (self.folder.path().join(".env"), self.folder.path().join("fresh"));
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, file).unwrap();
    }

    async fn source(&self) -> (Source, Option<Reason>) {
        let answer = self.resolver.resolve(caller(1, 1)).await.unwrap();
        (answer.source(), answer.reason())
    }
}

fn env_file(url: &str, key: &str, more: &str) -> String {
    format!(
        "DATABASE_URL={url}\nLIVEKIT_SECRET_ENCRYPTION_KEY={key}\nLIVEKIT_URL=wss://env.example\n\
         LIVEKIT_API_KEY=APIenv\nLIVEKIT_API_SECRET=canary-secret-of-env\n{more}\n"
    )
}

#[tokio::test]
async fn the_flag_turns_in_the_env_file_without_a_restart() {
    let lab = Lab::new().await;
    assert_eq!(lab.source().await, (Source::Database, None));
    for _ in 0..2 {
        lab.write("USE_SELFHOST_ROUTING_TABLE=false");
        eventually("off", async || lab.source().await.1 == Some(Reason::FlagOff)).await;
        lab.write("USE_SELFHOST_ROUTING_TABLE=true");
        eventually("on", async || lab.source().await == (Source::Database, None)).await;
    }
}

#[tokio::test]
async fn a_host_that_is_refused_from_now_on_is_withdrawn_at_once() {
    let lab = Lab::new().await;
    let held = lab.resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(held.source(), Source::Database);
    lab.write("LIVEKIT_HOSTS=env.example");
    let refused = (Source::Environment, Some(Reason::HostNotAllowed));
    eventually("refused", async || lab.source().await == refused).await;
    assert!(held.token(&TokenRequest::default()).is_err(), "it is wiped");
    lab.write("LIVEKIT_HOSTS=eu.example");
    eventually("allowed", async || lab.source().await == (Source::Database, None)).await;
    let id = lab.resolver.resolve(caller(1, 1)).await.unwrap().config_id().unwrap();
    assert!(lab.resolver.resolve_environment().is_err(), "its own host is not there");
    lab.write("LIVEKIT_HOSTS=us.example");
    eventually("nobody answers", async || lab.resolver.resolve(caller(1, 1)).await.is_err()).await;
    let unusable = lab.resolver.resolve_config(id).await.unwrap_err();
    assert_eq!(unusable.reason(), Some(Reason::HostNotAllowed));
}

#[tokio::test]
async fn a_file_with_one_problem_in_it_changes_nothing() {
    let lab = Lab::new().await;
    lab.write("USE_SELFHOST_ROUTING_TABLE=false\nCACHE_TTL=never\nVOICE_AGENT_NAME=other");
    lab.nudge.notify_one();
    // Long enough for two looks at the file.
    for _ in 0..1200 {
        assert_eq!(lab.source().await, (Source::Database, None));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let agent = lab.resolver.resolve(caller(1, 1)).await.unwrap().agent_name().to_owned();
    assert_eq!(agent, "inbound-agent");
    lab.write("USE_SELFHOST_ROUTING_TABLE=false\nVOICE_AGENT_NAME=other");
    eventually("mended", async || lab.source().await.1 == Some(Reason::FlagOff)).await;
}

#[tokio::test]
async fn a_file_that_is_gone_or_still_being_written_changes_nothing() {
    let lab = Lab::new().await;
    let file = lab.folder.path().join(".env");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    for piece in 1..=12 {
        assert_eq!(lab.source().await, (Source::Database, None), "piece {piece}");
        // Each piece by itself is a valid file: without a key, without a database.
        std::fs::write(&file, &whole[..whole.len() * piece / 12]).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    lab.write("USE_SELFHOST_ROUTING_TABLE=false");
    eventually("off", async || lab.source().await.1 == Some(Reason::FlagOff)).await;
}

#[tokio::test]
async fn what_takes_a_restart_is_refused_whole_and_named() {
    let lab = Lab::new().await;
    let read = |more: &str| {
        let file = lab.folder.path().join("other.env");
        std::fs::write(&file, env_file(&lab.database.url, &lab.key, more)).unwrap();
        Settings::read(&Values::of([], Some(&file))).unwrap()
    };
    let refused = lab.resolver.reload(read("VOICE_AGENT_NAME=other\nCACHE_TTL=1m"));
    let Err(ReloadError::NeedsRestart { variables, switched_off: false }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(variables, "CACHE_TTL");
    let agent = lab.resolver.resolve(caller(1, 1)).await.unwrap().agent_name().to_owned();
    assert_eq!(agent, "inbound-agent");
    lab.resolver.reload(read("USE_SELFHOST_ROUTING_TABLE=false")).unwrap();
    assert_eq!(lab.source().await.1, Some(Reason::FlagOff));
}

/// As a secret in a file is rotated: the server's first, then ours.
#[tokio::test]
async fn another_password_of_the_database_is_used_without_a_restart() {
    let cluster = Cluster::start();
    let database = TestDatabase::on(&cluster.database());
    database.open.migrate(Migrations::Up).await.unwrap();
    let name = database.url.rsplit('/').next().unwrap();
    cluster.asks_for_passwords("rotated");
    cluster.psql(name, "create role rotated superuser login password 'canary-first'");
    let url = |password: &str| {
        let place = format!("127.0.0.1:{}/{name}?sslmode=disable", cluster.port);
        format!("postgres://rotated:{password}@{place}")
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, url("canary-first")).unwrap();
    let variables = || {
        let path = file.to_str().unwrap().to_owned();
        let key = KeyRing::generate().unwrap().to_string();
        [("DATABASE_URL_FILE".to_owned(), path), ("LIVEKIT_SECRET_ENCRYPTION_KEY".to_owned(), key)]
    };
    let settings = || Settings::read(&Values::of(variables(), None)).unwrap();
    let resolver = Resolver::builder(settings()).start();
    let reason = async |tenant| match resolver.resolve(caller(tenant, 1)).await {
        Ok(answer) => answer.reason(),
        Err(error) => error.reason(),
    };
    let mut tenant = 0;
    let mut is_let_in = async || {
        tenant += 1;
        reason(tenant).await == Some(Reason::NumberUnknown)
    };
    eventually("the first connection is let in", &mut is_let_in).await;

    cluster.psql(name, "alter role rotated password 'canary-second'");
    std::fs::write(&file, url("canary-second")).unwrap();
    resolver.reload(settings()).unwrap();
    cluster.psql(
        name,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'rotated'",
    );
    eventually("the next connection is let in", &mut is_let_in).await;
    let heard = async || resolver.health().change_source == ChangeSource::Notify;
    eventually("the next listener is let in, too", heard).await;

    std::fs::write(&file, url("canary-second").replace("127.0.0.1", "127.0.0.2")).unwrap();
    let refused = resolver.reload(settings()).unwrap_err();
    assert!(refused.to_string().starts_with("DATABASE_URL changed"), "{refused}");
    assert!(!refused.to_string().contains("canary"));
}

#[tokio::test]
async fn what_switches_the_database_off_is_taken_whatever_else_is_refused() {
    let lab = Lab::new().await;
    let read = |more: &str| {
        let file = lab.folder.path().join("other.env");
        std::fs::write(&file, env_file(&lab.database.url, &lab.key, more)).unwrap();
        Settings::read(&Values::of([], Some(&file))).unwrap()
    };
    for (off, reason) in [
        ("USE_SELFHOST_ROUTING_TABLE=false", Reason::FlagOff),
        ("DATABASE_OFF=true", Reason::DatabaseOff),
    ] {
        let more = format!("{off}\nVOICE_AGENT_NAME=other\nCACHE_TTL=1m");
        let refused = lab.resolver.reload(read(&more)).unwrap_err();
        assert!(matches!(refused, ReloadError::NeedsRestart { switched_off: true, .. }));
        assert!(refused.to_string().contains("switched anyway"), "{refused}");
        let answer = lab.resolver.resolve(caller(1, 1)).await.unwrap();
        assert_eq!((answer.reason(), answer.agent_name()), (Some(reason), "inbound-agent"));

        let on = lab.resolver.reload(read("CACHE_TTL=1m")).unwrap_err();
        assert!(matches!(on, ReloadError::NeedsRestart { switched_off: false, .. }));
        assert_eq!(lab.source().await.1, Some(reason), "turning on stays all or nothing");
        lab.resolver.reload(read("")).unwrap();
        assert_eq!(lab.source().await, (Source::Database, None));
    }
}

#[tokio::test]
async fn a_new_key_ring_and_new_credentials_of_the_environment_are_used_at_once() {
    let lab = Lab::new().await;
    let before = lab.resolver.resolve(caller(1, 1)).await.unwrap();
    let read = |key: &str, more: &str| {
        let file = lab.folder.path().join("other.env");
        std::fs::write(&file, env_file(&lab.database.url, key, more)).unwrap();
        Settings::read(&Values::of([], Some(&file))).unwrap()
    };
    let other = KeyRing::generate().unwrap();
    lab.resolver.reload(read(&other, "OUTBOUND_TRUNK_ID=ST_new")).unwrap();
    assert!(before.token(&TokenRequest::default()).is_err(), "opened with a key that is gone");
    let answer = lab.resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(answer.reason(), Some(Reason::SecretUnopenable));
    assert_eq!(answer.trunk_id(), Some("ST_new"));
    // A ring of both opens it again.
    lab.resolver.reload(read(&format!("{},{}", *other, lab.key), "")).unwrap();
    assert_eq!(lab.source().await, (Source::Database, None));
}

#[tokio::test]
async fn turning_the_flag_leaves_calls_in_hand_alone() {
    let lab = Lab::new().await;
    let held = lab.resolver.resolve(caller(1, 1)).await.unwrap();
    lab.write("USE_SELFHOST_ROUTING_TABLE=false");
    eventually("off", async || lab.source().await.1 == Some(Reason::FlagOff)).await;
    assert!(held.token(&TokenRequest::default()).is_ok());
    lab.write("USE_SELFHOST_ROUTING_TABLE=true\nOUTBOUND_TRUNK_ID=ST_new");
    eventually("the new trunk", async || {
        lab.resolver.resolve(caller(1, 1)).await.unwrap().trunk_id() == Some("ST_new")
    })
    .await;
    assert!(held.token(&TokenRequest::default()).is_ok());
}

#[tokio::test]
async fn a_country_that_is_named_may_lack_its_plus_from_then_on() {
    let lab = Lab::new().await;
    let read = async || lab.resolver.route(caller(1, 1), "442079460958").await.allowed();
    assert!(!read().await);
    lab.write("ROUTING_COUNTRIES=GB");
    eventually("named", async || read().await).await;
    lab.write("ROUTING_COUNTRIES=");
    eventually("not named any more", async || !read().await).await;
}

#[tokio::test]
async fn a_nudge_drops_answers_that_no_trigger_told_of() {
    let lab = Lab::new().await;
    eventually("changes are heard", async || lab.resolver.hears_changes()).await;
    lab.resolver.resolve(caller(1, 1)).await.unwrap();
    let drop_trigger = "drop trigger trunkline_log_config_update";
    lab.database.sql(drop_trigger).await;
    lab.database.sql("update voice_agent_livekit set trunk_id = 'ST_quiet'").await;
    let trunk = async || {
        let answer = lab.resolver.resolve(caller(1, 1)).await.unwrap();
        answer.trunk_id().map(ToOwned::to_owned)
    };
    assert_eq!(trunk().await, None);
    lab.nudge.notify_one();
    eventually("read anew", async || trunk().await.as_deref() == Some("ST_quiet")).await;
}

#[tokio::test]
async fn the_tasks_beside_the_callers_end_when_told_and_when_the_resolver_is_dropped() {
    let lab = Lab::new().await;
    let stopping = lab.resolver.stopping();
    assert!(lab.resolver.stop(Duration::from_secs(5)).await);
    assert!(stopping.is_cancelled());
    let other = Resolver::builder(lab.database.settings(&[])).start();
    let stopping = other.stopping();
    drop(other);
    assert!(stopping.is_cancelled());
}
