//! A daemon that takes part, as a process that can be stopped and has an environment of its own.

use trunkline::RelayRole;

use super::Fleet;
use crate::support::http::get;
use crate::support::process::Process;
use crate::support::program::Program;

pub struct Daemon {
    process: Process,
    port: u16,
}

impl Daemon {
    /// One more node of that fleet, with these variables besides.
    pub fn of(fleet: &Fleet, relay: &str, more: &[(&str, &str)]) -> Self {
        let program = Program::new()
            .with("DATABASE_URL", &fleet.database.url)
            .with("LIVEKIT_SECRET_ENCRYPTION_KEY", &fleet.key)
            .with("RELAY_URL", relay);
        let program = more.iter().fold(program, |program, (name, value)| program.with(name, value));
        let mut process = Process::start(program.command(&["serve", "--listen", "127.0.0.1:0"]));
        let port =
            process.line(|line| line.split("127.0.0.1:").nth(1)?.split(':').next()?.parse().ok());
        Self { process, port }
    }

    pub async fn has_role(&self, role: RelayRole) -> bool {
        let line = format!("trunkline_relay_role{{role=\"{}\"}} 1", role.as_str());
        get(self.port, "/metrics").await.body.lines().any(|told| told == line)
    }

    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// The next line of its log that says this.
    #[track_caller]
    pub fn said(&mut self, words: &str) -> String {
        self.process.said(words)
    }
}
