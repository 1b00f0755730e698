//! A TCP proxy in front of Postgres that breaks things on purpose.
//!
//! It lives in a thread of its own, so that a test that blocks does not block it. It knows where a
//! message of the server begins and ends, and which connection listens for notifications; of what
//! it carries it knows nothing else.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// It is ended with an RST, both ways.
    Reset,
    /// No byte goes either way, and nobody is told: the sockets stay open.
    BlackHole,
    /// What the server says arrives this much later.
    Slow(Duration),
    /// Notifications are left out; all else passes.
    Deaf,
    /// Half of the server's next message passes, and then an RST.
    Cut,
}

/// Which connections are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flows {
    /// Those that are open.
    Open,
    /// Those of them that have sent LISTEN.
    Listening,
    /// Those that will be opened.
    New,
    /// Open ones and new ones.
    All,
}

/// A running proxy. It ends when it is dropped, and its connections with it.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    server: Mutex<SocketAddr>,
    newcomers: Mutex<Mode>,
    flows: Mutex<HashMap<u64, Flow>>,
    accepted: AtomicU64,
}

/// What can be done to a connection from outside.
struct Flow {
    mode: watch::Sender<Mode>,
    listens: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy in front of a server on this port of this machine.
    pub fn before(server_port: u16) -> Self {
        let shared = Arc::new(Shared {
            server: Mutex::new(local(server_port)),
            newcomers: Mutex::new(Mode::Pass),
            flows: Mutex::default(),
            accepted: AtomicU64::new(0),
        });
        let listener = std::net::TcpListener::bind(local(0)).expect("there is a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let (stop, stopping) = watch::channel(false);
        let serves = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(serve(listener, serves, stopping));
        });
        Self { port, shared, stop, thread: Some(thread) }
    }

    /// The URL of a database as seen through it.
    pub fn url(&self, database: &str) -> String {
        super::postgres::tcp_url(self.port, database)
    }

    /// Connections to come go to the server on this port.
    pub fn aim(&self, server_port: u16) {
        *lock(&self.shared.server) = local(server_port);
    }

    /// From now on this happens to these connections.
    pub fn set(&self, which: Flows, mode: Mode) {
        // Newcomers first: one that is accepted meanwhile is among the open ones by then.
        if matches!(which, Flows::New | Flows::All) {
            *lock(&self.shared.newcomers) = mode;
        }
        if which != Flows::New {
            let flows = lock(&self.shared.flows);
            let listening = |flow: &&Flow| flow.listens.load(Ordering::SeqCst);
            let meant = |flow: &&Flow| which != Flows::Listening || listening(flow);
            for flow in flows.values().filter(meant) {
                flow.mode.send_replace(mode);
            }
        }
    }

    /// Everything passes again. What was held back in a black hole arrives now.
    pub fn heal(&self) {
        self.set(Flows::All, Mode::Pass);
    }

    /// How many connections were ever accepted, refused ones included.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        lock(&self.shared.flows).len()
    }

    /// How many of them have sent LISTEN.
    pub fn listening(&self) -> usize {
        let flows = lock(&self.shared.flows);
        flows.values().filter(|flow| flow.listens.load(Ordering::SeqCst)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
) {
    listener.set_nonblocking(true).expect("a socket can be told so");
    let listener = TcpListener::from_std(listener).expect("a runtime is there");
    let mut flows = JoinSet::new();
    let mut id = 0;
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            Some(_) = flows.join_next() => {}
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                id += 1;
                let flow = Arc::clone(&shared).flow(id, client);
                flows.spawn(flow);
            }
        }
    }
}

impl Shared {
    /// Carries one connection to its end. Counted and steerable before anything is awaited.
    fn flow(self: Arc<Self>, id: u64, mut client: TcpStream) -> impl Future<Output = ()> {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        let newcomers = lock(&self.newcomers);
        let (mode, hears) = watch::channel(*newcomers);
        let listens = Arc::new(AtomicBool::new(false));
        lock(&self.flows).insert(id, Flow { mode, listens: Arc::clone(&listens) });
        drop(newcomers);
        async move {
            // An end in order is passed on as one, all else as a reset.
            if self.carry(&mut client, hears, &listens).await.is_err() {
                let _ = client.set_zero_linger();
            }
            lock(&self.flows).remove(&id);
        }
    }

    async fn carry(
        &self,
        client: &mut TcpStream,
        mut mode: watch::Receiver<Mode>,
        listens: &AtomicBool,
    ) -> io::Result<()> {
        passing(&mut mode).await?;
        let address = *lock(&self.server);
        let mut server = TcpStream::connect(address).await?;
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let ended = tokio::select! {
            ended = upwards(&mut from_client, &mut to_server, mode.clone(), listens) => ended,
            ended = downwards(&mut from_server, &mut to_client, mode.clone()) => ended,
            // Also while a write waits for somebody who does not read.
            _ = mode.wait_for(|mode| *mode == Mode::Reset) => Err(torn()),
        };
        if ended.is_err() {
            let _ = server.set_zero_linger();
        }
        ended
    }
}

/// What the client says.
async fn upwards(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
    listens: &AtomicBool,
) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    loop {
        passing(&mut mode).await?;
        let count = tokio::select! {
            _ = mode.changed() => continue,
            count = from.read(&mut piece) => count?,
        };
        let said = &piece[..count];
        if said.is_empty() {
            return Ok(());
        }
        if said.windows(LISTEN.len()).any(|part| part == LISTEN) {
            listens.store(true, Ordering::SeqCst);
        }
        passing(&mut mode).await?;
        to.write_all(said).await?;
    }
}

/// What the server says, message by message.
async fn downwards(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut held = Vec::new();
    loop {
        passing(&mut mode).await?;
        let count = tokio::select! {
            _ = mode.changed() => continue,
            count = from.read_buf(&mut held) => count?,
        };
        if count == 0 {
            return Ok(());
        }
        if let Mode::Slow(delay) = passing(&mut mode).await? {
            tokio::time::sleep(delay).await;
        }
        while let Some(length) = whole_message(&held) {
            let mode = passing(&mut mode).await?;
            let message: Vec<u8> = held.drain(..length).collect();
            if mode == Mode::Cut {
                to.write_all(&message[..length / 2]).await?;
                // An RST overtakes what the other side has not read yet.
                tokio::time::sleep(Duration::from_millis(5)).await;
                return Err(torn());
            }
            if mode != Mode::Deaf || message[0] != NOTIFICATION {
                to.write_all(&message).await?;
            }
        }
    }
}

/// Waits out a black hole.
async fn passing(mode: &mut watch::Receiver<Mode>) -> io::Result<Mode> {
    let mode = mode.wait_for(|mode| *mode != Mode::BlackHole).await.map(|mode| *mode);
    mode.ok().filter(|mode| *mode != Mode::Reset).ok_or_else(torn)
}

/// How long the first message is, once all of it is there: a tag, and a length that counts itself.
fn whole_message(held: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(held.get(1..5)?.try_into().ok()?);
    let length = 1 + usize::try_from(length).ok()?;
    (held.len() >= length).then_some(length)
}

fn torn() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LISTEN: &[u8] = b"LISTEN ";
/// The tag of a `NotificationResponse`.
const NOTIFICATION: u8 = b'A';
