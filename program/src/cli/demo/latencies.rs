//! What a resolution took, of each kind, on the machine that the demo runs on.

use std::time::Duration;

use serde_json::json;
use trunkline::clock::{Clock, Moment};
use trunkline::{Caller, Change};

use super::{NUMBERS, PATIENCE, Stage, settings};
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
        let hit = |caller| self.resolver.try_resolve(caller).is_some();
        let warm = self.in_groups(&callers, |turn| hit(callers[turn % callers.len()])).await?;
        let by_text = |turn| {
            let (tenant, number): &(String, String) = &texts[turn % texts.len()];
            Caller::parse(tenant, number).is_ok_and(hit)
        };
        let text = self.in_groups(&callers, by_text).await?;
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
        let off = self.in_groups(&callers, |turn| hit(callers[turn % callers.len()])).await?;
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

    /// Times a call that is too short to be timed alone. A group that met an answer which was not in
    /// memory is timed again, when all are there: on a busy machine an edit of a moment ago may be
    /// heard of only now.
    async fn in_groups(
        &self,
        callers: &[Caller],
        call: impl Fn(usize) -> bool,
    ) -> Result<Vec<Duration>, Failure> {
        let (started, mut times) = (self.clock.now(), Vec::with_capacity(GROUPS));
        while times.len() < GROUPS {
            let (first, began) = (times.len() * GROUP as usize, self.clock.now());
            if (first..first + GROUP as usize).all(&call) {
                times.push(self.clock.now().since(began) / GROUP);
                continue;
            }
            if self.clock.now().since(started) > PATIENCE {
                return Err(Failure::new("not_warm", "no answer stays in memory", Exit::Failed));
            }
            self.hears().await?;
            for &caller in callers {
                self.resolver.resolve(caller).await?;
            }
        }
        Ok(times)
    }
}

const GROUPS: usize = 10_000;
const GROUP: u32 = 100;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_whose_answers_leave_memory_meanwhile_is_timed_again() {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::set(folder.path(), true).await.unwrap();
        let callers: Vec<_> = (0..5).map(|index| stage.seeded.caller(index)).collect();
        let dropped = Cell::new(0);
        let call = |turn: usize| {
            // Twice in the middle of a group; and nothing was asked for before the first one.
            if turn == 250 && dropped.get() < 2 {
                dropped.set(dropped.get() + 1);
                stage.resolver.invalidate(Change::All);
            }
            stage.resolver.try_resolve(callers[turn % callers.len()]).is_some()
        };
        let times = stage.in_groups(&callers, call).await.unwrap();
        assert_eq!((times.len(), dropped.get()), (GROUPS, 2));
        stage.resolver.stop(Duration::from_secs(10)).await;
    }
}
