//! What the pool does with servers that refuse, and with connections that nobody uses.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::sqlite::SqliteRow;

use super::*;
use crate::store::statement::{Statement, Value};

/// A server that lets so many in, and then refuses with this code.
struct Fake;

struct FakeConnector {
    code: &'static str,
    lets_in: usize,
    attempts: AtomicUsize,
}

impl FakeConnector {
    fn open() -> Self {
        Self { code: "", lets_in: usize::MAX, attempts: AtomicUsize::new(0) }
    }
}

#[derive(Debug)]
struct Refusal(&'static str);

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.message())
    }
}

impl Error for Refusal {}

impl DatabaseError for Refusal {
    fn message(&self) -> &'static str {
        "password authentication failed"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.into())
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl Session for Fake {
    type Row = SqliteRow;
    type Connector = FakeConnector;

    async fn open(connector: &FakeConnector) -> Result<Self, sqlx::Error> {
        let is_let_in = connector.attempts.fetch_add(1, Ordering::SeqCst) < connector.lets_in;
        let refused = || sqlx::Error::Database(Box::new(Refusal(connector.code)));
        is_let_in.then_some(Self).ok_or_else(refused)
    }

    async fn fetch<T: Send + Unpin>(
        &mut self,
        _: &Statement,
        _: &[Value<'_>],
        _: impl FnMut(&SqliteRow) -> Result<T, sqlx::Error> + Send,
    ) -> Result<Vec<T>, sqlx::Error> {
        Ok(Vec::new())
    }

    async fn execute(&mut self, _: &Statement, _: &[Value<'_>]) -> Result<u64, sqlx::Error> {
        Ok(0)
    }

    async fn execute_all(&mut self, _: &[(Statement, Vec<Value<'_>>)]) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

/// What a second connection meets while the first one is in use, and how often it knocked.
async fn second(code: &'static str) -> (StoreError, usize) {
    let connector = FakeConnector { code, lets_in: 1, ..FakeConnector::open() };
    let pool = Pool::<Fake>::new(connector, 2, Duration::from_secs(2));
    let _in_use = pool.acquire("first", false, pool.until()).await.expect("it is let in");
    let refused = pool.acquire("second", false, pool.until()).await.err().expect("it is refused");
    (refused, pool.connector().attempts.load(Ordering::SeqCst) - 1)
}

/// A pool of connections that are let in each time, of which so many are in use at once.
async fn used(pool: &Pool<Fake>, many: usize, in_passing: bool) {
    let mut used = Vec::new();
    for _ in 0..many {
        let connection =
            pool.acquire("some", in_passing, pool.until()).await.expect("it is let in");
        used.push(connection);
    }
    for connection in used {
        connection.release(Ok(Ok(()))).expect("it is sound");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_no_statement_needs_are_closed_and_those_in_use_stay() {
    let pool = Pool::<Fake>::new(FakeConnector::open(), 4, Duration::from_secs(2));
    let opened = || pool.connector().attempts.load(Ordering::SeqCst);
    let minute = Duration::from_secs(60);
    let idle = || pool.shared.lock().len();
    used(&pool, 3, false).await;
    assert_eq!((opened(), idle()), (3, 3));
    for _ in 0..70 {
        sleep(Duration::from_secs(1)).await;
        used(&pool, 1, false).await;
        pool.close_idle(minute);
    }
    assert_eq!((opened(), idle()), (3, 1), "one of them was enough");
    sleep(minute).await;
    // What is only asked now and then keeps none, and opens none where there is one.
    used(&pool, 1, true).await;
    assert_eq!((opened(), idle()), (3, 1));
    pool.close_idle(minute);
    assert_eq!(idle(), 0);
    used(&pool, 1, true).await;
    used(&pool, 1, true).await;
    assert_eq!((opened(), idle()), (4, 1));
    sleep(minute / 10).await;
    pool.close_idle(minute);
    assert_eq!(idle(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_answered_at_once_with_its_reason() {
    for code in ["28P01", "28000", "3D000"] {
        let (refused, attempts) = second(code).await;
        let told = matches!(&refused, StoreError::Unreachable { why } if why.contains("password"));
        assert!(told, "{code}: {refused}");
        assert_eq!(attempts, 1, "{code}");
    }
    let (full, attempts) = second("53300").await;
    assert!(matches!(full, StoreError::Timeout { .. }), "{full}");
    assert!(attempts > 1, "a server that is full has room in a moment");
}
