//! A private Postgres cluster, started once for all tests and gone with their process.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A running cluster.
pub struct Cluster {
    pub port: u16,
    /// Where its socket is.
    pub folder: PathBuf,
    /// The process ids of the cluster belong to this shell, which ends it when its stdin closes:
    /// at the latest when the test process is gone, however it went.
    keeper: Option<Child>,
}

impl Cluster {
    /// The cluster that tests share. A test that breaks its server starts one of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub fn start() -> Self {
        let bin = bin_folder();
        let folder = tempfile::Builder::new().prefix("tl-pg").tempdir_in("/tmp").unwrap().keep();
        // initdb and postgres refuse to run as root; the folder goes to the user they run as.
        let user = if is_root() { Some("postgres") } else { None };
        if let Some(user) = user {
            assert!(Command::new("chown").arg(user).arg(&folder).status().unwrap().success());
        }
        let port = free_port();
        let script = SCRIPT
            .replace("@bin", bin.to_str().unwrap())
            .replace("@folder", folder.to_str().unwrap())
            .replace("@port", &port.to_string());
        let mut command = match user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                let ids = ["--reuid", user, "--regid", user, "--clear-groups"];
                command.args(ids).args(["sh", "-c", &script]);
                command
            }
            None => {
                let mut command = Command::new("sh");
                command.args(["-c", &script]);
                command
            }
        };
        let keeper = command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh and setpriv are there");
        let mut cluster = Self { port, folder, keeper: Some(keeper) };
        let out = cluster.keeper.as_mut().unwrap().stdout.take().unwrap();
        let ready = BufReader::new(out).lines().map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the cluster did not start; see {}/log", cluster.folder.display());
        cluster
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        let socket = self.folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://owner@{socket}:{}/{database}", self.port)
    }

    /// Makes an empty database and returns its URL.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::SeqCst));
        self.psql("postgres", &format!("create database {name}"));
        self.url(&name)
    }

    /// Runs SQL as psql does, in a session of its own, and returns what it prints.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        psql(&self.url(database), sql)
    }

    /// Signals the server's main process.
    pub fn signal(&self, signal: &str) {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap();
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }

    /// Stops the server at once and waits until it is gone.
    pub fn stop(&self) {
        self.signal("-QUIT");
        wait("the server is gone", || !self.folder.join("data/postmaster.pid").exists());
    }

    /// Starts the server again after it was stopped.
    pub fn restart(&mut self) {
        let stdin = self.keeper.as_mut().unwrap().stdin.as_mut().unwrap();
        writeln!(stdin, "start").unwrap();
        wait("the server is back", || answers(&self.url("postgres")));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

/// Runs SQL in a session of its own and returns what it prints.
pub fn psql(url: &str, sql: &str) -> String {
    let out = Command::new("psql")
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url])
        .output()
        .expect("psql is there");
    assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// Waits until something holds, for ten seconds at the most.
fn wait(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never came true: {what}");
}

fn answers(url: &str) -> bool {
    Command::new("psql").args(["-XAtqc", "select 1", url]).output().unwrap().status.success()
}

fn bin_folder() -> PathBuf {
    let mut folders: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    folders.sort();
    folders.pop().unwrap_or_else(|| {
        panic!("no Postgres server in /usr/lib/postgresql; `scripts/test` installs one")
    })
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(Path::new("/proc/self")).unwrap().uid() == 0
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const SCRIPT: &str = r"
cd @folder
@bin/initdb -D data -U owner -A trust -E UTF8 --no-sync >log 2>&1 || exit 1
start() {
    @bin/pg_ctl -D data -w -l log -o '-p @port -k @folder -c listen_addresses=127.0.0.1 \
        -c fsync=off -c max_connections=80 -c log_statement=all' start >>log 2>&1
}
start && echo ready
while read -r word; do start; done
@bin/pg_ctl -D data -m immediate stop >>log 2>&1
cd / && rm -rf @folder
";
