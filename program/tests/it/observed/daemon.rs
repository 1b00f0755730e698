//! `serve` as service managers, probes and scrapers meet it.

use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::metrics::Scrape;
use crate::support::database::{Kind, TestDatabase};
use crate::support::eventually;
use crate::support::http::{Message, get};
use crate::support::postgres::{Cluster, psql};
use crate::support::process::Process;
use crate::support::program::Program;

/// A running daemon.
struct Daemon {
    process: Process,
    port: u16,
}

impl Daemon {
    fn start(program: &Program) -> Self {
        Self::of(Process::start(program.command(&["serve", "--listen", "127.0.0.1:0"])))
    }

    /// One that has just begun.
    fn of(mut process: Process) -> Self {
        let port =
            process.line(|line| line.split("127.0.0.1:").nth(1)?.split(':').next()?.parse().ok());
        Self { process, port }
    }

    async fn get(&self, path: &str) -> Message {
        get(self.port, path).await
    }

    async fn readiness(&self) -> (String, Value) {
        let answer = self.get("/readyz").await;
        let report = serde_json::from_str(&answer.body).unwrap_or_default();
        (answer.word().to_owned(), report)
    }

    async fn becomes(&self, status: &str, reason: Option<&str>) {
        eventually(&format!("/readyz says {status} {reason:?}"), async || {
            let (word, report) = self.readiness().await;
            word == status && report["reason"].as_str() == reason
        })
        .await;
    }

    /// A line of its memory, in MB: what it has, or the most that it ever had.
    fn memory(&self, line: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }
}

fn at_home(folder: &Path) -> Program {
    Program::new().with("HOME", folder.to_str().unwrap())
}

#[tokio::test]
async fn without_any_settings_it_is_at_home_and_ready_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let program = at_home(folder.path());
    let daemon = Daemon::start(&program);
    daemon.becomes("200", None).await;
    let home = folder.path().join(".local/share/trunkline");
    let key = std::fs::read(home.join("key")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&home.join("key")), mode(&home)), (0o600, 0o700));

    let listen = format!("127.0.0.1:{}", daemon.port);
    let asked = program.run(&["healthcheck", "--listen", &listen]);
    assert!(asked.out.contains("\"ready\":true"), "{asked:?}");
    let version = daemon.get("/version").await;
    assert!(version.body.contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(daemon.get("/livez").await.body, "alive\n");
    assert_eq!(daemon.get("/nothing").await.word(), "404");
    let (code, err) = daemon.process.end_by("-TERM");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(err.lines().filter(|line| line.starts_with("no ")).count(), 2, "{err}");
    assert!(program.run(&["healthcheck", "--listen", &listen]).code == 1, "it is gone");

    // What the first start made serves the second one.
    let daemon = Daemon::start(&program);
    daemon.becomes("200", None).await;
    assert_eq!(std::fs::read(home.join("key")).unwrap(), key, "the key is never written over");
    assert_eq!(daemon.process.end_by("-INT").0, Some(0));
    // A database whose key is gone gets no other one.
    std::fs::rename(home.join("key"), home.join("elsewhere")).unwrap();
    let refused = program.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("put the key back"), "{refused:?}");
    assert!(!home.join("key").exists());
}

#[tokio::test]
async fn what_it_serves_passes_promtool_and_has_every_metric() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&at_home(folder.path()));
    daemon.becomes("200", None).await;
    let answer = daemon.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let scrape = Scrape::of(&answer.body);
    assert_eq!(scrape.sum("trunkline_ready", &[]), 1.0);
    assert_eq!(scrape.sum("trunkline_build_info", &["database=\"sqlite\""]), 1.0);
    assert!(scrape.sum("process_open_fds", &[]) > 3.0);
    assert!(scrape.sum("process_resident_memory_bytes", &[]) > 1e6);
    let many = scrape.series().count();
    assert!(many < 400, "{many} series");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there; `scripts/test` installs Prometheus");
    std::io::Write::write_all(promtool.stdin.as_mut().unwrap(), answer.body.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let words =
        String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && words.trim().is_empty(), "{words}");
    let again = Scrape::of(&daemon.get("/metrics").await.body);
    assert_eq!(again.sum("trunkline_http_requests_total", &["route=\"/metrics\""]), 1.0);
}

#[tokio::test]
async fn it_is_ready_when_its_tables_are_right_and_stays_so_without_its_database() {
    let mut cluster = Cluster::start();
    let url = cluster.database();
    let program = Program::new()
        .with("DATABASE_URL", &url)
        .with("LIVEKIT_SECRET_ENCRYPTION_KEY", &trunkline::KeyRing::generate().unwrap());
    let daemon = Daemon::start(&program);
    daemon.becomes("503", Some("not_migrated")).await;
    assert_eq!(
        program.run(&["healthcheck", "--listen", &format!("127.0.0.1:{}", daemon.port)]).code,
        1
    );
    program.run(&["db", "migrate"]).ok();
    daemon.becomes("200", None).await;

    let fallback = program
        .clone()
        .with("LIVEKIT_URL", "wss://env.example")
        .with("LIVEKIT_API_KEY", "APIenv")
        .with("LIVEKIT_API_SECRET", "canary-secret-of-env");
    let with_fallback = Daemon::start(&fallback);
    with_fallback.becomes("200", None).await;

    cluster.stop();
    // It knows no answer, and has no credentials of its own to give.
    daemon.becomes("503", Some("nothing_to_answer_with")).await;
    eventually("the lease has ended", async || with_fallback.readiness().await.1["lease"] == false)
        .await;
    let (status, report) = with_fallback.readiness().await;
    assert_eq!((status.as_str(), &report["hearing"]), ("200", &"nothing".into()), "{report}");
    assert!(report["trouble"].as_str().is_some_and(|why| !why.is_empty()), "{report}");
    // One that starts now has nothing to answer with.
    let late = Daemon::start(&program);
    late.becomes("503", Some("not_reached")).await;
    cluster.restart();
    late.becomes("200", None).await;
    eventually("the lease is back", async || daemon.readiness().await.1["lease"] == true).await;
}

#[tokio::test]
async fn a_daemon_that_has_nothing_to_do_holds_two_connections() {
    let cluster = Cluster::start();
    let url = cluster.database();
    let program = Program::new()
        .with("DATABASE_URL", &url)
        .with("LIVEKIT_SECRET_ENCRYPTION_KEY", &trunkline::KeyRing::generate().unwrap());
    program.run(&["db", "migrate"]).ok();
    let daemon = Daemon::start(&program);
    daemon.becomes("200", None).await;
    eventually("it hears", async || daemon.readiness().await.1["hearing"] == "notify").await;
    let count =
        "select count(*), count(*) filter (where query like 'LISTEN%') from pg_stat_activity
                 where application_name like 'trunkline%'";
    // What it asked when it started has left it a connection for some seconds.
    let rests = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while psql(&url, count) != "2|1" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    assert!(rests.await.is_ok(), "{}", psql(&url, count));
    assert_eq!(daemon.readiness().await.1["hearing"], "notify");

    // What it tells of itself goes over the connection of its looks.
    let refreshes = || psql(&url, "select sum(refreshes) from trunkline_nodes");
    let mut kept = 0;
    for turn in 0..6 {
        let before = refreshes();
        psql(
            &url,
            &format!(
                "insert into voice_agent_numbers (tenant_id, country_code, base_number)
                 values (gen_random_uuid(), '+971', '50000000{turn}')"
            ),
        );
        eventually("it has told that it saw that", async || refreshes() != before).await;
        kept += u32::from(psql(&url, count) == "2|1");
    }
    // On a busy machine it may wait for that connection in vain now and then.
    assert!(kept >= 3, "{kept} of 6");
}

#[tokio::test]
async fn a_flood_by_a_role_without_rights_costs_no_memory_and_ends_no_life() {
    let cluster = Cluster::start();
    let url = cluster.database();
    let program = Program::new()
        .with("DATABASE_URL", &url)
        // A busy machine may be silent for long, which is no fault of the flood.
        .with("LEASE", "20s")
        .with("LIVEKIT_SECRET_ENCRYPTION_KEY", &trunkline::KeyRing::generate().unwrap());
    program.run(&["db", "migrate"]).ok();
    let daemon = Daemon::start(&program);
    daemon.becomes("200", None).await;
    let hears = async || daemon.readiness().await.1["hearing"] == "notify";
    eventually("it hears", hears).await;

    let stranger = format!("stranger_of_{}", url.rsplit('/').next().unwrap());
    psql(&url, &format!("create role {stranger} login"));
    let before = daemon.memory("VmRSS:");
    let flood = url.replace("owner@", &format!("{stranger}@"));
    psql(&flood, include_str!("../../../../tests/cases/databases/notification-flood.sql"));
    let read = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while psql(&url, "select pg_notification_queue_usage() < 0.001") == "f" || !hears().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    assert!(read.await.is_ok(), "all of it was read, and it hears");
    let most = daemon.memory("VmHWM:");
    assert!(most <= before + 20, "{before} MB before, {most} MB at the most");
    let scrape = Scrape::of(&daemon.get("/metrics").await.body);
    assert_eq!(
        scrape.sum("trunkline_change_listener_lives_ended_total", &[]),
        0.0,
        "no life has ended"
    );
}

#[tokio::test]
async fn while_the_flag_is_off_it_is_ready_without_a_database() {
    let program = Program::new()
        .with("DATABASE_URL", "postgres://x@127.0.0.1:1/x")
        .with("USE_SELFHOST_ROUTING_TABLE", "false");
    let daemon = Daemon::start(&program);
    daemon.becomes("200", None).await;
    assert_eq!(daemon.readiness().await.1["enabled"], false);
}

#[tokio::test]
async fn a_reload_that_fails_is_told_until_one_succeeds() {
    let database = TestDatabase::migrated(Kind::Sqlite).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.env");
    let write = |more: &str| {
        let key = trunkline::KeyRing::generate().unwrap().to_string();
        let text =
            format!("DATABASE_URL={}\nLIVEKIT_SECRET_ENCRYPTION_KEY={key}\n{more}", database.url);
        std::fs::write(&file, text).unwrap();
    };
    write("");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--env-file", file.to_str().unwrap()];
    let daemon = Daemon::of(Process::start(Program::new().command(&serve)));
    let successful = async || {
        let scrape = Scrape::of(&daemon.get("/metrics").await.body);
        scrape.sum("trunkline_settings_last_reload_successful", &[])
    };
    assert_eq!(successful().await, 1.0);
    write("ROUTING=guess\n");
    daemon.process.signal("-HUP");
    eventually("the reload has failed", async || successful().await == 0.0).await;
    write("ROUTING=heuristic\n");
    daemon.process.signal("-HUP");
    eventually("the reload is good", async || successful().await == 1.0).await;
}

#[test]
fn an_address_that_is_taken_or_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let program = at_home(folder.path());
    let run = program.run(&["serve", "--listen", &address]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains(&address) && run.err.contains("--listen"), "{run:?}");
    let wrong = program.clone().with("HTTP_LISTEN", "9464").run(&["serve"]);
    assert_eq!(wrong.code, 3, "{wrong:?}");
    assert!(wrong.err.contains("127.0.0.1:9464"), "{wrong:?}");
    assert_eq!(program.run(&["serve", "--listen", "x"]).code, 2);
    let nowhere = Program::new().run(&["serve"]);
    assert_eq!(nowhere.code, 3, "{nowhere:?}");
}

/// The show goes on: what it prints can be opened.
#[tokio::test]
async fn the_demo_stays_open_and_its_metrics_move() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new().with("TMPDIR", folder.path().to_str().unwrap());
    let mut process = Process::start(program.command(&["demo"]));
    let port = loop {
        let mut line = String::new();
        assert_ne!(process.out.read_line(&mut line).unwrap(), 0, "it ended");
        if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
            break rest.split('/').next().unwrap().parse::<u16>().unwrap();
        }
    };
    let daemon = Daemon { process, port };
    daemon.becomes("200", None).await;
    let answers = async || {
        let scrape = Scrape::of(&daemon.get("/metrics").await.body);
        scrape.sum("trunkline_resolutions_total", &["source=\"database\""])
    };
    let before = answers().await;
    eventually("there are calls", async || answers().await > before).await;
    assert_eq!(daemon.process.end_by("-INT").0, Some(0));
}

/// The first signal waits for those who are being answered, the second one does not.
#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(&at_home(folder.path()));
    daemon.becomes("200", None).await;
    let mut slow = tokio::net::TcpStream::connect(("127.0.0.1", daemon.port)).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut slow, b"GET /readyz HTTP/1.1\r\n").await.unwrap();
    // It is being read: a request that came later has its answer.
    daemon.get("/livez").await;
    daemon.process.signal("-TERM");
    eventually("it takes no more connections", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", daemon.port)).await.is_err()
    })
    .await;
    assert!(daemon.process.child.try_wait().unwrap().is_none(), "it waits for the slow one");
    daemon.process.signal("-INT");
    let asked = tokio::time::Instant::now();
    eventually("it has ended", async || daemon.process.child.try_wait().unwrap().is_some()).await;
    assert!(asked.elapsed() < trunkline::server::GRACE / 2);
    assert_eq!(daemon.process.child.wait().unwrap().code(), Some(0));
}
