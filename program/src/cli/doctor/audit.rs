//! Whether every change is audited, and what of the audit is sealed.

use trunkline::store::{OpenStore, StoreError};

use super::{DoctorFinding, bad, failed, good};
use crate::cli::db::AUDITED_AGAIN;

pub(super) async fn look(database: &OpenStore) -> Vec<DoctorFinding> {
    let audit = database.audit();
    match audit.unaudited().await {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => {
            let missing: Vec<_> =
                missing.iter().map(|(place, what)| format!("{what} of {place}")).collect();
            let found = format!(
                "not audited, since triggers are missing or disabled: {}",
                missing.join(", ")
            );
            return vec![bad("audit", found, AUDITED_AGAIN)];
        }
        Err(error) => return vec![failed("audit", error)],
    }
    let end = match audit.chain_end().await {
        Ok(end) => end,
        // The check of migrations says so.
        Err(StoreError::NotMigrated { .. }) => return Vec::new(),
        Err(StoreError::Refused { code, .. }) if code == "42501" => {
            return vec![good("audit", "is written; this role may not read it")];
        }
        Err(error) => return vec![failed("audit", error)],
    };
    let sealed = match end {
        Some((position, _)) => format!("sealed up to position {position}"),
        None => "nothing is sealed yet".to_owned(),
    };
    vec![match audit.count_unsealed(MOST).await {
        Ok(0) => good("audit", sealed),
        Ok(rows) => {
            let more = if rows == MOST as u64 { " or more" } else { "" };
            let found = format!(
                "{sealed}; {rows}{more} rows are not: a node that may seals them within seconds, `trunkline \
                 audit seal` at once"
            );
            good("audit", found)
        }
        Err(error) => failed("audit", error),
    }]
}

const MOST: usize = 10_000;
