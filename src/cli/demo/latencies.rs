//! What a resolution took, of each kind, on the machine that the demo runs on.

use std::time::Duration;

use serde_json::json;
use trunkline::clock::{Clock, Moment};
use trunkline::{Caller, Change};

use super::{NUMBERS, Stage, settings};
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, short, table};

impl Stage {
    /// Times resolutions of each kind, and prints a row of each.
    pub(super) async fn latencies(&self) -> Done {
        self.head("What a resolution took here")?;
        self.hears().await?;
        let callers: Vec<_> = (0..NUMBERS).map(|index| self.seeded.caller(index)).collect();
        let texts: Vec<_> = callers
            .iter()
            .map(|caller| (caller.tenant.to_string(), caller.number.to_string()))
            .collect();

        let mut cold = Vec::new();
        for &caller in &callers {
            self.resolver.invalidate(Change::Number(caller));
            let began = self.clock.now();
            self.resolver.resolve(caller).await?;
            cold.push(self.clock.now().since(began));
        }
        // Numbers that share a place in the fence invalidated each other just now.
        for &caller in &callers {
            self.resolver.resolve(caller).await?;
        }
        let warm = self
            .in_groups(|turn| self.resolver.try_resolve(callers[turn % callers.len()]).is_some())?;
        let text = self.in_groups(|turn| {
            let (tenant, number) = &texts[turn % texts.len()];
            let caller = Caller::parse(tenant, number);
            caller.is_ok_and(|caller| self.resolver.try_resolve(caller).is_some())
        })?;
        let mut fallback = Vec::new();
        for &caller in &callers {
            let stranger = Caller::new(self.seeded.tenants[0], caller.number);
            self.resolver.invalidate(Change::Number(stranger));
            let began = self.clock.now();
            self.resolver.resolve(stranger).await?;
            fallback.push(self.clock.now().since(began));
        }
        self.resolver
            .reload(settings(&self.folder, false)?)
            .map_err(|error| Failure::new("reload_failed", error.to_string(), Exit::Settings))?;
        // The rules of each number are asked for once more.
        for &caller in &callers {
            self.resolver.resolve(caller).await?;
        }
        let off = self
            .in_groups(|turn| self.resolver.try_resolve(callers[turn % callers.len()]).is_some())?;
        self.print_latencies(vec![
            ("warm, from memory", warm),
            ("warm, from tenant and number as text", text),
            ("cold, one SQLite statement", cold),
            ("fallback, the database has no such number", fallback),
            ("fallback, flag off", off),
        ])
    }

    fn print_latencies(&self, rows: Vec<(&str, Vec<Duration>)>) -> Done {
        let rows = rows.into_iter().map(|(what, mut times)| {
            times.sort_unstable();
            let at = |share: usize| times[(times.len() - 1) * share / 1000];
            let total: Duration = times.iter().sum();
            let mean = total / u32::try_from(times.len()).unwrap_or(u32::MAX);
            (what, [mean, at(500), at(990), at(999)])
        });
        if self.json {
            let rows = rows.map(|(what, figures)| {
                let [mean, p50, p99, p999] = figures.map(|time| Moment::default().after(time).0);
                json!({"what": what, "mean_ns": mean, "p50_ns": p50, "p99_ns": p99, "p999_ns": p999})
            });
            return json_line(&json!({"latencies": rows.collect::<serde_json::Value>()}));
        }
        table(
            &["", "mean", "p50", "p99", "p99.9"],
            rows.map(|(what, figures)| {
                let mut cells = vec![format!("   {what}")];
                cells.extend(figures.map(short));
                cells
            }),
        )?;
        self.say(format!(
            "   warm and flag-off rows: {GROUPS} groups of {GROUP} calls, one time a group; the other \
             rows: {NUMBERS} calls, one time each"
        ))
    }

    /// Times a call that is too short to be timed alone.
    fn in_groups(&self, call: impl Fn(usize) -> bool) -> Result<Vec<Duration>, Failure> {
        let group = |first: usize| {
            let began = self.clock.now();
            let answered = (first..first + GROUP as usize).all(&call);
            answered.then(|| self.clock.now().since(began) / GROUP)
        };
        let times: Option<_> = (0..GROUPS).map(|turn| group(turn * GROUP as usize)).collect();
        times.ok_or_else(|| Failure::new("not_warm", "an answer was not in memory", Exit::Failed))
    }
}

const GROUPS: usize = 10_000;
const GROUP: u32 = 100;
