//! How a batch ended, in words: the summary, and what stands for each way of failing.

use std::collections::BTreeMap;

use trunkline::dispatch::Outcome;
use trunkline::dispatch::batch::{BatchError, Column, NoBatch, Summary};

use super::super::Context;
use super::super::call::what_to_do;
use super::super::failure::{Done, Exit, Failure};
use super::Run;
use super::rehearsed::entries;

/// Says how it went; what has no result is a failure, since somebody has to go on with it.
pub(super) fn conclude(context: &Context, summary: &Summary) -> Done {
    let described = describe(summary);
    if summary.left == 0 {
        if !context.json {
            eprintln!("{described}");
        }
        return Ok(());
    }
    let left = |outcome: &Outcome| summary.left_with.contains_key(outcome.as_str());
    let mut hints = Vec::new();
    if left(&Outcome::Invalid) || left(&Outcome::NotAllowed) {
        hints.push("correct the rows that are invalid or not_allowed in place");
    }
    let to_mend = Outcome::ALL.into_iter().filter(left);
    let to_mend = to_mend.filter(|outcome| {
        !matches!(outcome, Outcome::HeldBack | Outcome::Invalid | Outcome::NotAllowed)
    });
    hints.extend(to_mend.filter_map(what_to_do));
    hints.dedup();
    hints.push("the same command with --resume goes on with them");
    Err(Failure::new("batch_incomplete", described, Exit::Failed).hint(hints.join("\n      ")))
}

impl Run {
    /// A file that is refused whole: nobody was called.
    pub(super) fn refusal(&self, error: &NoBatch) -> Failure {
        let hint = match error {
            NoBatch::NoColumn { column, .. } => Some(match column {
                Column::From => {
                    "--from NUMBER sets one for all rows; --column from=HEADING names its column"
                }
                Column::Tenant => {
                    "--tenant UUID sets one for all rows; --column tenant=HEADING names its column"
                }
                _ => {
                    "--column to=HEADING names the column that it is; --separator says what \
                     separates them"
                }
            }),
            NoBatch::NoHeading { .. } => Some("--separator says what separates them"),
            _ => None,
        };
        let message = format!("{}: {error}", self.file.display());
        let failure = Failure::usage("batch_malformed", message);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    pub(super) fn failure(&self, error: &BatchError) -> Failure {
        let (file, journal) = (self.file.display(), self.journal());
        let journal = journal.display();
        let (code, exit, hint) = match error {
            BatchError::NoBatch(NoBatch::Unreadable(_)) => {
                ("batch_malformed", Exit::Failed, Some("--resume goes on with it".to_owned()))
            }
            BatchError::NoBatch(error) => return self.refusal(error),
            BatchError::JournalThere => (
                "batch_begun",
                Exit::Conflict,
                Some(format!(
                    "--resume goes on with it; to call all of them once more, remove {journal}"
                )),
            ),
            BatchError::NoJournal => {
                ("no_journal", Exit::Failed, Some(format!("without --resume, {file} is begun")))
            }
            BatchError::Running => ("batch_running", Exit::Conflict, None),
            BatchError::Changed { .. } => (
                "batch_changed",
                Exit::Conflict,
                Some(format!("put {file} back as it was; entries may only be added at its end")),
            ),
            BatchError::Journal(_) => (
                "journal_failed",
                Exit::Failed,
                Some(format!("nothing is dialled without {journal}")),
            ),
            _ => (
                "journal_malformed",
                Exit::Failed,
                Some(format!("is {journal} a batch's journal?")),
            ),
        };
        let failure = Failure::new(code, format!("{file}: {error}"), exit);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// How it stands, in words.
fn describe(summary: &Summary) -> String {
    let describe = |outcomes: &BTreeMap<String, u64>| {
        let told: Vec<_> =
            outcomes.iter().map(|(outcome, many)| format!("{many} {outcome}")).collect();
        told.join(", ")
    };
    let outcomes = describe(&summary.outcomes);
    let earlier = match summary.earlier {
        0 => String::new(),
        many => format!(" ({many} of them by an earlier run)"),
    };
    let nothing = if outcomes.is_empty() { "nothing done" } else { "" };
    let with = match describe(&summary.left_with) {
        with if with.is_empty() => with,
        with => format!(" ({with})"),
    };
    format!(
        "{}: {outcomes}{nothing}{earlier}; {} left{with}",
        entries(summary.entries),
        summary.left
    )
}
