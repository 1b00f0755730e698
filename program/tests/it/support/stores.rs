//! Stores that stand before a real one: to count what it is asked, and to hold its answers back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use trunkline::store::{Config, Number, Route, Store, StoreError};
use trunkline::{Caller, ConfigId, E164, TenantId};

/// What becomes of a route that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It is handed over only when [`Gated::open`] lets one through.
    Held,
    /// It never comes.
    Hung,
    /// The connection is refused.
    Away,
    /// Among several numbers, one has a row that cannot be read.
    OneRow,
    Panics,
    /// A config by itself is handed over only when [`Gated::open`] lets one through.
    ConfigHeld,
    /// A config by itself never comes.
    ConfigHung,
}

/// A store whose cold path can be held, broken and counted.
pub struct Gated {
    inner: Arc<dyn Store>,
    fault: std::sync::Mutex<Fault>,
    gate: Semaphore,
    routes: AtomicUsize,
    read: AtomicUsize,
    others: AtomicUsize,
}

impl Gated {
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            fault: std::sync::Mutex::new(Fault::None),
            gate: Semaphore::new(0),
            routes: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            others: AtomicUsize::new(0),
        })
    }

    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Lets one held route through.
    pub fn open(&self) {
        self.gate.add_permits(1);
    }

    /// How many cold resolves have asked.
    pub fn routes(&self) -> usize {
        self.routes.load(Ordering::SeqCst)
    }

    /// How many of them have read their row, held back or not.
    pub fn read(&self) -> usize {
        self.read.load(Ordering::SeqCst)
    }

    /// How many statements of any kind were asked for.
    pub fn statements(&self) -> usize {
        self.routes() + self.others.load(Ordering::SeqCst)
    }

    /// What a statement of the cold path meets, before it is asked.
    async fn met(&self) -> Result<Fault, StoreError> {
        self.routes.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::Away => return Err(StoreError::Unreachable { why: "a test says so".into() }),
            Fault::Panics => panic!("a test says so"),
            Fault::Hung => std::future::pending::<()>().await,
            Fault::None | Fault::Held | Fault::OneRow | Fault::ConfigHeld | Fault::ConfigHung => {}
        }
        Ok(fault)
    }

    async fn hold(&self, fault: Fault) {
        if fault == Fault::Held {
            self.gate.acquire().await.unwrap().forget();
        }
    }

    fn other(&self) -> &dyn Store {
        self.others.fetch_add(1, Ordering::SeqCst);
        &*self.inner
    }

    fn other_unless_away(&self) -> Result<&dyn Store, StoreError> {
        let other = self.other();
        if *self.fault.lock().unwrap() == Fault::Away {
            return Err(StoreError::Unreachable { why: "a test says so".into() });
        }
        Ok(other)
    }
}

#[async_trait]
impl Store for Gated {
    async fn route(&self, caller: Caller) -> Result<Option<Route>, StoreError> {
        let fault = self.met().await?;
        let route = self.inner.route(caller).await;
        self.read.fetch_add(1, Ordering::SeqCst);
        self.hold(fault).await;
        route
    }

    async fn routes(&self, callers: &[Caller]) -> Result<Vec<Option<Route>>, StoreError> {
        let fault = self.met().await?;
        if fault == Fault::OneRow {
            return Err(StoreError::Row { statement: "routes" });
        }
        let routes = self.inner.routes(callers).await;
        self.read.fetch_add(callers.len(), Ordering::SeqCst);
        self.hold(fault).await;
        routes
    }

    async fn numbers_after(
        &self,
        after: Option<&Number>,
        most: usize,
    ) -> Result<Vec<Number>, StoreError> {
        let fault = *self.fault.lock().unwrap();
        let page = self.other_unless_away()?.numbers_after(after, most).await;
        self.hold(fault).await;
        page
    }

    async fn changed_lately(&self, most: usize) -> Result<Vec<Caller>, StoreError> {
        self.other_unless_away()?.changed_lately(most).await
    }

    async fn owners(&self, number: E164) -> Result<Vec<TenantId>, StoreError> {
        self.other_unless_away()?.owners(number).await
    }

    async fn config(&self, id: ConfigId) -> Result<Option<Config>, StoreError> {
        let fault = *self.fault.lock().unwrap();
        let store = self.other_unless_away()?;
        if fault == Fault::ConfigHung {
            std::future::pending::<()>().await;
        }
        let config = store.config(id).await;
        if fault == Fault::ConfigHeld {
            self.gate.acquire().await.unwrap().forget();
        }
        config
    }

    async fn configs(&self) -> Result<Vec<Config>, StoreError> {
        self.other().configs().await
    }
}
