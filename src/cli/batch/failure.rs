//! How a batch ended, in words: the summary, and what stands for each way of failing.

use trunkline::dispatch::Outcome;
use trunkline::dispatch::batch::{BatchError, Summary};

use super::super::Context;
use super::super::call::what_to_do;
use super::super::failure::{Done, Exit, Failure};
use super::Run;

/// Says how it went; what has no result is a failure, since somebody has to go on with it.
pub(super) fn conclude(context: &Context, summary: &Summary) -> Done {
    let told = told(summary);
    if summary.left == 0 {
        if !context.json {
            eprintln!("{told}");
        }
        return Ok(());
    }
    let to_mend = Outcome::ALL.into_iter().filter(|outcome| {
        summary.left_with.contains_key(outcome.as_str()) && *outcome != Outcome::HeldBack
    });
    let mut hints: Vec<_> = to_mend.filter_map(what_to_do).collect();
    hints.dedup();
    hints.push("the same command with --resume goes on with them");
    Err(Failure::new("batch_incomplete", told, Exit::Failed).hint(hints.join("\n      ")))
}

impl Run {
    pub(super) fn failure(&self, error: &BatchError) -> Failure {
        let (file, journal) = (self.file.display(), self.journal());
        let journal = journal.display();
        let (code, exit, hint) = match error {
            BatchError::NoBatch(_) => ("batch_malformed", Exit::Failed, None),
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
fn told(summary: &Summary) -> String {
    let outcomes: Vec<_> =
        summary.outcomes.iter().map(|(outcome, many)| format!("{many} {outcome}")).collect();
    let earlier = match summary.earlier {
        0 => String::new(),
        many => format!(" ({many} of them by an earlier run)"),
    };
    let nothing = if outcomes.is_empty() { "nothing done" } else { "" };
    let with: Vec<_> =
        summary.left_with.iter().map(|(outcome, many)| format!("{many} {outcome}")).collect();
    let with = if with.is_empty() { String::new() } else { format!(" ({})", with.join(", ")) };
    format!(
        "{} entries: {}{nothing}{earlier}; {} left{with}",
        summary.entries,
        outcomes.join(", "),
        summary.left
    )
}
