//! Batches whose node was killed, whose folder is there twice, and whose journal is gone.

use serde_json::json;

use super::{ENGINE, Lab, id_of, rows, to};
use crate::api::{Daemon, refused};
use crate::support::database::{BOTH, Kind};
use crate::support::eventually;
use crate::support::standin::FarEnd;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_on_after_its_node_was_killed_and_dials_nobody_twice() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        for person in [0, 2, 3] {
            lab.stand_in.at(&to(person), FarEnd::Answers);
        }
        lab.stand_in.at(&to(1), FarEnd::Rings);
        let (one, two) = (lab.one(), lab.two());
        let id = id_of(&one.send(lab.upload("a", ENGINE, &rows(0..4))).await);
        eventually("it rings", async || lab.stand_in.ringing() == 1).await;
        drop(one);
        assert_eq!(lab.dialled(), [to(0), to(1)]);
        // As after a while without a word of it.
        lab.site.database.sql("update trunkline_batches set beat_at = null").await;
        assert_eq!(lab.state(&two, &id).await, "interrupted");
        refused(&lab.ask(&two, "POST", &format!("/{id}/resume")).await, 409, "batch_not_ended");
        let again = two.send(lab.upload("a", ENGINE, &rows(0..4))).await;
        assert_eq!(id_of(&again), id);
        // One that looks for what it may run finds its own batches alone.
        lab.stand_in.at(&to(5), FarEnd::Answers);
        let own = id_of(&two.send(lab.upload("b", ENGINE, &rows(5..6))).await);
        lab.becomes(&two, &own, "done").await;
        assert_eq!(lab.state(&two, &id).await, "interrupted");
        assert_eq!(lab.dialled(), [to(0), to(1), to(5)], "{kind:?}");

        // Whether that phone was answered meanwhile, nobody can tell by then.
        lab.stand_in.rooms().iter().for_each(|room| lab.stand_in.close(room));
        let one = lab.one();
        let told = lab.becomes(&two, &id, "done").await;
        assert_eq!(told["outcomes"], json!({"in_doubt": 1, "placed": 3}), "{told}");
        assert_eq!(told["done"], 4, "{told}");
        assert_eq!(lab.dialled(), [to(0), to(1), to(2), to(3), to(5)], "{kind:?}: {told}");
        let results = lab.results(&one, &id, "").await;
        assert_eq!(results.body.lines().count(), 5, "{results:?}");
    }
}

/// As where a machine was copied with its disk: both would go on by the same journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_folder_the_second_one_calls_nobody() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        for person in [0, 2, 5] {
            lab.stand_in.at(&to(person), FarEnd::Answers);
        }
        lab.stand_in.at(&to(1), FarEnd::Rings);
        let one = lab.one();
        let id = id_of(&one.send(lab.upload("a", ENGINE, &rows(0..3))).await);
        eventually("it rings", async || lab.stand_in.ringing() == 1).await;
        let folder = lab.site.folder.path();
        let copied = std::process::Command::new("cp")
            .args(["-r", "one", "copy"])
            .current_dir(folder)
            .status();
        assert!(copied.unwrap().success());
        let copy = Daemon::start(&Lab::keeping(&lab.site, "copy"));
        // It goes through the batches of its folder from the oldest on.
        let own = id_of(&copy.send(lab.upload("b", ENGINE, &rows(5..6))).await);
        lab.becomes(&copy, &own, "done").await;
        assert_eq!(lab.dialled(), [to(0), to(1), to(5)], "{kind:?}");
        assert_eq!(lab.state(&copy, &id).await, "running");
        lab.stand_in.rooms().iter().for_each(|room| lab.stand_in.close(room));
        lab.becomes(&one, &id, "done").await;
        assert_eq!(lab.dialled(), [to(0), to(1), to(2), to(5)], "{kind:?}");
    }
}

/// The journal says who was called. So without it nobody is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_had_begun_and_whose_journal_is_gone_dials_nobody() {
    let lab = Lab::new(Kind::Sqlite).await;
    lab.stand_in.at(&to(0), FarEnd::Rings);
    lab.stand_in.at(&to(1), FarEnd::Answers);
    let one = lab.one();
    let id = id_of(&one.send(lab.upload("a", ENGINE, &rows(0..2))).await);
    eventually("it rings", async || lab.stand_in.ringing() == 1).await;
    drop(one);
    lab.site.database.sql("update trunkline_batches set beat_at = null").await;
    std::fs::remove_file(lab.folder().join(&id).join("entries.journal")).unwrap();
    let one = lab.one();
    let told = lab.becomes(&one, &id, "failed").await;
    assert!(told["message"].as_str().unwrap().contains("no journal"), "{told}");
    assert_eq!(lab.dialled(), [to(0)]);
}
