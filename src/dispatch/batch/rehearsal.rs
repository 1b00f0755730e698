//! A rehearsal: goes through a batch without calling anybody, and reports what each entry would do,
//! which entries call the same person, and what is missing.
//!
//! A run begins with one, before its first call.

use std::collections::BTreeMap;
use std::time::Duration;

use super::journal::{EarlierEntries, Journal, JournalState};
use super::persons::Persons;
use super::record::Version;
use super::survey::Outlook;
use super::{Batch, BatchError, Entries, Entry};
use crate::answer::ResolveError;
use crate::dispatch::Outcome;
use crate::reason::Reason;
use crate::routing::{CallRouting, Refusal};
use crate::rules::Country;

/// What a batch would do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Rehearsal {
    /// How many entries there are.
    pub entries: u64,
    /// Those that are done by an earlier run.
    pub earlier: Tally,
    /// Those that would be called.
    pub calls: Tally,
    /// The same by country.
    pub countries: BTreeMap<Country, Tally>,
    /// The same by trunk.
    pub trunks: BTreeMap<Trunk, Tally>,
    /// Those of them whose numbers have rules that nobody knows: every country may be called.
    pub without_rules: Tally,
    /// Those that would not be, by why.
    pub refused: BTreeMap<Why, Refused>,
    /// Those that call the same person as an entry before them.
    pub duplicates: Tally,
    /// Of the first of these, the line of the entry before it.
    pub duplicates_of: Vec<u64>,
    /// What is not there that entries need.
    pub lacks: BTreeMap<Lack, Lacking>,
}

/// Some entries: how many, and where the first ones are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// How many.
    pub entries: u64,
    /// The lines of the first five.
    pub lines: Vec<u64>,
}

/// A trunk of a server, as calls take turns over it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Trunk {
    /// The server.
    pub url: String,
    /// Its key.
    pub api_key: String,
    /// The trunk; without one the agent knows it.
    pub id: Option<String>,
}

/// Why an entry would not be called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Why {
    /// The outcome that it would have.
    pub outcome: &'static str,
    /// Why it would have that: a word of routing or of credentials, if there is one.
    pub reason: Option<&'static str>,
}

/// Entries that would not be called.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Refused {
    /// Which ones.
    pub tally: Tally,
    /// What the first one is told.
    pub message: String,
    /// Whether something must be corrected for them. What the rules forbid is as it should be.
    pub must_be_corrected: bool,
}

/// What is not there, the first things first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lack {
    /// No database is set.
    NoDatabase,
    /// The database does not answer.
    DatabaseAway,
    /// A secret does not open with the keys that there are.
    Key,
    /// The environment is to stand in, and is not complete.
    Environment,
}

/// Entries for which something is not there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Lacking {
    /// Which ones.
    pub tally: Tally,
    /// Why the database did not answer the first one.
    pub reason: Reason,
    /// What is told of it.
    pub message: String,
}

impl Rehearsal {
    /// Whether something must be corrected before all of it can be called.
    #[must_use]
    pub fn needs_correction(&self) -> bool {
        !self.lacks.is_empty() || self.refused.values().any(|refused| refused.must_be_corrected)
    }

    /// How long the calls take at a rate over each trunk, if each is placed at once. `None`: as fast
    /// as they come.
    #[must_use]
    pub fn takes(&self, calls_per_second: f64) -> Option<Duration> {
        let most = self.trunks.values().map(|tally| tally.entries).max().unwrap_or(0);
        let gaps = u32::try_from(most.saturating_sub(1)).unwrap_or(u32::MAX);
        Duration::try_from_secs_f64(f64::from(gaps) / calls_per_second).ok()
    }

    fn see(&mut self, line: u64, outlook: &Outlook) {
        if let Some((lack, reason)) = lack(outlook) {
            let message = outlook
                .answer
                .as_ref()
                .err()
                .map_or_else(|| reason.to_string(), ToString::to_string);
            let new = || Lacking { tally: Tally::default(), reason, message };
            self.lacks.entry(lack).or_insert_with(new).tally.add(line);
        }
        let report = &outlook.report;
        let refusal = report.routing.as_ref().and_then(|routing| routing.verdict.as_ref().err());
        if report.outcome != Outcome::Placed {
            let reason = match report.outcome {
                Outcome::NotAllowed => refusal.map(Refusal::code),
                Outcome::NoCredentials => outlook.reason().map(Reason::as_str),
                _ => None,
            };
            let forbidden = refusal.is_some_and(|refusal| !refusal.is_about_writing());
            let message = report.message.clone().unwrap_or_default();
            self.refuse(
                Why { outcome: report.outcome.as_str(), reason },
                line,
                message,
                !forbidden,
            );
            return;
        }
        self.calls.add(line);
        if report.routing.as_ref().is_some_and(CallRouting::is_without_rules) {
            self.without_rules.add(line);
        }
        if let Some(country) = report.routing.as_ref().and_then(|routing| routing.country) {
            self.countries.entry(country).or_default().add(line);
        }
        if let Ok(answer) = &outlook.answer {
            let trunk = Trunk {
                url: answer.url().to_string(),
                api_key: answer.api_key().to_owned(),
                id: answer.trunk_id().map(ToOwned::to_owned),
            };
            self.trunks.entry(trunk).or_default().add(line);
        }
    }

    fn refuse(&mut self, why: Why, line: u64, message: String, must_be_corrected: bool) {
        let new = || Refused { message, must_be_corrected, ..Refused::default() };
        self.refused.entry(why).or_insert_with(new).tally.add(line);
    }
}

impl Tally {
    fn add(&mut self, line: u64) {
        self.entries += 1;
        if self.lines.len() < FIRST {
            self.lines.push(line);
        }
    }
}

/// What an entry needs that is not there.
fn lack(outlook: &Outlook) -> Option<(Lack, Reason)> {
    let reason = outlook.reason()?;
    let lack = match (reason, &outlook.answer) {
        (Reason::DatabaseNotConfigured, _) => Lack::NoDatabase,
        (reason, _) if reason.is_recoverable() => Lack::DatabaseAway,
        (Reason::SecretUnopenable | Reason::SecretBoundElsewhere | Reason::SecretNotBound, _) => {
            Lack::Key
        }
        (
            _,
            Err(ResolveError::EnvironmentIncomplete { .. } | ResolveError::HostNotAllowed { .. }),
        ) => Lack::Environment,
        _ => return None,
    };
    Some((lack, reason))
}

impl Batch<'_> {
    /// Goes through the entries of a file and calls nobody. With the journal of an earlier run, what
    /// is done by it is told apart.
    ///
    /// # Errors
    ///
    /// [`BatchError`], if the file cannot be read, or is not the one that the journal is about.
    pub async fn rehearse(
        &self,
        entries: Entries,
        journal: Option<&Journal>,
    ) -> Result<Rehearsal, BatchError> {
        let none = EarlierEntries::new();
        let (version, known) =
            journal.map_or((Version::default(), &none), |there| (there.version, &there.known));
        let (rehearsal, _) =
            self.look_through(entries.numbered_as(version), version, known).await?;
        Ok(rehearsal)
    }

    /// The same for a run, which needs to know whom its entries call. Compares them with what an
    /// earlier run has noted of them.
    pub(super) async fn look_through(
        &self,
        entries: Entries,
        version: Version,
        known: &EarlierEntries,
    ) -> Result<(Rehearsal, Persons), BatchError> {
        let (mut rehearsal, persons) = (Rehearsal::default(), Persons::default());
        let look = |entry: &Entry, outlook: Option<Outlook>| {
            let line = entry.line;
            let seen = known.get(&line);
            if seen.is_some_and(|seen| seen.digest != entry.digest) {
                return Err(BatchError::Changed { line });
            }
            rehearsal.entries += 1;
            let person = outlook.as_ref().and_then(Outlook::person);
            let recorded = seen.and_then(|seen| seen.to);
            let (to, called) = match seen.map(|seen| &seen.state) {
                Some(JournalState::Done(_)) => {
                    rehearsal.earlier.add(line);
                    persons.ended(line, false);
                    // Of whom it called, version 1 tells nothing.
                    (recorded.or(person.filter(|_| version == Version::First)), true)
                }
                Some(JournalState::AboutToDial(_)) => (recorded.or(person), true),
                Some(JournalState::Undone(_)) | None => (person, false),
            };
            let first = match (&entry.request, to) {
                (Ok(request), Some(to)) => persons.expect(request.caller, to, line, called),
                _ => None,
            };
            match (&entry.request, outlook) {
                _ if seen.is_some_and(|seen| matches!(seen.state, JournalState::Done(_))) => {}
                (Err(wrong), _) => {
                    let why = Why { outcome: Outcome::Invalid.as_str(), reason: None };
                    rehearsal.refuse(why, line, wrong.clone(), true);
                }
                _ if first.is_some() && !self.limits.allow_duplicates => {
                    rehearsal.duplicates.add(line);
                    if rehearsal.duplicates_of.len() < FIRST {
                        rehearsal.duplicates_of.extend(first);
                    }
                }
                (Ok(_), Some(outlook)) => rehearsal.see(line, &outlook),
                (Ok(_), None) => {}
            }
            Ok(())
        };
        self.survey(entries, look).await?;
        Ok((rehearsal, persons))
    }
}

/// How many lines are told of each kind.
const FIRST: usize = 5;
