//! Tables up, down, up again, and filled for a try.

use serde_json::Value;

use super::{NUMBER, Site, TENANT, refused, with_live_environment};
use crate::support::database::{BOTH, Kind};
use crate::support::postgres::psql;

fn applied(status: &Value) -> Vec<bool> {
    let migrations = status["migrations"].as_array().unwrap();
    migrations.iter().map(|migration| migration["applied"].as_bool().unwrap()).collect()
}

#[test]
fn migrating_twice_is_migrating_once() {
    for kind in BOTH {
        let site = Site::empty(kind);
        let first = site.run(&["db", "migrate", "--json"]).json();
        assert!(applied(&first).iter().all(|applied| *applied) && first["current"] == true);
        site.add_config("eu");
        assert_eq!(site.run(&["db", "migrate", "--json"]).json(), first, "{kind:?}");
        assert_eq!(site.configs().as_array().unwrap().len(), 1);
        assert!(site.run(&["db", "migrate"]).ok().contains("livekit configs"));
    }
}

#[test]
fn status_says_whether_the_tables_are_there_and_ends_with_1_while_they_are_not() {
    for kind in BOTH {
        let site = Site::empty(kind);
        if kind == Kind::Sqlite {
            site.file("x.db", "");
        }
        let run = site.run(&["db", "status", "--json"]);
        let status: Value = serde_json::from_str(&run.out).unwrap();
        assert!(!applied(&status).contains(&true) && status["current"] == false, "{status}");
        let error = refused(run, 1, "not_migrated");
        assert!(error["hint"].as_str().unwrap().contains("trunkline db migrate"), "{error}");

        site.run(&["db", "migrate"]).ok();
        assert_eq!(site.run(&["db", "status", "--json"]).json()["current"], true, "{kind:?}");
    }
}

#[test]
fn looking_makes_no_sqlite_file() {
    let site = Site::empty(Kind::Sqlite);
    for arguments in [&["db", "status", "--json"][..], &["livekit", "list", "--json"]] {
        refused(site.run(arguments), 4, "database_unreachable");
    }
    assert_eq!(std::fs::read_dir(site.folder.path()).unwrap().count(), 0);
}

#[test]
fn tables_that_are_not_there_are_told_with_the_command_that_makes_them() {
    for kind in BOTH {
        let site = Site::empty(kind);
        if kind == Kind::Sqlite {
            site.file("x.db", "");
        }
        for noun in ["livekit", "number"] {
            let error = refused(site.run(&[noun, "list", "--json"]), 4, "not_migrated");
            assert!(error["hint"].as_str().unwrap().contains("trunkline db migrate"), "{error}");
        }
    }
}

#[test]
fn rollback_without_yes_is_refused_and_changes_nothing() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        site.add_config("eu");
        for how in [&[][..], &["--all"], &["--steps", "2"]] {
            let arguments = [&["db", "rollback", "--json"], how].concat();
            let error = refused(site.run(&arguments), 2, "confirmation_needed");
            assert!(error["hint"].as_str().unwrap().contains("--yes"), "{error}");
        }
        assert_eq!(site.run(&["db", "status", "--json"]).json()["current"], true, "{kind:?}");
        assert_eq!(site.configs().as_array().unwrap().len(), 1, "{kind:?}");
    }
}

#[test]
fn the_tables_go_down_step_by_step_and_come_up_again() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let rollback =
            |how: &[&str]| site.run(&[&["db", "rollback", "--yes", "--json"], how].concat()).json();
        let all = applied(&site.run(&["db", "status", "--json"]).json()).len();
        let mut expected = vec![true; all];
        expected[all - 1] = false;
        assert_eq!(applied(&rollback(&[])), expected, "{kind:?}");
        assert_eq!(site.configs().as_array().unwrap().len(), 1, "the rows are still there");
        assert_eq!(applied(&rollback(&["--steps", "99"])), vec![false; all], "{kind:?}");
        assert_eq!(applied(&rollback(&["--all"])), vec![false; all], "{kind:?}");
        refused(site.run(&["db", "status", "--json"]), 1, "not_migrated");

        site.run(&["db", "migrate"]).ok();
        assert_eq!(site.configs(), Value::Array(vec![]), "{kind:?}");
        site.add_config("eu");
    }
}

#[test]
fn seed_prints_a_number_that_resolves() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let seeded = site.run(&["db", "seed", "--numbers", "20", "--json"]).json();
        let numbers = site.numbers();
        assert_eq!(numbers.as_array().unwrap().len(), 20, "{kind:?}");
        for number in numbers.as_array().unwrap().iter().chain([&seeded["first"]]) {
            let [tenant, from] = ["tenant_id", "number"].map(|name| number[name].as_str().unwrap());
            let answer =
                site.run(&["resolve", "--json", "--tenant", tenant, "--from", from]).json();
            assert_eq!(answer["source"], "database", "{answer}");
        }
    }
}

#[test]
fn the_command_that_seed_prints_can_be_run_as_it_is() {
    let site = Site::new();
    let out = site.run(&["db", "seed", "--numbers", "3"]).ok();
    let command = out.lines().find_map(|line| line.trim().strip_prefix("trunkline ")).unwrap();
    let arguments: Vec<_> = command.split(' ').collect();
    assert!(site.run(&arguments).ok().contains("database"));
}

#[test]
fn seed_leaves_a_database_alone_that_has_configs() {
    let site = Site::new();
    let own = site.add_config("eu");
    refused(site.run(&["db", "seed", "--json"]), 6, "not_empty");
    assert_eq!(site.configs().as_array().unwrap().len(), 1);
    site.run(&["db", "seed", "--numbers", "3", "--force"]).ok();
    assert_eq!(site.configs().as_array().unwrap().len(), 3);
    site.run(&["livekit", "show", &own]).ok();
}

#[test]
fn seed_leaves_a_database_alone_that_has_numbers_and_no_config() {
    let site = Site::new();
    site.add_number(TENANT, NUMBER, None);
    let error = refused(site.run(&["db", "seed", "--json"]), 6, "not_empty");
    assert_eq!(error["message"], "there are numbers already");
    assert_eq!(site.configs(), Value::Array(vec![]));
}

#[test]
fn unseed_removes_what_seed_added_and_nothing_else() {
    for kind in BOTH {
        let (site, own) = Site::with_route(kind);
        let much = ["--numbers", "2500", "--configs", "3", "--tenants", "50", "--force", "--json"];
        let seeded = site.run(&[&["db", "seed"][..], &much].concat()).json();
        let many = |name: &str| seeded[name].as_array().unwrap().len();
        assert_eq!((many("configs"), many("tenants")), (3, 50), "{kind:?}");
        // One number of somebody else uses a sample config, and one has the provider and not the config.
        let sample = seeded["configs"][2].as_str().unwrap();
        site.run(&[
            "number",
            "assign",
            "--tenant",
            TENANT,
            "--number",
            NUMBER,
            "--livekit",
            sample,
        ])
        .ok();
        let tenant = seeded["first"]["tenant_id"].as_str().unwrap();
        let first = seeded["first"]["number"].as_str().unwrap();
        site.run(&["number", "assign", "--tenant", tenant, "--number", first, "--livekit", &own])
            .ok();

        refused(site.run(&["db", "unseed", "--json"]), 2, "confirmation_needed");
        assert_eq!(site.numbers().as_array().unwrap().len(), 2501, "{kind:?}");
        let run = site.run(&["db", "unseed", "--yes", "--json"]);
        assert_eq!(run.code, 6, "{kind:?}: {}", run.err);
        let told: Value = serde_json::from_str(&run.out).unwrap();
        let stays = told["stay"].as_array().unwrap().len();
        assert_eq!((&told["configs"], &told["numbers"], stays), (&2.into(), &2499.into(), 1));
        site.run(&["number", "assign", "--tenant", TENANT, "--number", NUMBER, "--livekit", &own])
            .ok();
        let rest = site.run(&["db", "unseed", "--yes"]).ok();
        assert!(rest.contains("1 LiveKit configs and 0 numbers"), "{rest}");
        assert_eq!(site.configs()[0]["name"], "eu", "{kind:?}");
        assert_eq!(site.numbers().as_array().unwrap().len(), 2, "{kind:?}");
    }
}

#[test]
fn a_database_that_is_not_named_or_not_there_is_told_apart() {
    let site = Site::new();
    let unnamed = site.with("DATABASE_URL", "");
    refused(unnamed.run(&["db", "status", "--json"]), 3, "database_not_configured");
    for url in ["sqlite:/nowhere/at/all.db", "postgres://nobody:canary@127.0.0.1:1/x"] {
        let away = site.with("DATABASE_URL", url);
        for arguments in [["db", "status", "--json"], ["livekit", "list", "--json"]] {
            let error = refused(away.run(&arguments), 4, "database_unreachable");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}

#[test]
fn who_else_may_create_in_the_schema_is_said_with_the_statement_that_ends_it() {
    let site = Site::empty(Kind::Postgres);
    let url = site.variable("DATABASE_URL");
    let name = url.rsplit('/').next().unwrap();
    let role = format!("\"May Create in {name}\"");
    psql(&url, &format!("create role {role}; grant create on schema public to public, {role}"));
    let roles = format!("public, {role}");
    let migrated = site.run(&["db", "migrate", "--json"]);
    assert_eq!(migrated.code, 0, "{}", migrated.err);
    assert!(migrated.err.contains(&format!("may create in it: {roles}")), "{}", migrated.err);

    let doctor = with_live_environment(site.program.clone()).run(&["doctor", "--json"]);
    let schema = doctor.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let schema = schema.into_iter().find(|finding| finding["check"] == "schema").unwrap();
    assert_eq!((&schema["state"], doctor.code), (&"warn".into(), 0), "{schema}");
    let statement = schema["hint"].as_str().unwrap();
    assert_eq!(statement, format!("revoke create on schema \"public\" from {roles}"));

    psql(&url, statement);
    let again = site.run(&["db", "migrate"]);
    assert!(!again.err.contains("may create"), "{}", again.err);
    assert!(!site.run(&["doctor"]).out.contains("may create"), "nothing is left to say");
}

#[test]
fn a_table_that_became_unfit_is_warned_of_and_serves_as_before() {
    let site = Site::migrated(Kind::Postgres);
    let url = site.variable("DATABASE_URL");
    psql(&url, "create table elsewhere () inherits (voice_agent_numbers)");
    let migrated = site.run(&["db", "migrate"]);
    let found = "voice_agent_numbers must be a plain table, and is part of an inheritance";
    assert!(migrated.code == 0 && migrated.err.contains(found), "{}", migrated.err);
    let doctor = with_live_environment(site.program.clone()).run(&["doctor"]);
    assert!(doctor.code == 0 && doctor.out.contains(found), "{}", doctor.out);
}

#[test]
fn notify_is_taken_out_of_the_triggers_and_put_back() {
    let site = Site::migrated(Kind::Postgres);
    let url = site.variable("DATABASE_URL");
    let quiet =
        "select count(*) from pg_trigger where tgname like 'trunkline_log_%' and tgnargs > 0";
    for (arguments, expected) in [
        (&["db", "migrate", "--notify", "off"][..], "16"),
        (&["db", "migrate"], "16"),
        (&["db", "migrate", "--notify", "on"], "0"),
    ] {
        site.run(arguments).ok();
        assert_eq!(psql(&url, quiet), expected, "{arguments:?}");
    }
    let site = Site::empty(Kind::Sqlite);
    refused(site.run(&["db", "migrate", "--notify", "off", "--json"]), 2, "no_notify");
}

#[tokio::test]
async fn a_migration_that_waits_for_a_lock_gives_up_and_names_the_holder() {
    use sqlx::Connection;

    let site = Site::migrated(Kind::Postgres);
    let url = site.variable("DATABASE_URL");
    let mut holder = sqlx::PgConnection::connect(&url).await.unwrap();
    // As another migrator does that hangs.
    let hold = "set application_name = 'a long report'; \
                select pg_advisory_lock(hashtextextended('trunkline triggers', 0))";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    let pid: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut holder).await.unwrap();
    let program = site.with("PGOPTIONS", "-c lock_timeout=2s");
    let (code, error) = program.run(&["db", "migrate", "--json"]).failed();
    assert_eq!(code, 4, "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&format!("held by process {pid} of role ")), "{message}");
    assert!(message.contains("a long report"), "{message}");
    drop(holder);
    site.run(&["db", "migrate"]).ok();
}
