//! The address of the API beyond this machine: by TLS, or behind a proxy that has it.

use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ALL, Daemon, NUMBER, Request, Site, TENANT, refused};
use crate::support::certificate::Pair;
use crate::support::database::Kind;
use crate::support::eventually;

impl Site {
    fn with_tls(mut self, pair: &Pair) -> Self {
        self.program = self
            .program
            .with("HTTP_TLS_CERT", pair.cert.to_str().unwrap())
            .with("HTTP_TLS_KEY", pair.key.to_str().unwrap());
        self
    }
}

impl Daemon {
    /// What `curl` gets, which trusts this certificate alone; head and body. `None`: no answer.
    async fn curl(&self, trusted: &Path, more: &[&str], path: &str) -> Option<String> {
        let out = tokio::process::Command::new("curl")
            .args(["-sS", "-i", "--max-time", "20", "--cacert"])
            .arg(trusted)
            .args(more)
            .arg(format!("https://127.0.0.1:{}{path}", self.api.unwrap()))
            .output()
            .await
            .unwrap();
        out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
    }
}

#[tokio::test]
async fn clients_are_answered_by_tls_and_by_nothing_else() {
    let site = Site::new(Kind::Sqlite).await;
    let pair = Pair::make(site.folder.path(), "api");
    let mut site = site.with_tls(&pair);
    site.program = site.program.with("API_LISTEN", "0.0.0.0:0");
    let token = site.client("all", &ALL);
    let daemon = site.daemon();
    // One that says nothing is in nobody's way.
    let _silent = TcpStream::connect(("127.0.0.1", daemon.api.unwrap())).await.unwrap();

    let bearer = format!("Authorization: Bearer {token}");
    let body = json!({"tenant": TENANT, "from": NUMBER}).to_string();
    let asked = ["-H", &bearer, "-H", "Content-Type: application/json", "-d", &body];
    let answer = daemon.curl(&pair.cert, &asked, "/v1/resolve").await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");
    assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
    assert!(answer.contains("\"config_name\":\"eu\""), "{answer}");
    let answer = daemon.curl(&pair.cert, &["--tlsv1.2", "--tls-max", "1.2"], "/v1/openapi.json");
    assert!(answer.await.expect("an answer by TLS 1.2").starts_with("HTTP/1.1 200"));

    // In the clear nothing is answered, whatever is asked.
    let mut plain = TcpStream::connect(("127.0.0.1", daemon.api.unwrap())).await.unwrap();
    let question = format!("POST /v1/resolve HTTP/1.1\r\nhost: a\r\n{bearer}\r\n\r\n");
    plain.write_all(question.as_bytes()).await.unwrap();
    let mut answered = Vec::new();
    let _ = plain.read_to_end(&mut answered).await;
    assert!(!String::from_utf8_lossy(&answered).contains("HTTP"), "{answered:?}");

    // A socket needs none.
    let local = daemon.send_local(Request::get("/v1/openapi.json")).await;
    assert_eq!((local.word(), local.header("strict-transport-security")), ("200", None));
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_while_it_runs_and_one_that_is_broken_is_not() {
    let site = Site::new(Kind::Sqlite).await;
    let folder = site.folder.path().to_owned();
    let (pair, renewed) = (Pair::make(&folder, "first"), Pair::make(&folder, "second"));
    let before = folder.join("before.crt");
    std::fs::copy(&pair.cert, &before).unwrap();
    let site = site.with_tls(&pair);
    let mut daemon = site.daemon();
    let is_answered =
        async |trusted: &Path| daemon.curl(trusted, &[], "/v1/openapi.json").await.is_some();
    assert!(is_answered(&before).await && !is_answered(&renewed.cert).await);
    renewed.replace(&pair);
    eventually("the new one is shown", async || is_answered(&renewed.cert).await).await;
    assert!(!is_answered(&before).await);

    std::fs::write(&pair.cert, "not a certificate").unwrap();
    let warning = daemon.process.said("the TLS certificate stays as it was");
    assert!(warning.contains("HTTP_TLS_CERT") && warning.contains("no certificate"), "{warning}");
    let answer = daemon.curl(&renewed.cert, &[], "/v1/openapi.json").await;
    assert!(answer.is_some(), "the one before goes on");
}

#[tokio::test]
async fn what_cannot_be_used_for_tls_is_refused_at_the_start() {
    let site = Site::new(Kind::Sqlite).await;
    let folder = site.folder.path();
    let (one, other) = (Pair::make(folder, "one"), Pair::make(folder, "other"));
    let secret = std::fs::read_to_string(&one.key).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    let none = folder.join("none.pem");
    let (cert, key) = ("HTTP_TLS_CERT", "HTTP_TLS_KEY");
    let relative = PathBuf::from("api.crt");
    for (cert_at, key_at, code, message) in [
        (Some(&one.cert), None, 3, "HTTP_TLS_KEY: must be set, too"),
        (None, Some(&one.key), 3, "HTTP_TLS_CERT: must be set, too"),
        (Some(&relative), Some(&one.key), 3, "must be the whole path"),
        (Some(&none), Some(&one.key), 1, "HTTP_TLS_CERT="),
        (Some(&one.key), Some(&one.key), 1, "holds no certificate in PEM"),
        (Some(&one.cert), Some(&other.key), 1, "HTTP_TLS_CERT and HTTP_TLS_KEY"),
    ] {
        let set = [(cert, cert_at), (key, key_at)].into_iter();
        let set = set.filter_map(|(name, path)| Some((name, path?)));
        let program = set.fold(site.program.clone(), |program, (name, path)| {
            program.with(name, path.to_str().unwrap())
        });
        let run = program.run(&["serve", "--listen", "127.0.0.1:0"]);
        assert!(run.code == code && run.err.contains(message), "{message}: {run:?}");
        assert!(!run.err.contains(secret), "{run:?}");
    }
    // Tokens do not cross a network in the clear.
    let run = site.program.clone().with("API_LISTEN", "0.0.0.0:0").run(&["serve"]);
    assert!(run.code == 3 && run.err.contains("HTTP_TLS_CERT"), "{run:?}");
}

#[tokio::test]
async fn behind_a_proxy_who_asks_is_who_it_says_last() {
    let mut site = Site::new(Kind::Sqlite).await;
    site.program = site
        .program
        .with("API_RATE", "1")
        .with("API_LISTEN", "0.0.0.0:0")
        .with("HTTP_BEHIND_PROXY", "true");
    let daemon = site.daemon();
    let ask = async |forwarded: &str| {
        let request = Request::get("/v1/nothing").with("host", "api.example");
        daemon.send(request.with("x-forwarded-for", forwarded)).await
    };
    // Whatever the client made up before.
    eventually("its rate is used up", async || {
        ask("198.51.100.1, 203.0.113.7").await.word() == "429"
    })
    .await;
    refused(&ask("203.0.113.8").await, 404, "not_found");
}
