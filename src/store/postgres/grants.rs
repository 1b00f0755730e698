//! The rights of a service and of an editor, as SQL.

use super::{PostgresStore, literal, quoted};
use crate::store::access::{CHANGES, Grants};
use crate::store::error::typed;
use crate::store::{Access, MigrateError, MissingGrant};

impl PostgresStore {
    /// The statements that make these roles, as far as they are missing, and grant them what they
    /// need. Each may be repeated.
    #[must_use]
    pub fn grants(&self, grants: &Grants) -> String {
        let Grants { service, editor, prune, edit, calls, people, audit, keys } = grants;
        let missing: String = [service, editor].map(|role| role_unless_there(role)).concat();
        let service_may = self.granted(service, Access::Service);
        let listed = self.granted_on_tables(service, Access::Node);
        let pruning = if *prune {
            let table = format!("{}.{CHANGES}", quoted(&self.schema));
            format!(
                "-- It prunes the change log.\ngrant delete on {table} to {};\n",
                quoted(service)
            )
        } else {
            String::new()
        };
        let also = |is_wanted: bool, what: &str, access| {
            let granted = is_wanted.then(|| self.granted_on_tables(service, access));
            granted.map(|granted| format!("-- It {what} for clients of the API.\n{granted}"))
        };
        let editing = also(*edit, "edits", Access::EditingService).unwrap_or_default();
        let calling = also(*calls, "places calls", Access::CallingService).unwrap_or_default();
        let signing_in = if *people {
            let granted = self.granted_on_tables(service, Access::People);
            format!("-- It signs people in, and manages users and clients for admins.\n{granted}")
        } else {
            String::new()
        };
        let auditing = if *audit {
            let sealing = self.granted_on_tables(service, Access::Sealer);
            let pruned = prune.then(|| {
                let (schema, role) = (quoted(&self.schema), quoted(service));
                format!("grant execute on function {schema}.{PRUNES}\n    to {role};\n")
            });
            let pruning = pruned.map(|granted| format!("-- It prunes the audit.\n{granted}"));
            format!("-- It reads and seals the audit.\n{sealing}{}", pruning.unwrap_or_default())
        } else {
            String::new()
        };
        let turning = if *keys {
            let granted = self.granted_on_tables(service, Access::KeyKeeper);
            format!("-- It turns the encryption keys for admins.\n{granted}")
        } else {
            String::new()
        };
        let editor_may = self.granted(editor, Access::Editor);
        format!(
            "-- A role that is made here cannot log in yet: alter role … login password '…'\n\
             do $trunkline$ begin\n{missing}end $trunkline$;\n\
             \n-- The service: it resolves, and hears changes. LISTEN takes no right.\n{service_may}\
             -- It is listed among the nodes.\n{listed}\
             {pruning}{editing}{calling}{signing_in}{auditing}{turning}\
             \n-- Who edits. The triggers write the change log and the audit as their owner.\n{editor_may}"
        )
    }

    /// Runs those statements, all of them or none, and looks whether they took.
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; a role without the right to grant may get no error from Postgres, and gets
    /// [`MigrateError::Failed`] here.
    pub async fn grant(&self, grants: &Grants) -> Result<(), MigrateError> {
        let mut connection = self.connect().await?;
        let statements = sqlx::AssertSqlSafe(self.grants(grants));
        // Statements that are sent together are one transaction.
        sqlx::raw_sql(statements)
            .execute(&mut connection)
            .await
            .map_err(|error| typed(&error, "grant"))?;
        let lacking = self.lacking(grants).await?;
        if lacking.is_empty() {
            return Ok(());
        }
        let lacking: Vec<_> = lacking.iter().map(MissingGrant::grant).collect();
        let why = format!("only the owner of the tables can: {}", lacking.join("; "));
        Err(MigrateError::Failed { why })
    }

    fn granted(&self, role: &str, access: Access) -> String {
        let (schema, name) = (quoted(&self.schema), quoted(role));
        format!(
            "grant usage on schema {schema} to {name};\n{}",
            self.granted_on_tables(role, access)
        )
    }

    fn granted_on_tables(&self, role: &str, access: Access) -> String {
        let (schema, role) = (quoted(&self.schema), quoted(role));
        let wanted = access.wanted();
        let is_first = |at: usize| wanted[..at].iter().all(|(_, tables)| *tables != wanted[at].1);
        let grants =
            wanted.iter().enumerate().filter(|(at, _)| is_first(*at)).map(|(_, (_, on))| {
                let same = wanted.iter().filter(|(_, tables)| tables == on);
                let privileges: Vec<_> = same.map(|(privilege, _)| *privilege).collect();
                let tables: Vec<_> = on.iter().map(|table| format!("{schema}.{table}")).collect();
                let (privileges, tables) = (privileges.join(", "), tables.join(", "));
                format!("grant {privileges} on {tables}\n    to {role};\n")
            });
        grants.collect()
    }
}

const PRUNES: &str = "trunkline_prune_audit(text, double precision, bigint)";

fn role_unless_there(role: &str) -> String {
    let (name, text) = (quoted(role), literal(role));
    format!(
        "    if not exists (select from pg_catalog.pg_roles where rolname = {text}) then\n        \
         create role {name} nologin;\n    end if;\n"
    )
}
