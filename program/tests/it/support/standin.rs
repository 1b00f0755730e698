//! A stand-in for a LiveKit server with a SIP service and a carrier behind it, which cannot be
//! installed here. It answers as the real ones were recorded to; `on_livekit/alike.rs` holds it
//! against the real server wherever that can answer.

mod carrier;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use livekit_token::{Claims, TokenVerifier};
use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

pub use self::carrier::FarEnd;
use super::http::Message;

/// A running stand-in.
pub struct StandIn {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    keys: Vec<(String, String)>,
    rooms: Mutex<BTreeMap<String, Room>>,
    trunks: Mutex<BTreeMap<String, Vec<String>>>,
    far_ends: Mutex<HashMap<String, FarEnd>>,
    dialled: Mutex<Vec<(Value, Instant)>>,
    requests: Mutex<Vec<Message>>,
    /// Whether workers take the jobs of agents.
    workers: AtomicBool,
    sip_service: AtomicBool,
    /// How many phones ring at present, and the most that ever did.
    ringing: Mutex<(usize, usize)>,
}

#[derive(Default)]
struct Room {
    metadata: String,
    dispatches: Vec<Value>,
    /// The phones in it.
    phones: Vec<Value>,
}

impl StandIn {
    /// A stand-in that takes these keys.
    #[expect(clippy::disallowed_methods, reason = "a server of a test")]
    pub async fn start(keys: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            keys: keys.iter().map(|&(key, secret)| (key.into(), secret.into())).collect(),
            rooms: Mutex::default(),
            trunks: Mutex::default(),
            far_ends: Mutex::default(),
            dialled: Mutex::default(),
            requests: Mutex::default(),
            workers: AtomicBool::new(true),
            sip_service: AtomicBool::new(true),
            ringing: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Adds a trunk that carries these numbers.
    pub fn trunk(&self, id: &str, numbers: &[&str]) {
        let numbers = numbers.iter().map(|&number| number.to_owned()).collect();
        self.state.trunks.lock().unwrap().insert(id.to_owned(), numbers);
    }

    /// Puts something at the end of the line of a number.
    pub fn at(&self, number: &str, far_end: FarEnd) {
        self.state.far_ends.lock().unwrap().insert(number.to_owned(), far_end);
    }

    /// Whether there are workers that take the jobs of agents.
    pub fn workers(&self, there: bool) {
        self.state.workers.store(there, Ordering::Relaxed);
    }

    /// Whether a SIP service runs.
    pub fn sip_service(&self, there: bool) {
        self.state.sip_service.store(there, Ordering::Relaxed);
    }

    /// Closes a room from outside.
    pub fn close(&self, room: &str) {
        self.state.rooms.lock().unwrap().remove(room);
    }

    /// How many phones ring at present.
    pub fn ringing(&self) -> usize {
        self.state.ringing.lock().unwrap().0
    }

    /// What was dialled, in its order.
    pub fn dialled(&self) -> Vec<Value> {
        self.state.dialled.lock().unwrap().iter().map(|(dial, _)| dial.clone()).collect()
    }

    /// When that was.
    pub fn dialled_at(&self) -> Vec<Instant> {
        self.state.dialled.lock().unwrap().iter().map(|(_, at)| *at).collect()
    }

    /// How many phones rang at once at the most.
    pub fn most_at_once(&self) -> usize {
        self.state.ringing.lock().unwrap().1
    }

    /// The names of the rooms that are open.
    pub fn rooms(&self) -> Vec<String> {
        self.state.rooms.lock().unwrap().keys().cloned().collect()
    }

    /// What the agents with a name in a room were told.
    pub fn told(&self, room: &str) -> Vec<Value> {
        let rooms = self.state.rooms.lock().unwrap();
        let sent = rooms.get(room).map(|room| room.dispatches.as_slice()).unwrap_or_default();
        let named = sent.iter().filter(|sent| sent["agent_name"] != "");
        named
            .map(|sent| serde_json::from_str(sent["metadata"].as_str().unwrap()).unwrap())
            .collect()
    }

    /// The requests, in their order.
    pub fn requests(&self) -> Vec<Message> {
        self.state.requests.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let mut client = BufReader::new(stream);
    while let Some(request) = Message::read(&mut client).await {
        state.requests.lock().unwrap().push(request.clone());
        let Some(answer) = state.answer(&request).await else { return };
        if answer.write(&mut client).await.is_err() {
            return;
        }
    }
}

impl State {
    /// `None`: the connection breaks.
    async fn answer(&self, request: &Message) -> Option<Message> {
        let claims = match self.authorize(request) {
            Ok(claims) => claims,
            Err(refusal) => return Some(refusal),
        };
        let path = request.word();
        let Some(method) = path.strip_prefix("/twirp/livekit.") else {
            return Some(Message::response("404 Not Found", TEXT, "404 page not found\n"));
        };
        let invalid_route = |words: String| {
            let route = format!("POST {path}");
            let meta = json!({"twirp_invalid_route": route});
            Some(twirp_with("404 Not Found", "bad_route", &words, Some(&meta)))
        };
        if request.header("content-type") != Some("application/json") {
            let kind = request.header("content-type").unwrap_or_default();
            return invalid_route(format!("unexpected Content-Type: {kind:?}"));
        }
        let Ok(body) = serde_json::from_str::<Value>(&request.body) else {
            let words = "the json request could not be decoded";
            return Some(twirp("400 Bad Request", "malformed", words));
        };
        let granted = claims.is_some_and(|claims| may(&claims, method, &body));
        let known = METHODS.contains(&method);
        if !known {
            return invalid_route(format!("no handler for path {path:?}"));
        }
        if !granted {
            return Some(twirp("401 Unauthorized", "unauthenticated", "permissions denied"));
        }
        let within = request.header("x-twirp-timeout-ms").map(|text| text.parse().unwrap());
        let within = Duration::from_millis(within.unwrap_or(80_000));
        let done = tokio::time::timeout(within, self.done(method, &body)).await;
        done.unwrap_or_else(|_| {
            if !self.has_service_for(&body) {
                return Some(no_service());
            }
            let words = "twirp error unknown: request timed out";
            Some(twirp("408 Request Timeout", "deadline_exceeded", words))
        })
    }

    fn authorize(&self, request: &Message) -> Result<Option<Claims>, Message> {
        let refuse = |words: String| Message::response("401 Unauthorized", TEXT, words);
        let Some(header) = request.header("authorization") else { return Ok(None) };
        let Some(token) = header.strip_prefix("Bearer ") else {
            return Err(refuse("invalid authorization header. Must start with Bearer ".into()));
        };
        let Ok(unverified) = Claims::from_unverified(token) else {
            return Err(refuse("invalid authorization token".into()));
        };
        let key = unverified.iss.as_str();
        let Some((_, secret)) = self.keys.iter().find(|(there, _)| there == key) else {
            return Err(refuse(format!("invalid API key: {key}")));
        };
        if let Ok(claims) = TokenVerifier::with_api_key(key, secret).verify(token) {
            return Ok(Some(claims));
        }
        let now = usize::try_from(now()).unwrap();
        let why = if unverified.exp + 60 < now {
            "token has invalid claims: token is expired"
        } else if unverified.nbf > now + 60 {
            "token has invalid claims: token is not valid yet"
        } else {
            "token signature is invalid: signature is invalid"
        };
        Err(refuse(format!("invalid token: {token}, error: {why}")))
    }

    async fn done(&self, method: &str, body: &Value) -> Option<Message> {
        let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
        let missing = || {
            twirp(
                "404 Not Found",
                "not_found",
                "twirp error unknown: requested room does not exist",
            )
        };
        Some(match method {
            "RoomService/CreateRoom" => {
                let mut rooms = self.rooms.lock().unwrap();
                let name = text("name");
                let room = rooms.entry(name.clone()).or_insert_with(|| Room {
                    metadata: text("metadata"),
                    dispatches: vec![dispatch(&name, "", "", false)],
                    phones: Vec::new(),
                });
                ok(&room_json(&name, room))
            }
            "RoomService/ListRooms" => {
                let rooms = self.rooms.lock().unwrap();
                let wanted = body["names"].as_array();
                let wanted =
                    |name: &String| wanted.is_none_or(|names| names.contains(&json!(name)));
                let found = rooms.iter().filter(|(name, _)| wanted(name));
                ok(
                    &json!({"rooms": found.map(|(name, room)| room_json(name, room)).collect::<Vec<_>>()}),
                )
            }
            "RoomService/DeleteRoom" => {
                let removed = self.rooms.lock().unwrap().remove(&text("room"));
                removed.map_or_else(missing, |_| ok(&json!({})))
            }
            "RoomService/ListParticipants" => {
                let rooms = self.rooms.lock().unwrap();
                let phones = rooms.get(&text("room")).map(|room| room.phones.clone());
                ok(&json!({"participants": phones.unwrap_or_default()}))
            }
            "AgentDispatchService/CreateDispatch" => {
                let taken = self.workers.load(Ordering::Relaxed);
                let sent = dispatch(&text("room"), &text("agent_name"), &text("metadata"), taken);
                let mut rooms = self.rooms.lock().unwrap();
                rooms.entry(text("room")).or_default().dispatches.push(sent.clone());
                ok(&sent)
            }
            "AgentDispatchService/ListDispatch" => {
                let found = self
                    .rooms
                    .lock()
                    .unwrap()
                    .get(&text("room"))
                    .map(|room| room.dispatches.clone());
                match found {
                    Some(dispatches) => ok(&json!({"agent_dispatches": dispatches})),
                    None => {
                        tokio::time::sleep(Duration::from_secs(3)).await;
                        no_service()
                    }
                }
            }
            "SIP/ListSIPOutboundTrunk" => {
                let trunks = self.trunks.lock().unwrap();
                let wanted = body["trunk_ids"].as_array().cloned().unwrap_or_default();
                let found = trunks.iter().filter(|(id, _)| wanted.contains(&json!(id)));
                ok(
                    &json!({"items": found.map(|(id, numbers)| trunk_json(id, numbers)).collect::<Vec<_>>()}),
                )
            }
            "SIP/CreateSIPOutboundTrunk" => {
                let numbers = body["trunk"]["numbers"].as_array().cloned().unwrap_or_default();
                let numbers: Vec<_> =
                    numbers.iter().map(|number| number.as_str().unwrap().to_owned()).collect();
                let id = format!("ST_{}", chance());
                let made = trunk_json(&id, &numbers);
                self.trunks.lock().unwrap().insert(id, numbers);
                ok(&made)
            }
            _ => return self.dial(body).await,
        })
    }
}

/// Whether a token grants a method.
fn may(claims: &Claims, method: &str, body: &Value) -> bool {
    let (video, sip) = (&claims.video, &claims.sip);
    match method {
        "RoomService/CreateRoom" | "RoomService/DeleteRoom" => video.room_create,
        "RoomService/ListRooms" => video.room_list,
        "SIP/CreateSIPParticipant" => sip.call,
        "SIP/ListSIPOutboundTrunk" | "SIP/CreateSIPOutboundTrunk" => sip.admin,
        _ => video.room_admin && body["room"].as_str() == Some(&video.room),
    }
}

fn room_json(name: &str, room: &Room) -> Value {
    json!({"sid": format!("RM_{}", chance()), "name": name, "empty_timeout": 300,
        "departure_timeout": 20, "max_participants": 0, "creation_time": "1795518159",
        "creation_time_ms": "1795518159723", "turn_password": "canary-of-the-turn-server",
        "enabled_codecs": [], "metadata": room.metadata, "num_participants": room.phones.len(), "num_publishers": 0,
        "active_recording": false, "version": null})
}

fn dispatch(room: &str, agent: &str, metadata: &str, taken: bool) -> Value {
    let id = format!("AD_{}", chance());
    let job = json!({"id": format!("AJ_{}", chance()), "dispatch_id": id, "agent_name": agent,
        "state": {"status": "JS_RUNNING", "error": "", "started_at": "1795518159732629973"}});
    let jobs = if taken { vec![job] } else { Vec::new() };
    json!({"id": id, "agent_name": agent, "room": room, "metadata": metadata,
        "state": {"jobs": jobs, "created_at": "1795518159732629973", "deleted_at": "0"},
        "restart_policy": "JRP_ON_FAILURE", "deployment": "", "attributes": {}})
}

fn trunk_json(id: &str, numbers: &[String]) -> Value {
    json!({"sip_trunk_id": id, "name": "t", "metadata": "", "address": "127.0.0.1:9",
        "destination_country": "", "transport": "SIP_TRANSPORT_AUTO", "numbers": numbers,
        "auth_username": "u", "auth_password": "canary-of-the-trunk", "headers": {},
        "headers_to_attributes": {}, "attributes_to_headers": {}, "include_headers": "SIP_NO_HEADERS",
        "media_encryption": "SIP_MEDIA_ENCRYPT_DISABLE", "media": null, "from_host": "",
        "created_at": null, "updated_at": null})
}

fn ok(body: &Value) -> Message {
    Message::response("200 OK", JSON, body.to_string())
}

fn twirp(status: &str, code: &str, words: &str) -> Message {
    twirp_with(status, code, words, None)
}

/// Nobody took what the server passed on.
fn no_service() -> Message {
    let words = "twirp error unknown: no response from servers";
    twirp("503 Service Unavailable", "unavailable", words)
}

/// An error, its members in the order in which servers write them.
fn twirp_with(status: &str, code: &str, words: &str, meta: Option<&Value>) -> Message {
    let meta = meta.map(|meta| format!(",\"meta\":{meta}")).unwrap_or_default();
    let body = format!("{{\"code\":{},\"msg\":{}{meta}}}", json!(code), json!(words));
    Message::response(status, JSON, body)
}

fn chance() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

#[expect(clippy::disallowed_methods, reason = "tokens are judged by the real time")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const METHODS: [&str; 9] = [
    "RoomService/CreateRoom",
    "RoomService/ListRooms",
    "RoomService/DeleteRoom",
    "RoomService/ListParticipants",
    "AgentDispatchService/CreateDispatch",
    "AgentDispatchService/ListDispatch",
    "SIP/ListSIPOutboundTrunk",
    "SIP/CreateSIPOutboundTrunk",
    "SIP/CreateSIPParticipant",
];
