//! One statement that changes more than anybody would name one by one.

use std::time::Duration;

use tokio::time::Instant;
use trunkline::{Reason, ResolveError};

use super::lab::{LEASE, Lab, RECOVERY, SLACK, version_of};
use crate::support::eventually;
use crate::support::postgres::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_changes_a_hundred_thousand_numbers_is_one_flush() {
    let cluster = Cluster::shared();
    let lab = Lab::start(cluster).await;
    let sql = "insert into voice_agent_numbers (tenant_id, country_code, base_number, rules)
               select tenant_id, '+1', 2000000000 + at, rules
               from (select tenant_id, rules from voice_agent_numbers limit 1) as one,
                    generate_series(1, 100000) as at";
    cluster.psql(&lab.database, sql);
    lab.change_is_used("before the storm", RECOVERY + SLACK).await;
    let watch = lab.watch();
    let loads = lab.counters.loads();
    let sql = "update voice_agent_numbers set rules = rules || '{\"outbound_trunk_id\": \"ST_x\"}'";
    cluster.psql(&lab.database, sql);
    // The numbers are asked for in turn, so this is after each was.
    lab.change_is_used("after the storm", LEASE + SLACK).await;
    let seen = watch.end_without_failure("100,000 rows in one statement").await;
    let (loads, hot) = (lab.counters.loads() - loads, lab.callers.len());
    eprintln!("100,000 rows in one statement: {loads} loads of {hot} hot numbers");
    // Once for the statement, and once for the change that was made to see its end.
    assert!(loads <= 2 * u64::try_from(hot).unwrap() + 5, "{loads}");
    assert_eq!(seen.stale, 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_truncated_leaves_no_answer_behind() {
    let cluster = Cluster::shared();
    let lab = Lab::start(cluster).await;
    cluster.psql(&lab.database, "truncate voice_agent_numbers");
    let (commit, promise) = (Instant::now(), LEASE);
    for &caller in &lab.callers {
        eventually("the number is gone", async || {
            let asked = Instant::now();
            let answer = lab.resolver.resolve(caller).await;
            let age = asked.duration_since(commit);
            assert!(version_of(&answer).is_none() || age <= promise, "{age:?} old: {answer:?}");
            let reason = answer.as_ref().map_err(ResolveError::reason);
            matches!(reason, Err(Some(Reason::NumberUnknown)))
        })
        .await;
    }
    eprintln!("truncate: all gone after {} ms", commit.elapsed().as_millis());
    assert!(commit.elapsed() < LEASE + SLACK + Duration::from_secs(1));
}
