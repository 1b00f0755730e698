//! Messages as they come, without a Redis and a database: what they prove, and what this node does.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;
use tokio::time::advance;
use uuid::Uuid;

use super::*;
use crate::cache::Cache;
use crate::change::Change;
use crate::changes::applied::Applied;
use crate::changes::apply::Applier;
use crate::changes::doorbell::Doorbell;
use crate::changes::metrics::ChangesCounted;
use crate::changes::relay::RelayCounted;
use crate::clock::{Clock, SystemClock};
use crate::settings::{Settings, Values};
use crate::store::PostgresStore;

const LEASE: Duration = Duration::from_secs(1);

/// A node, and the clock that it goes by.
struct Node {
    relay: Relay,
    log: Mutex<LogCursor>,
    doorbell: Doorbell,
    applier: Applier,
    clock: Arc<SystemClock>,
}

/// What a leader tells.
struct Leader {
    epoch: Epoch,
    number: u64,
}

impl Node {
    fn new() -> Self {
        let store = PostgresStore::new(PgConnectOptions::new_without_pgpass(), "public", 1, LEASE);
        let (store, clock) = (Arc::new(store), Arc::new(SystemClock::default()));
        let cache = Arc::new(Cache::new(1, LEASE, LEASE));
        cache.fence.end_lease();
        let log = LogCursor::new(Arc::clone(&store), LEASE).into();
        let doorbell = Doorbell::new(Arc::clone(&cache), LEASE);
        let applier =
            Applier { cache, counted: ChangesCounted::new(), applied: Applied::default() };
        let values = [("RELAY_URL".to_owned(), "redis://nowhere".to_owned())];
        let settings = Settings::read(&Values::of(values, None)).unwrap();
        let ring: crate::changes::Ring = Arc::new(|| None);
        let relay = Relay::new(
            settings.relay.unwrap(),
            store,
            ring,
            Arc::clone(&clock) as _,
            LEASE,
            RelayCounted::new(),
        );
        Self { relay, log, doorbell, applier, clock }
    }

    fn session(&self) -> Session<'_> {
        let Self { log, doorbell, applier, .. } = self;
        Session::new(&self.relay, OwnReading { log, doorbell, applier }, Vec::new())
    }

    /// This node has read so far itself.
    fn looks(&self, end: u64) {
        self.relay.looked.send_replace(Some(at(end)));
    }

    fn lease_is_live(&self) -> bool {
        self.applier.cache.fence.lease_is_live(self.clock.now())
    }
}

impl Leader {
    fn new(number: u64) -> Self {
        Self { epoch: Epoch { number, leader: 99 }, number: 0 }
    }

    /// The next message: between these two looks nothing but one config changed.
    fn tells(&mut self, before: u64, after: u64) -> Message {
        self.number += 1;
        Message {
            epoch: self.epoch,
            number: self.number,
            before: at(before),
            after: at(after),
            changes: vec![Change::Numbers],
            is_whole: true,
            ages: vec![Duration::ZERO],
            looked_at: Duration::ZERO,
            standbys: Vec::new(),
            census: None,
        }
    }
}

/// Where a look ended that saw all transactions before this one.
fn at(end: u64) -> Position {
    Position::parse(&format!("1/2\n{end}\n{end}:{end}:")).unwrap()
}

/// One message after the other, each by a read of its own.
async fn hears(session: &mut Session<'_>, messages: Vec<Message>) {
    for message in messages {
        session.evidence.whole(session.relay.clock.now());
        session.message(message).await;
    }
}

#[tokio::test]
async fn a_node_follows_once_two_messages_have_come_that_go_on_from_where_it_is() {
    let (node, mut leader) = (Node::new(), Leader::new(1));
    node.looks(10);
    let mut session = node.session();
    hears(&mut session, vec![leader.tells(9, 10)]).await;
    assert!(!node.lease_is_live() && node.relay.role() == RelayRole::Alone);
    hears(&mut session, vec![leader.tells(10, 12)]).await;
    assert!(node.lease_is_live() && node.relay.role() == RelayRole::Follower);
    let log = session.log.take().unwrap();
    assert_eq!(log.position(), Some(at(12)), "from there it reads the log again");
    drop(log);
    assert_eq!(node.applier.applied.watch().borrow().as_deref(), Some("12:12:"));
}

#[tokio::test]
async fn what_lies_before_a_message_and_is_not_applied_is_no_proof() {
    let (node, mut leader) = (Node::new(), Leader::new(1));
    node.looks(10);
    let mut session = node.session();
    hears(&mut session, vec![leader.tells(11, 12), leader.tells(12, 13), leader.tells(13, 14)])
        .await;
    assert!(!node.lease_is_live() && session.here == Some(at(10)));
    // It has read on, and so has all that lies before the next one.
    node.looks(15);
    hears(&mut session, vec![leader.tells(14, 15)]).await;
    assert!(node.lease_is_live());
}

#[tokio::test]
async fn a_message_that_ends_before_what_this_node_has_read_is_no_proof() {
    let (node, mut leader) = (Node::new(), Leader::new(1));
    node.looks(20);
    let mut session = node.session();
    hears(&mut session, vec![leader.tells(10, 11), leader.tells(11, 12), leader.tells(12, 13)])
        .await;
    assert!(
        !node.lease_is_live() && session.here == Some(at(20)),
        "as one that was put there again"
    );
    hears(&mut session, vec![leader.tells(13, 20)]).await;
    assert!(node.lease_is_live());
}

#[tokio::test]
async fn what_is_told_of_another_log_or_in_an_older_epoch_is_no_proof() {
    let (node, mut leader, mut late) = (Node::new(), Leader::new(2), Leader::new(1));
    node.looks(10);
    let mut session = node.session();
    hears(&mut session, vec![leader.tells(10, 10)]).await;
    hears(&mut session, vec![late.tells(10, 10), late.tells(10, 10), late.tells(10, 10)]).await;
    assert!(!node.lease_is_live());
    let of_another = |mut message: Message| {
        let elsewhere = |end| Position::parse(&format!("3/4\n{end}\n{end}:{end}:")).unwrap();
        (message.before, message.after) = (elsewhere(1), elsewhere(1));
        message
    };
    hears(&mut session, vec![of_another(leader.tells(0, 0)), of_another(leader.tells(0, 0))]).await;
    assert!(!node.lease_is_live());
    hears(&mut session, vec![leader.tells(10, 10)]).await;
    assert!(node.lease_is_live());
}

#[tokio::test]
async fn a_look_of_the_leader_that_did_not_reach_back_puts_everything_in_doubt() {
    let (node, mut leader) = (Node::new(), Leader::new(1));
    node.looks(10);
    let mut session = node.session();
    let before = node.applier.cache.fence.generation();
    hears(&mut session, vec![leader.tells(10, 10)]).await;
    let new_log = Position::parse("5/6\n1\n12:12:").unwrap();
    let gap = Message { after: new_log.clone(), is_whole: false, ..leader.tells(10, 10) };
    hears(&mut session, vec![gap]).await;
    assert!(node.lease_is_live() && session.here == Some(new_log));
    assert!(node.applier.cache.fence.generation() > before);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_chosen_stands_by_and_others_follow() {
    let (node, mut leader) = (Node::new(), Leader::new(1));
    node.looks(10);
    let mut session = node.session();
    hears(&mut session, vec![leader.tells(10, 10), leader.tells(10, 10)]).await;
    assert!(session.log.is_some() && session.patience > node.relay.interval() * 2);
    let followers_wait = session.patience;
    let chosen = Message { standbys: vec![Uuid::new_v4(), node.relay.id], ..leader.tells(10, 10) };
    hears(&mut session, vec![chosen]).await;
    assert_eq!((node.relay.role(), session.rank), (RelayRole::Standby, Some(1)));
    assert!(session.log.is_none() && session.patience < followers_wait, "it leads before others");
    hears(&mut session, vec![leader.tells(10, 10)]).await;
    assert_eq!(node.relay.role(), RelayRole::Follower);
}

#[tokio::test]
async fn another_leader_is_followed_without_a_look_of_ones_own() {
    let (node, mut first, mut second) = (Node::new(), Leader::new(1), Leader::new(2));
    node.looks(10);
    let mut session = node.session();
    hears(&mut session, vec![first.tells(10, 10), first.tells(10, 11)]).await;
    for (message, here) in [(second.tells(10, 11), 11), (second.tells(11, 13), 13)] {
        hears(&mut session, vec![message]).await;
        assert_eq!(node.relay.role(), RelayRole::Follower);
        assert_eq!(session.here, Some(at(here)));
    }
    // One that proves nothing for as long as a lease is not followed any more.
    node.applier.cache.fence.end_lease();
    let mut third = Leader::new(3);
    hears(&mut session, vec![third.tells(13, 13)]).await;
    assert_eq!(node.relay.role(), RelayRole::Alone);
}

#[tokio::test(start_paused = true)]
async fn a_gap_or_silence_has_a_follower_read_the_log_again() {
    for silent in [false, true] {
        let (node, mut leader) = (Node::new(), Leader::new(1));
        node.looks(10);
        let mut session = node.session();
        hears(&mut session, vec![leader.tells(10, 10), leader.tells(10, 10)]).await;
        assert!(session.log.is_some());
        if silent {
            advance(session.until_silence()).await;
            session.silence().await.unwrap();
        } else {
            hears(&mut session, vec![leader.tells(11, 12)]).await;
        }
        assert!(session.log.is_none() && node.relay.role() == RelayRole::Alone);
        assert!(node.relay.looked.borrow().is_none(), "it has to look first");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_read_the_log_does_not_lead() {
    let node = Node::new();
    let mut session = node.session();
    advance(session.until_silence()).await;
    session.silence().await.unwrap();
    assert!(!node.relay.leads_now() && !session.until_silence().is_zero());
    advance(GIVE_UP * 2).await;
    assert!(matches!(session.silence().await, Err(SessionEnded::Silent)));
}
