//! `trunkline doctor`: looks at everything that a resolution depends on, or an edit, and says what to
//! do. It changes nothing, and never says that the doctor should be asked.

mod audit;
mod configs;
mod database;
mod deploy;
mod edits;
mod environment;
mod files;
mod hot_reload;
mod keys;
mod nodes;
mod relay;
mod secrets;
mod settings;

use clap::Args;
use serde_json::json;
use trunkline::store::Access;

use super::Context;
use super::failure::{ASK_THE_DOCTOR, Done, Exit, Failure};
use super::output::{json_line, line};

#[derive(Args)]
pub(crate) struct Doctor {
    /// Check an editor's role: try an insert, an update and a delete, each rolled back
    #[arg(long)]
    edit: bool,
    /// Go through the deployment checklist: check what a machine can, and print what is yours to do
    #[arg(long, conflicts_with = "edit")]
    deploy: bool,
}

/// What one look found.
struct DoctorFinding {
    check: &'static str,
    state: State,
    found: String,
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Good,
    /// A person has to see to it.
    Yours,
    Warning,
    Bad,
}

impl Doctor {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let access = if self.edit { Access::Editor } else { Access::Service };
        let mut findings = examine(context, access).await;
        if self.deploy {
            findings = deploy::look(context, &findings).await;
        }
        for finding in &findings {
            finding.show(context.json)?;
        }
        match findings.iter().filter(|finding| finding.state == State::Bad).count() {
            0 => Ok(()),
            1 => Err(Failure::new("unhealthy", "one check failed", Exit::Failed)),
            more => Err(Failure::new("unhealthy", format!("{more} checks failed"), Exit::Failed)),
        }
    }
}

impl DoctorFinding {
    fn show(&self, json: bool) -> Done {
        let word = match self.state {
            State::Good => "ok",
            State::Yours => "you",
            State::Warning => "warn",
            State::Bad => "FAIL",
        };
        if json {
            return json_line(&json!({
                "check": self.check, "state": word.to_lowercase(), "found": self.found,
                "hint": self.hint,
            }));
        }
        line(format!("{word:<5}{:<14}{}", self.check, self.found))?;
        match &self.hint {
            Some(hint) => line(format!("{:19}hint: {hint}", "")),
            None => Ok(()),
        }
    }
}

/// Looks for a service at all that answering depends on; for an editor at what edits depend on.
async fn examine(context: &Context, access: Access) -> Vec<DoctorFinding> {
    let settings = match context.settings() {
        Ok(settings) => settings,
        Err(failure) => return vec![failed("settings", failure)],
    };
    let mut findings = settings::look(&settings);
    if access == Access::Service {
        findings.push(settings::flag(&settings));
        findings.extend(environment::look(&settings).await);
        findings.push(settings::ring(&settings));
    }
    findings.extend(database::look(&settings, access).await);
    findings
}

fn good(check: &'static str, found: impl Into<String>) -> DoctorFinding {
    DoctorFinding { check, state: State::Good, found: found.into(), hint: None }
}

fn warning(check: &'static str, found: impl Into<String>, hint: Option<&str>) -> DoctorFinding {
    let hint = hint.map(ToOwned::to_owned);
    DoctorFinding { check, state: State::Warning, found: found.into(), hint }
}

fn bad(check: &'static str, found: impl Into<String>, hint: impl Into<String>) -> DoctorFinding {
    DoctorFinding { check, state: State::Bad, found: found.into(), hint: Some(hint.into()) }
}

fn failed(check: &'static str, failure: impl Into<Failure>) -> DoctorFinding {
    let Failure { message, hint, .. } = failure.into();
    let hint = hint.filter(|hint| hint != ASK_THE_DOCTOR);
    DoctorFinding { check, state: State::Bad, found: message, hint }
}

#[cfg(test)]
mod tests {
    use trunkline::store::StoreError;

    use super::*;

    #[test]
    fn no_finding_sends_its_reader_to_the_doctor() {
        let refused = StoreError::Refused { statement: "route", code: "XX000".into(), words: None };
        let untrusted = StoreError::LogUntrusted { why: "it has no row".into() };
        for error in [refused, untrusted, StoreError::Row { statement: "route" }] {
            assert_eq!(Failure::from(error).hint.as_deref(), Some(ASK_THE_DOCTOR));
        }
        let finding = failed("rows", StoreError::Row { statement: "route" });
        assert_eq!(finding.hint, None);
    }
}
