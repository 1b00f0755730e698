//! `examples/sidecar.py`, run as it stands there against a real daemon.

use std::process::Command;

use serde_json::Value;

use super::{ALL, NUMBER, Site, TENANT};
use crate::support::ROOT;
use crate::support::database::Kind;

#[expect(clippy::disallowed_methods, reason = "which Python is the machine's business")]
fn python(site: &Site, script: &str, token: &str) -> Value {
    let python = std::env::var("TRUNKLINE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .args(["-c", script])
        .env("PYTHONPATH", format!("{ROOT}/examples"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SOCKET", site.socket())
        .env("TOKEN", token)
        .env("TENANT", TENANT)
        .env("NUMBER", NUMBER)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const PREAMBLE: &str = "
import json, os, sidecar
at, token, tenant, number = (os.environ[n] for n in ('SOCKET', 'TOKEN', 'TENANT', 'NUMBER'))
trunkline = sidecar.Trunkline(at, token)
";

#[tokio::test(flavor = "multi_thread")]
async fn python_asks_over_one_connection_and_again_after_a_restart() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("dialler", &ALL);
    let daemon = site.daemon();
    let script = "
first = trunkline.ask('tokens', tenant=tenant, **{'from': number},
                      grants={'room': 'call-7', 'identity': 'dialler'})
before = trunkline.connection.sock
second = trunkline.ask('resolve', tenant=tenant, **{'from': number})
kept = trunkline.connection.sock is before
before.close()
third = trunkline.ask('resolve', tenant=tenant, **{'from': number})
print(json.dumps([first['url'], second['config_name'], kept, third['config_name']]))
";
    let said = python(&site, &format!("{PREAMBLE}{script}"), &token);
    assert_eq!(said, serde_json::json!(["wss://eu.example", "eu", true, "eu"]));
    let script = "
try:
    trunkline.ask('resolve', tenant='x', **{'from': number})
except sidecar.Refused as refused:
    print(json.dumps([refused.status, refused.problem['code'], str(refused)]))
";
    let said = python(&site, &format!("{PREAMBLE}{script}"), &token);
    assert_eq!((&said[0], &said[1]), (&400.into(), &"tenant_malformed".into()), "{said}");
    assert!(said[2].as_str().unwrap().contains("UUID"), "{said}");
    drop(daemon);
}
