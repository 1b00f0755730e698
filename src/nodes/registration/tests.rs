//! A node and a table that is none, by a paused clock.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::rollout::NodeCounts;
use crate::store::{ChangePlace, Node, NodeCensus};

/// A write as it was asked for.
#[derive(Debug, Clone, PartialEq)]
struct Write {
    id: Uuid,
    begins: bool,
    applied: Option<String>,
    at: Instant,
}

/// What becomes of writes.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Written,
    /// It is written, and nobody hears of that.
    Lost,
    /// It never gets there.
    Away,
    Refused,
}

/// The rows of a table, each with how often it was written.
struct Table {
    rows: Mutex<Vec<(Uuid, i64)>>,
    writes: Mutex<Vec<Write>>,
    fate: Mutex<Fate>,
    counts: AtomicUsize,
    began: Instant,
}

impl Table {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            rows: Mutex::default(),
            writes: Mutex::default(),
            fate: Mutex::new(Fate::Written),
            counts: AtomicUsize::new(0),
            began: Instant::now(),
        })
    }

    fn writes(&self) -> Vec<Write> {
        self.writes.lock().unwrap().clone()
    }

    fn set(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    fn ids(&self) -> Vec<Uuid> {
        self.rows.lock().unwrap().iter().map(|(id, _)| *id).collect()
    }

    fn asked(&self, id: Uuid, begins: bool, node: &NodeReport<'_>) -> Result<Fate, StoreError> {
        let applied = node.applied.map(ToOwned::to_owned);
        self.writes.lock().unwrap().push(Write { id, begins, applied, at: Instant::now() });
        match *self.fate.lock().unwrap() {
            Fate::Away => Err(StoreError::Timeout { after: Duration::ZERO }),
            Fate::Refused => {
                let code = "42501".to_owned();
                Err(StoreError::Refused { statement: "begin_node", code, words: None })
            }
            fate => Ok(fate),
        }
    }

    fn answer(&self, fate: Fate, refreshes: i64) -> Result<NodeWritten, StoreError> {
        if fate == Fate::Lost {
            return Err(StoreError::Timeout { after: Duration::ZERO });
        }
        Ok(NodeWritten { refreshes, clock: 3.0 + self.began.elapsed().as_secs_f64() })
    }
}

#[async_trait]
impl NodeRows for Table {
    async fn begin_node(&self, id: Uuid, node: &NodeReport<'_>) -> Result<NodeWritten, StoreError> {
        let fate = self.asked(id, true, node)?;
        self.rows.lock().unwrap().push((id, 1));
        self.answer(fate, 1)
    }

    async fn refresh_node(
        &self,
        id: Uuid,
        node: &NodeReport<'_>,
        (least, most): (i64, i64),
    ) -> Result<Option<NodeWritten>, StoreError> {
        let fate = self.asked(id, false, node)?;
        let mut rows = self.rows.lock().unwrap();
        let row = rows.iter_mut().find(|row| row.0 == id && (least..=most).contains(&row.1));
        let Some(row) = row else { return Ok(None) };
        row.1 += 1;
        self.answer(fate, row.1).map(Some)
    }

    async fn end_node(&self, id: Uuid) -> Result<(), StoreError> {
        self.rows.lock().unwrap().retain(|row| row.0 != id);
        Ok(())
    }

    async fn forget_nodes(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        Ok(Vec::new())
    }

    async fn node_counts(&self) -> Result<Vec<NodeCounts>, StoreError> {
        Ok(Vec::new())
    }

    async fn count_nodes(&self) -> Result<Option<NodeCensus>, StoreError> {
        self.counts.fetch_add(1, Ordering::SeqCst);
        Ok(None)
    }

    async fn find_change(&self, _: i64) -> Result<ChangePlace, StoreError> {
        Ok(ChangePlace::Logged)
    }

    async fn nodes_and_change(&self, _: i64) -> Result<Vec<(Node, bool)>, StoreError> {
        Ok(Vec::new())
    }
}

fn registration(table: &Arc<Table>) -> Registration {
    Registration {
        rows: Arc::clone(table) as _,
        identity: NodeIdentity {
            name: "eu-1".into(),
            host: "host".into(),
            program: "a test".into(),
            lease: Duration::from_secs(1),
            max_stale: Duration::from_secs(60),
        },
        counted: NodesCounted::new(),
        state: Mutex::default(),
        news: Notify::new(),
        #[cfg(feature = "relay")]
        relay: None,
    }
}

fn facts() -> NodeFacts {
    let settings = "0123456789abcdef".into();
    NodeFacts {
        keys: String::new(),
        settings,
        hearing: ChangeSource::Notify,
        cached: 1,
        counts: Counts::default(),
    }
}

/// Keeps a row while `then` goes on.
async fn while_kept(
    registration: &Registration,
    applied: &watch::Sender<Option<String>>,
    then: impl Future<Output = ()>,
) {
    tokio::select! {
        () = registration.keep(applied.subscribe(), || Some(facts())) => panic!("it has facts"),
        () = then => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_row_waits_a_moment_for_a_look_and_the_next_ones_come_with_all_others() {
    let (table, applied) = (Table::new(), watch::Sender::new(None));
    let registration = registration(&table);
    while_kept(&registration, &applied, sleep(Duration::from_secs(62))).await;
    let writes = table.writes();
    assert!(writes[0].begins && writes[0].at == table.began + FIRST_LOOK);
    // The clock of the database stood at 3 s.
    let mut full = 10.0;
    for write in &writes[1..] {
        let into = write.at.duration_since(table.began).as_secs_f64() + 3.0 - full;
        assert!(!write.begins && (0.0..0.26).contains(&into), "{into}");
        full += 10.0;
    }
    assert_eq!((writes.len(), table.counts.load(Ordering::SeqCst)), (7, 7));
    registration.leave().await;
    assert!(table.ids().is_empty());

    let table = Table::new();
    while_kept(&self::registration(&table), &applied, async {
        sleep(Duration::from_millis(30)).await;
        applied.send_replace(Some("7".into()));
        sleep(Duration::from_millis(1)).await;
    })
    .await;
    assert_eq!(table.writes()[0].applied.as_deref(), Some("7"));
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_of_together_within_half_a_second_and_looks_that_found_none_are_not() {
    let (table, applied) = (Table::new(), watch::Sender::new(None));
    let registration = registration(&table);
    while_kept(&registration, &applied, async {
        sleep(Duration::from_secs(2)).await;
        // A look without news.
        applied.send_if_modified(|position| {
            *position = Some("0".into());
            false
        });
        sleep(Duration::from_secs(1)).await;
        assert_eq!(table.writes().len(), 1);
        for change in 1..=100 {
            applied.send_replace(Some(change.to_string()));
        }
        sleep(Duration::from_millis(510)).await;
    })
    .await;
    let writes = table.writes();
    assert_eq!(writes.len(), 2);
    assert_eq!(writes[1].applied.as_deref(), Some("100"));
    assert_eq!(table.counts.load(Ordering::SeqCst), 1, "others are counted in the usual rhythm");
}

#[tokio::test(start_paused = true)]
async fn steady_changes_do_not_make_it_write_more_than_twice_a_second() {
    let (table, applied) = (Table::new(), watch::Sender::new(None));
    let registration = registration(&table);
    while_kept(&registration, &applied, async {
        for change in 0..500 {
            applied.send_replace(Some(change.to_string()));
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let writes = table.writes();
    // Five seconds, and one in the usual rhythm.
    assert!((9..=13).contains(&writes.len()), "{}", writes.len());
}

#[tokio::test(start_paused = true)]
async fn of_two_with_one_id_the_second_one_takes_another() {
    let (table, applied) = (Table::new(), watch::Sender::new(None));
    let (original, copy) = (registration(&table), registration(&table));
    while_kept(&original, &applied, sleep(Duration::from_secs(5))).await;
    // A machine that was copied while it ran.
    copy.state().row = original.state().row;
    for _ in 0..3 {
        while_kept(&original, &applied, sleep(Duration::from_secs(15))).await;
        while_kept(&copy, &applied, sleep(Duration::from_secs(15))).await;
    }
    let ids = table.ids();
    assert_eq!(ids.len(), 2, "each has one, and keeps it");
    let of = |registration: &Registration| registration.state().row.unwrap().id;
    assert_eq!((of(&original), of(&copy)), (ids[0], ids[1]));
}

#[tokio::test(start_paused = true)]
async fn a_write_of_unknown_outcome_costs_no_id() {
    for fate in [Fate::Lost, Fate::Away] {
        for first in [true, false] {
            let (table, applied) = (Table::new(), watch::Sender::new(None));
            let registration = registration(&table);
            if !first {
                while_kept(&registration, &applied, sleep(Duration::from_secs(1))).await;
            }
            table.set(fate);
            while_kept(&registration, &applied, sleep(Duration::from_secs(60))).await;
            table.set(Fate::Written);
            while_kept(&registration, &applied, sleep(Duration::from_secs(60))).await;
            assert_eq!(table.ids().len(), 1);
            assert_eq!(registration.unlisted(), None, "that is an outage");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_may_not_write_tries_again_every_minute_or_when_settings_are_read_anew() {
    let (table, applied) = (Table::new(), watch::Sender::new(None));
    let registration = registration(&table);
    table.set(Fate::Refused);
    while_kept(&registration, &applied, async {
        for change in 0..120 {
            applied.send_replace(Some(change.to_string()));
            sleep(Duration::from_secs(1)).await;
        }
        assert!((2..=3).contains(&table.writes().len()), "{:?}", table.writes());
        assert!(registration.unlisted().unwrap().contains("42501"));
        table.set(Fate::Written);
        registration.tell_news();
        sleep(Duration::from_secs(1)).await;
    })
    .await;
    assert_eq!((registration.unlisted(), table.ids().len()), (None, 1));
}
