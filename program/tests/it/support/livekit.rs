//! A real LiveKit server with Redis beside it, started once for all tests and gone with their
//! process.

use std::path::PathBuf;
use std::process::Child;
use std::sync::OnceLock;

use serde_json::{Value, json};
use trunkline::dispatch::livekit::{LiveKit, Timeouts};
use trunkline::{KeyRing, Resolution, Resolver, Settings};

use super::postgres::{folder, free_port, keeper_as};
use super::{LIVEKIT_CONNECT, LIVEKIT_TIMEOUT};

/// A running server that takes the keys of [`KEYS`].
pub struct Server {
    pub port: u16,
    pub keys: [(&'static str, &'static str); 2],
    /// Ends both programs when its stdin closes, at the latest when the test process is gone.
    keeper: Option<Child>,
}

/// The API keys of the shared server, with their secrets.
const KEYS: [(&str, &str); 2] = [
    ("APIfirst", "first-canary-of-the-livekit-server-0123456789"),
    ("APIsecond", "second-canary-of-the-livekit-server-012345678"),
];
/// Those of the other one.
const OTHER_KEYS: [(&str, &str); 2] = [
    ("APIthird", "third-canary-of-the-livekit-server-0123456789"),
    ("APIfourth", "fourth-canary-of-the-livekit-server-012345678"),
];

impl Server {
    /// The server that tests share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(KEYS, true, ""))
    }

    /// Another one, with other keys and without Redis, and so without SIP.
    pub fn other() -> &'static Self {
        static OTHER: OnceLock<Server> = OnceLock::new();
        OTHER.get_or_init(|| Self::start(OTHER_KEYS, false, ""))
    }

    /// One of its own, which tells what happens at this URL, signed by its first key.
    pub fn with_webhook(url: &str) -> Self {
        let key = OTHER_KEYS[0].0;
        Self::start(OTHER_KEYS, true, &format!("webhook: {{api_key: {key}, urls: [\"{url}\"]}}"))
    }

    fn start(keys: [(&'static str, &'static str); 2], redis: bool, more: &str) -> Self {
        let program = std::env::var_os("TRUNKLINE_TEST_LIVEKIT").map(PathBuf::from);
        let program =
            program.expect("TRUNKLINE_TEST_LIVEKIT names no server; `scripts/test` builds one");
        let (folder, port, redis_port) = (folder("tl-lk"), free_port(), free_port());
        let [(key, secret), (second, second_secret)] = keys;
        let redis_lines = if redis {
            format!("redis: {{address: \"127.0.0.1:{redis_port}\"}}")
        } else {
            String::new()
        };
        let script = SCRIPT
            .replace("@program", program.to_str().expect("a path of ASCII"))
            .replace("@redis_lines", &redis_lines)
            .replace("@redis", &redis_port.to_string())
            .replace("@more", more)
            .replace("@keys", &format!("{key}: {secret}, {second}: {second_secret}"))
            .replace("@folder", folder.to_str().expect("a path of ASCII"))
            .replace("@port", &port.to_string())
            .replace("@tcp", &free_port().to_string())
            .replace("@udp", &free_port().to_string());
        Self { port, keys, keeper: Some(keeper_as(None, &script, &folder)) }
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Looks at the server from outside, with its first key.
    pub fn look(&self) -> Look {
        let (key, secret) = self.keys[0];
        Look { livekit: client(), with: environment(&self.url(), key, secret) }
    }
}

/// A client and good credentials.
pub struct Look {
    pub livekit: LiveKit,
    pub with: Resolution,
}

impl Look {
    /// What the agents that were sent into a room were told. Servers send one without a name into
    /// every room, and tell it nothing.
    pub async fn told(&self, room: &str) -> Vec<Value> {
        let mut sent = self.livekit.dispatches(&self.with, room).await.unwrap();
        sent.retain(|sent| !sent.agent_name.is_empty());
        sent.iter().map(|sent| serde_json::from_str(&sent.metadata).unwrap()).collect()
    }

    /// Whether there is a room of that name.
    pub async fn has(&self, room: &str) -> bool {
        !self.livekit.rooms(&self.with, &[room]).await.unwrap().is_empty()
    }
}

/// A pool with the timeouts of tests.
pub fn client() -> LiveKit {
    LiveKit::new(Timeouts { connect: LIVEKIT_CONNECT, answer: LIVEKIT_TIMEOUT })
}

/// Credentials that the environment gives.
pub fn environment(url: &str, key: &str, secret: &str) -> Resolution {
    let pairs = [("LIVEKIT_URL", url), ("LIVEKIT_API_KEY", key), ("LIVEKIT_API_SECRET", secret)];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::read(&trunkline::settings::Values::of(pairs, None)).unwrap();
    Resolver::builder(settings).start().resolve_environment().unwrap()
}

/// A config of a server.
pub fn config_on(
    ring: &KeyRing,
    url: &str,
    (key, secret): (&str, &str),
    name: &str,
) -> trunkline::store::NewConfig {
    trunkline::store::NewConfig {
        url: url.parse().unwrap(),
        api_key: key.into(),
        api_secret: ring.seal(secret, super::NOW).unwrap(),
        agent: Some(format!("agent-of-{name}")),
        ..super::config(ring, name)
    }
}

/// Makes a trunk on a server by its API and returns its id.
pub async fn make_trunk(server: &Server, numbers: &[&str]) -> String {
    let look = server.look();
    let rights = trunkline::SipGrant::admin();
    let token = look.with.token(&rights.into()).unwrap();
    let trunk = json!({"trunk": {"name": "t", "address": "127.0.0.1:9", "numbers": numbers,
        "auth_username": "u", "auth_password": "canary-of-the-trunk"}});
    let answer = super::http::post(
        server.port,
        "/twirp/livekit.SIP/CreateSIPOutboundTrunk",
        &[
            ("authorization", &format!("Bearer {}", token.as_str())),
            ("content-type", "application/json"),
        ],
        &trunk.to_string(),
    )
    .await;
    let made: Value = serde_json::from_str(&answer.body).unwrap();
    made["sip_trunk_id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

const SCRIPT: &str = r#"
cd @folder
redis-server --port @redis --bind 127.0.0.1 --save '' --appendonly no >redis.log 2>&1 &
redis=$!
for _ in $(seq 200); do
    redis-cli -p @redis ping 2>/dev/null | grep -q PONG && break
    sleep 0.05
done
cat >config.yaml <<'end'
port: @port
bind_addresses: ["127.0.0.1"]
rtc: {tcp_port: @tcp, udp_port: @udp, use_external_ip: false, node_ip: 127.0.0.1}
keys: {@keys}
logging: {level: warn}
@redis_lines
@more
end
@program --config config.yaml >log 2>&1 &
server=$!
for _ in $(seq 400); do
    [ "$(curl -s http://127.0.0.1:@port/ 2>/dev/null)" = OK ] && echo ready && break
    sleep 0.05
done
while read -r word; do :; done
kill -9 $server $redis
cd / && rm -rf @folder
"#;
