//! What a batch would do: shown in full by `--dry-run`, in short before it begins, and the reason not
//! to begin where something is not there that it needs.

use std::time::Duration;

use trunkline::dispatch::batch::{Encoding, Lack, Lacking, Layout, Refused, Rehearsal, Tally, Why};

use super::super::Context;
use super::super::failure::{Done, Exit, Failure};
use super::super::output::{json_line, line, table};
use super::super::route::no_rules_hold;
use super::Run;

/// How a file was read.
pub(super) struct Read {
    pub(super) layout: Layout,
    pub(super) encoding: Encoding,
    /// Its columns, without those of results.
    pub(super) columns: Vec<String>,
}

impl Read {
    /// In words.
    fn told(&self) -> String {
        let encoding = self.encoding.as_str();
        match &self.layout {
            Layout::Csv { separator, .. } => format!("CSV separated by {separator}, {encoding}"),
            _ => format!("JSON lines, {encoding}"),
        }
    }

    /// Whether it is CSV with commas in UTF-8, or JSON lines in it.
    fn is_usual(&self) -> bool {
        let comma =
            !matches!(&self.layout, Layout::Csv { separator, .. } if separator.as_char() != ',');
        comma && self.encoding != Encoding::Utf16
    }
}

impl Run {
    /// Shows what would be done. A failure where something must be corrected first.
    pub(super) fn show(&self, context: &Context, read: &Read, rehearsal: &Rehearsal) -> Done {
        if context.json {
            json_line(&rehearsal.json(&read.layout, read.encoding, self.cps))?;
        } else {
            let file = self.file.display();
            line(format!("{file}: {}, {}", entries(rehearsal.entries), read.told()))?;
            table(&[], rows(rehearsal))?;
            line(self.takes_in_words(rehearsal))?;
        }
        self.ready(rehearsal)?;
        if rehearsal.needs_correction() {
            let many: u64 = to_correct(rehearsal).map(|refused| refused.tally.entries).sum();
            let message = format!("{} must be corrected before the call", entries(many));
            return Err(Failure::new("batch_needs_correction", message, Exit::Failed)
                .hint("correct them in place, then look again"));
        }
        Ok(())
    }

    /// Says before it begins what is not as one would expect it.
    pub(super) fn print(&self, read: &Read, rehearsal: &Rehearsal) {
        let file = self.file.display();
        if !read.is_usual() {
            eprintln!("{file}: {}", read.told());
        }
        let Rehearsal { duplicates, without_rules, .. } = rehearsal;
        if without_rules.entries > 0 {
            let calls = entries(without_rules.entries);
            no_rules_hold(&format!("{calls} ({})", lines(without_rules)));
        }
        if duplicates.entries > 0 {
            eprintln!(
                "{file}: duplicates that will not be called: {}: {}",
                entries(duplicates.entries),
                pairs(rehearsal)
            );
        }
        for (why, refused) in &rehearsal.refused {
            let (many, lines) = (refused.tally.entries, lines(&refused.tally));
            eprintln!("{file}: {many} {} ({lines}): {}", named(why), refused.message);
        }
    }

    /// Whether all is there that the entries need.
    pub(super) fn ready(&self, rehearsal: &Rehearsal) -> Done {
        let Some((lack, Lacking { tally, reason, message, .. })) =
            rehearsal.lacks.first_key_value()
        else {
            return Ok(());
        };
        let (code, what, exit, hint) = match lack {
            Lack::NoDatabase => (
                "database_not_configured",
                "no DATABASE_URL is set, so no rules and no configs are known",
                Exit::Settings,
                "set DATABASE_URL",
            ),
            Lack::DatabaseAway => (
                reason.as_str(),
                "the database does not answer",
                Exit::Store,
                "`trunkline doctor` says what is wrong with it",
            ),
            Lack::Key => (
                reason.as_str(),
                "the secret of their config does not open",
                Exit::Key,
                "set LIVEKIT_SECRET_ENCRYPTION_KEY to the key that it was sealed with",
            ),
            _ => (
                "environment_incomplete",
                "they have no config, and the environment cannot stand in",
                Exit::Settings,
                "give their numbers a config, or set LIVEKIT_URL, LIVEKIT_API_KEY and \
                 LIVEKIT_API_SECRET",
            ),
        };
        let message = format!(
            "{}: {} of {} ({}) cannot be called as they should be: {what}: {message}",
            self.file.display(),
            tally.entries,
            entries(rehearsal.entries),
            lines(tally),
        );
        let hint = format!("{hint}; --yes begins all the same");
        Err(Failure::new(code, message, exit).hint(hint))
    }

    fn takes_in_words(&self, rehearsal: &Rehearsal) -> String {
        match rehearsal.takes(self.cps) {
            None => "it goes as fast as the calls come".to_owned(),
            Some(takes) => {
                format!("at {} calls a second over each trunk it takes {}", self.cps, clock(takes))
            }
        }
    }
}

fn rows(rehearsal: &Rehearsal) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |what: &str, which: &str, tally: &Tally, lines: String| {
        rows.push(vec![what.to_owned(), which.to_owned(), tally.entries.to_string(), lines]);
    };
    let Rehearsal { earlier, calls, countries, trunks, without_rules, refused, duplicates, .. } =
        rehearsal;
    if earlier.entries > 0 {
        row("done", "by an earlier run", earlier, lines(earlier));
    }
    row("would be called", "", calls, lines(calls));
    for (country, tally) in countries {
        row("to", country.code(), tally, lines(tally));
    }
    for (trunk, tally) in trunks {
        let id = trunk.id.as_deref().unwrap_or("no trunk");
        row("over", &format!("{id} of {}", trunk.url), tally, lines(tally));
    }
    if without_rules.entries > 0 {
        row("of these", "WITHOUT KNOWN RULES", without_rules, lines(without_rules));
    }
    for (why, Refused { tally, message, .. }) in refused {
        row(&named(why), message, tally, lines(tally));
    }
    if duplicates.entries > 0 {
        row("duplicate", "of the same person", duplicates, pairs(rehearsal));
    }
    rows
}

fn named(why: &Why) -> String {
    match why.reason {
        Some(reason) => format!("{} ({reason})", why.outcome),
        None => why.outcome.to_owned(),
    }
}

fn to_correct(rehearsal: &Rehearsal) -> impl Iterator<Item = &Refused> {
    rehearsal.refused.values().filter(|refused| refused.must_be_corrected)
}

/// So many of them, in words.
pub(super) fn entries(many: u64) -> String {
    if many == 1 { "1 entry".to_owned() } else { format!("{many} entries") }
}

/// The first lines of some entries.
fn lines(tally: &Tally) -> String {
    let shown: Vec<_> = tally.lines.iter().map(ToString::to_string).collect();
    let more = if tally.entries > tally.lines.len() as u64 { ", …" } else { "" };
    let word = if tally.entries == 1 { "line" } else { "lines" };
    if shown.is_empty() { String::new() } else { format!("{word} {}{more}", shown.join(", ")) }
}

/// The first duplicates, each with the line that they repeat.
fn pairs(rehearsal: &Rehearsal) -> String {
    let tally = &rehearsal.duplicates;
    let pairs = tally.lines.iter().zip(&rehearsal.duplicates_of);
    let pairs: Vec<_> = pairs.map(|(line, of)| format!("line {line} of line {of}")).collect();
    let more = if tally.entries > tally.lines.len() as u64 { ", …" } else { "" };
    format!("{}{more}", pairs.join(", "))
}

/// A time as people say it.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
