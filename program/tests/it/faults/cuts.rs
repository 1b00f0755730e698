//! A hundred cuts in a row, in a process of their own: what is counted is the whole process's.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline::store::ConfigEdit;

use super::lab::{Lab, RECOVERY, SLACK};
use crate::support::database::TestDatabase;
use crate::support::eventually;
use crate::support::postgres::{Cluster, tcp_url};
use crate::support::proxy::{Flows, Mode};

#[test]
fn a_hundred_cuts_leave_connections_files_and_memory_as_they_were() {
    let alone = Command::new(std::env::current_exe().unwrap())
        .args(["faults::cuts::a_hundred_cuts_alone", "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    eprintln!("{}", said(&alone.stderr));
    assert!(alone.status.success(), "{}", said(&alone.stdout));
}

#[ignore = "part of the test above, which starts it"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_cuts_alone() {
    let cluster = Cluster::shared();
    // It is about what is left, and not about how long a busy machine takes.
    let patient = [("RESOLVE_DEADLINE", "10s"), ("STORE_DEADLINE", "10s")];
    let lab = Lab::start_with(cluster, cluster.port, &patient).await;
    let watch = lab.watch();
    let (mut before, mut slowest) = (None, Duration::ZERO);
    let began = Instant::now();
    for cut in 0..CUTS {
        match cut % 3 {
            0 => lab.proxy.set(Flows::Open, Mode::Reset),
            1 => lab.proxy.set(Flows::Open, Mode::Cut),
            _ => {
                lab.proxy.set(Flows::All, Mode::BlackHole);
                sleep(Duration::from_millis(30)).await;
                lab.proxy.heal();
            }
        }
        let took = lab.change_is_used(&format!("cut {cut}"), RECOVERY + SLACK).await;
        slowest = slowest.max(took);
        if cut == CUTS / 5 {
            before = Some(Held::at_rest(&lab, cluster).await);
        }
    }
    let (before, after) = (before.unwrap(), Held::at_rest(&lab, cluster).await);
    eprintln!("{CUTS} cuts in {:?}, slowest change {slowest:?}", began.elapsed());
    eprintln!("before {before:?}\nafter  {after:?}");
    watch.end_without_failure("a hundred cuts").await;
    assert!(after.files <= before.files + 4, "{before:?} {after:?}");
    assert!(after.sessions <= before.sessions + 2, "{before:?} {after:?}");
    assert!(after.flows <= before.flows + 2, "{before:?} {after:?}");
    assert!(after.kilobytes < before.kilobytes + 8 * 1024, "{before:?} {after:?}");
}

#[tokio::test]
async fn the_server_is_asked_to_notice_within_half_a_minute_that_a_client_is_gone() {
    let cluster = Cluster::shared();
    let lab = Lab::start(cluster).await;
    let own_words = "
        create function own_words() returns trigger language plpgsql as $$ begin
            new.worker_name := concat_ws(' ', current_setting('tcp_keepalives_idle'),
                current_setting('tcp_keepalives_interval'), current_setting('tcp_keepalives_count'));
            return new;
        end $$;
        create trigger own_words before update on voice_agent_livekit
            for each row execute function own_words()";
    TestDatabase::on(&cluster.url(&lab.database)).sql(own_words).await;
    let store = TestDatabase::on(&tcp_url(cluster.port, &lab.database)).store();
    let edit = ConfigEdit { trunk_id: Some(None), ..ConfigEdit::default() };
    assert!(store.update_config(lab.config, &edit).await.unwrap());
    let said = store.config(lab.config).await.unwrap().unwrap().agent;
    // Fifteen seconds of silence, then three questions five seconds apart.
    assert_eq!(said.as_deref(), Some("15 5 3"));
}

/// What the process holds.
#[derive(Debug)]
struct Held {
    files: usize,
    /// The engine's sessions, as the server sees them.
    sessions: usize,
    /// The engine's connections, as the proxy sees them.
    flows: usize,
    kilobytes: usize,
}

impl Held {
    /// What it holds once changes are heard again.
    async fn at_rest(lab: &Lab, cluster: &Cluster) -> Self {
        eventually("changes are heard", async || lab.resolver.hears_changes()).await;
        let sessions = format!(
            "select count(*) from pg_stat_activity where application_name like 'trunkline%'
                 and client_addr is not null and datname = '{}'",
            lab.database
        );
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|text| text.split_whitespace().next()?.parse().ok());
        Self {
            files: fs::read_dir("/proc/self/fd").unwrap().count(),
            sessions: cluster.psql("postgres", &sessions).parse().unwrap(),
            flows: lab.proxy.open(),
            kilobytes: kilobytes.unwrap(),
        }
    }
}

const CUTS: u32 = 100;
