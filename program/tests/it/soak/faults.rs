//! The faults of a soak, how each is made, and what may be expected under it.

use std::fmt;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::support::postgres::Cluster;
use crate::support::proxy::{Flows, Mode, Proxy};
use crate::support::redis::Redis;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// All sessions are terminated, again and again.
    Terminated,
    /// The connections that listen are reset, again and again.
    ListenerReset,
    /// All connections are reset, and new ones refused.
    Refused,
    /// What is open falls silent, again and again; new connections are good.
    BlackHoleOpen,
    /// Everything falls silent.
    BlackHoleAll,
    /// Every reply comes later.
    Slow,
    /// Notifications do not come.
    Deaf,
    /// Connections end in the middle of a message, again and again.
    Cut,
    /// The server stands still.
    Frozen,
    /// The server is killed, and started again.
    Killed,
    /// No more connections are let in.
    Full,
    /// The relay is killed, and started again, empty.
    RelayKilled,
    /// The relay stands still.
    RelayStopped,
    /// All connections to the relay are ended, again and again.
    RelayCut,
    /// All that the relay holds is thrown away, again and again.
    RelayEmptied,
}

impl Fault {
    pub const ALL: [Self; 12] = [
        Self::Nothing,
        Self::Terminated,
        Self::ListenerReset,
        Self::Refused,
        Self::BlackHoleOpen,
        Self::BlackHoleAll,
        Self::Slow,
        Self::Deaf,
        Self::Cut,
        Self::Frozen,
        Self::Killed,
        Self::Full,
    ];

    /// Those of a fleet that has a relay, besides all others.
    pub const OF_RELAYS: [Self; 4] =
        [Self::RelayKilled, Self::RelayStopped, Self::RelayCut, Self::RelayEmptied];

    /// The words of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Terminated => "backend terminated",
            Self::ListenerReset => "listener reset",
            Self::Refused => "reset and refused",
            Self::BlackHoleOpen => "black hole, open flows",
            Self::BlackHoleAll => "black hole, all",
            Self::Slow => "slow replies",
            Self::Deaf => "notifications lost",
            Self::Cut => "cut in a message",
            Self::Frozen => "server stopped",
            Self::Killed => "server killed",
            Self::Full => "connection limit",
            Self::RelayKilled => "relay killed",
            Self::RelayStopped => "relay stopped",
            Self::RelayCut => "relay's connections ended",
            Self::RelayEmptied => "relay emptied",
        }
    }

    /// Whether the database answers on some path.
    pub fn leaves_a_path(self) -> bool {
        !matches!(self, Self::Refused | Self::BlackHoleAll | Self::Frozen | Self::Killed)
    }
}

/// How things stand, as far as an answer is judged by it.
#[derive(Clone, Copy)]
pub struct Weather {
    pub fault: Fault,
    /// Since when it has been like this.
    since: Instant,
    /// Whether the fault is over, and only its consequences are left.
    healed: bool,
    /// Since when no change can have been heard of.
    cut_at: Option<Instant>,
}

impl Weather {
    pub fn new(fault: Fault) -> Self {
        Self { fault, since: Instant::now(), healed: false, cut_at: None }
    }

    /// The fault is complete.
    #[must_use]
    pub fn complete(self) -> Self {
        let cut_at = (!self.fault.leaves_a_path()).then(Instant::now);
        Self { cut_at, since: Instant::now(), ..self }
    }

    #[must_use]
    pub fn healed(self) -> Self {
        Self { healed: true, cut_at: None, since: Instant::now(), ..self }
    }

    /// Until when a change can have been heard of.
    pub fn could_hear_until(self) -> Instant {
        // What was on its way when the cut was made still arrives.
        self.cut_at.map_or_else(Instant::now, |cut_at| cut_at + ON_ITS_WAY)
    }

    /// Whether the database answers, and has been for so long that everybody knows.
    pub fn has_long_been_answering(self, now: Instant) -> bool {
        let answers = self.healed || self.fault.leaves_a_path();
        answers && now.saturating_duration_since(self.since) > RECOVERY
    }

    /// Whether a number that was answered before is answered, whatever has changed since.
    pub fn must_answer(self, now: Instant) -> bool {
        self.fault.leaves_a_path() || self.has_long_been_answering(now)
    }
}

impl fmt::Debug for Weather {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.healed { "healed" } else { "complete" };
        write!(out, "{state} for {:?}", self.since.elapsed())
    }
}

/// What faults are made of.
pub struct Harm {
    pub cluster: Cluster,
    pub proxy: Proxy,
    pub database: String,
    pub redis: Option<Redis>,
    crowd: Vec<PgConnection>,
}

impl Harm {
    pub fn new(cluster: Cluster, proxy: Proxy, database: String, redis: Option<Redis>) -> Self {
        Self { cluster, proxy, database, redis, crowd: Vec::new() }
    }

    fn redis(&mut self) -> &mut Redis {
        self.redis.as_mut().expect("this fault is one of fleets with a relay")
    }

    /// Makes a fault complete.
    pub fn begin(&mut self, fault: Fault, runtime: &Runtime) {
        match fault {
            Fault::Nothing => {}
            Fault::Refused => self.proxy.set(Flows::All, Mode::Reset),
            Fault::BlackHoleAll => self.proxy.set(Flows::All, Mode::BlackHole),
            Fault::Slow => self.proxy.set(Flows::All, Mode::Slow(DELAY)),
            Fault::Deaf => self.proxy.set(Flows::All, Mode::Deaf),
            Fault::Frozen => self.cluster.freeze(),
            Fault::Killed => self.cluster.kill(),
            Fault::Full => self.crowd = runtime.block_on(crowd(&self.cluster.url(&self.database))),
            Fault::RelayKilled => self.redis().kill(),
            Fault::RelayStopped => self.redis().signal("-STOP"),
            Fault::Terminated
            | Fault::ListenerReset
            | Fault::BlackHoleOpen
            | Fault::Cut
            | Fault::RelayCut
            | Fault::RelayEmptied => self.again(fault),
        }
    }

    /// What happens again and again while a fault lasts.
    pub fn again(&mut self, fault: Fault) {
        match fault {
            Fault::Terminated => {
                // Whatever comes through the proxy; writers come through a socket.
                let ours = format!("datname = '{}' and client_addr is not null", self.database);
                self.cluster.terminate_backends(&ours);
            }
            Fault::ListenerReset => self.proxy.set(Flows::Listening, Mode::Reset),
            Fault::BlackHoleOpen => self.proxy.set(Flows::Open, Mode::BlackHole),
            Fault::Cut => self.proxy.set(Flows::Open, Mode::Cut),
            Fault::RelayCut => drop(self.redis().cli(&["client", "kill", "type", "normal"])),
            Fault::RelayEmptied => drop(self.redis().cli(&["flushall"])),
            _ => {}
        }
    }

    /// Ends whatever was begun.
    pub fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Frozen => self.cluster.thaw(),
            Fault::Killed => self.cluster.restart(),
            Fault::RelayKilled => self.redis().begin_anew(),
            Fault::RelayStopped => self.redis().signal("-CONT"),
            _ => {}
        }
        self.crowd.clear();
        self.proxy.heal();
    }
}

/// Takes every connection that there is.
async fn crowd(url: &str) -> Vec<PgConnection> {
    let mut crowd = Vec::new();
    while let Ok(connection) = PgConnection::connect(url).await {
        crowd.push(connection);
    }
    crowd
}

/// How soon all is well again after the database is.
pub const RECOVERY: Duration = Duration::from_secs(2);
const ON_ITS_WAY: Duration = Duration::from_millis(50);
const DELAY: Duration = Duration::from_millis(100);
