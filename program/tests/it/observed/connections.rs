//! The daemon's HTTP side under clients that mean it no good: idle ones, slow ones, too many of
//! them, and pages that borrow its address.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::Duration;

use crate::support::program::Program;

/// More than are let in at once.
const MANY: usize = 700;
const PATIENCE: Duration = Duration::from_secs(30);

struct Daemon {
    child: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl Daemon {
    fn start(program: &Program) -> Self {
        let home = tempfile::tempdir().unwrap();
        let program = program.clone().with("HOME", home.path().to_str().unwrap());
        let mut child = program.command(&["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split("127.0.0.1:").nth(1).unwrap().split(':').next().unwrap();
        Self { port: port.parse().unwrap(), child, _home: home }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The whole answer to these bytes.
    fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // It may refuse before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn ask_for(&self, host: &str) -> String {
        let request = format!("GET /version HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        self.ask(request.as_bytes()).lines().next().unwrap_or_default().to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn more_idle_and_slow_clients_than_fit_keep_no_probe_out() {
    let daemon = Daemon::start(&Program::new());
    let clients: Vec<_> = (0..MANY)
        .map(|index| {
            let mut client = daemon.connect();
            if index % 2 == 0 {
                let _ = client.write_all(b"GET /livez HTTP/1.1\r\nhost: ");
            }
            client
        })
        .collect();
    for _ in 0..3 {
        let answer =
            daemon.ask(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let mut ended = 0;
    for mut client in &clients {
        client.set_nonblocking(true).unwrap();
        // The end of the stream, or that it was cut.
        ended += usize::from(!matches!(
            client.read(&mut [0]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock
        ));
    }
    assert!(ended >= MANY - 512, "{ended} made room");
    let oldest = (&clients[0]).read(&mut [0]);
    assert!(
        !matches!(&oldest, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
        "{oldest:?}"
    );
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let daemon = Daemon::start(&Program::new());
    let long =
        format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(20 << 10));
    let answer = daemon.ask(long.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn on_loopback_a_page_cannot_borrow_the_address() {
    let daemon =
        Daemon::start(&Program::new().with("HTTP_HOSTS", "metrics.example, other.example"));
    for host in ["localhost", "127.0.0.1:1", "[::1]", "metrics.example", "OTHER.example:443"] {
        assert_eq!(daemon.ask_for(host), "HTTP/1.1 200 OK", "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example:9464", "localhost@evil.example"] {
        assert!(
            daemon.ask_for(host).starts_with("HTTP/1.1 421 "),
            "{host}: {}",
            daemon.ask_for(host)
        );
    }
    // The probe of a container says no host.
    assert!(daemon.ask(b"GET /livez HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200 "));
    let answer = daemon.ask(b"GET /metrics HTTP/1.0\r\n\r\n");
    let counted = r#"trunkline_http_requests_total{code="421",route="other"}"#;
    let other = r#"trunkline_http_requests_total{route="other",code="421"}"#;
    assert!(answer.contains(counted) || answer.contains(other), "{answer}");
}

#[test]
fn names_of_a_proxy_that_are_none_are_refused() {
    let run =
        Program::new().with("HTTP_HOSTS", "http://metrics.example").run(&["settings", "check"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.err.contains("HTTP_HOSTS: must be names"), "{run:?}");
}

/// The kernel hands a process that is not dumpable to root, file by file.
#[cfg(target_os = "linux")]
#[test]
fn its_memory_is_nobodys_to_read_and_no_core_is_written() {
    use std::os::unix::fs::MetadataExt;

    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let program = home.path().join("trunkline");
    std::fs::copy(env!("CARGO_BIN_EXE_trunkline"), &program).unwrap();
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    for (flags, dumpable) in [(&[][..], false), (&["--allow-dump"], true)] {
        // As root every process is root's, so that nothing could be told.
        let mut command = if root { Command::new("setpriv") } else { Command::new(&program) };
        if root {
            command.args(["--reuid=65534", "--clear-groups"]).arg(&program);
        }
        let mut child = command
            .args(flags)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin")
            .current_dir(home.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        let owner = std::fs::metadata(format!("/proc/{}/environ", child.id())).unwrap().uid();
        assert_eq!(owner != 0, dumpable, "{flags:?}: its files are user {owner}'s");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let none = core.split_whitespace().skip(4).take(2).all(|limit| limit == "0");
        assert!(none || dumpable, "{core}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
