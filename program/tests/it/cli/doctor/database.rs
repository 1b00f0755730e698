//! What a database can be that a service cannot work with: each is named with what mends it, in the
//! words of the server where those hold no value.

use serde_json::Value;

use super::{Kind, Program, Run, Site, findings, never_hints_at_itself, of_state, psql};
use crate::cli::OTHER_TENANT;
use crate::support::postgres::psql_refused;

/// A site with a route, and the program as another role.
struct Lab {
    site: Site,
    url: String,
    role: String,
    program: Program,
}

impl Lab {
    fn new() -> Self {
        let (site, _) = Site::with_route(Kind::Postgres);
        let url = site.variable("DATABASE_URL");
        let role = format!("app_of_{}", url.rsplit('/').next().unwrap());
        psql(&url, &format!("create role {role} login"));
        let program = site.with("DATABASE_URL", &url.replace("owner@", &format!("{role}@")));
        Self { site, url, role, program }
    }

    /// With the rights of a service.
    fn granted() -> Self {
        let lab = Self::new();
        let editor = format!("nobody_of_{}", lab.role);
        let grants = ["db", "grants", "--service", &lab.role, "--editor", &editor, "--apply"];
        lab.site.run(&grants).ok();
        lab
    }

    fn doctor(&self) -> Run {
        let run = self.program.run(&["doctor", "--json"]);
        never_hints_at_itself(&run);
        run
    }

    fn failed(&self) -> Vec<String> {
        of_state(&self.doctor(), "fail")
    }
}

/// The hints of what failed at a check.
fn hints(run: &Run, check: &str) -> Vec<String> {
    let failed = |finding: &Value| finding["check"] == check && finding["state"] == "fail";
    let failed = findings(run).into_iter().filter(failed);
    failed.map(|finding| finding["hint"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn rights_that_a_service_lacks_are_named_as_the_grants_that_mend_it() {
    let lab = Lab::new();
    psql(&lab.url, "revoke all on schema public from public");
    let run = lab.doctor();
    let grants = hints(&run, "rights");
    assert_eq!(grants.len(), 2, "usage and select: {grants:?}");
    let words = of_state(&run, "fail").join("\n");
    assert!(words.contains("permission denied for schema public"), "{words}");
    psql(&lab.url, &grants.join("; "));
    assert_eq!(lab.failed(), Vec::<String>::new());
    for (table, words) in [
        ("voice_agent_livekit", "permission denied for table voice_agent_livekit"),
        ("voice_agent_changes", "permission denied for table voice_agent_changes"),
        ("trunkline_migrations", "permission denied for table trunkline_migrations"),
    ] {
        psql(&lab.url, &format!("revoke select on {table} from {}", lab.role));
        let run = lab.doctor();
        let grants = hints(&run, "rights");
        let expected = format!("grant select on \"public\".{table} to {}", lab.role);
        assert_eq!(grants, [expected], "{table}");
        assert!(of_state(&run, "fail").join("\n").contains(words), "{}", run.out);
        psql(&lab.url, &grants[0]);
    }
    assert_eq!(lab.failed(), Vec::<String>::new());
}

#[test]
fn a_right_on_each_column_is_a_right() {
    let lab = Lab::granted();
    psql(
        &lab.url,
        &format!(
            "revoke select on voice_agent_numbers from {0};
             grant select (id, tenant_id, country_code, base_number, provider, rules)
             on voice_agent_numbers to {0}",
            lab.role
        ),
    );
    assert_eq!(lab.failed(), Vec::<String>::new());
}

#[test]
fn row_security_is_named_with_its_table() {
    let lab = Lab::granted();
    psql(&lab.url, "alter table voice_agent_changes enable row level security");
    let run = lab.doctor();
    let hidden = of_state(&run, "fail");
    let expected = format!("row security hides rows of voice_agent_changes from {}", lab.role);
    assert!(hidden[0].contains(&expected), "{hidden:?}");
    psql(&lab.url, hints(&run, "row security")[0].split(", or ").next().unwrap());
    assert_eq!(lab.failed(), Vec::<String>::new());
}

#[test]
fn owners_that_keep_edits_from_being_logged_are_named() {
    let lab = Lab::granted();
    let other = format!("other_{}", lab.role);
    // A role that is no superuser, which would have everybody's rights.
    psql(
        &lab.url,
        &format!(
            "create role {other}; grant usage, create on schema public to {other};
             alter table voice_agent_changes owner to {other}"
        ),
    );
    let several = of_state(&lab.doctor(), "warn");
    assert!(several.iter().any(|found| found.starts_with("owners: several: ")), "{several:?}");
    psql(&lab.url, &format!("alter function trunkline_log_changes() owner to {other}"));
    let refused = psql_refused(&lab.url, "update voice_agent_livekit set trunk_id = 'ST_1'");
    assert!(refused.contains("its own schema and owner only"), "{refused}");
    let failed = lab.failed();
    assert!(
        failed.iter().any(|found| found.starts_with("owners: edits are refused")),
        "{failed:?}"
    );
}

#[test]
fn rows_of_the_log_from_transactions_that_are_yet_to_come_are_counted() {
    let lab = Lab::granted();
    psql(
        &lab.url,
        "insert into voice_agent_changes (xact, entity, operation)
         select cast(cast(cast(cast(pg_snapshot_xmax(pg_current_snapshot()) as text) as bigint)
             + 1000000 + place as text) as xid8), 'all', 'update' from generate_series(1, 7) as place",
    );
    let odd = of_state(&lab.doctor(), "warn");
    assert!(odd.iter().any(|found| found.starts_with("change log: 7 rows are of")), "{odd:?}");
}

#[test]
fn types_and_kinds_that_tables_must_not_have_are_named() {
    let lab = Lab::granted();
    psql(
        &lab.url,
        "alter table voice_agent_numbers alter column tenant_id type text using tenant_id::text;
         create table part () inherits (voice_agent_livekit)",
    );
    let run = lab.doctor();
    let odd = of_state(&run, "warn").join("\n");
    for found in [
        "voice_agent_numbers.tenant_id must be uuid, and is text",
        "voice_agent_livekit must be a plain table, and is part of an inheritance",
    ] {
        assert!(odd.contains(found), "{odd}");
    }
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_server_with_what_mends_it() {
    let lab = Lab::granted();
    let add = |program: &Program| {
        let number = ["number", "add", "--tenant", OTHER_TENANT, "--json"];
        program.run(&[&number[..], &["--number", "+971501234568"]].concat()).failed().1
    };
    let said = |error: &Value, member: &str| error[member].as_str().unwrap().to_owned();
    let right = add(&lab.program);
    assert!(said(&right, "message").ends_with("permission denied for table voice_agent_numbers"));
    assert!(said(&right, "hint").contains("trunkline db grants"), "{right}");

    let name = lab.url.rsplit('/').next().unwrap();
    psql(&lab.url, &format!("alter database {name} set default_transaction_read_only = on"));
    let reading = add(&lab.site);
    assert!(said(&reading, "message").contains("in a read-only transaction"), "{reading}");
    assert!(said(&reading, "hint").contains("default_transaction_read_only"), "{reading}");

    let option = lab.site.with("DATABASE_URL", &format!("{}?options=-c%20nosuch%3D1", lab.url));
    let run = option.run(&["doctor", "--json"]);
    let failed = of_state(&run, "fail").join("\n");
    assert!(failed.contains("unrecognized configuration parameter \"nosuch\""), "{failed}");
    assert!(hints(&run, "database")[0].contains("PGOPTIONS"), "{}", run.out);
    never_hints_at_itself(&run);
}

#[test]
fn what_a_function_of_somebody_raises_is_not_told() {
    let lab = Lab::granted();
    psql(
        &lab.url,
        "create function tell() returns trigger language plpgsql as $$ begin
             raise exception 'canary' using errcode = '42501'; end $$;
         create trigger tell before insert on voice_agent_numbers
         for each row execute function tell()",
    );
    let number = ["number", "add", "--tenant", OTHER_TENANT, "--json"];
    let run = lab.site.run(&[&number[..], &["--number", "+971501234568"]].concat());
    assert!(run.err.contains("(code 42501)") && !run.err.contains("canary"), "{}", run.err);
}
