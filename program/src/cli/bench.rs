//! `trunkline bench`: how fast it is here, on the machine and the database of an operator.
//!
//! Every figure is measured in that very run. What is compared are rows of one run: machines differ,
//! and so do the minutes of one machine.

mod pick;
mod progress;
mod row;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use trunkline::clock::{Clock, SystemClock};
use trunkline::settings::{LIBPQ, Settings, Values};
use trunkline::store::Migrations;
use trunkline::{Caller, Change, E164, KeyRing, Resolver};

use self::pick::{Dice, Pick};
use self::progress::Progress;
use self::row::{Row, axis, nanos, new_histogram};
use super::db::{Sample, sow};
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line, table};
use super::{Context, open};

#[derive(Args)]
pub(crate) struct Bench {
    /// How many numbers are asked for
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    numbers: u32,
    /// How many threads ask at once
    #[arg(long, value_name = "T", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// How long each row is measured
    #[arg(long, value_name = "S", default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Use the numbers of the database in the settings, or of this one; nothing is written to it.
    /// Without it, an `SQLite` file is made and removed
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = OF_SETTINGS)]
    database: Option<String>,
}

/// Everybody on the machine reads the arguments of every process.
fn warn_of_a_password(context: &Context, url: &str) {
    let url = url::Url::parse(url);
    if url.is_ok_and(|url| url.password().is_some()) && !context.json {
        eprintln!(
            "warning: the password of --database can be seen by everybody on this machine, and the \
             next major version will refuse it: set DATABASE_URL and say --database alone"
        );
    }
}

impl Bench {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let folder = super::private::private_folder("trunkline-bench");
        let folder = folder.map_err(|error| {
            Failure::new("folder_failed", format!("no temporary folder: {error}"), Exit::Failed)
        })?;
        let settings = self.settings(context, folder.path())?;
        let database = open(&settings)?;
        let callers = self.callers(&settings, &database).await?;
        let resolver = Resolver::builder(settings).database(database).unlisted().start();
        let hears = async {
            while !resolver.hears_changes() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, hears).await.map_err(|_| {
            Failure::new(
                "deaf",
                "nothing proved within ten seconds that changes are heard",
                Exit::Failed,
            )
            .hint("`trunkline doctor` looks for the reason")
        })?;
        let progress = Progress::new(context.json);

        let clock = SystemClock::default();
        progress.say("loading every number once");
        let began = clock.now();
        for &caller in &callers {
            resolver.resolve(caller).await?;
        }
        let warm_up = clock.now().since(began);
        let lab = Lab { resolver: &resolver, callers: &callers, bench: &self, progress: &progress };
        let mut rows = lab.warm_rows()?;
        rows.push(lab.cold().await?);
        progress.clear();
        resolver.stop(Duration::from_secs(1)).await;
        self.print_report(context, callers.len(), warm_up, &rows)
    }

    /// Those of the program where a database is named, else of this bench alone.
    fn settings(&self, context: &Context, folder: &std::path::Path) -> Result<Settings, Failure> {
        // A machine that is busy measuring must not take itself for one that misses changes.
        let mut pairs = vec![
            ("CACHE_TTL".to_owned(), "7d".to_owned()),
            ("LEASE".to_owned(), "1m".to_owned()),
            ("RESOLVE_DEADLINE".to_owned(), "10s".to_owned()),
            ("STORE_DEADLINE".to_owned(), "10s".to_owned()),
        ];
        let values = &context.values;
        let mut inherit = |name: &str| {
            let value = values.get(name).map(ToOwned::to_owned);
            pairs.extend(value.map(|value| (name.to_owned(), value)));
        };
        match &self.database {
            Some(url) => {
                warn_of_a_password(context, url);
                for name in [
                    "LIVEKIT_SECRET_ENCRYPTION_KEY",
                    "LIVEKIT_URL",
                    "LIVEKIT_API_KEY",
                    "LIVEKIT_API_SECRET",
                    "DB_SCHEMA",
                ] {
                    inherit(name);
                }
                if url == OF_SETTINGS {
                    inherit("DATABASE_URL");
                    LIBPQ.into_iter().for_each(inherit);
                } else {
                    pairs.push(("DATABASE_URL".to_owned(), url.clone()));
                }
            }
            None => {
                let key = KeyRing::generate()?;
                pairs.push(("LIVEKIT_SECRET_ENCRYPTION_KEY".to_owned(), key.to_string()));
                let file = folder.join("bench.db");
                pairs.push(("DATABASE_URL".to_owned(), format!("sqlite:{}", file.display())));
            }
        }
        Ok(Settings::read(&Values::of(pairs, None))?)
    }

    /// The numbers that are asked for: made up, or those that the database has.
    async fn callers(
        &self,
        settings: &Settings,
        database: &trunkline::store::OpenStore,
    ) -> Result<Vec<Caller>, Failure> {
        let store = database.admin();
        if self.database.is_none() {
            database.migrate(Migrations::Up).await?;
            let ring = settings.ring.as_ref().ok_or(trunkline::KeyError::KeyMissing)?;
            let seeded = sow(&*store, ring, Sample::of(self.numbers), "").await?;
            return Ok((0..self.numbers).map(|index| seeded.caller(index)).collect());
        }
        let numbers = store.numbers(None).await?.into_iter();
        let callers = numbers.filter_map(|number| {
            Some(Caller::new(number.tenant, E164::from_digits(&number.digits).ok()?))
        });
        let callers: Vec<_> = callers.take(self.numbers as usize).collect();
        if callers.is_empty() {
            return Err(Failure::new(
                "no_numbers",
                "the database has no numbers to ask for",
                Exit::Failed,
            )
            .hint("`trunkline db seed` adds sample ones; without --database some are made up"));
        }
        Ok(callers)
    }

    fn print_report(
        &self,
        context: &Context,
        numbers: usize,
        warm_up: Duration,
        rows: &[Row],
    ) -> Done {
        let loaded = numbers as u64 * 1_000_000_000 / nanos(warm_up).max(1);
        if context.json {
            let rows: Vec<_> = rows.iter().map(Row::json).collect();
            return json_line(&json!({
                "numbers": numbers, "threads": self.threads, "warm_up_ns": nanos(warm_up), "rows": rows,
            }));
        }
        line(format!(
            "{numbers} numbers, {} threads; each number loaded once, one by one: {loaded} a second\n",
            self.threads
        ))?;
        table(
            &["", "a second", "mean", "p50", "p99", "p99.9", "max"],
            rows.iter().map(Row::cells),
        )?;
        line("")?;
        for row in rows {
            line(format!("{:<28}{}", row.what, row.chart()))?;
        }
        line(format!("{:<28}{}", "", axis()))
    }
}

/// What the rows are measured on.
struct Lab<'a> {
    resolver: &'a Resolver,
    callers: &'a [Caller],
    bench: &'a Bench,
    progress: &'a Progress,
}

impl Lab<'_> {
    fn warm_rows(&self) -> Result<Vec<Row>, Failure> {
        let texts: Vec<_> = self
            .callers
            .iter()
            .map(|caller| (caller.tenant.to_string(), caller.number.to_string()))
            .collect();
        let ask = |caller| matches!(self.resolver.try_resolve(caller), Some(Ok(_)));
        let warm = |at: usize| ask(self.callers[at]);
        let text = |at: usize| {
            let (tenant, number) = &texts[at];
            Caller::parse(tenant, number).is_ok_and(ask)
        };
        Ok(vec![
            self.warm("warm, any number", Pick::Uniform, &warm)?,
            self.warm("warm, few numbers most", Pick::Zipf, &warm)?,
            self.warm("warm, from text", Pick::Zipf, &text)?,
        ])
    }

    /// Asks from every thread until time is up. One question in 16 is timed by itself.
    fn warm(
        &self,
        what: &'static str,
        pick: Pick,
        ask: &(impl Fn(usize) -> bool + Sync),
    ) -> Result<Row, Failure> {
        self.progress.say(what);
        let (stop, numbers) = (AtomicBool::new(false), self.callers.len());
        let time = Duration::from_secs(self.bench.seconds);
        let one = |seed: u64| {
            let clock = SystemClock::default();
            let (mut dice, mut times) = (Dice(seed), new_histogram());
            let empty = looking_at_the_clock(&clock);
            let (began, mut asked) = (clock.now(), 0);
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..15 {
                    if !ask(pick.of(&mut dice, numbers)) {
                        return None;
                    }
                }
                let at = pick.of(&mut dice, numbers);
                let before = clock.now();
                let answered = ask(at);
                let took = nanos(clock.now().since(before)).saturating_sub(empty);
                times.saturating_record(took.max(1));
                if !answered {
                    return None;
                }
                asked += 16;
            }
            Some((asked, clock.now().since(began), times))
        };
        let parts = std::thread::scope(|scope| {
            let one = &one;
            let threads: Vec<_> = (0..u64::from(self.bench.threads))
                .map(|thread| scope.spawn(move || one(thread + 1)))
                .collect();
            std::thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
            threads
                .into_iter()
                .map(|thread| thread.join().ok().flatten())
                .collect::<Option<Vec<_>>>()
        });
        let not_warm = || Failure::new("not_warm", "an answer was not in memory", Exit::Failed);
        let mut row = Row {
            what,
            asked: 0,
            took: Duration::ZERO,
            threads: self.bench.threads,
            times: new_histogram(),
        };
        for (asked, took, times) in parts.ok_or_else(not_warm)? {
            row.asked += asked;
            row.took += took;
            // All of them have the same bounds.
            let _ = row.times.add(times);
        }
        Ok(row)
    }

    /// Asks for numbers that are not in memory, one after the other.
    async fn cold(&self) -> Result<Row, Failure> {
        let what = "cold, one statement";
        self.progress.say(what);
        let clock = SystemClock::default();
        let mut row =
            Row { what, asked: 0, took: Duration::ZERO, threads: 1, times: new_histogram() };
        let began = clock.now();
        for &caller in self.callers.iter().cycle() {
            self.resolver.invalidate(Change::Number(caller));
            let before = clock.now();
            self.resolver.resolve(caller).await?;
            let took = clock.now().since(before);
            row.times.saturating_record(nanos(took).max(1));
            row.asked += 1;
            row.took += took;
            if clock.now().since(began) > Duration::from_secs(self.bench.seconds) {
                break;
            }
        }
        Ok(row)
    }
}

/// What two looks at the clock take by themselves.
fn looking_at_the_clock(clock: &SystemClock) -> u64 {
    let look = || {
        let before = clock.now();
        nanos(clock.now().since(before))
    };
    (0..1000).map(|_| look()).min().unwrap_or(0)
}

/// `--database` without a URL.
const OF_SETTINGS: &str = "";
const PATIENCE: Duration = Duration::from_secs(10);
