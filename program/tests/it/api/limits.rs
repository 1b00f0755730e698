//! How much a client and an address may ask, and that nobody is shut out by somebody else.

use serde_json::json;

use super::{ALL, NUMBER, Request, Site, TENANT, refused};
use crate::support::database::Kind;
use crate::support::eventually;

/// Asks until it is refused for the rate, so many times at the most; returns how often it was not.
async fn until_too_many(
    most: usize,
    mut ask: impl AsyncFnMut() -> crate::support::http::Message,
) -> usize {
    for asked in 0..most {
        let answer = ask().await;
        if answer.word() == "429" {
            refused(&answer, 429, "too_many_requests");
            assert_eq!(answer.header("retry-after"), Some("1"));
            return asked;
        }
    }
    panic!("{most} were let in");
}

#[tokio::test]
async fn a_client_asks_as_much_as_it_may_and_another_one_is_not_slowed() {
    let mut site = Site::new(Kind::Sqlite).await;
    // So slow that a busy machine refuses, too.
    site.program = site.program.with("API_RATE", "1");
    let (one, other) = (site.client("one", &ALL), site.client("other", &ALL));
    let daemon = site.daemon();
    let body = json!({"tenant": TENANT, "from": NUMBER});
    let ask = async |token: &str| daemon.ask(token, "/v1/resolve", &body).await;
    let asked = until_too_many(1000, async || ask(&one).await).await;
    assert!(asked > 0, "the first is let in");
    assert_eq!(ask(&other).await.word(), "200");
    eventually("it is let in again", async || ask(&one).await.word() == "200").await;
    let metrics = daemon.metrics().await;
    let count = |start: &str| {
        let line = metrics.lines().find(|line| line.starts_with(start));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let refusals = count("trunkline_api_refusals_total{reason=\"too_many_requests\"}");
    assert!(refusals > 0);
    let by_code = count("trunkline_http_requests_total{route=\"other\",code=\"429\"}");
    assert_eq!(refusals, by_code);
}

#[tokio::test]
async fn who_fails_to_log_in_is_slowed_and_shuts_nobody_out() {
    let mut site = Site::new(Kind::Sqlite).await;
    site.program = site.program.with("API_RATE", "50");
    let token = site.client("all", &ALL);
    let daemon = site.daemon();
    let body = json!({"tenant": TENANT, "from": NUMBER});
    let stranger = trunkline::access::ClientToken::generate().unwrap();
    let asked =
        until_too_many(1000, async || daemon.ask(stranger.as_str(), "/v1/resolve", &body).await)
            .await;
    assert!(asked > 0);
    assert_eq!(daemon.ask(&token, "/v1/resolve", &body).await.word(), "200");
    // What needs no login costs less, and has an end.
    let asked = until_too_many(2_000, async || daemon.send(Request::get("/v1/nothing")).await);
    asked.await;
}

#[tokio::test]
async fn by_default_a_thousand_questions_come_at_once_and_a_wrong_rate_is_refused() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("all", &ALL);
    let daemon = site.daemon();
    let body = json!({"tenant": TENANT, "from": NUMBER});
    for _ in 0..300 {
        assert_eq!(daemon.ask(&token, "/v1/resolve", &body).await.word(), "200");
    }
    for rate in ["-1", "1000001", "fast"] {
        let run = site.program.clone().with("API_RATE", rate).run(&["serve"]);
        assert!(run.code == 3 && run.err.contains("0 to 1000000"), "{rate}: {run:?}");
    }
}
