//! Results as rows of the batch: whom to call again is one filter over them, and the next batch.

use std::fs;
use std::process::Stdio;

use super::{CALLER, Desk, TENANT, journal};
use crate::cli::refused;
use crate::support::eventually;

/// What spreadsheets write where the comma is for decimals.
const LIST: &str = "\u{feff}to;name;\n+14155552671;\"A; \"\"x\"\"\";\nxx;B;\n";

impl Desk {
    /// A file of this site, and one for its results.
    fn list(&self, name: &str, text: &str) -> (std::path::PathBuf, String) {
        let file = self.site.folder.path().join(name);
        fs::write(&file, text).unwrap();
        (file, self.site.folder.path().join(format!("results of {name}")).display().to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_rows_and_a_filter_over_them_is_the_next_batch() {
    let desk = Desk::new().await;
    let (file, path) = desk.list("list.csv", LIST);
    let run = desk.run(&file, &["--results", &path]);
    assert_eq!((run.code, run.out.as_str()), (1, ""), "{run:?}");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.remove(0), "\u{feff}to;name;outcome;reason;dialled;room;line;attempts");
    lines.sort_unstable();
    let [placed, wrong] = lines.as_slice() else { panic!("{text}") };
    let begin = "+14155552671;\"A; \"\"x\"\"\";placed;;+14155552671;call-";
    assert!(placed.starts_with(begin) && placed.ends_with(";2;1"), "{placed}");
    let begin = "xx;B;not_allowed;\"the destination is not a phone number";
    assert!(wrong.starts_with(begin) && wrong.ends_with(";;;3;1"), "{wrong}");

    let keep = |line: &&str| line.contains("outcome") || line.contains(";not_allowed;");
    let filtered: Vec<_> = text.lines().filter(keep).collect();
    let (again, more) =
        desk.list("again.csv", &filtered.join("\n").replace("xx;", "+14155552672;"));
    desk.run(&again, &["--results", &more]).ok();
    let text = fs::read_to_string(&more).unwrap();
    let (headings, row) = text.trim_end().split_once('\n').unwrap();
    assert_eq!(headings, "\u{feff}to;name;outcome;reason;dialled;room;line;attempts");
    assert!(row.starts_with("+14155552672;B;placed;;+14155552672;call-"), "{row}");
    assert!(row.ends_with(";2;2"), "tried once more: {row}");
    let room = row.split(';').nth(5).unwrap();
    let told = &desk.stand_in.told(room)[0];
    assert_eq!(told["name"], "B");
    for column in ["outcome", "reason", "dialled", "room", "line", "attempts"] {
        assert!(told.get(column).is_none(), "the agent is told no results: {told}");
    }

    // Going on writes them anew, the earlier ones included.
    fs::write(&file, LIST.replace("xx", "+14155552673")).unwrap();
    desk.run(&file, &["--resume", "--results", &path]).ok();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!((text.lines().count(), text.matches(";placed;").count()), (3, 2), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_json_become_columns() {
    let desk = Desk::new().await;
    let text =
        "{\"to\":\"+14155552671\",\"lead\":{\"a\":1}}\nno JSON\n{\"name\":\"B\",\"to\":\"xx\"}\n";
    let (file, path) = desk.list("list.jsonl", text);
    let path = path.replace("jsonl", "CSV");
    desk.run(&file, &["--results", &path]);
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.remove(0), "to,lead,name,outcome,reason,dialled,room,line,attempts");
    lines.sort_unstable();
    assert!(lines[0].starts_with("+14155552671,\"{\"\"a\"\":1}\",,placed,,"), "{text}");
    assert!(lines[1].starts_with(",,,invalid,not a JSON object"), "{text}");
    assert!(lines[2].starts_with("xx,,B,not_allowed,"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_results_would_add_keeps_the_batch_from_beginning() {
    let desk = Desk::new().await;
    let (file, path) = desk.list("rooms.csv", "to,Room\n+14155552671,12\n");
    let error = refused(desk.run(&file, &["--results", &path]), 2, "results_column");
    assert!(error["message"].as_str().unwrap().contains("\"Room\""), "{error}");
    assert!(!journal(&file).exists() && desk.called().is_empty());
    let lines = path.replace("csv", "jsonl");
    desk.run(&file, &["--results", &lines]).ok();
    let rooms = desk.stand_in.rooms();
    assert_eq!(desk.stand_in.told(&rooms[0])[0]["Room"], "12", "a column of one's own is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_there_as_they_come_and_survive_a_kill() {
    const MANY: usize = 60;
    let desk = Desk::new().await;
    let row = |at: usize| format!("+1415555{at:04},lead {at}\n");
    let rows: String = (1000..1000 + MANY).map(row).collect();
    let (file, path) = desk.list("many.csv", &format!("to,name\n{rows}"));
    let run = ["batch", "run", file.to_str().unwrap(), "--tenant", TENANT, "--from", CALLER];
    let run = [&run[..], &["--results", &path, "--cps", "20"]].concat();
    let mut command = desk.site.command(&run);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let there = || fs::read_to_string(&path).unwrap_or_default();
    eventually("some results are there", async || there().lines().count() > 5).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let text = there();
    assert!(text.ends_with('\n') && text.lines().count() <= MANY, "{text}");
    assert!(text.lines().all(|line| line.split(',').count() == 8), "{text}");

    desk.site.run(&[&run[..run.len() - 2], &["--cps", "0", "--resume"]].concat()).ok();
    assert_eq!(there().matches(",placed,").count(), MANY);
    let called: std::collections::BTreeSet<_> = desk.called().into_iter().collect();
    assert_eq!((called.len(), desk.called().len()), (MANY, MANY), "each once");
}
