//! The deployment checklist by `doctor --deploy`: what a machine can look at, step by step from an empty
//! database to a number that resolves, and what is left to a person.

use super::{Kind, Site, findings, of_state};
use crate::cli::{KEY, NUMBER, Running, TENANT, new_key, refused, with_live_environment};
use crate::support::database::BOTH;

#[test]
fn the_checklist_goes_from_an_empty_database_to_a_number_that_resolves() {
    for kind in BOTH {
        let site = Site::empty(kind);
        // The flag is in the .env file, as the checklist wants it.
        let file = site.file("deploy.env", "USE_SELFHOST_ROUTING_TABLE=false\n");
        let list = ["doctor", "--deploy", "--json", "--env-file", &file];
        let program = with_live_environment(site.program.clone());
        let run = program.run(&list);
        assert_eq!(run.code, 1, "{kind:?}");
        let bad = of_state(&run, "fail");
        assert!(bad.iter().any(|found| found.starts_with("4 migrated: ")), "{bad:?}");

        site.run(&["db", "migrate"]).ok();
        let run = program.run(&list);
        assert_eq!((of_state(&run, "fail"), run.code), (vec![], 0), "{kind:?}");
        let odd = of_state(&run, "warn");
        assert!(
            odd.iter().any(|found| found.contains("no number uses a LiveKit config")),
            "{odd:?}"
        );
        let yours = of_state(&run, "you");
        assert!(yours[0].starts_with("1 backup") && yours.len() == 5, "{yours:?}");

        let daemon = Running::start(program.command(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--env-file",
            &file,
        ]));
        let line = daemon.line();
        let address = line.split("http://").nth(1).unwrap().split(": ").next().unwrap();
        site.add_config("eu");
        site.add_number(TENANT, NUMBER, Some("eu"));
        let program = program.with("HTTP_LISTEN", address);
        let run = program.run(&list);
        assert_eq!((of_state(&run, "fail"), of_state(&run, "warn")), (vec![], vec![]), "{kind:?}");
        let good = of_state(&run, "ok");
        for expected in [
            "7 daemon: version",
            "7 daemon: Prometheus may scrape",
            "9 config: with the flag on, \"eu\" answers for +971*******67",
            "10 flag: off; a line in the .env file",
            "13 rollout: stage",
        ] {
            assert!(good.iter().any(|found| found.starts_with(expected)), "{expected}: {good:?}");
        }
        site.run(&["rollout", "set", "off"]).ok();
        let run = program.run(&list);
        assert_eq!((of_state(&run, "fail"), of_state(&run, "warn")), (vec![], vec![]), "{kind:?}");
        let good = of_state(&run, "ok");
        assert!(good.iter().any(|found| found.contains("outside of the rollout")), "{good:?}");
        assert_eq!(daemon.end_by("-TERM"), Some(0));
    }
}

#[test]
fn a_secret_that_does_not_open_and_a_flag_that_nobody_can_turn_are_told() {
    let (site, _) = Site::with_route(Kind::Sqlite);
    let wrong = site.with_environment().with(KEY, &new_key());
    let wrong = wrong.with("USE_SELFHOST_ROUTING_TABLE", "true");
    let run = wrong.run(&["doctor", "--deploy", "--json"]);
    let bad = of_state(&run, "fail");
    assert!(bad.iter().any(|found| found.starts_with("2 key: secrets: ")), "{bad:?}");
    assert!(bad.iter().any(|found| found.ends_with("secret_unopenable")), "{bad:?}");
    let odd = of_state(&run, "warn");
    assert!(odd.iter().any(|found| found.starts_with("10 flag: on, by the process")), "{odd:?}");
    let numbered = findings(&run).iter().all(|found| {
        found["check"].as_str().unwrap().starts_with(|first: char| first.is_ascii_digit())
    });
    assert!(numbered, "{}", run.out);
    refused(site.run(&["doctor", "--deploy", "--edit", "--json"]), 2, "usage");
}
