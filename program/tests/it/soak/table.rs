//! The table that a soak ends with.

use super::faults::Fault;
use super::judge::Tally;

/// Prints what was counted: for each fault the resolver, and beside it the loop.
pub fn print(rows: &[(Fault, Tally, Tally)]) {
    let line = |cells: [String; 12]| {
        let [fault, who, cells @ ..] = cells;
        let cells = cells.iter().fold(String::new(), |line, cell| format!("{line} {cell:>9}"));
        eprintln!("{fault:<23} {who:<10}{cells}");
    };
    eprintln!();
    line(HEADINGS.map(Into::into));
    for (fault, ours, theirs) in rows {
        for (who, tally) in [("trunkline", ours), ("plain loop", theirs)] {
            line([
                fault.name().into(),
                who.into(),
                tally.reads.to_string(),
                tally.loads.to_string(),
                tally.most_stale.as_millis().to_string(),
                tally.violations.to_string(),
                tally.marked.to_string(),
                tally.mismarked.to_string(),
                tally.failures.to_string(),
                tally.unknown.to_string(),
                tally.panics.to_string(),
                tally.back.map_or_else(String::new, |back| back.as_millis().to_string()),
            ]);
        }
    }
    eprintln!("{LEGEND}");
}

const HEADINGS: [&str; 12] = [
    "fault",
    "",
    "reads",
    "loads",
    "stale ms",
    "past lease",
    "marked",
    "mismarked",
    "failed",
    "unknown",
    "panics",
    "back ms",
];
const LEGEND: &str = "
stale ms: of answers not marked stale, how long the oldest had been outdated when it was asked for
past lease: how many of those had been outdated for longer than the lease, 1000 ms
marked: answers marked stale; mismarked: those of them while the database had been well for 2 s
failed: calls of warm numbers without an answer; unknown: of numbers not known when it went away
back ms: the longest time from the end of a fault until answers were proven and new again
";
