//! The ways to a Redis: with a login, over TLS, and through sentinels.

use std::process::Command;

use trunkline::RelayRole;

use super::daemon::Daemon;
use super::{Fleet, role_of};
use crate::support::certificate::Pair;
use crate::support::eventually;
use crate::support::postgres::free_port;
use crate::support::redis::Redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_do_no_more_than_it_takes() {
    let redis = Redis::start();
    let rights = [
        "acl",
        "setuser",
        "trunkline",
        "on",
        ">pass word",
        "~trunkline:*",
        "-@all",
        "+xadd",
        "+xread",
        "+xrevrange",
        "+role",
    ];
    assert_eq!(redis.cli(&rights), "OK");
    assert_eq!(redis.cli(&["acl", "setuser", "default", "off"]), "OK");
    let mut fleet = Fleet::over(redis, 0).await;
    let port = fleet.redis.port;
    let url = format!("redis://trunkline:pass%20word@127.0.0.1:{port}/");
    for at in 0..4 {
        let node = fleet.node(&format!("n{at}"), &[("RELAY_URL", &url)]);
        fleet.nodes.push(node);
    }
    fleet.settles().await;
    fleet.edit_reaches_all("first").await;
    let wrong = format!("redis://trunkline:canary@127.0.0.1:{port}/");
    let node = fleet.node("wrong", &[("RELAY_URL", &wrong)]);
    eventually("it says why", async || {
        let trouble = node.health().relay.unwrap().trouble;
        trouble.is_some_and(|why| why.contains("AuthenticationFailed") && !why.contains("canary"))
    })
    .await;
    assert_eq!(role_of(&node), RelayRole::Alone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_server_whose_certificate_the_machine_trusts_and_no_other() {
    let (folder, tls) = (tempfile::tempdir().unwrap(), free_port().to_string());
    let (known, other) = (Pair::make(folder.path(), "known"), Pair::make(folder.path(), "unknown"));
    let (cert, key) = (known.cert.to_str().unwrap(), known.key.to_str().unwrap());
    let options = ["--tls-port", &tls, "--tls-cert-file", cert, "--tls-key-file", key];
    let redis = Redis::start_with(&[&options[..], &["--tls-auth-clients", "no"]].concat());
    let fleet = Fleet::over(redis, 0).await;
    let url = format!("rediss://127.0.0.1:{tls}/");
    let trusts = Daemon::of(&fleet, &url, &[("SSL_CERT_FILE", cert)]);
    eventually("it leads", async || trusts.has_role(RelayRole::Leader).await).await;
    let another = other.cert.to_str().unwrap();
    let mut does_not = Daemon::of(&fleet, &url, &[("SSL_CERT_FILE", another)]);
    let said = does_not.said("the relay is not used");
    assert!(said.contains("certificate"), "{said}");
    assert!(does_not.has_role(RelayRole::Alone).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_lead_to_the_server_that_was_promoted() {
    let (mut first, second) = (Redis::start(), Redis::start());
    let port = first.port.to_string();
    assert_eq!(second.cli(&["replicaof", "127.0.0.1", &port]), "OK");
    eventually("it is a replica", async || second.cli(&["role"]).contains("connected")).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, sentinel) = (folder.path().join("sentinel.conf"), free_port());
    let settings = format!(
        "port {sentinel}\nbind 127.0.0.1\ndir {}\nsentinel monitor calls 127.0.0.1 {port} 1\n\
         sentinel down-after-milliseconds calls 500\nsentinel failover-timeout calls 3000\n",
        folder.path().display()
    );
    std::fs::write(&file, settings).unwrap();
    let mut watches = Command::new("redis-server");
    let mut watches = watches
        .args([file.as_os_str(), "--sentinel".as_ref()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel}/calls");
    let mut fleet = Fleet::over(Redis::start(), 0).await;
    for at in 0..4 {
        let node = fleet.node(&format!("n{at}"), &[("RELAY_URL", &url)]);
        fleet.nodes.push(node);
    }
    fleet.settles().await;
    fleet.edit_reaches_all("first").await;
    let knows = |port: u16| {
        let port = port.to_string();
        let sentinel = sentinel.to_string();
        let ask = ["-p", &sentinel, "sentinel", "get-master-addr-by-name", "calls"];
        let output = Command::new("redis-cli").args(ask).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains(&port)
    };
    eventually("the sentinel knows the replica", async || {
        let sentinel = sentinel.to_string();
        let ask = ["-p", &sentinel, "sentinel", "replicas", "calls"];
        let output = Command::new("redis-cli").args(ask).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains(&second.port.to_string())
    })
    .await;
    first.kill();
    fleet.edit_reaches_all("second").await;
    eventually("the other one is promoted", async || knows(second.port)).await;
    fleet.settles().await;
    fleet.edit_reaches_all("third").await;
    assert!(second.cli(&["keys", "*"]).contains("trunkline:"), "it goes over the other one");
    watches.kill().unwrap();
    watches.wait().unwrap();
}
