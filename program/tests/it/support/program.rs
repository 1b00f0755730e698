//! Running the built program as a newcomer does: arguments, stdin, what it prints, how it exits.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// How a run of the program ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A way to call the program: its environment holds these variables and nothing else.
#[derive(Clone, Default)]
pub struct Program {
    variables: Vec<(String, String)>,
}

impl Program {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What a variable of its environment holds.
    pub fn variable(&self, name: &str) -> String {
        let found = self.variables.iter().rev().find(|(given, _)| given == name);
        found.expect("it was given").1.clone()
    }

    /// The command, for a test that needs more than its end.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        command
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().cloned())
            // A folder without a .env file.
            .current_dir(Path::new("/"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end with nothing on stdin.
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, b"")
    }

    /// Runs it to its end with these bytes on stdin.
    pub fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Run {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        // In a thread of its own: the program may refuse before it has read everything.
        let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    /// What it printed, after it ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// The JSON value it printed, after it ended well.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// The one JSON object on stderr and the exit code, after it failed.
    #[track_caller]
    pub fn failed(self) -> (i32, serde_json::Value) {
        assert_ne!(self.code, 0, "stdout: {}", self.out);
        let object = serde_json::from_str(&self.err);
        (self.code, object.unwrap_or_else(|error| panic!("{error}: {}", self.err)))
    }
    /// What it said on stderr and the exit code, after it failed.
    #[track_caller]
    pub fn failed_words(self) -> (i32, String) {
        assert_ne!(self.code, 0, "stdout: {}", self.out);
        (self.code, self.err)
    }

    /// The last JSON object on stderr and the exit code, after it failed.
    #[track_caller]
    pub fn failed_last(self) -> (i32, serde_json::Value) {
        assert_ne!(self.code, 0, "stdout: {}", self.out);
        let last = self.err.lines().last().unwrap_or_default();
        (self.code, serde_json::from_str(last).unwrap())
    }
}
