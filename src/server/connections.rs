//! The open connections: how many there may be, how long each may take, and how all of them end.
//!
//! A client that is slow or idle costs one place, until its time is up or a new client needs the
//! place. The one that has waited longest goes first; one that is being answered stays.
//!
//! **Invariant:** a new client is always let in, so no number of idle clients keeps a probe out.

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Lifecycle;

/// What connections come from.
pub(super) trait Listener: Send + Sync + 'static {
    type Accepted: Send + 'static;
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and who is at its other end.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Accepted, Peer)>> + Send;

    /// What both sides say before the first request. It takes as long as its client likes.
    fn open(
        &self,
        accepted: Self::Accepted,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send + 'static;
}

/// Who is at the other end, which each of his requests carries as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// Somebody at this address.
    Network(IpAddr),
    /// A user of this machine, as the system says.
    User(u32),
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(out),
            Self::User(user) => write!(out, "user {user}"),
        }
    }
}

impl Listener for TcpListener {
    type Accepted = TcpStream;
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        let _ = stream.set_nodelay(true);
        Ok((stream, Peer::Network(address.ip())))
    }

    fn open(&self, stream: TcpStream) -> impl Future<Output = io::Result<TcpStream>> + 'static {
        ready(Ok(stream))
    }
}

impl Listener for UnixListener {
    type Accepted = UnixStream;
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        let user = stream.peer_cred().map_err(|_| io::ErrorKind::ConnectionAborted)?;
        let peer = Peer::User(user.uid());
        Ok((stream, peer))
    }

    fn open(&self, stream: UnixStream) -> impl Future<Output = io::Result<UnixStream>> + 'static {
        ready(Ok(stream))
    }
}

/// Every connection that is open.
pub(super) struct Connections {
    open: Mutex<Open>,
    /// How many there are at the most.
    most: usize,
}

#[derive(Default)]
struct Open {
    by_number: BTreeMap<u64, Arc<Connection>>,
    next: u64,
}

/// One of them, as far as its place is concerned.
struct Connection {
    stage: Mutex<(Stage, Instant)>,
    ended: CancellationToken,
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of a request has come, or the last one was answered.
    Idle,
    /// A connection is being opened, or a part of a request's head has come.
    Asking,
    /// The request is being answered.
    Answered,
}

impl Connections {
    /// None yet, and so many at the most.
    pub(super) fn at_most(most: usize) -> Self {
        Self { open: Mutex::default(), most }
    }

    /// Answers whoever connects, until `stop`, and then until those who are being answered have
    /// their answers, for `grace` at the most.
    pub(super) async fn serve(
        self: Arc<Self>,
        listener: impl Listener,
        router: Router,
        stop: CancellationToken,
        grace: Duration,
    ) {
        let tasks = Lifecycle::new();
        // Nobody is left to look after the connections once this is dropped.
        let _end = stop.clone().drop_guard();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = look.tick() => self.end_the_late(),
                accepted = listener.next() => match accepted {
                    Ok((accepted, peer)) => {
                        let (number, connection) = self.admit();
                        let opening = listener.open(accepted);
                        let (all, router, stop) = (Arc::clone(&self), router.clone(), stop.clone());
                        tasks.spawn("http", async move {
                            if let Some(stream) = connection.open(opening, &stop).await {
                                connection.run(stream, peer, router, stop).await;
                            }
                            all.open().by_number.remove(&number);
                        });
                    }
                    Err(error) if of_one_client(&error) => {}
                    // Out of files, most likely: one place here is one file.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be taken");
                        self.open().end_who_waited_longest();
                        sleep(BEFORE_RETRY).await;
                    }
                },
            }
        }
        drop(listener);
        tasks.stop(grace).await;
        self.open().by_number.values().for_each(|connection| connection.ended.cancel());
    }

    /// Makes room for one more.
    fn admit(&self) -> (u64, Arc<Connection>) {
        let mut open = self.open();
        if open.by_number.len() >= self.most {
            open.end_who_waited_longest();
        }
        let stage = Mutex::new((Stage::Idle, Instant::now()));
        let connection = Arc::new(Connection { stage, ended: CancellationToken::new() });
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, Arc::clone(&connection));
        (number, connection)
    }

    fn end_the_late(&self) {
        let now = Instant::now();
        for connection in self.open().by_number.values() {
            let (stage, since) = *connection.stage();
            let late = match stage {
                Stage::Idle => now > since + IDLE,
                Stage::Asking => now > since + HEAD,
                Stage::Answered => false,
            };
            if late {
                connection.ended.cancel();
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn end_who_waited_longest(&mut self) {
        let waiting = self.by_number.iter().filter_map(|(number, connection)| {
            let (stage, since) = *connection.stage();
            (stage != Stage::Answered).then_some((since, *number))
        });
        if let Some((_, number)) = waiting.min()
            && let Some(connection) = self.by_number.remove(&number)
        {
            connection.ended.cancel();
        }
    }
}

impl Connection {
    /// What there is to read from, unless its client says nothing that is understood, or too slowly.
    async fn open<S>(
        &self,
        opening: impl Future<Output = io::Result<S>>,
        stop: &CancellationToken,
    ) -> Option<S> {
        self.enter(Stage::Asking);
        let stream = tokio::select! {
            stream = opening => stream.ok(),
            () = stop.cancelled() => None,
            () = self.ended.cancelled() => None,
        };
        self.enter(Stage::Idle);
        stream
    }

    /// Answers one request after the other.
    async fn run(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin,
        peer: Peer,
        router: Router,
        stop: CancellationToken,
    ) {
        let (watched, answers) = (Arc::clone(&self), TowerToHyperService::new(router));
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            watched.enter(Stage::Answered);
            request.extensions_mut().insert(peer);
            let (watched, answer) = (Arc::clone(&watched), answers.call(request.map(Body::new)));
            async move {
                let answer = answer.await;
                watched.enter(Stage::Idle);
                answer
            }
        });
        let io = TokioIo::new(WatchedStream { stream, connection: Arc::clone(&self) });
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD_BYTES);
        let mut serving = std::pin::pin!(http.serve_connection(io, service));
        let stopping = async {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = serving.as_mut() => return,
                () = self.ended.cancelled() => return,
            }
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                // Who broke off or wrote nonsense has been told, or is gone.
                _ = serving.as_mut() => {}
                () = self.ended.cancelled() => {}
            }
        };
        stopping.await;
    }

    fn enter(&self, stage: Stage) {
        *self.stage() = (stage, Instant::now());
    }

    fn stage(&self) -> MutexGuard<'_, (Stage, Instant)> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that notes when the head of a request begins, and when an answer is taken.
struct WatchedStream<S> {
    stream: S,
    connection: Arc<Connection>,
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before && self.connection.stage().0 == Stage::Idle {
            self.connection.enter(Stage::Asking);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() && self.connection.stage().0 == Stage::Idle {
            self.connection.enter(Stage::Idle);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Whether the fault is one client's, who left while it was let in.
fn of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// How many of those who look after the daemon are connected at the most.
pub(super) const MOST: usize = 512;
/// How many bytes the head of a request may have.
pub(super) const HEAD_BYTES: usize = 16 << 10;
/// How long the head of a request may take.
pub(super) const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may lie idle: longer than scrapers wait between two scrapes.
pub(super) const IDLE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_secs(1);
const BEFORE_RETRY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn ended(all: &[(u64, Arc<Connection>)]) -> Vec<usize> {
        let ended = all.iter().enumerate().filter(|(_, (_, one))| one.ended.is_cancelled());
        ended.map(|(index, _)| index).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_a_request_and_an_idle_connection_have_their_times() {
        let connections = Connections::at_most(MOST);
        let all: Vec<_> = (0..3).map(|_| connections.admit()).collect();
        all[1].1.enter(Stage::Asking);
        all[2].1.enter(Stage::Answered);
        for (time, expected) in [
            (HEAD, vec![]),
            (Duration::from_millis(1), vec![1]),
            (IDLE, vec![0, 1]),
            (IDLE * 100, vec![0, 1]),
        ] {
            advance(time).await;
            connections.end_the_late();
            assert_eq!(ended(&all), expected, "after {time:?} more");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_takes_the_place_of_who_waited_longest_and_is_not_being_answered() {
        let connections = Connections::at_most(MOST);
        let mut all = Vec::new();
        for _ in 0..MOST {
            all.push(connections.admit());
            advance(Duration::from_millis(1)).await;
        }
        all[0].1.enter(Stage::Answered);
        all[1].1.enter(Stage::Idle);
        for expected in [vec![2], vec![2, 3]] {
            connections.admit();
            assert_eq!(ended(&all), expected);
            assert_eq!(connections.open().by_number.len(), MOST);
        }
    }
}
