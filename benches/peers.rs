//! A warm answer beside what else could give one: a flat table that nobody may write to, which is
//! the bound, and the maps and caches that people take.
//!
//! Run: `cargo bench --bench peers`. All take turns in one run; the ratios count. What the others do
//! not do stands in `docs/performance.md`: of them all, only ours judges at each hit whether a
//! change, a lost notification or a deadline has made the answer wrong, and counts it.

mod lab;

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use futures_util::FutureExt;
use trunkline::{Answer, Caller, ResolveError};

use self::lab::Lab;
use self::lab::order::Spread;
use self::lab::race::{self, Calls, ORDER, Race, Took, of};
use self::lab::report::{Asked, Report, is_trial};

fn main() {
    let mut report = Report::new("peers");
    let sizes: &[usize] = if is_trial() { &[1000] } else { &[1000, 100_000, 1_000_000] };
    for &numbers in sizes {
        let lab = Lab::on("wss://eu.example", ("APIeu", "a secret of a LiveKit server"), numbers);
        println!("{numbers} numbers");
        for spread in Spread::BOTH {
            typed(&lab, spread, &mut report);
        }
        if numbers < 1_000_000 {
            from_text(&lab, &mut report);
        }
        if numbers == 1000 {
            on_two_threads(&lab, &mut report);
        }
    }
    report.save();
}

/// What others keep in our stead: as large as an answer of ours.
struct Value {
    length: usize,
    _rest: [u64; 31],
}

impl Value {
    fn new() -> Self {
        Self { length: 5, _rest: [0; 31] }
    }
}

/// The bound: open addressing, the key in the slot, the value behind a pointer. One reader, no writer.
struct Flat {
    slots: Vec<Option<(Caller, Box<Value>)>>,
    hasher: RandomState,
}

impl Flat {
    fn new(callers: &[Caller]) -> Self {
        let slots = (0..(callers.len() * 2).next_power_of_two()).map(|_| None).collect();
        let mut table = Self { slots, hasher: RandomState::default() };
        for &caller in callers {
            let at = table.place(caller);
            table.slots[at] = Some((caller, Box::new(Value::new())));
        }
        table
    }

    #[inline]
    fn place(&self, caller: Caller) -> usize {
        let mask = self.slots.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let mut at = self.hasher.hash_one(caller) as usize & mask;
        while self.slots[at].as_ref().is_some_and(|(there, _)| *there != caller) {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline]
    fn get(&self, caller: Caller) -> usize {
        self.slots[self.place(caller)].as_ref().map_or(0, |(_, value)| value.length)
    }
}

fn key_length(answer: Result<&Answer, &ResolveError>) -> usize {
    answer.map_or(0, |answer| answer.api_key().len())
}

fn typed(lab: &Lab, spread: Spread, report: &mut Report) {
    let numbers = lab.callers.len();
    let calls = spread.order(&lab.callers, ORDER);
    let column = format!("{} {}", count(numbers), spread.name());
    let flat = Flat::new(&lab.callers);
    let new = || Arc::new(Value::new());
    let values: Vec<_> = lab.callers.iter().map(|_| new()).collect();
    let pairs = || lab.callers.iter().copied().zip(values.iter().cloned());

    let papaya = papaya::HashMap::<_, _, RandomState>::default();
    let dashmap = dashmap::DashMap::with_hasher(RandomState::default());
    let locked = RwLock::new(hashbrown::HashMap::with_hasher(RandomState::default()));
    let quick = quick_cache::sync::Cache::with(
        numbers * 2,
        (numbers * 2) as u64,
        quick_cache::UnitWeighter,
        RandomState::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    );
    let moka = moka::sync::Cache::builder()
        .max_capacity(10_000_000)
        .time_to_live(Duration::from_secs(300))
        .build_with_hasher(RandomState::default());
    for (caller, value) in pairs() {
        papaya.pin().insert(caller, Arc::clone(&value));
        dashmap.insert(caller, Arc::clone(&value));
        locked.write().expect("not poisoned").insert(caller, Arc::clone(&value));
        quick.insert(caller, Arc::clone(&value));
        moka.insert(caller, value);
    }

    let mut race = Race::new()
        .with(FLAT, |at| flat.get(calls[at]))
        .with(OURS, |at| lab.resolver.try_resolve_with(calls[at], key_length).unwrap_or(0))
        .with(OWNED, |at| owned(lab, calls[at]));
    if numbers < 1_000_000 {
        race = race
            .with("papaya", |at| papaya.pin().get(&calls[at]).map_or(0, |value| value.length))
            .with("dashmap", |at| dashmap.get(&calls[at]).map_or(0, |value| value.length))
            .with("RwLock<hashbrown>", |at| {
                locked.read().expect("not poisoned").get(&calls[at]).map_or(0, |value| value.length)
            })
            .with("quick_cache", |at| quick.get(&calls[at]).map_or(0, |value| value.length))
            .with("moka::sync", |at| moka.get(&calls[at]).map_or(0, |value| value.length));
    }
    let _entered = lab.runtime.enter();
    let dependent = race.run(Calls::Dependent);
    tell(report, "Warm, one thread, each call after the last, ns", &column, &dependent);
    let bound = if numbers < 100_000 { 1.5 } else { 1.3 };
    let what = |calls| format!("{column}, {calls}");
    for (calls, took) in [("dependent", &dependent), ("independent", &race.run(Calls::Independent))]
    {
        if calls == "independent" {
            tell(report, "Warm, one thread, independent calls, ns", &column, took);
        }
        let (ours, flat) = ((OURS, of(took, OURS)), (FLAT, of(took, FLAT)));
        report.ratio(1, &what(calls), ours, flat, "ns", Asked::AtMost(bound));
    }
    if numbers <= 100_000 {
        let two = race.run_on_two(Calls::Independent);
        tell(report, "Warm, two threads, independent calls, ns a call of both", &column, &two);
    }
}

fn owned(lab: &Lab, caller: Caller) -> usize {
    match lab.resolver.try_resolve(caller) {
        Some(Ok(answer)) => answer.api_key().len(),
        _ => 0,
    }
}

/// Two texts as they come in, next to each other in the order of calls.
#[derive(Clone, Copy)]
struct Texts {
    tenant: [u8; 36],
    number: [u8; 13],
}

impl Texts {
    fn of(caller: &Caller) -> Self {
        let (tenant, number) = (caller.tenant.to_string(), caller.number.to_string());
        let texts = (tenant.as_bytes().try_into(), number.as_bytes().try_into());
        let (Ok(tenant), Ok(number)) = texts else { panic!("these are as long as that") };
        Self { tenant, number }
    }

    fn tenant(&self) -> &str {
        std::str::from_utf8(&self.tenant).unwrap_or_default()
    }

    fn number(&self) -> &str {
        std::str::from_utf8(&self.number).unwrap_or_default()
    }

    fn owned(&self) -> (String, String) {
        (self.tenant().to_owned(), self.number().to_owned())
    }
}

fn from_text(lab: &Lab, report: &mut Report) {
    let numbers = lab.callers.len();
    let column = format!("{} zipf", count(numbers));
    let texts: Vec<_> = lab.callers.iter().map(Texts::of).collect();
    let calls = Spread::Zipf.order(&texts, ORDER);
    let future = moka::future::Cache::builder()
        .max_capacity(10_000_000)
        .time_to_live(Duration::from_secs(300))
        .build();
    let sync = moka::sync::Cache::builder()
        .max_capacity(10_000_000)
        .time_to_live(Duration::from_secs(300))
        .build();
    for texts in &texts {
        let value = Arc::new(Value::new());
        sync.insert(texts.owned(), Arc::clone(&value));
        future.insert(texts.owned(), value).now_or_never().expect("nothing to wait for");
    }
    let load = async || Ok::<_, Infallible>(Arc::new(Value::new()));
    let parse = |at: usize| Caller::parse(calls[at].tenant(), calls[at].number()).ok();
    let race = Race::new()
        .with(OURS, |at| {
            let answer = |caller| lab.resolver.try_resolve_with(caller, key_length);
            parse(at).and_then(answer).unwrap_or(0)
        })
        .with(OWNED, |at| parse(at).map_or(0, |caller| owned(lab, caller)))
        .with(TRY_GET_WITH, |at| {
            let answer = future.try_get_with(calls[at].owned(), load()).now_or_never();
            answer.and_then(Result::ok).map_or(0, |value| value.length)
        })
        .with("moka::sync get", |at| sync.get(&calls[at].owned()).map_or(0, |value| value.length));
    let _entered = lab.runtime.enter();
    let took = race.run(Calls::Independent);
    tell(report, "From text, one thread, ns", &column, &took);
    let times = if numbers < 100_000 { 10.0 } else { 5.0 };
    let (ours, moka) = ((OURS, of(&took, OURS)), (TRY_GET_WITH, of(&took, TRY_GET_WITH)));
    report.ratio(2, &column, ours, moka, "ns", Asked::AtLeast(times));

    let latencies = race.latencies();
    let mut p99 = Vec::new();
    for (name, sorted) in &latencies {
        let nanos = race::quantile(sorted, 0.99);
        report.figure("From text, 99 % are below, ns", name, &column, nanos);
        p99.push(Took { name, nanos });
    }
    let (ours, moka) = ((OURS, of(&p99, OURS)), (TRY_GET_WITH, of(&p99, TRY_GET_WITH)));
    report.ratio(2, &format!("{column}, p99"), ours, moka, "ns", Asked::AtLeast(15.0));
}

/// One hot number, and two.
fn on_two_threads(lab: &Lab, report: &mut Report) {
    let flat = Flat::new(&lab.callers);
    let answer = |caller| lab.resolver.try_resolve_with(caller, key_length).unwrap_or(0);
    // The first thread is in the first half of the order.
    let half = |at: usize| lab.callers[std::hint::black_box(7 + at / (ORDER / 2) * 500)];
    let one = |_: usize| lab.callers[std::hint::black_box(7)];
    let race = Race::new()
        .with("one number", |at| answer(one(at)))
        .with("two numbers", |at| answer(half(at)))
        .with("two numbers, flat table", |at| flat.get(half(at)))
        .with("one number, owned", |at| owned(lab, one(at)));
    let _entered = lab.runtime.enter();
    let (alone, both) = (race.run(Calls::Independent), race.run_on_two(Calls::Independent));
    for (name, times) in [
        ("one number", 1.8),
        ("two numbers", 1.9),
        ("two numbers, flat table", 0.0),
        ("one number, owned", 0.0),
    ] {
        let (two, one) = (("on two threads", of(&both, name)), ("on one", of(&alone, name)));
        report.figure("Two threads: how many times the calls of one", name, "times", one.1 / two.1);
        if times > 0.0 {
            report.ratio(3, name, two, one, "ns", Asked::AtLeast(times));
        }
    }
}

fn tell(report: &mut Report, table: &str, column: &str, took: &[Took]) {
    println!("{table}, {column}");
    for Took { name, nanos } in took {
        println!("    {name:<32} {nanos:>8.1}");
        report.figure(table, name, column, *nanos);
    }
}

fn count(numbers: usize) -> &'static str {
    match numbers {
        1000 => "1k",
        100_000 => "100k",
        _ => "1M",
    }
}

const FLAT: &str = "flat table";
const OURS: &str = "Trunkline, borrowed";
const OWNED: &str = "Trunkline, owned";
const TRY_GET_WITH: &str = "moka::future try_get_with";
