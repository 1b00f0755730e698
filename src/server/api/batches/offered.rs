//! A batch that somebody offers: read whole, and looked at whether he may call for it, before anybody is
//! asked about it.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;

use serde_json::Value;

use crate::access::Scope;
use crate::dispatch::Outcome;
use crate::dispatch::batch::{
    BatchError, Column, Encoding, Entries, Entry, Layout, NoBatch, Rehearsal,
};
use crate::dispatch::uploaded::{BatchOptions, RunOptions, UploadedBatches, wrong_entry};
use crate::number::TenantId;
use crate::reason::Reason;
use crate::server::api::asking::Asking;
use crate::server::api::problem::Problem;

/// What is offered.
pub(in crate::server) struct Reading<'r> {
    pub(in crate::server) options: BatchOptions,
    pub(in crate::server) content: &'r [u8],
}

/// A batch that may be called for, as far as it can be read.
pub(in crate::server) struct Offered {
    pub(in crate::server) options: BatchOptions,
    run: RunOptions,
    pub(in crate::server) content: Arc<[u8]>,
    layout: Layout,
    encoding: Encoding,
    pub(in crate::server) entries: u64,
    /// Whose numbers call in it.
    pub(in crate::server) tenants: Vec<TenantId>,
    /// What is wrong with entries, as far as it is kept.
    wrong: Lines,
}

/// Lines, and what is wrong there: so many of them at the most.
#[derive(Default)]
struct Lines {
    many: u64,
    first: Vec<(String, String)>,
}

impl Lines {
    fn add(&mut self, line: u64, why: impl Into<String>) {
        self.many += 1;
        if self.first.len() < MOST_LINES {
            self.first.push((format!("line {line}"), why.into()));
        }
    }
}

impl Offered {
    pub(in crate::server) fn read(
        asking: &Asking<'_>,
        reading: Reading<'_>,
    ) -> Result<Self, Problem> {
        let Reading { options, content } = reading;
        let run = options.read()?;
        let content: Arc<[u8]> = content.into();
        let mut entries = open(&content, &run)?;
        let (layout, encoding) = (entries.layout(), entries.encoding());
        let (mut many, mut tenants) = (0, BTreeSet::new());
        let (mut wrong, mut forbidden) = (Lines::default(), Lines::default());
        for entry in entries.by_ref() {
            let entry = entry.map_err(|error| no_batch(&error))?;
            many += 1;
            look_at(asking, &entry, &mut tenants, (&mut wrong, &mut forbidden));
        }
        if many == 0 {
            return Err(Problem::unprocessable("batch_empty", "the batch has no entry"));
        }
        if forbidden.many > 0 {
            let message =
                format!("{}: this client may not call for them", entries_of(forbidden.many));
            return Err(Problem::forbidden("entries_not_allowed", message).errors(&forbidden.first));
        }
        if tenants.len() > MOST_TENANTS {
            let message = format!("the batch is of more than {MOST_TENANTS} tenants; split it");
            return Err(Problem::unprocessable("batch_malformed", message));
        }
        let tenants = tenants.into_iter().collect();
        Ok(Self { options, run, content, layout, encoding, entries: many, tenants, wrong })
    }

    /// What it would come to, as JSON and as it is.
    pub(in crate::server) async fn rehearsed(
        &self,
        asking: &Asking<'_>,
        batches: &UploadedBatches,
    ) -> Result<(Value, Rehearsal), Problem> {
        let entries = open(&self.content, &self.run)?;
        let rehearsal =
            batches.rehearse(&self.run, entries).await.map_err(|error| match error {
                BatchError::NoBatch(error) => no_batch(&error),
                error => Problem::unavailable("not_rehearsed", error.to_string()),
            })?;
        let cps = self.run.limits.calls_per_second;
        let mut told = rehearsal.json(&self.layout, self.encoding, cps);
        // Where calls go is told to who may ask for that.
        if !asking.permissions.may(Scope::Resolve) {
            told["trunks"] = Value::Array(Vec::new());
        }
        Ok((told, rehearsal))
    }

    /// Whether nothing of it must be corrected, and all is there that it needs.
    pub(in crate::server) fn is_ready(&self, rehearsal: &Rehearsal) -> Result<(), Problem> {
        let mut wrong = self.wrong.first.clone();
        let mut many = self.wrong.many;
        let invalid = Outcome::Invalid.as_str();
        for (why, refused) in &rehearsal.refused {
            if refused.must_be_corrected && why.outcome != invalid && !is_of_lack(why.outcome) {
                many += refused.tally.entries;
                let lines = refused.tally.lines.iter();
                wrong.extend(lines.map(|line| (format!("line {line}"), refused.message.clone())));
            }
        }
        if many > 0 {
            let message = format!("{} must be corrected, and nobody was called", entries_of(many));
            return Err(Problem::unprocessable("batch_needs_correction", message)
                .errors(&wrong)
                .hint(
                    "correct them, or ask with anyway=true: they get the result that they have",
                ));
        }
        let Some(lacking) = rehearsal.lacks.values().next() else { return Ok(()) };
        let message = format!(
            "{} cannot be called as they should be: {}",
            entries_of(lacking.tally.entries),
            lacking.message
        );
        Err(not_ready(lacking.reason, message).hint("mend it, or ask with anyway=true"))
    }
}

/// What is told of lacks is told by them.
fn is_of_lack(outcome: &str) -> bool {
    outcome == Outcome::NoCredentials.as_str()
}

fn not_ready(reason: Reason, message: String) -> Problem {
    if reason.is_recoverable() {
        return Problem::unavailable("batch_not_ready", message);
    }
    Problem::unprocessable("batch_not_ready", message)
}

fn open(content: &Arc<[u8]>, run: &RunOptions) -> Result<Entries, Problem> {
    let source = Box::new(Cursor::new(Arc::clone(content)));
    Entries::read(source, run.defaults.clone()).map_err(|error| no_batch(&error))
}

/// Notes whose entry it is, and what is wrong with it.
fn look_at(
    asking: &Asking<'_>,
    entry: &Entry,
    tenants: &mut BTreeSet<TenantId>,
    (wrong, forbidden): (&mut Lines, &mut Lines),
) {
    let request = match &entry.request {
        Ok(request) => request,
        Err(why) => return wrong.add(entry.line, why),
    };
    let caller = request.caller;
    if !asking.permissions.may_ask_for(caller.tenant) {
        return forbidden.add(entry.line, "this client may not ask for this tenant");
    }
    if !asking.permissions.may_call_from(caller.number) {
        return forbidden.add(entry.line, "this client may not ask for numbers that begin so");
    }
    tenants.insert(caller.tenant);
    if let Some(why) = wrong_entry(request) {
        wrong.add(entry.line, why);
    }
}

fn no_batch(error: &NoBatch) -> Problem {
    let problem = Problem::unprocessable("batch_malformed", error.to_string());
    match error {
        NoBatch::NoColumn { column: Column::From, .. } => {
            problem.hint("from=NUMBER sets one for all rows; columns=from=HEADING names its column")
        }
        NoBatch::NoColumn { column: Column::Tenant, .. } => problem
            .hint("tenant=UUID sets one for all rows; columns=tenant=HEADING names its column"),
        NoBatch::NoColumn { .. } => {
            problem.hint("columns=to=HEADING names the column; separator says what separates them")
        }
        _ => problem,
    }
}

fn entries_of(many: u64) -> String {
    if many == 1 { "1 entry".to_owned() } else { format!("{many} entries") }
}

/// How many lines are told of.
const MOST_LINES: usize = 200;
const MOST_TENANTS: usize = 1000;
