//! A private Postgres cluster, started once for all tests and gone with their process. What a test
//! may do to its server is in [`super::harm`].

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
        Self::start_with(&[])
    }

    /// A cluster whose server has these settings, such as `max_connections=20`.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::made_by("@bin/initdb -D data -U owner -A trust -E UTF8 --no-sync", settings)
    }

    /// A cluster whose data this command makes.
    pub(super) fn made_by(command: &str, settings: &[&str]) -> Self {
        let folder = folder("tl-pg");
        let port = free_port();
        let settings: Vec<_> = settings.iter().flat_map(|setting| ["-c", setting]).collect();
        let script = SCRIPT
            .replace("@make", command)
            .replace("@settings", &settings.join(" "))
            .replace("@bin", bin_folder().to_str().unwrap())
            .replace("@folder", folder.to_str().unwrap())
            .replace("@port", &port.to_string());
        let keeper = Some(keeper(&script, &folder));
        Self { port, folder, keeper }
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        let socket = self.folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://owner@{socket}:{}/{database}", self.port)
    }

    /// Makes an empty database and returns its URL.
    pub fn database(&self) -> String {
        self.url(&self.database_name())
    }

    /// Makes an empty database and returns its name.
    pub fn database_name(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::SeqCst));
        self.psql("postgres", &format!("create database {name}"));
        name
    }

    /// Runs SQL as psql does, in a session of its own, and returns what it prints.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        psql(&self.url(database), sql)
    }

    /// Has the server ask this role for its password, where it comes over TCP.
    pub fn asks_for_passwords(&self, role: &str) {
        let file = self.folder.join("data/pg_hba.conf");
        let rules = fs::read_to_string(&file).unwrap();
        let first = format!("host all {role} 127.0.0.1/32 scram-sha-256\n{rules}");
        fs::write(file, first).unwrap();
        self.psql("postgres", "select pg_reload_conf()");
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

/// The URL of a database of the server, pooler or proxy on this port of this machine.
pub fn tcp_url(port: u16, database: &str) -> String {
    format!("postgres://owner@127.0.0.1:{port}/{database}?sslmode=disable")
}

/// A new folder of the user that servers run as.
pub fn folder(prefix: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp").unwrap().keep();
    if let Some(user) = user() {
        assert!(Command::new("chown").arg(user).arg(&folder).status().unwrap().success());
    }
    folder
}

/// Starts a shell that runs a server until its stdin closes, and waits for its "ready".
pub(super) fn keeper(script: &str, folder: &Path) -> Child {
    keeper_as(user(), script, folder)
}

/// The same as another user, or as who we are.
pub fn keeper_as(user: Option<&str>, script: &str, folder: &Path) -> Child {
    let mut command = match user {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", user, "--clear-groups", "sh"]);
            command
        }
        None => Command::new("sh"),
    };
    let mut keeper = command
        .args(["-c", script])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh and setpriv are there");
    let out = keeper.stdout.take().unwrap();
    let ready = BufReader::new(out).lines().map_while(Result::ok).any(|line| line == "ready");
    assert!(ready, "the server did not start; see {}/log", folder.display());
    keeper
}

/// Servers refuse to run as root; this is whom they run as then.
fn user() -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let root = fs::metadata(Path::new("/proc/self")).unwrap().uid() == 0;
    root.then_some("postgres")
}

/// Runs SQL in a session of its own and returns what it prints.
pub fn psql(url: &str, sql: &str) -> String {
    let (done, out, error) = run_psql(url, sql);
    assert!(done, "{sql}: {error}");
    out
}

/// Runs SQL that must be refused, and returns in which words.
pub fn psql_refused(url: &str, sql: &str) -> String {
    let (done, out, error) = run_psql(url, sql);
    assert!(!done, "{sql}: {out}");
    error
}

fn run_psql(url: &str, sql: &str) -> (bool, String, String) {
    let mut command = Command::new("psql");
    let out = command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url]).output();
    let out = out.expect("psql is there");
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    (out.status.success(), text(out.stdout), text(out.stderr))
}

/// Waits until something holds, for a minute at the most: a server that was killed recovers first, and
/// a busy disk takes its time.
pub(super) fn wait(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..12_000 {
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

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that was stopped with SIGSTOP cannot be told to end, so all of it goes on first.
const SCRIPT: &str = r"
cd @folder
@make >log 2>&1 || exit 1
start() {
    @bin/pg_ctl -D data -w -l log -o '-p @port -k @folder -c listen_addresses=127.0.0.1 \
        -c fsync=off -c max_connections=80 -c log_statement=all @settings' start >>log 2>&1
}
start && echo ready
while read -r word; do start; done
main=$(head -n 1 data/postmaster.pid)
for stat in /proc/[0-9]*/stat; do
    read -r pid name state parent rest <$stat && [ $parent = $main ] && kill -CONT $pid
done 2>/dev/null
kill -CONT $main
@bin/pg_ctl -D data -m immediate stop >>log 2>&1
cd / && rm -rf @folder
";
