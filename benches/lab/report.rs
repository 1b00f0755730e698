//! What a bench has found: printed as it is found, and left in `target/performance/` for
//! `scripts/performance`, which makes `docs/performance.md` of it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// What is asked of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Asked {
    AtMost(f64),
    AtLeast(f64),
}

/// The findings of one bench.
pub(crate) struct Report {
    bench: &'static str,
    command: String,
    verdicts: Vec<Value>,
    figures: Vec<Value>,
}

impl Report {
    pub(crate) fn new(bench: &'static str) -> Self {
        Self::run_by(format!("cargo bench --bench {bench}"), bench)
    }

    /// Of a bench that another command runs.
    pub(crate) fn run_by(command: String, bench: &'static str) -> Self {
        Self { bench, command, verdicts: Vec::new(), figures: Vec::new() }
    }

    /// One cell of a table.
    pub(crate) fn figure(&mut self, table: &str, row: &str, column: &str, value: f64) {
        self.figures.push(json!({ "table": table, "row": row, "column": column, "value": value }));
    }

    /// Ours beside a rival's, measured in this run. `AtMost`: as a multiple of theirs; `AtLeast`: as
    /// how many times theirs is as much as ours.
    pub(crate) fn ratio(
        &mut self,
        target: u8,
        what: &str,
        (ours, value): (&str, f64),
        (theirs, rival): (&str, f64),
        unit: &str,
        asked: Asked,
    ) {
        let ratio = match asked {
            Asked::AtMost(_) => value / rival,
            Asked::AtLeast(_) => rival / value,
        };
        self.verdict(
            json!({
                "target": target, "what": what, "unit": unit, "ratio": ratio,
                "ours": { "name": ours, "value": value },
                "rival": { "name": theirs, "value": rival },
            }),
            ratio,
            asked,
        );
        let met = met(ratio, asked);
        println!(
            "  {target:>2} {what}: {ours} {value:.1} {unit}, {theirs} {rival:.1} {unit}: {met}"
        );
    }

    /// A figure that stands for itself.
    pub(crate) fn alone(&mut self, target: u8, what: &str, value: f64, unit: &str, asked: Asked) {
        self.verdict(
            json!({
                "target": target, "what": what, "unit": unit, "ratio": null,
                "ours": { "name": "", "value": value }, "rival": null,
            }),
            value,
            asked,
        );
        println!("  {target:>2} {what}: {value:.1} {unit}: {}", met(value, asked));
    }

    fn verdict(&mut self, mut verdict: Value, value: f64, asked: Asked) {
        let (relation, bound, met) = match asked {
            Asked::AtMost(bound) => ("at_most", bound, value <= bound),
            Asked::AtLeast(bound) => ("at_least", bound, value >= bound),
        };
        for (name, value) in
            [("relation", json!(relation)), ("bound", json!(bound)), ("met", json!(met))]
        {
            verdict[name] = value;
        }
        self.verdicts.push(verdict);
    }

    /// Leaves it for the document, unless the bench only looked whether it runs.
    #[expect(clippy::disallowed_methods, reason = "a bench reads the real time")]
    pub(crate) fn save(self) {
        if is_trial() {
            return;
        }
        let folder = project().join("target/performance");
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let report = json!({
            "bench": self.bench,
            "command": self.command,
            "finished_at": seconds,
            "verdicts": self.verdicts,
            "figures": self.figures,
        });
        let file = folder.join(format!("{}.json", self.bench));
        std::fs::write(&file, format!("{report:#}\n")).expect("the report can be written");
    }
}

fn met(value: f64, asked: Asked) -> String {
    match asked {
        Asked::AtMost(bound) if value <= bound => format!("{value:.2}, at most {bound}"),
        Asked::AtLeast(bound) if value >= bound => format!("{value:.2}, at least {bound}"),
        Asked::AtMost(bound) => format!("{value:.2}, MISSED: at most {bound}"),
        Asked::AtLeast(bound) => format!("{value:.2}, MISSED: at least {bound}"),
    }
}

/// The folder of the project, which a bench that is a crate of its own lies in.
fn project() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().find(|folder| folder.join("benches/lab").is_dir()).unwrap_or(own)
}

/// Whether it is only to be seen that the bench runs: `cargo bench -- --test`.
pub(crate) fn is_trial() -> bool {
    std::env::args().any(|argument| argument == "--test")
}
