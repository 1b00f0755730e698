//! The alerts on a real Prometheus, through a real Alertmanager, to a webhook: a database that stops
//! is alarmed, and the alarm ends after it is back. Every panel of the dashboards has data.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use trunkline::dispatch::{CallRequest, Dispatcher};
use trunkline::server::{Api, Exporter, Server};
use trunkline::store::Migrations;

use crate::support::database::TestDatabase;
use crate::support::http::Message;
use crate::support::postgres::{Cluster, folder, free_port, keeper_as};
use crate::support::{ROOT, caller, config, number};

/// Prometheus and Alertmanager, gone with the test.
pub(super) struct Watchers {
    keeper: Option<Child>,
    prometheus: u16,
}

impl Watchers {
    /// Watches a port, and tells a webhook. The rules are the real ones, and in a hurry with shorter
    /// times.
    pub(super) fn start(daemon: u16, webhook: u16, hurry: bool) -> Self {
        let (folder, prometheus, alertmanager) = (folder("tl-prom"), free_port(), free_port());
        let rules = Path::new(ROOT).join("dashboards/alerts");
        for name in ["recording.yml", "alerts.yml"] {
            let mut text = fs::read_to_string(rules.join(name)).unwrap();
            for minutes in ["1m", "2m", "5m", "10m", "15m"].iter().filter(|_| hurry) {
                text = text.replace(&format!("[{minutes}]"), "[5s]");
                text = text.replace(&format!("for: {minutes}\n"), "for: 1s\n");
            }
            fs::write(folder.join(name), text).unwrap();
        }
        let script = SCRIPT
            .replace("@folder", folder.to_str().unwrap())
            .replace("@prometheus", &prometheus.to_string())
            .replace("@alertmanager", &alertmanager.to_string())
            .replace("@daemon", &daemon.to_string())
            .replace("@webhook", &webhook.to_string());
        Self { keeper: Some(keeper_as(None, &script, &folder)), prometheus }
    }

    /// Runs one of the tools for dashboards against this Prometheus, and returns what it says.
    #[expect(clippy::disallowed_methods, reason = "a program of a test, found by a variable")]
    pub(super) async fn tool(&self, verb: &str, minutes: u32) -> (bool, String) {
        let python = std::env::var("TRUNKLINE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let url = format!("http://127.0.0.1:{}", self.prometheus);
        let tool = Path::new(ROOT).join("scripts/dashboards");
        let minutes = minutes.to_string();
        let arguments = [verb, "--prometheus", &url, "--minutes", &minutes].map(ToOwned::to_owned);
        let run = move || Command::new(python).arg(tool).args(arguments).output().unwrap();
        let out = tokio::task::spawn_blocking(run).await.unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

/// Takes what Alertmanager posts: each alert with its status.
#[expect(clippy::disallowed_methods, reason = "a server of a test")]
async fn webhook() -> (u16, mpsc::UnboundedReceiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut client = BufReader::new(stream);
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(request) = Message::read(&mut client).await {
                    let body: Value = serde_json::from_str(&request.body).unwrap();
                    for alert in body["alerts"].as_array().into_iter().flatten() {
                        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                        let name = text(&alert["labels"]["alertname"]);
                        let _ = tell.send((name, text(&alert["status"])));
                    }
                    let done = Message::response("200 OK", "text/plain", "ok");
                    if done.write(&mut client).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, told)
}

/// Waits until an alert was told of with this status.
async fn wait_for(
    told: &mut mpsc::UnboundedReceiver<(String, String)>,
    wanted: (&str, &str),
) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    let waiting = async {
        while let Some((name, status)) = told.recv().await {
            let found = (name.as_str(), status.as_str()) == wanted;
            seen.push((name, status));
            if found {
                return;
            }
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(came.is_ok(), "{wanted:?} never came, only {seen:?}");
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "programs start beside the load")]
async fn a_database_that_stops_is_alarmed_and_the_alarm_ends_after_it_is_back() {
    let mut cluster = Cluster::start();
    let database = TestDatabase::on(&cluster.database());
    database.open.migrate(Migrations::Up).await.unwrap();
    let key = trunkline::KeyRing::generate().unwrap().to_string();
    let ring = trunkline::KeyRing::parse(&key).unwrap();
    let store = database.store();
    let id = store.create_config(&config(&ring, "eu")).await.unwrap();
    for at in 1..=20 {
        store.add_number(&number(caller(1, at), Some(id))).await.unwrap();
    }
    // The last good answers would serve for an hour; here they do for a second.
    let settings = database.settings(&[
        ("LIVEKIT_SECRET_ENCRYPTION_KEY", &key),
        ("LIVEKIT_URL", "ws://127.0.0.1:1"),
        ("LIVEKIT_API_KEY", "APIenv"),
        ("LIVEKIT_API_SECRET", "canary-secret-of-env"),
        ("CACHE_TTL", "1s"),
        ("MAX_STALE", "1s"),
        ("RESOLVE_DEADLINE", "500ms"),
        ("STORE_DEADLINE", "1s"),
        ("API_LISTEN", "127.0.0.1:0"),
    ]);
    let (exporter, places) = (Exporter::new().unwrap(), settings.api.clone());
    let (resolver, dispatcher) = exporter.record(|| {
        let resolver = trunkline::Resolver::builder(settings).start();
        (resolver.clone(), Dispatcher::new(resolver, crate::support::livekit::client()))
    });
    let any = ([127, 0, 0, 1], 0).into();
    // Nobody asks it, but what it counts is there.
    let _api = Api::bind(&places, Vec::new(), resolver.clone(), &exporter).await.unwrap();
    let server = Server::builder(resolver.clone(), exporter).database(Some(database.open.clone()));
    let server = server.bind(any).await.unwrap();
    let port = server.address().unwrap().port();
    let (webhook, mut told) = webhook().await;
    let load = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        for at in 0_u64.. {
            tick.tick().await;
            let _ = resolver.resolve(caller(1, at % 20 + 1)).await;
            if at % 200 == 0 {
                // A call that goes nowhere, for the dashboard of calls.
                dispatcher.call(&CallRequest::new(caller(9, 9), "+919876543210")).await;
            }
        }
    };
    let watched = async {
        let watchers = tokio::task::spawn_blocking(move || Watchers::start(port, webhook, true));
        let watchers = watchers.await.unwrap();
        // Several scrapes, so that there are rates.
        let mut said = String::new();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (good, words) = watchers.tool("check", 1).await;
            if good {
                said.clear();
                break;
            }
            said = words;
        }
        assert_eq!(said, "", "panels without data");

        cluster.stop();
        wait_for(&mut told, ("TrunklineHighFallbackRate", "firing")).await;
        cluster.restart();
        wait_for(&mut told, ("TrunklineHighFallbackRate", "resolved")).await;
    };
    tokio::select! {
        () = watched => {}
        () = load => {}
        ended = server.serve(std::future::pending()) => panic!("the server ended: {ended:?}"),
    }
}

const SCRIPT: &str = r#"
cd @folder
cat >prometheus.yml <<'end'
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [recording.yml, alerts.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ["127.0.0.1:@alertmanager"]}]}]}
scrape_configs: [{job_name: trunkline, static_configs: [{targets: ["127.0.0.1:@daemon"]}]}]
end
cat >alertmanager.yml <<'end'
route: {receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: "http://127.0.0.1:@webhook/", send_resolved: true}]}]
end
prometheus --config.file=prometheus.yml --storage.tsdb.path=data \
    --web.listen-address=127.0.0.1:@prometheus >log 2>&1 &
prometheus=$!
prometheus-alertmanager --config.file=alertmanager.yml --storage.path=alerts \
    --web.listen-address=127.0.0.1:@alertmanager --cluster.listen-address= >>log 2>&1 &
alertmanager=$!
for _ in $(seq 400); do
    curl -sf http://127.0.0.1:@prometheus/-/ready >/dev/null &&
        curl -sf http://127.0.0.1:@alertmanager/-/ready >/dev/null && echo ready && break
    sleep 0.05
done
while read -r word; do :; done
kill -9 $prometheus $alertmanager
cd / && rm -rf @folder
"#;
