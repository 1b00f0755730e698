//! A Redis of a test: a process of its own, which ends with it.

use std::process::{Child, Command, Stdio};

use super::postgres::{free_port, wait};

pub struct Redis {
    pub port: u16,
    arguments: Vec<String>,
    server: Child,
    folder: tempfile::TempDir,
}

impl Redis {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// One with these options, such as `--requirepass`.
    pub fn start_with(options: &[&str]) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let mut arguments: Vec<_> = format!(
            "--port {port} --bind 127.0.0.1 --save  --appendonly no --repl-diskless-sync-delay 0"
        )
        .split(' ')
        .map(ToOwned::to_owned)
        .collect();
        arguments.extend(options.iter().map(ToString::to_string));
        let server = run(&arguments, &folder);
        let redis = Self { port, arguments, server, folder };
        redis.answers();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// What a command says, with these options before it.
    pub fn cli(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn signal(&self, signal: &str) {
        let id = self.server.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts it again, empty, at the same place.
    pub fn begin_anew(&mut self) {
        self.server = run(&self.arguments, &self.folder);
        self.answers();
    }

    fn answers(&self) {
        wait("Redis answers", || {
            let said = self.cli(&["ping"]);
            said == "PONG" || said.starts_with("NOAUTH")
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn run(arguments: &[String], folder: &tempfile::TempDir) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is there; `scripts/test` installs it")
}
