//! The background tasks: change feed, the row among the nodes, the rollout and its runs, what is said of keys, sweep,
//! refresh, pruning, self-check and warm-up. A task that panics is started again.
//!
//! **Invariant:** no task keeps a resolver alive that nobody holds any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Engine;
use super::key_rotation::turn_by_schedule;
use super::key_rule::follow_keys;
use super::live::Switches;
use super::rollout::{keep_up_now_and_then, lead_now_and_then};
use super::sealing::seal_now_and_then;
use super::self_check::check_now_and_then;
use super::warming::warm_up;
use crate::cache::{EntryId, SWEEP};
use crate::changes::{ChangeFeed, ChangeSource};
use crate::settings::Warm;

/// By which switches a task runs.
type When = fn(&Switches) -> bool;

impl Engine {
    /// Starts every background task.
    pub(super) fn start_tasks(self: &Arc<Self>) {
        let asked: When = |switches| switches.database;
        if let Some(feed) = &self.feed {
            #[cfg(feature = "postgres")]
            if asked(&self.live.watch().borrow()) {
                feed.begins();
            }
            self.be_listed(feed, asked);
            let feed = Arc::clone(feed);
            self.start("changes", asked, move |_| {
                let feed = Arc::clone(&feed);
                async move { match Box::pin(feed.run()).await {} }
            });
            self.start("self-check", asked, check_now_and_then);
            self.start("prune", asked, prune_now_and_then);
            self.start("rollout", |switches| switches.configs, keep_up_now_and_then);
            if self.registration.is_some() {
                self.start("seal audit", asked, seal_now_and_then);
                self.start("keys", asked, follow_keys);
                self.start("rollout run", |switches| switches.configs, lead_now_and_then);
                if self.tuning.key_rotation.is_some() {
                    self.start("turn keys", asked, turn_by_schedule);
                }
            }
        }
        if self.tuning.warm != Warm::None && self.loader.store.is_some() {
            self.start("warm-up", |switches| switches.configs, warm_up);
        }
        let (in_use, wanted) = mpsc::channel(REFRESHES_WAITING);
        let wanted = Arc::new(tokio::sync::Mutex::new(wanted));
        self.start("sweeper", |_| true, move |engine| sweep(engine, in_use.clone()));
        self.start("refresh", |_| true, move |engine| refresh(engine, Arc::clone(&wanted)));
    }

    /// Keeps its row among the nodes, and takes it away when the resolver stops or is dropped.
    fn be_listed(self: &Arc<Self>, feed: &ChangeFeed, when: When) {
        let Some(registration) = &self.registration else { return };
        let (applied, kept) = (feed.applied().clone(), Arc::clone(registration));
        self.start("nodes", when, move |engine| {
            let (applied, kept) = (applied.watch(), Arc::clone(&kept));
            async move {
                let facts = || engine.upgrade().map(|engine| engine.node_facts());
                kept.keep(applied, facts).await;
            }
        });
        #[cfg(feature = "relay")]
        if let Some((relay, database)) = feed.relay().zip(self.database.as_ref()) {
            let (relay, database) = (Arc::clone(relay), database.clone());
            self.start("nodes of others", when, move |_| {
                let (relay, database) = (Arc::clone(&relay), database.clone());
                async move { match crate::nodes::write_told(&relay, &database).await {} }
            });
        }
        let (stopping, live) = (self.lifecycle.stopping(), Arc::clone(&self.live));
        let registration = Arc::clone(registration);
        self.lifecycle.spawn("leave nodes", async move {
            stopping.cancelled().await;
            if live.asks_database() {
                registration.leave().await;
            }
        });
    }

    /// Runs a task while its switches are on, until the resolver stops.
    fn start<F>(
        self: &Arc<Self>,
        name: &'static str,
        when: When,
        task: impl Fn(Weak<Self>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (engine, switches) = (Arc::downgrade(self), self.live.watch());
        let (stopping, restarts) = (self.lifecycle.stopping(), self.telemetry.restarts.clone());
        let task = Arc::new(task);
        let supervised = move || {
            let (engine, mut switches) = (Weak::clone(&engine), switches.clone());
            let (stopping, task) = (stopping.clone(), Arc::clone(&task));
            async move {
                let while_on = async {
                    loop {
                        // With their sender gone, the switches stay as they are.
                        if switches.wait_for(when).await.is_err() && !when(&switches.borrow()) {
                            return;
                        }
                        tokio::select! {
                            () = task(Weak::clone(&engine)) => return,
                            Ok(_) = switches.wait_for(|switches| !when(switches)) => {}
                        }
                    }
                };
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = while_on => {}
                }
            }
        };
        self.lifecycle.supervise(name, move || restarts.increment(1), supervised);
    }
}

/// Wipes what is due, notes by which way changes are heard, and passes on what is in use.
async fn sweep(engine: Weak<Engine>, in_use: mpsc::Sender<EntryId>) {
    let mut wait = SWEEP;
    loop {
        sleep(wait).await;
        let Some(engine) = engine.upgrade() else { return };
        // To be woken is most of what an idle process costs.
        wait = if engine.cache.len() > 0 { SWEEP } else { SWEEP * 4 };
        for place in engine.cache.sweep(engine.clock.now()) {
            // With so many waiting, callers load the rest themselves.
            if in_use.try_send(place).is_err() {
                break;
            }
        }
        let source = engine.change_source();
        engine.record_metrics(source);
        if source != ChangeSource::Nothing {
            engine.health_state.has_heard.store(true, Ordering::Release);
        }
    }
}

async fn refresh(engine: Weak<Engine>, wanted: Arc<tokio::sync::Mutex<mpsc::Receiver<EntryId>>>) {
    let mut wanted = wanted.lock().await;
    futures_util::stream::poll_fn(|context| wanted.poll_recv(context))
        .for_each_concurrent(REFRESHES_AT_ONCE, |place| {
            let engine = engine.upgrade();
            async move {
                if let Some(engine) = engine {
                    engine.loader.refresh(place).await;
                }
            }
        })
        .await;
}

async fn prune_now_and_then(engine: Weak<Engine>) {
    loop {
        // Not all nodes at once, nor right at their start.
        let random = getrandom::u64().unwrap_or(0) % PRUNE_EVERY.as_secs();
        sleep(PRUNE_EVERY / 2 + Duration::from_secs(random)).await;
        let Some(engine) = engine.upgrade() else { return };
        let Some(feed) = &engine.feed else { return };
        if feed.leaves_upkeep_to_others() {
            continue;
        }
        #[cfg(feature = "server")]
        engine.forget_answers().await;
        #[cfg(feature = "server")]
        engine.prune_sessions().await;
        engine.prune_audit().await;
        let Some(keep) = engine.tuning.keep_changes else { continue };
        match feed.prune(keep).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "the change log was pruned"),
            Err(error) if error.may_not_write() => {
                tracing::debug!("the change log is not pruned from here");
            }
            Err(error) => tracing::warn!(%error, "the change log could not be pruned"),
        }
    }
}

impl Engine {
    /// Removes what of the audit is old enough, if it is sealed.
    async fn prune_audit(&self) {
        let (Some(database), Some(keep)) = (&self.database, self.tuning.keep_audit) else { return };
        let (audit, mut pruned) = (database.audit(), 0);
        loop {
            match audit.prune_audit(keep, PRUNED_AT_ONCE).await {
                Ok(0) => break,
                Ok(rows) => pruned += rows,
                Err(error) => {
                    tracing::debug!(%error, "the audit is not pruned from here");
                    break;
                }
            }
        }
        if pruned > 0 {
            tracing::info!(rows = pruned, "the audit was pruned");
        }
    }
}

#[cfg(feature = "server")]
impl Engine {
    /// Forgets what clients of the API were answered more than a day ago.
    async fn forget_answers(&self) {
        let Some(database) = &self.database else { return };
        match database.edits().forget_answers().await {
            Ok(rows) => tracing::debug!(rows, "old answers to clients were forgotten"),
            Err(error) => tracing::debug!(%error, "old answers to clients stay"),
        }
    }

    /// Removes sessions that have ended by themselves.
    async fn prune_sessions(&self) {
        let Some(database) = &self.database else { return };
        match database.people().prune_sessions().await {
            Ok(rows) => tracing::debug!(rows, "sessions that had ended were removed"),
            Err(error) => tracing::debug!(%error, "sessions that have ended stay"),
        }
    }
}

/// Rows of the audit in one transaction.
const PRUNED_AT_ONCE: usize = 5000;
const REFRESHES_WAITING: usize = 4096;
/// Callers come first: they have the other connections.
const REFRESHES_AT_ONCE: usize = 2;
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
