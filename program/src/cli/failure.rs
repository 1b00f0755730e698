//! What went wrong, for a person or for a script: a stable code, a message, a hint and an exit code.

use std::fmt::Write as _;

use serde_json::json;
use trunkline::draft::{FieldError, FieldErrors, FieldProblem};
use trunkline::rotation::RotationError;
use trunkline::settings::SettingsError;
use trunkline::store::{MigrateError, StoreError, Taken};
use trunkline::{CallerError, CredentialError, KeyError, Reason, ResolveError};

use super::plain::{Form, lines, plain};

/// Exit codes, as `--help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Settings = 3,
    Store = 4,
    Key = 5,
    Conflict = 6,
}

/// An error at the edge of the program.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) exit: Exit,
}

pub(crate) type Done = Result<(), Failure>;

impl Failure {
    /// A message is one line, whatever rows and files put into it.
    pub(crate) fn new(code: &'static str, message: impl Into<String>, exit: Exit) -> Self {
        Self { code, message: plain(&message.into()).into_owned(), hint: None, exit }
    }

    /// A message of several lines, each of them ours.
    pub(crate) fn of_lines(code: &'static str, message: &str, exit: Exit) -> Self {
        Self { message: lines(message, Form::Words).into_owned(), ..Self::new(code, "", exit) }
    }

    pub(crate) fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, message, Exit::Usage)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What belongs on stderr: one JSON object, or words.
    pub(crate) fn text(&self, json: bool) -> String {
        if json {
            let object = json!({"error": self.code, "message": self.message, "hint": self.hint});
            return lines(&object.to_string(), Form::Json).into_owned();
        }
        let mut text = format!("error: {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = write!(text, "\nhint: {hint}");
        }
        text
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let hint = error.hint().map(ToOwned::to_owned);
        Self { code: error.code(), message: error.to_string(), hint, exit: Exit::Key }
    }
}

impl From<FieldErrors> for Failure {
    fn from(errors: FieldErrors) -> Self {
        let problem = &errors.first().problem;
        let exit = match problem {
            FieldProblem::Key(error) if errors.iter().count() == 1 => return error.clone().into(),
            FieldProblem::Key(_) => Exit::Key,
            FieldProblem::Padded => Exit::Failed,
            _ => Exit::Usage,
        };
        let hint = match problem {
            FieldProblem::HostNotAllowed => Some("add the host there first".to_owned()),
            FieldProblem::Key(error) => error.hint().map(ToOwned::to_owned),
            _ => None,
        };
        let told: Vec<_> = errors.iter().map(of_argument).collect();
        Self { hint, ..Self::new(problem.code(), told.join("; "), exit) }
    }
}

/// The argument that a field is entered with, and what is wrong with it.
fn of_argument(FieldError { field, problem, .. }: &FieldError) -> String {
    let argument = match *field {
        "api_key" => "--api-key",
        "api_secret" => "the API secret",
        "trunk_id" => "--trunk",
        "agent_name" => "--agent",
        "tenant_id" => "--tenant",
        "livekit_config" => "--livekit",
        "tenants" => "--tenant or --all-tenants",
        "numbers" => "--number",
        same => return format!("--{same}: {problem}"),
    };
    format!("{argument}: {problem}")
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Key(error) => error.into(),
            other => Self::new("credentials_wiped", other.to_string(), Exit::Failed),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (exit, hint) = match &error {
            StoreError::Conflict { taken: Taken::Name } => {
                (Exit::Conflict, Some("`trunkline livekit list` shows the names"))
            }
            StoreError::Conflict { taken: Taken::Client } => {
                (Exit::Conflict, Some("`trunkline client list` shows the names"))
            }
            StoreError::Conflict { taken: Taken::User } => {
                (Exit::Conflict, Some("`trunkline user list` shows the names"))
            }
            StoreError::Conflict { taken: Taken::Label } => {
                (Exit::Conflict, Some("`trunkline tenant list` shows the labels"))
            }
            StoreError::KeysMoved => (Exit::Conflict, Some("run it again")),
            StoreError::Conflict { .. } => {
                (Exit::Conflict, Some("`trunkline number list` shows the numbers"))
            }
            StoreError::NotMigrated { .. } => (Exit::Store, Some("run `trunkline db migrate`")),
            StoreError::Unreachable { .. } => (
                Exit::Store,
                Some(
                    "check DATABASE_URL (`trunkline settings show` says where it comes from); a \
                      new SQLite file is made by `trunkline db migrate`",
                ),
            ),
            StoreError::Timeout { .. } => (Exit::Store, Some("try again, or raise STORE_DEADLINE")),
            StoreError::TriggersMissing => (
                Exit::Store,
                Some(
                    "`trunkline db migrate` makes triggers that are missing; `alter table … enable \
                     trigger user` turns those on that are there",
                ),
            ),
            StoreError::Refused { code, .. } => {
                (Exit::Store, Some(mends(code).unwrap_or(ASK_THE_DOCTOR)))
            }
            _ => (Exit::Store, Some(ASK_THE_DOCTOR)),
        };
        let hint = hint.map(ToOwned::to_owned);
        Self { code: error.code(), message: error.to_string(), hint, exit }
    }
}

/// What mends a refusal of this code.
fn mends(code: &str) -> Option<&'static str> {
    Some(match code {
        "42501" => "`trunkline db grants` prints what a service and an editor must be granted",
        "25006" => {
            "connect to the primary, as a role without default_transaction_read_only: `alter role … \
             reset default_transaction_read_only`"
        }
        "42804" | "42846" | "42883" => {
            "a column has another type than it must have: `alter table … alter column … type …`"
        }
        "0A000" | "42704" => {
            "take the option out of DATABASE_URL or PGOPTIONS, or connect to Postgres directly and \
             not through a proxy"
        }
        "53100" | "13" => "make room on the disk of the database, and try again",
        "55P03" => {
            "another session holds the lock: `select pid, query from pg_stat_activity where \
             xact_start < now() - interval '1 second'` shows who it may be"
        }
        "5" => "another program is writing to the file; try again",
        "8" | "264" | "520" | "776" | "1032" | "1288" | "1544" => {
            "the file and its folder must be this user's to write: see `chown` and `chmod`"
        }
        _ => return None,
    })
}

/// What the doctor does not say.
pub(crate) const ASK_THE_DOCTOR: &str = "run `trunkline doctor`";

impl From<RotationError> for Failure {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Store(StoreError::Refused { ref code, .. }) if code == "42501" => {
                let message = "the database role of this command may not turn keys";
                Self::new("keys_role_may_not", message, Exit::Store)
                    .hint("run it as the owner of the tables; nothing was changed")
            }
            RotationError::Store(error) => error.into(),
            RotationError::Key(error) => error.into(),
            other => {
                let exit = match &other {
                    RotationError::NotMigrated | RotationError::NoDataKeys { .. } => Exit::Store,
                    RotationError::NotInRing { .. }
                    | RotationError::NoRoot
                    | RotationError::Compromised { .. }
                    | RotationError::Duplicate { .. }
                    | RotationError::Used { .. }
                    | RotationError::Unknown { .. } => Exit::Key,
                    RotationError::Raced => Exit::Conflict,
                    _ => Exit::Failed,
                };
                let failure = Self::new(other.code(), other.to_string(), exit);
                Self { hint: other.hint().map(ToOwned::to_owned), ..failure }
            }
        }
    }
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Store(error) => error.into(),
            unfit @ MigrateError::Unfit { .. } => {
                Self::new("tables_unfit", unfit.to_string(), Exit::Store)
                    .hint("alter these and migrate again; nothing was changed")
            }
            other => Self::new("migration_failed", other.to_string(), Exit::Store)
                .hint("nothing was changed; does the role own the tables?"),
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        match error.only_key() {
            Some(key) => key.clone().into(),
            None => Self::of_lines("settings_invalid", &error.to_string(), Exit::Settings)
                .hint("`trunkline settings example` documents every variable"),
        }
    }
}

impl From<CallerError> for Failure {
    fn from(error: CallerError) -> Self {
        let code = match error {
            CallerError::Tenant(_) => "tenant_malformed",
            _ => "number_malformed",
        };
        Self::usage(code, error.to_string())
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        let exit = match error.reason() {
            Some(
                Reason::SecretUnopenable | Reason::SecretBoundElsewhere | Reason::SecretNotBound,
            ) => Exit::Key,
            Some(reason) if reason.is_recoverable() => Exit::Store,
            _ => Exit::Failed,
        };
        Self::new(error.code(), error.to_string(), exit).hint(error.hint())
    }
}
