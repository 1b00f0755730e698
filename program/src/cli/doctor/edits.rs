//! Whether edits can be made, and arrive in the change log: tried, and rolled back.

use trunkline::store::{OpenStore, Seen, StoreError, Trial};

use super::{DoctorFinding, bad, failed, good, warning};
use crate::cli::failure::Failure;

pub(super) async fn look(database: &OpenStore) -> Vec<DoctorFinding> {
    let trials = match database.try_edits().await {
        Ok(trials) => trials,
        Err(error) => return vec![failed("edits", error)],
    };
    let operations: Vec<_> = trials.iter().map(|trial| trial.operation).collect();
    let odd: Vec<_> = trials.into_iter().filter_map(finding).collect();
    if odd.is_empty() {
        let truncate =
            if operations.contains(&"truncate") { "; TRUNCATE has its triggers" } else { "" };
        let found = format!(
            "insert, update and delete of both tables arrive in the change log, and were rolled \
             back{truncate}"
        );
        return vec![good("edits", found)];
    }
    odd
}

/// What is not as it should be.
fn finding(trial: Trial) -> Option<DoctorFinding> {
    let Trial { operation, table, seen, .. } = trial;
    let what = format!("{operation} of {table}");
    Some(match seen {
        Ok(Seen::Logged) => return None,
        Ok(Seen::NothingChanged) => {
            let hint =
                "a trigger or rule of your own, or row security, keeps it away from the table";
            bad("edits", format!("{what} was taken, and changed no row"), hint)
        }
        Ok(Seen::NotLogged) => {
            let hint = format!(
                "`trunkline db migrate` makes triggers that are missing; if they are there: `alter table \
                 {table} enable trigger user`, and no session_replication_role for this role"
            );
            bad("edits", format!("{what} does not arrive in the change log"), hint)
        }
        Ok(_) => {
            let found = format!("whether {what} arrives in the change log cannot be told");
            let hint = "set track_counts, or grant this role select on voice_agent_changes";
            warning("edits", found, Some(hint))
        }
        Err(error) => {
            let needs_more = matches!(&error, StoreError::Refused { code, .. } if of_rules(code));
            let mut failure = Failure::from(error);
            failure.message = format!("{what}: {}", failure.message);
            if needs_more {
                failure.hint = Some(
                    "the table has a column, a constraint or a trigger of its own that a row of \
                     Trunkline's columns alone does not satisfy"
                        .into(),
                );
            }
            failed("edits", failure)
        }
    })
}

/// Constraints, values that do not fit, and what triggers raise.
fn of_rules(code: &str) -> bool {
    ["22", "23", "P0"].iter().any(|class| code.starts_with(class))
}
