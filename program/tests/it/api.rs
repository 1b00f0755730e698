//! The API as programs in other languages meet it: a real daemon, over TCP and over its socket.

mod audit;
mod batches;
mod calls;
mod checks;
mod clients;
mod configs;
mod document;
mod fleet;
mod grants;
mod idempotency;
mod in_browser;
mod isolation;
mod join;
mod keys;
mod labels;
mod limits;
mod listening;
mod lists;
mod numbers;
mod on_livekit;
mod pages;
mod pairs;
mod people;
mod private_hosts;
mod refusals;
mod roles;
mod rollout;
mod schemathesis;
mod seen;
mod sidecar;
mod socket;
mod tenants;
mod tls;
mod tokens;
mod verify;
mod webhook;

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};

use crate::support::database::{Kind, TestDatabase};
use crate::support::http::{Message, get};
use crate::support::process::Process;
use crate::support::program::Program;
use crate::support::{caller, config, eventually, number};

const TENANT: &str = "00000000-0000-0000-0000-000000000001";
const OTHER_TENANT: &str = "00000000-0000-0000-0000-000000000002";
const NUMBER: &str = "+971500000001";
/// What a client may be for all that it asks here.
const ALL: [&str; 10] = [
    "--all-tenants",
    "--may",
    "tokens,resolve,route,secret,join,verify,configs,edit_configs,numbers,edit_numbers,fleet,audit,calls,changes,users",
    "--room",
    "*",
    "--sip-call",
    "--agent",
    "--admin",
    "--longest",
    "1h",
];

/// A database with a config and a number of the tenant, and the program that is told of it.
struct Site {
    database: TestDatabase,
    program: Program,
    folder: tempfile::TempDir,
}

impl Site {
    async fn new(kind: Kind) -> Self {
        Self::on(TestDatabase::migrated(kind).await).await
    }

    async fn on(database: TestDatabase) -> Self {
        let key = trunkline::KeyRing::generate().unwrap();
        let ring = trunkline::KeyRing::parse(&key).unwrap();
        let store = database.store();
        let mut eu = config(&ring, "eu");
        eu.trunk_id = Some("ST_eu".into());
        let id = store.create_config(&eu).await.unwrap();
        store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let program = Program::new()
            .with("DATABASE_URL", &database.url)
            .with("LIVEKIT_SECRET_ENCRYPTION_KEY", &key)
            .with("STORE_DEADLINE", "20s")
            .with("RESOLVE_DEADLINE", "20s")
            .with("API_LISTEN", "127.0.0.1:0")
            .with("HTTP_SOCKET", socket.to_str().unwrap());
        Self { database, program, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    /// Adds a client with these permissions, and returns its token.
    fn client(&self, name: &str, permissions: &[&str]) -> String {
        let arguments = [&["client", "add", "--name", name], permissions].concat();
        self.program.run(&arguments).ok().trim_end().to_owned()
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(&self.program)
    }

    /// Another one, with a socket of its own.
    fn daemon_elsewhere(&self) -> Daemon {
        let socket = self.folder.path().join("other.sock");
        Daemon::start(&self.program.clone().with("HTTP_SOCKET", socket.to_str().unwrap()))
    }
}

/// A running daemon.
struct Daemon {
    process: Process,
    /// Where metrics are.
    port: u16,
    /// Where clients are answered, by address and by socket.
    api: Option<u16>,
    socket: Option<PathBuf>,
}

impl Daemon {
    fn start(program: &Program) -> Self {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--json"];
        let mut process = Process::start(program.command(&serve));
        let told: Value = process.line(|line| serde_json::from_str(line).ok());
        let port = |place: &str| {
            place.strip_prefix("http")?.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
        };
        let places: Vec<_> =
            told["api"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
        Self {
            process,
            port: port(told["listening"].as_str().unwrap()).unwrap(),
            api: places.iter().find_map(|place| port(place)),
            socket: places.iter().find_map(|place| Some(place.strip_prefix("unix:")?.into())),
        }
    }

    /// Posts JSON over TCP, as the client with this token.
    async fn ask(&self, token: &str, path: &str, body: &Value) -> Message {
        self.send(Request::post(path, body).with("authorization", &format!("Bearer {token}"))).await
    }

    /// The same, and what came of it.
    async fn answer(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        status_and_body(&self.ask(token, path, body).await)
    }

    /// Asks by any method, as the client with this token. No body goes with null.
    async fn call(&self, token: &str, method: &str, path: &str, body: &Value) -> Message {
        self.send(Request::new(method, path, body, token)).await
    }

    /// The same, if what is there has this version.
    async fn call_if(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &Value,
        version: &str,
    ) -> Message {
        self.send(Request::new(method, path, body, token).with("if-match", version)).await
    }

    /// Reads, and what came of it.
    async fn get(&self, token: &str, path: &str) -> (u16, Value) {
        status_and_body(&self.call(token, "GET", path, &Value::Null).await)
    }

    /// Sends a request over TCP.
    async fn send(&self, request: Request) -> Message {
        let stream = TcpStream::connect(("127.0.0.1", self.api.unwrap())).await.unwrap();
        request.over(stream).await
    }

    /// Sends a request over the socket.
    async fn send_local(&self, request: Request) -> Message {
        request.over(UnixStream::connect(self.socket.as_ref().unwrap()).await.unwrap()).await
    }

    async fn metrics(&self) -> String {
        get(self.port, "/metrics").await.body
    }

    async fn is_ready(&self) {
        eventually("it is ready", async || get(self.port, "/readyz").await.word() == "200").await;
    }
}

/// A request in the making.
#[derive(Clone)]
struct Request(Message);

impl Request {
    fn post(path: &str, body: &Value) -> Self {
        let headers = vec![
            ("host".into(), "127.0.0.1".into()),
            ("content-type".into(), "application/json".into()),
        ];
        Self(Message { start: format!("POST {path} HTTP/1.1"), headers, body: body.to_string() })
    }

    fn new(method: &str, path: &str, body: &Value, token: &str) -> Self {
        let mut request = match body {
            Value::Null => Self::get(path),
            body => Self::post(path, body),
        };
        request.0.start = format!("{method} {path} HTTP/1.1");
        request.with("authorization", &format!("Bearer {token}"))
    }

    fn get(path: &str) -> Self {
        let headers = vec![("host".into(), "127.0.0.1".into())];
        Self(Message { start: format!("GET {path} HTTP/1.1"), headers, body: String::new() })
    }

    /// With this header in place of any of that name.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.0.headers.retain(|(there, _)| there != name);
        self.0.headers.push((name.into(), value.into()));
        self
    }

    fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.0.body);
        self
    }

    async fn over(
        self,
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    ) -> Message {
        let mut stream = tokio::io::BufReader::new(stream);
        // A daemon that refuses may close before it has read all.
        let _ = self.0.write(&mut stream).await;
        let _ = tokio::io::AsyncWriteExt::flush(&mut stream).await;
        Message::read(&mut stream).await.expect("an answer")
    }
}

fn status_and_body(message: &Message) -> (u16, Value) {
    let status = message.word().parse().unwrap();
    (status, serde_json::from_str(&message.body).unwrap_or_else(|_| panic!("{message:?}")))
}

/// Checks that it was refused with this status and code, in the form of all problems; returns its body.
#[track_caller]
fn refused(message: &Message, status: u16, code: &str) -> Value {
    let (found, body) = status_and_body(message);
    assert_eq!((found, body["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!(message.header("content-type"), Some("application/problem+json"));
    assert_eq!(message.header("cache-control"), Some("no-store"));
    assert_eq!(message.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(message.header("x-request-id"), body["request_id"].as_str());
    assert!(!body["detail"].as_str().unwrap().is_empty(), "{body}");
    assert_eq!(body["status"], status);
    body
}

fn from(number: &str) -> Value {
    json!({"tenant": TENANT, "from": number})
}

/// A token for a room, of the number of the tenant.
fn joining(room: &str) -> Value {
    json!({"tenant": TENANT, "from": NUMBER, "grants": {"room": room, "identity": "dialler"}})
}
