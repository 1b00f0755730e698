//! `db grants`, and the page of the guide about rights, whose commands are run as they stand there:
//! the service serves and the editor edits, and neither can do what is the other's.

use std::process::Command;

use serde_json::Value;

use super::{KEY, NUMBER, Running, Site, TENANT, new_key, refused};
use crate::support::database::{Kind, TestDatabase};
use crate::support::eventually;
use crate::support::http::get;
use crate::support::postgres::{Cluster, psql, psql_refused};
use crate::support::program::{Program, Run};
use crate::support::secret_of;

const GUIDE: &str = include_str!("../../../../docs/operations.md");

/// The blocks of the guide's section about rights that are in this language.
fn blocks(language: &str) -> String {
    let section = GUIDE.split("\n## Permissions\n").nth(1).expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

/// A cluster of its own, whose roles nobody else makes, after the commands of the guide.
struct Lab {
    cluster: Cluster,
    database: String,
    key: String,
}

impl Lab {
    fn new() -> Self {
        let cluster = Cluster::start();
        let database = cluster.database_name();
        Self { cluster, database, key: new_key() }
    }

    fn url(&self, role: &str) -> String {
        self.cluster.url(&self.database).replace("owner@", &format!("{role}@"))
    }

    fn program(&self, role: &str) -> Program {
        Program::new()
            .with("DATABASE_URL", &self.url(role))
            .with("DB_SCHEMA", "telephony")
            .with("STORE_DEADLINE", "20s")
            .with(KEY, &self.key)
    }

    /// Runs the commands of the guide as one script.
    #[track_caller]
    fn follow_the_guide(&self) -> String {
        let place = self.cluster.url(&self.database);
        let script =
            blocks("sh").replace("owner@db.example/voice", place.split("//").nth(1).unwrap());
        let place = self.url("").split('@').nth(1).unwrap().to_owned();
        let script = script.replace("db.example/voice", &place);
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_trunkline")).parent().unwrap();
        let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        let out = Command::new("sh")
            .args(["-euxc", &script])
            .env_clear()
            .env("PATH", format!("{}:{path}", program.display()))
            .env("STORE_DEADLINE", "20s")
            .env(KEY, &self.key)
            .current_dir("/")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(out.status.success(), "{}\n{}", text(&out.stdout), text(&out.stderr));
        text(&out.stdout)
    }
}

/// What failed, as `doctor --json` tells it.
fn failed(run: &Run) -> Vec<Value> {
    let findings = run.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    findings.filter(|finding| finding["state"] == "fail").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_makes_a_service_that_serves_and_an_editor_that_edits_and_no_more() {
    let lab = Lab::new();
    let said = lab.follow_the_guide();
    assert!(said.contains("changes are heard through NOTIFY"), "{said}");
    assert!(said.contains("arrive in the change log"), "{said}");
    assert!(!said.contains("FAIL"), "{said}");

    // The editor edits, and each edit is logged as his.
    let editor = lab.program("ed");
    let add = ["livekit", "add", "--name", "eu", "--url", "wss://eu.example", "--api-key", "APIeu"];
    editor.run_with(&add, secret_of("eu").as_bytes()).ok();
    let number = ["number", "add", "--tenant", TENANT, "--number", NUMBER, "--livekit", "eu"];
    editor.run(&number).ok();
    editor.run(&["livekit", "edit", "eu", "--trunk", "ST_eu"]).ok();
    let logged = "select string_agg(distinct login, ',') from telephony.voice_agent_changes
                  where operation <> 'begin'";
    assert_eq!(psql(&lab.url("owner"), logged), "ed");

    // The service resolves, hears, and is ready.
    let service = lab.program("app");
    let ask = ["resolve", "--json", "--tenant", TENANT, "--from", NUMBER];
    assert_eq!(service.run(&ask).json()["trunk_id"], "ST_eu");
    let daemon = Running::start(service.command(&["serve", "--listen", "127.0.0.1:0"]));
    let line = daemon.line();
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(':').next());
    let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    eventually("ready, and hearing by NOTIFY", async || {
        let answer = get(port, "/readyz").await;
        let report: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        report["ready"] == true && report["hearing"] == "notify"
    })
    .await;
    assert_eq!(daemon.end_by("-TERM"), Some(0));

    // Neither does what is the other's.
    let (app, ed) = (lab.url("app"), lab.url("ed"));
    for (url, sql) in [
        (
            &app,
            "insert into telephony.voice_agent_numbers (tenant_id, base_number) \
                values (gen_random_uuid(), 1)",
        ),
        (&app, "update telephony.voice_agent_livekit set trunk_id = 'x'"),
        (&app, "delete from telephony.voice_agent_numbers"),
        (&app, "truncate telephony.voice_agent_livekit"),
        (&app, "delete from telephony.voice_agent_changes"),
        (&app, "create table telephony.mine ()"),
        (&app, "update telephony.trunkline_clients set revoked_at = null"),
        (&ed, "select from telephony.trunkline_clients"),
        (&ed, "insert into telephony.trunkline_clients (name) values ('ed')"),
        (&ed, "select from telephony.voice_agent_changes"),
        (&ed, "insert into telephony.voice_agent_changes (entity, operation) values ('all', 'x')"),
        (&ed, "delete from telephony.voice_agent_changes"),
        (&ed, "truncate telephony.voice_agent_livekit"),
        (&ed, "insert into telephony.trunkline_migrations (version) values (9)"),
        (&ed, "create table telephony.mine ()"),
    ] {
        assert!(psql_refused(url, sql).contains("permission denied"), "{sql}");
    }
    for (program, arguments, expected) in [
        (
            &editor,
            &["doctor", "--json"][..],
            "grant select on \"telephony\".trunkline_clients, \"telephony\".voice_agent_changes to ed",
        ),
        (&service, &["doctor", "--edit", "--json"], "grant insert on"),
    ] {
        let run = program.run(arguments);
        let failed = failed(&run);
        assert!(failed[0]["hint"].as_str().unwrap().starts_with(expected), "{failed:?}");
        assert_eq!(run.code, 1);
    }
}

#[test]
fn what_is_printed_is_what_the_guide_shows_and_what_psql_runs() {
    let lab = Lab::new();
    let owner = lab.program("owner");
    let grants = ["db", "grants", "--service", "app", "--editor", "ed"];
    // Nothing is opened to print.
    let away = owner.clone().with("DATABASE_URL", "postgres://owner@127.0.0.1:1/x");
    let printed = away.run(&grants).ok();
    assert_eq!(printed, blocks("sql"), "docs/operations.md should have\n{printed}");
    owner.run(&["db", "migrate"]).ok();
    for _ in 0..2 {
        psql(&lab.url("owner"), &printed);
    }
    let can_log_in = "select string_agg(rolname || rolcanlogin, ',' order by rolname) from pg_roles
                      where rolname in ('app', 'ed')";
    assert_eq!(psql(&lab.url("owner"), can_log_in), "appfalse,edfalse");
    psql(&lab.url("owner"), "alter role app login; alter role ed login");
    assert_eq!(failed(&lab.program("app").run(&["doctor", "--json"])), Vec::<Value>::new());
    let edit = lab.program("ed").run(&["doctor", "--edit", "--json"]);
    assert_eq!(failed(&edit), Vec::<Value>::new());
}

#[test]
fn names_of_roles_and_schemas_are_quoted() {
    let lab = Lab::new();
    let (service, editor) = ("App \"of\" o'Hara; drop role owner", "select");
    let owner = lab.program("owner").with("DB_SCHEMA", "tele-phony$X");
    owner.run(&["db", "migrate"]).ok();
    let grants = ["db", "grants", "--service", service, "--editor", editor];
    let printed = owner.run(&grants).ok();
    owner.run(&[&grants[..], &["--apply"]].concat()).ok();
    let applied = owner.run(&[&grants[..], &["--apply", "--json"]].concat()).json();
    assert_eq!((&applied["applied"], applied["sql"].as_str()), (&true.into(), Some(&*printed)));
    psql(&lab.url("owner"), "alter role \"select\" login");
    let edit = lab.program("select").with("DB_SCHEMA", "tele-phony$X");
    assert_eq!(failed(&edit.run(&["doctor", "--edit", "--json"])), Vec::<Value>::new());
}

#[test]
fn a_service_prunes_only_if_it_was_asked_for() {
    let lab = Lab::new();
    let owner = lab.program("owner");
    owner.run(&["db", "migrate"]).ok();
    let grants = ["db", "grants", "--service", "app", "--editor", "ed", "--apply"];
    let may = "select has_table_privilege('app', 'telephony.voice_agent_changes', 'delete')";
    for (more, expected) in [(&[][..], "f"), (&["--prune"], "t")] {
        owner.run(&[&grants[..], more].concat()).ok();
        assert_eq!(psql(&lab.url("owner"), may), expected);
    }
}

/// Postgres warns of a grant that did nothing, and goes on.
#[test]
fn grants_that_did_not_take_are_an_error() {
    let lab = Lab::new();
    let owner = lab.program("owner");
    let grants = ["db", "grants", "--service", "app", "--editor", "ed", "--apply", "--json"];
    refused(owner.run(&grants), 4, "not_migrated");
    owner.run(&["db", "migrate"]).ok();
    psql(
        &lab.url("owner"),
        "create role other login createrole; grant usage on schema telephony to other;
         grant select, insert, update, delete on all tables in schema telephony to other",
    );
    let error = refused(lab.program("other").run(&grants), 4, "migration_failed");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("grant select on \"telephony\".voice_agent_livekit"), "{message}");
}

#[test]
fn what_cannot_be_granted_is_refused_in_words() {
    let sqlite = Site::migrated(Kind::Sqlite);
    let grants = ["db", "grants", "--service", "app", "--editor", "ed", "--json"];
    for more in [&[][..], &["--apply"]] {
        let error = refused(sqlite.run(&[&grants[..], more].concat()), 2, "no_roles");
        assert!(error["message"].as_str().unwrap().contains("SQLite has no roles"), "{error}");
    }
    let postgres = TestDatabase::empty(Kind::Postgres);
    let program = Program::new().with("DATABASE_URL", &postgres.url);
    let same = ["db", "grants", "--service", "app", "--editor", "app", "--json"];
    refused(program.run(&same), 2, "one_role");
    for name in ["", "public", "pg_monitor", "a\nb", "a$trunkline$b", &"x".repeat(64)] {
        let run = program.run(&["db", "grants", "--service", name, "--editor", "ed", "--json"]);
        assert_eq!(run.code, 2, "{name:?}: {}", run.out);
    }
}
