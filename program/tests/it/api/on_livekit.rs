//! LiveKit's official SDKs: one takes its token from a daemon, another joins a real server with tokens
//! that were made by one.

use std::process::Command;

use serde_json::{Value, json};
use trunkline::KeyRing;

use super::{ALL, Daemon, Site, TENANT};
use crate::support::database::Kind;
use crate::support::livekit::{Server, config_on};
use crate::support::{caller, number};

const NUMBER: &str = "+971500000007";

/// A daemon whose number has its calls on the real server, and two clients of it.
struct Lab {
    site: Site,
    daemon: Daemon,
    /// May do all.
    client: String,
    /// Is that number.
    kiosk: String,
}

impl Lab {
    async fn new(url: &str, keys: (&str, &str)) -> Self {
        let site = Site::new(Kind::Sqlite).await;
        let key = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
        let config = config_on(&KeyRing::parse(&key).unwrap(), url, keys, "real");
        let store = site.database.store();
        let id = store.create_config(&config).await.unwrap();
        store.add_number(&number(caller(1, 7), Some(id))).await.unwrap();
        let client = site.client("all", &ALL);
        let limits = ["--tenant", TENANT, "--number", NUMBER, "--may", "join", "--room", "call-*"];
        let kiosk = site.client("kiosk", &limits);
        let daemon = site.daemon();
        Self { site, daemon, client, kiosk }
    }

    /// What a script prints, as JSON.
    fn run(&self, command: &mut Command, more: &[(&str, &str)]) -> Value {
        let endpoint = format!("http://127.0.0.1:{}/v1/livekit/token", self.daemon.api.unwrap());
        let output = command
            .env("ENDPOINT", endpoint)
            .env("TOKEN", &self.kiosk)
            .envs(more.iter().copied())
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{err}");
        let out = String::from_utf8(output.stdout).unwrap();
        let last = out.lines().last().unwrap_or_else(|| panic!("it printed nothing: {err}"));
        serde_json::from_str(last).unwrap_or_else(|_| panic!("{out} {err}"))
    }
}

/// Where `livekit-client` of npm is installed.
#[expect(clippy::disallowed_methods, reason = "what is installed is the machine's business")]
fn modules() -> String {
    std::env::var("TRUNKLINE_TEST_NODE_MODULES").expect(
        "TRUNKLINE_TEST_NODE_MODULES names no folder with livekit-client; scripts/test makes one",
    )
}

/// A Python that has LiveKit's SDK.
#[expect(clippy::disallowed_methods, reason = "which Python is the machine's business")]
fn python(script: &str) -> Command {
    let python = std::env::var("TRUNKLINE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command.args(["-c", script]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_npm_takes_its_token_as_a_client_and_with_a_ticket() {
    let lab = Lab::new("wss://real.example", ("APIreal", "canary-secret-of-real")).await;
    let node = || {
        let mut command = Command::new("node");
        command.args(["--input-type=module", "--eval", TOKEN_SOURCE]);
        command
    };
    let modules = modules();
    let modules = ("MODULES", modules.as_str());
    let options = json!({"roomName": "call-7", "participantName": "Ann",
        "participantAttributes": {"role": "guest"}})
    .to_string();
    let said = lab.run(&mut node(), &[modules, ("OPTIONS", options.as_str())]);
    assert_eq!(said["serverUrl"], "wss://real.example", "{said}");
    let claims = &said["claims"];
    assert_eq!((&claims["iss"], &claims["name"]), (&json!("APIreal"), &json!("Ann")), "{said}");
    assert_eq!(claims["attributes"], json!({"role": "guest"}));
    // What the client may not have is an error of the SDK, and says why.
    let agent = json!({"roomName": "call-7", "agentName": "a"}).to_string();
    let said = lab.run(&mut node(), &[modules, ("OPTIONS", agent.as_str())]);
    assert!(said["error"].as_str().unwrap().contains("grant_not_allowed"), "{said}");

    let body = json!({"tenant": TENANT, "from": NUMBER, "room": "call-9", "identity": "ann"});
    let (_, answer) = lab.daemon.answer(&lab.client, "/v1/tickets", &body).await;
    let ticket = answer["ticket"].as_str().unwrap();
    let said = lab.run(&mut node(), &[modules, ("OPTIONS", "{}"), ("TOKEN", ticket)]);
    let claims = &said["claims"];
    assert_eq!(
        (&claims["sub"], &claims["video"]["room"]),
        (&json!("ann"), &json!("call-9")),
        "{said}"
    );
    drop(lab.site);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_of_python_joins_a_real_server_with_tokens_of_both_routes() {
    let server = Server::shared();
    let lab = Lab::new(&server.url(), server.keys[0]).await;
    let grants = json!({"room": "call-py", "identity": "tokens"});
    let body = json!({"tenant": TENANT, "from": NUMBER, "grants": grants});
    let (status, answer) = lab.daemon.answer(&lab.client, "/v1/tokens", &body).await;
    assert_eq!(status, 200, "{answer}");
    let body = json!({"room_name": "call-py", "participant_identity": "join",
        "participant_attributes": {"role": "guest"}, "room_config": {"metadata": "of the room"}});
    let (status, other) = lab.daemon.answer(&lab.kiosk, "/v1/livekit/token", &body).await;
    assert_eq!(status, 201, "{other}");
    let pairs = json!([
        [other["server_url"], other["participant_token"]],
        [answer["url"], answer["token"]],
    ])
    .to_string();
    let said = lab.run(&mut python(JOINS), &[("PAIRS", &pairs)]);
    let expected = json!({
        "room": "call-py", "metadata": "of the room", "local": ["join", "tokens"],
        "seen": ["join", "tokens"], "attributes": {"role": "guest"},
    });
    assert_eq!(said, expected);
    drop(lab.site);
}

const TOKEN_SOURCE: &str = r#"
import { pathToFileURL } from "node:url";
const file = `${process.env.MODULES}/livekit-client/dist/livekit-client.esm.mjs`;
const { TokenSource } = await import(pathToFileURL(file));
const { ENDPOINT, TOKEN, OPTIONS } = process.env;
const source = TokenSource.endpoint(ENDPOINT, { headers: { Authorization: `Bearer ${TOKEN}` } });
try {
    const { serverUrl, participantToken } = await source.fetch(JSON.parse(OPTIONS));
    const claims = JSON.parse(Buffer.from(participantToken.split(".")[1], "base64url"));
    console.log(JSON.stringify({ serverUrl, claims }));
} catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
}
"#;

/// Both join the room, and each sees the other.
const JOINS: &str = r#"
import asyncio, json, os
from livekit import rtc

async def main():
    rooms = []
    for url, token in json.loads(os.environ["PAIRS"]):
        room = rtc.Room()
        await asyncio.wait_for(room.connect(url, token), 20)
        rooms.append(room)
    first, last = rooms
    async def seen():
        while not (first.remote_participants and last.remote_participants):
            await asyncio.sleep(0.01)
    await asyncio.wait_for(seen(), 20)
    remote = {**first.remote_participants, **last.remote_participants}
    print(json.dumps({
        "room": last.name,
        "metadata": last.metadata,
        "local": [room.local_participant.identity for room in rooms],
        "seen": sorted(remote),
        "attributes": dict(remote["join"].attributes),
    }))
    for room in rooms:
        await room.disconnect()

asyncio.run(main())
"#;
