//! The database: that it answers, how the way to it is protected, and everything about its tables.

use trunkline::Settings;
use trunkline::settings::Transport;
use trunkline::store::{Access, Inspection, Migrations, OpenStore};

use super::{
    DoctorFinding, audit, bad, configs, edits, failed, files, good, hot_reload, keys, nodes, relay,
    secrets, warning,
};
use crate::cli::db::other_creators;
use crate::cli::failure::Failure;
use crate::cli::open;

pub(super) async fn look(settings: &Settings, access: Access) -> Vec<DoctorFinding> {
    let database = match open(settings) {
        Ok(database) => database,
        Err(failure) => return vec![failed("database", failure)],
    };
    let mut findings = files::look(settings.database.as_ref());
    let inspection = match database.inspect().await {
        Ok(inspection) => inspection,
        Err(error) => {
            findings.push(failed("database", error));
            return findings;
        }
    };
    if let (Some(inspection), Some(named)) = (&inspection, &settings.database) {
        findings.push(good("database", "answers"));
        findings.push(encryption(named.transport(), inspection.encrypted));
        findings.extend(rights(inspection, access));
        findings.extend(hidden(inspection));
        findings.extend(owners(inspection));
    }
    match database.migrate(Migrations::Status).await {
        Ok(status) => {
            if inspection.is_none() {
                findings.push(good("database", "answers"));
            }
            let found = format!("at migration {}, not up to date", status.newest_applied());
            let hint = "run `trunkline db migrate`";
            if !status.is_enough() {
                findings.push(bad("migrations", found, hint));
                return findings;
            }
            findings.push(if status.is_current() {
                good("migrations", format!("up to date ({})", status.newest_applied()))
            } else {
                warning("migrations", found, Some(hint))
            });
        }
        Err(error) => {
            let check = if inspection.is_some() { "migrations" } else { "database" };
            findings.push(failed(check, error));
            return findings;
        }
    }
    findings.extend(tables(&database).await);
    if access == Access::Editor {
        findings.extend(edits::look(&database).await);
        return findings;
    }
    match rows(&database, settings).await {
        Ok(more) => findings.extend(more),
        Err(failure) => findings.push(failed("rows", failure)),
    }
    findings.extend(keys::look(&database, inspection.as_ref(), settings).await);
    findings.extend(audit::look(&database).await);
    let ring = match &settings.ring {
        Some(ring) => database.ruled(ring).await.map(|ring| ring.key_ids()).unwrap_or_default(),
        None => Vec::new(),
    };
    findings.extend(nodes::look(&database, inspection.as_ref(), settings, &ring).await);
    findings.push(hot_reload::look(settings).await);
    findings.extend(relay::look(settings).await);
    findings
}

/// Whether what is said can be read on its way, and by whom.
fn encryption(transport: Transport, encrypted: Option<bool>) -> DoctorFinding {
    let verify = "say sslmode=verify-full, and name the authority by sslrootcert";
    let trusted = "turn TLS on at the server and say sslmode=verify-full; or say sslmode=disable where \
                   the network is to be trusted";
    match (transport, encrypted) {
        (Transport::Local, _) => good("tls", "not needed: the server is on this machine"),
        (Transport::Verified, _) => good("tls", "encrypted, to a server that was verified"),
        (Transport::Clear, _) => good("tls", "off, as sslmode=disable says"),
        (Transport::Offered, Some(false)) => {
            bad("tls", "the connection is in the clear: the server offers no TLS", trusted)
        }
        (Transport::Offered, None) => {
            let found = "a pooler stands before the database, and may be spoken to in the clear";
            warning("tls", found, Some(trusted))
        }
        _ => warning("tls", "encrypted, and to whoever answers: nobody was verified", Some(verify)),
    }
}

/// What the role may do, and the grants that it lacks.
fn rights(inspection: &Inspection, access: Access) -> Vec<DoctorFinding> {
    let role = &inspection.role;
    let lacks = inspection.lacks(access);
    if !lacks.is_empty() {
        let lack = |lack: &trunkline::store::MissingGrant| {
            bad("rights", format!("{role} lacks {} on {}", lack.privilege, lack.on), lack.grant())
        };
        return lacks.iter().map(lack).collect();
    }
    if access == Access::Editor {
        return vec![good("rights", format!("{role} may edit"))];
    }
    let edits = ["insert", "update", "delete"].iter().any(|privilege| {
        ["voice_agent_livekit", "voice_agent_numbers"]
            .iter()
            .any(|table| inspection.may(privilege, table))
    });
    let prunes = inspection.may("delete", "voice_agent_changes");
    let found = format!(
        "{role} may resolve and hear changes, {} edit, and {} prune the change log",
        if edits { "may" } else { "may not" },
        if prunes { "may" } else { "may not" },
    );
    vec![good("rights", found)]
}

/// Row security, which makes a table look as if rows were not there.
fn hidden(inspection: &Inspection) -> impl Iterator<Item = DoctorFinding> {
    let role = &inspection.role;
    inspection.hidden.iter().map(move |table| {
        let found = format!("row security hides rows of {table} from {role}");
        let hint = format!(
            "alter table {table} disable row level security, or alter role {role} bypassrls"
        );
        bad("row security", found, hint)
    })
}

/// Who owns tables and triggers.
fn owners(inspection: &Inspection) -> Option<DoctorFinding> {
    let (_, first) = inspection.owners.first()?;
    let owners = inspection.owners.iter().map(|(place, owner)| format!("{place}: {owner}"));
    let owners = || owners.clone().collect::<Vec<_>>().join(", ");
    if !inspection.logs {
        let found = format!(
            "edits are refused: the owner of trunkline_log_changes() has not the rights of the owner of \
             the tables ({})",
            owners()
        );
        let hint =
            "alter table … owner to …, alter function … owner to …: one owner for all of them";
        return Some(bad("owners", found, hint));
    }
    if inspection.owners.iter().any(|(_, owner)| owner != first) {
        let hint = "let one role own all of them: `db migrate` takes the rights of each owner";
        return Some(warning("owners", format!("several: {}", owners()), Some(hint)));
    }
    Some(good("owners", format!("{first} owns tables and triggers")))
}

/// Kinds and types of the tables, and who may create beside them.
async fn tables(database: &OpenStore) -> Vec<DoctorFinding> {
    let mut findings = Vec::new();
    match database.misfits().await {
        Ok(misfits) => findings.extend(misfits.iter().map(|misfit| {
            let hint = "alter it; the next major version will refuse it";
            warning("tables", misfit.to_string(), Some(hint))
        })),
        Err(error) => findings.push(failed("tables", error)),
    }
    match other_creators(database).await {
        Ok(None) => {}
        Ok(Some((found, hint))) => findings.push(warning("schema", found, Some(&hint))),
        Err(failure) => findings.push(failed("schema", failure)),
    }
    findings
}

async fn rows(database: &OpenStore, settings: &Settings) -> Result<Vec<DoctorFinding>, Failure> {
    let store = database.admin();
    let configs = store.configs().await?;
    let newest = database.change_log().newest_change().await?;
    let mut findings = vec![
        good("configs", configs.len().to_string()),
        good("change log", format!("can be read, up to place {newest}")),
    ];
    let future = database.future_changes().await?;
    if future > 0 {
        let found = format!(
            "{future} rows are of transactions that are yet to come, as after a restore from another \
             server"
        );
        let hint =
            "they count as rows of the past, and go when they are older than CHANGE_LOG_KEEP";
        findings.push(warning("change log", found, Some(hint)));
    }
    findings.extend(configs::look(&configs, settings));
    if let Some(ring) = &settings.ring {
        let (ring, others) = (database.ruled(ring).await?, store.other_pairs().await?);
        findings.extend(secrets::data_keys(&ring));
        findings.extend(secrets::look(&configs, &others, &ring));
    }
    let doubles = store.count_duplicate_numbers().await?;
    if doubles > 0 {
        let found = format!("{doubles} stand twice within their tenant; the lowest row id answers");
        findings.push(warning("numbers", found, Some("remove the rows that are not meant")));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_way_that_can_be_read_is_told_as_bad_as_it_is() {
        for (transport, encrypted, expected) in [
            (Transport::Local, Some(false), State::Good),
            (Transport::Clear, Some(false), State::Good),
            (Transport::Verified, Some(true), State::Good),
            (Transport::Encrypted, Some(true), State::Warning),
            (Transport::Encrypted, None, State::Warning),
            (Transport::Offered, Some(true), State::Warning),
            (Transport::Offered, None, State::Warning),
            (Transport::Offered, Some(false), State::Bad),
        ] {
            let finding = encryption(transport, encrypted);
            assert_eq!(finding.state, expected, "{transport:?} {encrypted:?}");
        }
    }
}
