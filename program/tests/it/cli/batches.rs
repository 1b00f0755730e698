//! `batch run` on files as spreadsheets and programs write them: each of `tests/cases/batches`, with
//! what must happen by its `expected.tsv`.

mod rehearsal;
mod results;

use std::collections::BTreeSet;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Site, refused};
use crate::support::ROOT;
use crate::support::database::Kind;
use crate::support::program::Run;
use crate::support::standin::StandIn;

const KEY: (&str, &str) = ("APIstandin", "canary-of-the-stand-in-0123456789-0123456789");
const TENANT: &str = "0c7f1e5e-6a51-4d0e-9b51-2f8b3f1f7a01";
const CALLER: &str = "+14155550100";
/// Who calls in `other-case.csv`.
const OTHER: (&str, &str) = ("11111111-2222-4333-8444-555555555555", "+442079460222");

/// A site whose calls reach a server, and the files that are run there.
struct Desk {
    site: Site,
    stand_in: StandIn,
}

impl Deref for Desk {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Desk {
    async fn new() -> Self {
        let stand_in = StandIn::start(&[KEY]).await;
        let site = Site::migrated(Kind::Sqlite);
        let url = stand_in.url();
        let add = ["livekit", "add", "--name", "eu", "--url", &url, "--api-key", KEY.0];
        site.run_with(&add, KEY.1.as_bytes()).ok();
        for (tenant, number) in [(TENANT, CALLER), OTHER] {
            site.add_number(tenant, number, Some("eu"));
        }
        Self { site, stand_in }
    }

    /// A copy of a case, where a journal may stand beside it.
    fn case(&self, name: &str) -> PathBuf {
        let file = self.site.folder.path().join(name);
        fs::copy(cases().join(name), &file).unwrap();
        file
    }

    fn run(&self, file: &Path, more: &[&str]) -> Run {
        let file = file.to_str().unwrap();
        let run = ["batch", "run", file, "--json", "--tenant", TENANT, "--from", CALLER];
        self.site.run(&[&run, more].concat())
    }

    /// The numbers that agents were sent to dial, in order.
    fn called(&self) -> Vec<String> {
        let sent = self.stand_in.requests();
        let sent = sent.iter().filter(|request| request.word().ends_with("/CreateDispatch"));
        let told = sent.map(|request| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            let metadata: Value = serde_json::from_str(body["metadata"].as_str().unwrap()).unwrap();
            metadata["phone_number"].as_str().unwrap().to_owned()
        });
        let mut called: Vec<_> = told.collect();
        called.sort();
        called
    }

    /// That a file is refused whole: in these words, with nobody called and nothing journaled.
    #[track_caller]
    fn refuses(&self, name: &str, more: &[&str], words: &[&str]) {
        let file = self.case(name);
        let error = refused(self.run(&file, more), 2, "batch_malformed");
        for words in words {
            assert!(error.to_string().contains(words), "{name}: no {words:?} in {error}");
        }
        assert_eq!(self.called(), [""; 0], "{name}");
        assert!(!journal(&file).exists(), "{name}");
    }
}

fn cases() -> PathBuf {
    Path::new(ROOT).join("tests/cases/batches")
}

fn journal(file: &Path) -> PathBuf {
    let mut journal = file.as_os_str().to_owned();
    journal.push(".journal");
    journal.into()
}

/// Line and outcome of each result, in the order of the lines.
fn outcomes(run: &Run) -> Vec<(u64, String)> {
    let results = run.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut outcomes: Vec<_> = results
        .map(|result| {
            (result["line"].as_u64().unwrap(), result["outcome"].as_str().unwrap().to_owned())
        })
        .collect();
    outcomes.sort();
    outcomes
}

fn expected(outcomes: &[(u64, &str)]) -> Vec<(u64, String)> {
    outcomes.iter().map(|(line, outcome)| (*line, (*outcome).to_owned())).collect()
}

/// This file and the cases must not part.
#[test]
fn every_case_has_its_test() {
    let text = fs::read_to_string(cases().join("expected.tsv")).unwrap();
    let here = include_str!("batches.rs");
    let named: BTreeSet<_> =
        text.lines().skip(1).map(|line| line.split('\t').next().unwrap().to_owned()).collect();
    let there = fs::read_dir(cases()).unwrap();
    let there: BTreeSet<_> =
        there.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let listed: BTreeSet<_> = there.into_iter().filter(|name| name != "expected.tsv").collect();
    assert_eq!(named, listed);
    for name in named {
        assert!(here.contains(&format!("\"{name}\"")), "no test of {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_be_read_wrong_is_refused_before_anybody_is_called() {
    let desk = Desk::new().await;
    desk.refuses("unclosed-quote.csv", &[], &["a quote opens on line 3 and never closes"]);
    desk.refuses("job-twice.csv", &[], &["lines 2 and 3 have the same job, \\\"lead-1\\\""]);
    desk.refuses("windows-1252.csv", &[], &["line 2 is not UTF-8", "save it as UTF-8"]);
    desk.refuses("pretty.json", &[], &["JSON lines", "one line"]);
    let found = ["found the headings", "phone_number", "first_name", "--column to=HEADING"];
    desk.refuses("phone_number.csv", &[], &found);
    // Told otherwise, what is found names the separator, and the option that sets it.
    for name in ["semicolons.csv", "tabs.csv", "sep-line.csv"] {
        desk.refuses(name, &["--separator", "comma"], &["found the one heading", "--separator"]);
    }
    desk.refuses("semicolons.csv", &["--column", "to=phone"], &["no heading", "phone"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_separator_is_found() {
    for name in ["semicolons.csv", "tabs.csv", "sep-line.csv", "utf16.csv"] {
        let desk = Desk::new().await;
        let file = desk.case(name);
        let run = desk.run(&file, &[]);
        assert_eq!(run.code, 0, "{name}: {run:?}");
        assert_eq!(desk.called()[0], "+14155552671", "{name}");
        let told = desk.stand_in.rooms();
        let told = desk.stand_in.told(&told[0]);
        assert!(["Asha", "Bo", "Zoë"].contains(&told[0]["name"].as_str().unwrap()), "{told:?}");
    }
    let desk = Desk::new().await;
    let file = desk.case("semicolons.csv");
    let path = file.to_str().unwrap();
    let run = desk.site.run(&["batch", "run", path, "--tenant", TENANT, "--from", CALLER]);
    assert!(run.err.contains("semicolons.csv: CSV separated by semicolons"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_those_of_an_editor_and_other_line_ends_go_on() {
    for (name, ends, placed, refused) in [
        ("crlf.csv", &["\n", "\r"][..], &[2, 3, 4][..], Some(5)),
        ("blank-lines.csv", &["\r\n"], &[4], Some(8)),
        ("cr-only.csv", &["\r", "\n", "\r\n"], &[2, 3, 4], None),
    ] {
        let desk = Desk::new().await;
        let file = desk.case(name);
        let all: Vec<_> = placed
            .iter()
            .map(|line| (*line, "placed"))
            .chain(refused.map(|line| (line, "not_allowed")))
            .collect();
        let run = desk.run(&file, &[]);
        assert_eq!(outcomes(&run), expected(&all), "{name}: {run:?}");
        let code = i32::from(refused.is_some());
        assert_eq!(run.code, code, "{name}: {run:?}");
        let text = fs::read_to_string(&file).unwrap();
        for end in ends {
            let unix = text.replace("\r\n", "\n").replace('\r', "\n");
            fs::write(&file, unix.replace('\n', end)).unwrap();
            let run = desk.run(&file, &["--resume"]);
            assert_eq!((run.code, outcomes(&run)), (code, expected(&all)), "{name}: {run:?}");
        }
        assert_eq!(desk.called().len(), placed.len(), "{name}: each once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headings_of_another_case_and_another_name_are_read() {
    let desk = Desk::new().await;
    let file = desk.case("other-case.csv");
    let result = desk.run(&file, &[]).json();
    let members = ["outcome", "from", "tenant_id", "job_id"].map(|member| result[member].clone());
    assert_eq!(members, ["placed", OTHER.1, OTHER.0, "lead-7"]);

    let file = desk.case("phone_number.csv");
    desk.run(&file, &["--column", "to=phone_number"]).ok();
    assert_eq!(desk.called(), ["+14155552671"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_columns_and_rows_are_none() {
    let desk = Desk::new().await;
    let run = desk.run(&desk.case("trailing-columns.csv"), &[]);
    assert_eq!(outcomes(&run), expected(&[(2, "placed"), (5, "placed")]));
    assert_eq!(
        (run.code, desk.called()),
        (0, ["+14155552671", "+14155552672"].map(Into::into).to_vec())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_values_for_one_member_make_an_entry_invalid() {
    let desk = Desk::new().await;
    let run = desk.run(&desk.case("two-names.jsonl"), &[]);
    assert_eq!(outcomes(&run), expected(&[(1, "invalid"), (2, "invalid")]));
    assert_eq!((run.code, desk.called()), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_called_once_however_they_are_written() {
    let desk = Desk::new().await;
    let file = desk.case("twice.csv");
    let run = desk.run(&file, &[]);
    let twice = [3, 4, 5, 6].map(|line| (line, "duplicate"));
    let all = [&[(2, "placed")], &twice[..]].concat();
    assert_eq!((run.code, outcomes(&run)), (0, expected(&all)), "{run:?}");
    for result in run.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let first = if result["outcome"] == "duplicate" { Value::from(2) } else { Value::Null };
        assert_eq!(result["duplicate_of"], first, "{result}");
    }
    assert_eq!(desk.called(), ["+14155552671"]);

    // A person is told before it begins.
    fs::remove_file(journal(&file)).unwrap();
    let path = file.to_str().unwrap();
    let plain = ["batch", "run", path, "--tenant", TENANT, "--from", CALLER];
    let run = desk.site.run(&plain);
    let told = "duplicates that will not be called: 4 entries: line 3 of line 2, line 4 of line 2";
    let (before, after) = (run.err.find(told), run.err.find("4 duplicate, 1 placed"));
    assert!(before.is_some() && before < after, "{run:?}");

    fs::remove_file(journal(&file)).unwrap();
    desk.run(&file, &["--allow-duplicates"]).ok();
    assert_eq!(desk.called().len(), 1 + 1 + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_an_entry_that_can_be_called_is_corrected_in_place() {
    for again in [&[][..], &["--resume"]] {
        let desk = Desk::new().await;
        let file = desk.case("all-invalid.csv");
        let run = desk.run(&file, &[]);
        assert_eq!(outcomes(&run), expected(&[(2, "not_allowed"), (3, "not_allowed")]));
        let error = refused(run, 1, "batch_incomplete");
        assert!(error["hint"].as_str().unwrap().contains("correct the rows"), "{error}");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("xx", "+14155552671").replace("yy", "+14155552672")).unwrap();
        desk.run(&file, again).ok();
        assert_eq!(desk.called(), ["+14155552671", "+14155552672"]);
    }
}

/// What an operator in a hurry hands over.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_is_told_what_would_be_one() {
    let desk = Desk::new().await;
    for (name, bytes, words) in [
        ("book.xlsx", &b"PK\x03\x04\x14\0"[..], "an Excel workbook"),
        ("empty.csv", b"", "the file is empty"),
        ("typo.csv", b"too,name\n+14155552671,A\n", "found the headings \\\"too\\\", \\\"name\\\""),
    ] {
        let file = desk.folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        let error = refused(desk.run(&file, &[]), 2, "batch_malformed");
        assert!(error.to_string().contains(words), "{error}");
    }
    for no_file in [desk.folder.path(), Path::new("-"), Path::new("/dev/null")] {
        let error = refused(desk.run(no_file, &[]), 2, "batch_malformed");
        assert!(error.to_string().contains("regular file"), "{error}");
    }
    refused(desk.run(&desk.folder.path().join("none.csv"), &[]), 2, "batch_malformed");
    let wrong =
        [["--separator", "ab"], ["--separator", "\""], ["--column", "name=x"], ["--column", "to"]];
    for wrong in wrong {
        refused(desk.run(&desk.case("crlf.csv"), &wrong), 2, "usage");
    }
    // Headings alone are a list of nobody.
    let bare = desk.folder.path().join("bare.csv");
    fs::write(&bare, "to,name\n").unwrap();
    assert_eq!(desk.run(&bare, &[]).ok(), "");
    assert_eq!(desk.called(), [""; 0]);
}
