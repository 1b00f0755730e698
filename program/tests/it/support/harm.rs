//! What a test may do to a server of its own: kill it, kill a part of it, stop it in its tracks.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::postgres::{Cluster, psql, wait};

impl Cluster {
    /// Kills the server, as a machine that loses power does, and waits until all of it is gone.
    /// Nothing but [`restart`](Self::restart) works afterwards.
    pub fn kill(&self) {
        let family = self.family();
        send("-KILL", &family);
        wait("the server is dead", || family.iter().all(|&pid| is_dead(pid)));
        // What it leaves behind is for the next start to look through, but for this: the number
        // in it may be another process's by then.
        let _ = fs::remove_file(self.pid_file());
        // Nor has everybody who is dead been reaped.
        let _ = fs::remove_file(self.folder.join(format!(".s.PGSQL.{}.lock", self.port)));
    }

    /// Kills the backends that these conditions on `pg_stat_activity` select, and returns how many
    /// there were. The server takes that for a crash: it ends all sessions, and recovers.
    pub fn kill_backends(&self, conditions: &str) -> usize {
        let pids = psql(
            &self.url("postgres"),
            &format!(
                "select pid from pg_stat_activity
                 where backend_type = 'client backend' and pid <> pg_backend_pid()
                     and ({conditions})"
            ),
        );
        let pids: Vec<u32> = pids.lines().filter_map(|pid| pid.parse().ok()).collect();
        send("-KILL", &pids);
        pids.len()
    }

    /// Ends the sessions that these conditions on `pg_stat_activity` select, in order.
    pub fn terminate_backends(&self, conditions: &str) {
        self.psql(
            "postgres",
            &format!(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where pid <> pg_backend_pid() and ({conditions})"
            ),
        );
    }

    /// Stops every process of the server where it stands. Its sockets stay open and silent.
    pub fn freeze(&self) {
        // Twice, for what the main process made before it stood still.
        send("-STOP", &self.family());
        send("-STOP", &self.family());
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        send("-CONT", &self.family());
    }

    /// The main process and its children.
    fn family(&self) -> Vec<u32> {
        let Ok(file) = fs::read_to_string(self.pid_file()) else { return Vec::new() };
        let Some(main) = file.lines().next().and_then(|pid| pid.parse().ok()) else {
            return Vec::new();
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let children = pids.filter(|&pid| status(pid).is_some_and(|(_, parent)| parent == main));
        std::iter::once(main).chain(children).collect()
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("data/postmaster.pid")
    }
}

fn send(signal: &str, pids: &[u32]) {
    // One that has just ended by itself is no failure.
    let pids = pids.iter().map(u32::to_string);
    let _ = Command::new("kill").arg(signal).args(pids).output();
}

/// Gone, or only waiting for somebody to ask how it ended.
fn is_dead(pid: u32) -> bool {
    status(pid).is_none_or(|(state, _)| state == "Z" || state == "X")
}

/// The state of a process and its parent.
fn status(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before them may hold blanks and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
