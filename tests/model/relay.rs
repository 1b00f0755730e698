//! What a stream of messages proves: whoever leads, looks late, or loses what was acknowledged, no moment
//! is proven before which something was committed that has not been applied.

use shuttle::thread::scope;

use crate::clock::Moment;
use crate::evidence::{Epoch, Evidence};
use crate::explore::{Verdict, holds, is_caught, models};
use crate::sync::{AtomicU64, Mutex, Ordering};

models! {
    fn no_moment_is_proven_whose_commits_are_not_applied() {
        holds(|| proves_too_much(How::AsItIs));
    }

    fn nor_with_two_leaders_at_once() {
        holds(|| proves_too_much(How::TwoLeaders));
    }

    fn nor_where_a_failover_loses_what_was_acknowledged() {
        holds(|| proves_too_much(How::Failover));
    }

    fn believing_the_message_whose_place_was_seen_empty_is_caught() {
        is_caught(|| proves_too_much(How::BelievingTheFirst));
    }

    fn taking_a_reply_for_whole_that_is_not_is_caught() {
        is_caught(|| proves_too_much(How::AnyReplyIsWhole));
    }

    fn looking_before_the_message_before_is_acknowledged_is_caught() {
        is_caught(|| proves_too_much(How::LookingEarly));
    }

    fn counting_from_when_a_reply_came_is_caught() {
        is_caught(|| proves_too_much(How::FromTheReply));
    }

    fn believing_a_server_that_is_still_a_replica_is_caught() {
        is_caught(|| proves_too_much(How::BelievingAReplica));
    }

    fn keeping_what_was_seen_before_a_failover_is_caught() {
        is_caught(|| proves_too_much(How::KeepingEvidence));
    }
}

/// In which way the relay is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    AsItIs,
    TwoLeaders,
    Failover,
    BelievingTheFirst,
    AnyReplyIsWhole,
    LookingEarly,
    FromTheReply,
    BelievingAReplica,
    KeepingEvidence,
}

/// A message: what had been committed when its look was asked.
#[derive(Clone, Copy)]
struct Told {
    epoch: Epoch,
    number: u64,
    committed: u64,
}

/// A database, whose commits are all the time there is, and the stream at two servers.
struct Relay {
    how: How,
    committed: AtomicU64,
    servers: [Mutex<Server>; 2],
}

#[derive(Default)]
struct Server {
    is_master: bool,
    stream: Vec<Told>,
}

impl Relay {
    fn new(how: How) -> Self {
        let first = Server { is_master: true, stream: Vec::new() };
        let servers = [Mutex::new(first), Mutex::default()];
        Self { how, committed: AtomicU64::new(0), servers }
    }

    fn now(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    /// Leads for a few looks, over a connection to that server.
    fn lead(&self, leader: u8, server: usize) {
        let epoch = Epoch { number: u64::from(leader), leader: u128::from(leader) };
        let mut early = self.now();
        for number in 1..=LOOKS {
            let committed = if self.how == How::LookingEarly { early } else { self.now() };
            early = self.now();
            let told = Told { epoch, number, committed };
            self.servers[server].lock().unwrap().stream.push(told);
        }
    }

    /// The second server takes over, without what was told last, while the first one goes on for those
    /// who are cut off with it.
    fn fail_over(&self) {
        let mut stream = self.servers[0].lock().unwrap().stream.clone();
        stream.pop();
        *self.servers[1].lock().unwrap() = Server { is_master: true, stream };
    }

    fn follow(&self, moves: bool) -> Verdict {
        let mut evidence = Evidence::default();
        let (mut read, mut applied, mut server) = (0, 0, 0);
        let mut newest = Epoch { number: 0, leader: 0 };
        for at in 0..READS {
            if moves && at == READS / 2 {
                server = 1;
                if self.how != How::KeepingEvidence {
                    evidence.lost();
                }
            }
            let sent_at = self.now();
            let asked = self.servers[server].lock().unwrap();
            if !asked.is_master && self.how != How::BelievingAReplica {
                evidence.lost();
                continue;
            }
            // What was lost is never read, and what was read stays applied.
            read = read.min(asked.stream.len());
            let reply: Vec<_> = asked.stream[read..].iter().take(AT_ONCE).copied().collect();
            drop(asked);
            read += reply.len();
            for told in &reply {
                if told.epoch < newest {
                    continue;
                }
                newest = told.epoch;
                if self.how == How::BelievingTheFirst {
                    // As if the one before had come after the same moment.
                    evidence.message(told.epoch, told.number - 1);
                }
                let proven = evidence.message(told.epoch, told.number);
                applied = told.committed.max(applied);
                if proven.is_some_and(|Moment(proven)| proven > applied) {
                    return Err("a moment is proven whose commits are not applied");
                }
            }
            let sent_at = if self.how == How::FromTheReply { self.now() } else { sent_at };
            if reply.len() < AT_ONCE || self.how == How::AnyReplyIsWhole {
                evidence.whole(Moment(sent_at));
            }
        }
        Ok(())
    }
}

fn proves_too_much(how: How) -> Verdict {
    let relay = Relay::new(how);
    let fails_over = matches!(how, How::Failover | How::KeepingEvidence | How::BelievingAReplica);
    scope(|threads| {
        threads.spawn(|| {
            for _ in 0..COMMITS {
                relay.committed.fetch_add(1, Ordering::SeqCst);
            }
        });
        threads.spawn(|| relay.lead(1, 0));
        if how == How::TwoLeaders {
            threads.spawn(|| relay.lead(2, 0));
        }
        if fails_over {
            threads.spawn(|| {
                relay.fail_over();
                relay.lead(2, 1);
            });
        }
        threads.spawn(|| relay.follow(fails_over)).join().expect("it does not panic")
    })
}

const COMMITS: usize = 4;
const LOOKS: u64 = 4;
const READS: usize = 6;
/// How many messages a read asks for.
const AT_ONCE: usize = 2;
