//! Two streams of a Redis: what the leader tells, and what every node tells of itself.
//!
//! A connection is used until anything goes wrong with it, and never again. Nothing is repeated: the
//! client library does not connect anew by itself.
//!
//! **Invariant:** a connection is to a server that said it is a master. When it ceases to be one, it
//! closes its connections or unblocks their reads with an error, which ends this one.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, Value, cmd};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::message::SealedMessage;
use crate::settings::RelayUrl;

/// A connection to the streams of one database.
pub(super) struct Stream {
    connection: MultiplexedConnection,
    names: Names,
    /// How long an answer may take, besides the time that a read blocks.
    patience: Duration,
}

/// What the streams are called.
#[derive(Debug, Clone)]
pub(super) struct Names {
    changes: String,
    nodes: String,
}

/// A place in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id(String);

/// What is at a place. `None`: something that is no message.
pub(super) type Entry = (Id, Option<SealedMessage>);

/// What a read came back with.
pub(super) struct Reply {
    /// What the leader told.
    pub(super) changes: Vec<Entry>,
    /// Whether there was nothing after it.
    pub(super) is_whole: bool,
    /// What nodes told of themselves, if that was asked.
    pub(super) reports: Vec<Entry>,
}

/// Why the relay is of no use at present.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the relay does not answer: {}", told(.0))]
    Redis(#[from] RedisError),
    #[error("the relay did not answer within {after:?}")]
    Late { after: Duration },
    #[error("the relay is a {role}, and not a master")]
    NotMaster { role: String },
    #[error("no sentinel knows a master of that name")]
    NoMaster,
}

impl Names {
    /// Of that database; several may share a server.
    pub(super) fn of(about: &[u8]) -> Self {
        let digest = Sha256::digest(about);
        let database =
            digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let database = format!("{database:016x}");
        Self {
            changes: format!("trunkline:{database}:changes"),
            nodes: format!("trunkline:{database}:nodes"),
        }
    }
}

impl Id {
    /// Before everything in a stream.
    pub(super) fn beginning() -> Self {
        Self("0-0".into())
    }
}

impl Stream {
    /// Connects to the master.
    pub(super) async fn open(
        url: &RelayUrl,
        names: &Names,
        patience: Duration,
    ) -> Result<Self, StreamError> {
        let opening = async {
            let place = match url.sentinel_name() {
                None => url.hosts().first().cloned(),
                Some(name) => master(url, name).await,
            };
            let url = url.of(&place.ok_or(StreamError::NoMaster)?);
            let mut connection = connect(url.expose_secret()).await?;
            is_master(cmd("ROLE").query_async(&mut connection).await?)?;
            Ok::<_, StreamError>(connection)
        };
        // A handshake takes several round trips.
        let patience_to_open = patience * 8;
        let late = |_| StreamError::Late { after: patience_to_open };
        let connection = timeout(patience_to_open, opening).await.map_err(late)??;
        Ok(Self { connection, names: names.clone(), patience })
    }

    /// Puts a message behind all others.
    pub(super) async fn tell(&mut self, message: &SealedMessage) -> Result<(), StreamError> {
        let add = add(&self.names.changes, KEPT_CHANGES, message);
        self.ask::<String>(&add).await.map(drop)
    }

    /// Tells what this node is like.
    pub(super) async fn report(&mut self, message: &SealedMessage) -> Result<(), StreamError> {
        let add = add(&self.names.nodes, KEPT_REPORTS, message);
        self.ask::<String>(&add).await.map(drop)
    }

    /// The last message there is.
    pub(super) async fn last(&mut self) -> Result<Option<Entry>, StreamError> {
        self.last_of(self.names.changes.clone()).await
    }

    /// Behind the last report there is.
    pub(super) async fn end_of_reports(&mut self) -> Result<Id, StreamError> {
        let last = self.last_of(self.names.nodes.clone()).await?;
        Ok(last.map_or_else(Id::beginning, |(id, _)| id))
    }

    /// The messages after that place, and the reports after another one. Waits for any, for so long.
    pub(super) async fn read(
        &mut self,
        changes: &Id,
        reports: Option<&Id>,
        wait: Duration,
    ) -> Result<Reply, StreamError> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(AT_ONCE);
        // Zero would be for ever.
        read.arg("BLOCK").arg(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        read.arg("STREAMS").arg(&self.names.changes);
        if let Some(reports) = reports {
            read.arg(&self.names.nodes).arg(&changes.0).arg(&reports.0);
        } else {
            read.arg(&changes.0);
        }
        // A server that was made a replica may answer with what it had when it was one. It says so.
        let mut asked = redis::pipe();
        asked.add_command(read).cmd("ROLE");
        let (reply, role): (Option<StreamReadReply>, Vec<Value>) =
            self.within(wait, asked.query_async(&mut self.connection.clone())).await?;
        is_master(role)?;
        let (mut told, mut reported) = (Vec::new(), Vec::new());
        for key in reply.into_iter().flat_map(|reply| reply.keys) {
            let to = if key.key == self.names.changes { &mut told } else { &mut reported };
            to.extend(key.ids.into_iter().map(entry));
        }
        Ok(Reply { is_whole: told.len() < AT_ONCE, changes: told, reports: reported })
    }

    async fn last_of(&mut self, stream: String) -> Result<Option<Entry>, StreamError> {
        let mut last = cmd("XREVRANGE");
        last.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
        let reply: StreamRangeReply = self.ask(&last).await?;
        Ok(reply.ids.into_iter().next().map(entry))
    }

    async fn ask<T: FromRedisValue>(&mut self, cmd: &Cmd) -> Result<T, StreamError> {
        let mut connection = self.connection.clone();
        self.within(Duration::ZERO, cmd.query_async(&mut connection)).await
    }

    async fn within<T>(
        &self,
        wait: Duration,
        asking: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StreamError> {
        let after = wait + self.patience;
        Ok(timeout(after, asking).await.map_err(|_| StreamError::Late { after })??)
    }
}

/// Whether an answer to ROLE says that the server is a master.
fn is_master(role: Vec<Value>) -> Result<(), StreamError> {
    let role = role.into_iter().next().and_then(|role| String::from_redis_value(role).ok());
    match role.as_deref() {
        Some("master") => Ok(()),
        role => {
            Err(StreamError::NotMaster { role: role.unwrap_or("server without a role").into() })
        }
    }
}

/// Where the master is, by the first sentinel that knows it.
async fn master(url: &RelayUrl, name: &str) -> Option<String> {
    for place in url.hosts() {
        let asked = async {
            let mut connection = connect(&url.of_sentinel(place)).await?;
            let mut ask = cmd("SENTINEL");
            ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
            ask.query_async::<Option<(String, String)>>(&mut connection).await
        };
        match timeout(OF_SENTINEL, asked).await {
            Ok(Ok(Some((host, port)))) if host.contains(':') => {
                return Some(format!("[{host}]:{port}"));
            }
            Ok(Ok(Some((host, port)))) => return Some(format!("{host}:{port}")),
            Ok(Ok(None)) => tracing::debug!(place, "a sentinel knows no master of that name"),
            Ok(Err(error)) => {
                tracing::debug!(place, why = %told(&error), "a sentinel does not answer");
            }
            Err(_) => tracing::debug!(place, "a sentinel does not answer in time"),
        }
    }
    None
}

async fn connect(url: &str) -> Result<MultiplexedConnection, RedisError> {
    // What comes to an end by time is ended here, with the connection.
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

fn add(stream: &str, keep: usize, message: &SealedMessage) -> Cmd {
    let mut add = cmd("XADD");
    add.arg(stream).arg("MAXLEN").arg("~").arg(keep).arg("*");
    add.arg(KEY).arg(message.key.to_string()).arg(TEXT).arg(&message.text);
    add
}

/// An entry, read without trust: whoever may write to the stream can put anything there.
fn entry(StreamId { id, map, .. }: StreamId) -> Entry {
    let text = |name| map.get(name).cloned().and_then(|value| String::from_redis_value(value).ok());
    let key = text(KEY).and_then(|key| key.parse().ok());
    let message = key.zip(text(TEXT)).map(|(key, text)| SealedMessage { key, text });
    (Id(id), message)
}

/// What went wrong, without what was sent. What the network or TLS says holds nothing of it.
fn told(error: &RedisError) -> String {
    let kind = error.kind();
    match error.code() {
        Some(code) => format!("{code} ({kind:?})"),
        None if error.is_io_error() => error.to_string(),
        None => format!("{kind:?}"),
    }
}

const KEY: &str = "k";
const TEXT: &str = "m";
/// How many messages are kept: those of a few minutes, for nodes that come back.
const KEPT_CHANGES: usize = 1000;
/// Several for each node of a large fleet.
const KEPT_REPORTS: usize = 10_000;
/// How many messages a read asks for.
const AT_ONCE: usize = 64;
const OF_SENTINEL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::settings::{Settings, Values};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server that has nothing in its streams, and has these roles, one after the other.
    async fn server(roles: &[&str]) -> (RelayUrl, impl Future<Output = ()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let serves = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (from, mut to) = stream.split();
            let (mut from, mut roles) = (BufReader::new(from), roles.iter());
            while let Some(words) = command(&mut from).await {
                let answer = match words[0].as_str() {
                    "ROLE" => format!("*1\r\n+{}\r\n", roles.next().unwrap()),
                    "XREAD" => "*-1\r\n".to_owned(),
                    _ => "+OK\r\n".to_owned(),
                };
                to.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let settings = Settings::read(&Values::of([("RELAY_URL".to_owned(), url)], None)).unwrap();
        (settings.relay.unwrap(), serves)
    }

    async fn command(from: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<String>> {
        let mut line = String::new();
        from.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let mut words = Vec::new();
        for _ in 0..line.trim().strip_prefix('*')?.parse::<usize>().ok()? {
            let mut length = String::new();
            from.read_line(&mut length).await.ok()?;
            let mut word = vec![0; length.trim().strip_prefix('$')?.parse::<usize>().ok()? + 2];
            from.read_exact(&mut word).await.ok()?;
            words.push(String::from_utf8(word).ok()?.trim_end().to_owned());
        }
        Some(words)
    }

    #[tokio::test]
    async fn what_a_server_says_that_was_made_a_replica_is_not_taken() {
        let (url, serves) = server(&["master", "master", "slave"]).await;
        let asks = async {
            let mut stream = Stream::open(&url, &Names::of(b"here"), PATIENCE).await.unwrap();
            let read = stream.read(&Id::beginning(), None, Duration::ZERO).await.unwrap();
            assert!(read.is_whole && read.changes.is_empty());
            let refused = stream.read(&Id::beginning(), None, Duration::ZERO).await;
            assert!(matches!(refused, Err(StreamError::NotMaster { role }) if role == "slave"));
        };
        tokio::join!(asks, serves);
    }

    #[tokio::test]
    async fn a_replica_is_not_connected_to() {
        let (url, serves) = server(&["slave"]).await;
        let asks = async {
            let refused = Stream::open(&url, &Names::of(b"here"), PATIENCE).await;
            assert!(matches!(refused, Err(StreamError::NotMaster { .. })));
        };
        tokio::join!(asks, serves);
    }
}
