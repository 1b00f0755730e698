//! Reads the counters of one resolver: a recorder that is the thread's own while it starts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use trunkline::{Resolver, ResolverBuilder};

/// The counters that were made while it was the recorder. Those of one name are summed.
#[derive(Default)]
pub struct Counters {
    by_name: Mutex<HashMap<String, Vec<Counted>>>,
}

type Counted = (Key, Arc<AtomicU64>);

impl Counters {
    /// Starts a resolver whose counters can be read.
    pub fn of(builder: ResolverBuilder) -> (Resolver, Self) {
        let counters = Self::default();
        let resolver = with_local_recorder(&counters, || builder.start());
        (resolver, counters)
    }

    /// How often the database was asked for an answer.
    pub fn loads(&self) -> u64 {
        self.of_labels(trunkline::telemetry::LOADS, &[])
    }

    /// The sum of the counters of a name that have these labels.
    pub fn of_labels(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let has = |key: &Key, (label, value): &(&str, &str)| {
            key.labels().any(|has| has.key() == *label && has.value() == *value)
        };
        let counters = by_name.get(name).expect("it is counted").iter();
        let wanted = counters.filter(|(key, _)| labels.iter().all(|label| has(key, label)));
        wanted.map(|(_, counter)| counter.load(Ordering::SeqCst)).sum()
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let counter = Arc::new(AtomicU64::new(0));
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.entry(key.name().to_owned()).or_default().push((key.clone(), Arc::clone(&counter)));
        Counter::from_arc(counter)
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
