//! Schemathesis over the document: whatever is asked by it, and past it, gets an answer that it names.
//!
//! It stands beside the Python of `$TRUNKLINE_TEST_PYTHON`, where `scripts/test` puts it.

use std::path::PathBuf;
use std::process::Command;

use super::{ALL, Site};
use crate::support::ROOT;
use crate::support::database::Kind;

fn program() -> PathBuf {
    let python = std::env::var_os("TRUNKLINE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let program = PathBuf::from(python).with_file_name("schemathesis");
    assert!(
        program.exists(),
        "there is no schemathesis beside TRUNKLINE_TEST_PYTHON; run scripts/test, which puts it there"
    );
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_error_and_no_answer_that_is_not_in_the_document() {
    let mut site = Site::new(Kind::Sqlite).await;
    // Nobody reads what it says, and thousands of refusals fill a pipe.
    site.program = site.program.with("API_RATE", "0").with("RUST_LOG", "error");
    let token = site.client("all", &ALL);
    let daemon = site.daemon();
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program())
        .arg("run")
        .arg(format!("{ROOT}/docs/openapi.json"))
        .args(["--url", &format!("http://127.0.0.1:{}", daemon.api.unwrap())])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "all", "--exclude-checks", NOT_PROMISED])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--seed", "7"])
        // Checks go to whatever host they are told; who listens hears until he leaves.
        .args(["--exclude-path-regex", LEFT_OUT])
        // One worker: the parser of Python 3.11 fails now and then on two threads.
        .args(["--generation-database", "none", "--workers", "1", "--no-color"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for path in trunkline::server::openapi()["paths"].as_object().unwrap().keys() {
        let asked = format!("trunkline_http_requests_total{{route=\"{path}\",code=\"4");
        let metrics = daemon.metrics().await;
        let lines = metrics.lines().filter(|line| line.starts_with(&asked));
        let is_asked = lines.into_iter().any(|line| !line.ends_with(" 0"));
        let is_left_out = ["/check", "/checks", "/events"].iter().any(|end| path.ends_with(end));
        assert!(
            is_asked || is_left_out || ["/v1/openapi.json", "/v1/docs"].contains(&path.as_str()),
            "{path} was not asked: {told}"
        );
    }
}

/// What asks other servers, and what has no end.
const LEFT_OUT: &str = "(/checks?|/events)$";

/// Not every text is a number, a tenant or a token, so much of what fits the document is refused.
const NOT_PROMISED: &str = "positive_data_acceptance";
