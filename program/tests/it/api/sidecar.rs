//! `examples/sidecar.*`, run as they stand there against a real daemon. Python must be there; Go and
//! Node are asked where they are.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{ALL, Daemon, NUMBER, Site, TENANT, from, joining};
use crate::support::ROOT;
use crate::support::database::Kind;

/// A program around an example, which asks what it is told and tells what came of it.
struct Sidecar {
    child: Child,
    told: ChildStdin,
    tells: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

/// How the program of a language is run, in a folder with the example and these lines.
struct Language {
    name: &'static str,
    extension: &'static str,
    lines: &'static str,
    run: fn(&Path) -> Command,
}

#[expect(clippy::disallowed_methods, reason = "which Python is the machine's business")]
fn python(lines: &Path) -> Command {
    let python = std::env::var("TRUNKLINE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command.arg(lines);
    command
}

fn node(lines: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg(lines);
    command
}

fn go(lines: &Path) -> Command {
    let mut command = Command::new("go");
    command.arg("run").arg(lines).arg(lines.with_file_name("sidecar.go")).env("GO111MODULE", "off");
    command
}

const PYTHON: Language =
    Language { name: "Python", extension: "py", lines: PYTHON_LINES, run: python };
const OTHERS: [Language; 2] = [
    Language { name: "Node", extension: "mjs", lines: NODE_LINES, run: node },
    Language { name: "Go", extension: "go", lines: GO_LINES, run: go },
];

impl Sidecar {
    /// `None`: the machine has not that language, which is said.
    fn start(language: &Language, site: &Site, token: &str) -> Option<Self> {
        let Language { name, extension, lines, run } = language;
        let folder = tempfile::tempdir().unwrap();
        let example = format!("sidecar.{extension}");
        std::fs::copy(format!("{ROOT}/examples/{example}"), folder.path().join(&example)).unwrap();
        let path = folder.path().join(format!("lines.{extension}"));
        std::fs::write(&path, lines).unwrap();
        let mut command = run(&path);
        command.env("SOCKET", site.socket()).env("TOKEN", token);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        match command.spawn() {
            Ok(mut child) => {
                let (told, tells) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
                let tells = BufReader::new(tells);
                Some(Self { child, told, tells, _folder: folder })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!(
                    "THERE IS NO {} HERE: examples/{example} IS NOT RUN",
                    name.to_uppercase()
                );
                None
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// `["ok", answer]`, or `["refused", status, code]`.
    fn ask(&mut self, route: &str, body: &Value) -> Value {
        writeln!(self.told, "{}", json!([route, body])).unwrap();
        let mut line = String::new();
        tokio::task::block_in_place(|| self.tells.read_line(&mut line)).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }

    fn ends(mut self) {
        drop(self.told);
        assert!(self.child.wait().unwrap().success());
    }
}

/// Asks over connections that break meanwhile, with a client that may ask once a second.
async fn asks(language: &Language) {
    let mut site = Site::new(Kind::Sqlite).await;
    site.program = site.program.with("API_RATE", "1");
    let token = site.client("dialler", &ALL);
    let daemon = site.daemon();
    let Some(mut sidecar) = Sidecar::start(language, &site, &token) else { return };
    let answered = sidecar.ask("tokens", &joining("call-7"));
    assert_eq!(answered[1]["url"], "wss://eu.example", "{}: {answered}", language.name);
    // More than it may: it waits, and asks again.
    let answered = sidecar.ask("resolve", &from(NUMBER));
    assert_eq!(answered[1]["config_name"], "eu", "{}: {answered}", language.name);
    let refused = "trunkline_api_refusals_total{reason=\"too_many_requests\"} 1";
    assert!(daemon.metrics().await.lines().any(|line| line == refused), "{}", language.name);
    drop(daemon);

    // The connection that it kept is gone: it makes another one.
    let daemon = Daemon::start(&site.program.clone().with("API_RATE", "0"));
    let answered = sidecar.ask("livekit/token", &json!({}));
    assert_eq!(answered, json!(["refused", 422, "caller_needed"]), "{}", language.name);
    let ticket = json!({"tenant": TENANT, "from": NUMBER, "room": "call-7", "identity": "a"});
    let answered = sidecar.ask("tickets", &ticket);
    assert_eq!(answered[0], "ok", "{}: {answered}", language.name);
    let answered = sidecar.ask("resolve", &json!({"tenant": "x", "from": NUMBER}));
    assert_eq!(answered, json!(["refused", 400, "tenant_malformed"]), "{}", language.name);
    // Nothing that was refused for good is asked again.
    let line = "trunkline_http_requests_total{route=\"/v1/resolve\",code=\"400\"} 1";
    assert!(daemon.metrics().await.lines().any(|there| there == line), "{}", language.name);
    sidecar.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn python_asks_again_where_that_is_safe() {
    asks(&PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_and_go_do_so_too() {
    for language in &OTHERS {
        asks(language).await;
    }
}

const PYTHON_LINES: &str = r#"
import json, os, sys
import sidecar
trunkline = sidecar.Trunkline(os.environ["SOCKET"], os.environ["TOKEN"])
for line in sys.stdin:
    route, body = json.loads(line)
    try:
        told = ["ok", trunkline.ask(route, **body)]
    except sidecar.Refused as refused:
        told = ["refused", refused.status, refused.problem["code"]]
    print(json.dumps(told), flush=True)
"#;

const NODE_LINES: &str = r#"
import { createInterface } from "node:readline";
import { Refused, Trunkline } from "./sidecar.mjs";
const trunkline = new Trunkline(process.env.SOCKET, process.env.TOKEN);
for await (const line of createInterface({ input: process.stdin })) {
    const told = await trunkline.ask(...JSON.parse(line)).then((answer) => ["ok", answer], (error) => {
        if (!(error instanceof Refused)) throw error;
        return ["refused", error.status, error.problem.code];
    });
    console.log(JSON.stringify(told));
}
process.exit();
"#;

const GO_LINES: &str = r#"package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
)

func main() {
	trunkline := New(os.Getenv("SOCKET"), os.Getenv("TOKEN"))
	lines, tell := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var route string
		var body, answer any
		if err := json.Unmarshal(lines.Bytes(), &[]any{&route, &body}); err != nil {
			panic(err)
		}
		err := trunkline.Ask(route, body, &answer)
		var refused *Refused
		if errors.As(err, &refused) {
			tell.Encode([]any{"refused", refused.Status, refused.Code})
		} else if err != nil {
			panic(err)
		} else {
			tell.Encode([]any{"ok", answer})
		}
	}
}
"#;
