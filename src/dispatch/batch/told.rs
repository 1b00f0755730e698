//! A rehearsal as JSON.

use serde_json::{Value, json};

use super::rehearsal::{Refused, Rehearsal, Tally};
use super::{Encoding, Layout};

impl Rehearsal {
    /// It as JSON, with how the file was read, and how long its calls take at a rate over each trunk.
    #[must_use]
    pub fn json(&self, layout: &Layout, encoding: Encoding, calls_per_second: f64) -> Value {
        let (separator, headings) = match layout {
            Layout::Csv { separator, headings } => (Some(separator.as_char()), Some(headings)),
            Layout::JsonLines => (None, None),
        };
        let countries = self.countries.iter();
        let countries = countries.map(|(country, tally)| with(tally, json!({"country": country})));
        let trunks = self.trunks.iter();
        let trunks = trunks
            .map(|(trunk, tally)| with(tally, json!({"url": trunk.url, "trunk_id": trunk.id})));
        let refused = self.refused.iter().map(|(why, refused)| {
            let Refused { tally, message, must_be_corrected } = refused;
            with(
                tally,
                json!({"outcome": why.outcome, "reason": why.reason, "message": message,
                    "must_be_corrected": must_be_corrected}),
            )
        });
        let lacks = self.lacks.values().map(|lacking| {
            with(&lacking.tally, json!({"reason": lacking.reason, "message": lacking.message}))
        });
        json!({
            "dry_run": true,
            "entries": self.entries,
            "encoding": encoding.as_str(),
            "separator": separator,
            "headings": headings,
            "earlier": with(&self.earlier, json!({})),
            "calls": with(&self.calls, json!({})),
            "countries": countries.collect::<Vec<_>>(),
            "trunks": trunks.collect::<Vec<_>>(),
            "without_rules": with(&self.without_rules, json!({})),
            "refused": refused.collect::<Vec<_>>(),
            "duplicates": with(&self.duplicates, json!({"of": self.duplicates_of})),
            "lacks": lacks.collect::<Vec<_>>(),
            "takes_seconds": self.takes(calls_per_second).map(|takes| takes.as_secs_f64()),
        })
    }
}

fn with(tally: &Tally, mut more: Value) -> Value {
    more["entries"] = json!(tally.entries);
    more["lines"] = json!(tally.lines);
    more
}
