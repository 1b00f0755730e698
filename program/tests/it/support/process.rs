//! A program that runs beside a test, and ends with it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command};

/// It, with its stdout as far as that was not read yet.
pub struct Process {
    pub child: Child,
    pub out: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// What its next line says. Where that is nothing, it fails with the line and what stands on stderr.
    #[track_caller]
    pub fn line<T>(&mut self, read: impl FnOnce(&str) -> Option<T>) -> T {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        read(&line).unwrap_or_else(|| panic!("{line}{}", self.err()))
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Sends it a signal and returns how it ends, and what it had said on stderr.
    pub fn end_by(mut self, signal: &str) -> (Option<i32>, String) {
        self.signal(signal);
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        let err = self.err();
        (self.child.wait().unwrap().code(), err)
    }

    /// The next line on stderr that says this, which it waits for.
    #[track_caller]
    pub fn said(&mut self, words: &str) -> String {
        let err = self.child.stderr.as_mut().unwrap();
        let lines = BufReader::new(err).lines().map_while(Result::ok);
        lines.into_iter().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}"))
    }

    fn err(&mut self) -> String {
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        err
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
