//! Rollouts that nodes take further by themselves: real nodes lead, and one whose calls the test counts.

mod killed;
mod relayed;

use std::time::Duration;

use trunkline::rollout::{Guard, Outcome, Rollout, Run, RunState, Share, Stage};
use trunkline::schedule::{Prepared, Schedule, ScheduleError, Wanted};
use trunkline::{KeyRing, Reason, Resolver};

use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::{caller, config, number};

/// A database whose rollout is at `off`, with a node that says what the test says.
struct Lab {
    database: TestDatabase,
    key: String,
}

impl Lab {
    async fn new(kind: Kind) -> Self {
        let database = TestDatabase::migrated(kind).await;
        let lab = Self { database, key: KeyRing::generate().unwrap().to_string() };
        lab.set("off").await;
        // Under the name of the test's own connections, which would have no row.
        lab.node_that_counts(&lab.own_name(), "0, 0").await;
        lab
    }

    /// A node of this name, once it is listed.
    async fn resolver(&self, name: &str) -> Resolver {
        let variables = [("NODE_NAME", name), ("LIVEKIT_SECRET_ENCRYPTION_KEY", &self.key)];
        let resolver = Resolver::builder(self.database.settings(&variables)).start();
        self.is_listed(name).await;
        resolver
    }

    async fn is_listed(&self, name: &str) {
        let rows = format!("select count(*) from trunkline_nodes where name = '{name}'");
        eventually("it is listed", async || self.database.value(&rows).await == "1").await;
    }

    fn schedule(&self) -> Schedule {
        Schedule::of(&self.database.open)
    }

    async fn set(&self, to: &str) {
        let rollouts = self.database.open.rollouts();
        let now = rollouts.rollout().await.unwrap().unwrap_or_default();
        let new = now.with(&to.parse().unwrap(), "a salt").unwrap();
        assert!(rollouts.set_rollout(&new).await.unwrap());
    }

    async fn rollout(&self) -> Rollout {
        self.database.open.rollouts().rollout().await.unwrap().unwrap()
    }

    /// A row of a node that has just told, and tells at any time.
    async fn node_that_counts(&self, name: &str, counts: &str) {
        let (id, now, later) = match self.database.kind {
            Kind::Postgres => {
                ("gen_random_uuid()", "clock_timestamp()", "clock_timestamp() + interval '1 day'")
            }
            Kind::Sqlite => (
                "randomblob(16)",
                "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
                "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 day')",
            ),
        };
        let sql = format!(
            "insert into trunkline_nodes (id, name, host, program, version, keys, settings, hearing, lease,
                max_stale, cached, refreshes, started_at, refreshed_at, inside, faults)
             values ({id}, '{name}', '', '', '', '', '', '', 1, 1e9, 0, 1, {now}, {later}, {counts})"
        );
        self.database.sql(&sql).await;
    }

    fn own_name(&self) -> String {
        self.database.settings(&[]).node_name
    }

    /// So many more calls were made by those inside.
    async fn calls(&self, inside: u64, faults: u64) {
        let name = self.own_name();
        let sql = format!(
            "update trunkline_nodes set inside = inside + {inside}, faults = faults + {faults}
             where name = '{name}'"
        );
        self.database.sql(&sql).await;
    }

    /// Turns the clock of the run on, and declines what was decided before that.
    async fn passes(&self, seconds: u64) {
        let sql = format!(
            "update trunkline_rollout_runs set since = since - {seconds},
                window_since = window_since - {seconds}, version = version + 1 where ended is null"
        );
        self.database.sql(&sql).await;
    }

    async fn prepare(&self) -> Result<Prepared, ScheduleError> {
        self.prepare_of(&[10, 50, 100], &[24, 48]).await
    }

    async fn prepare_of(&self, steps: &[u32], soaks: &[u64]) -> Result<Prepared, ScheduleError> {
        let steps: Vec<_> =
            steps.iter().map(|percent| Share::of_thousandths(percent * 1000).unwrap()).collect();
        let soaks: Vec<_> = soaks.iter().map(|hours| Duration::from_secs(hours * 3600)).collect();
        let wanted = Wanted {
            steps: &steps,
            soaks: &soaks,
            guard: Guard::default(),
            salt: "",
            asked_by: None,
        };
        self.schedule().prepare(&wanted).await
    }

    async fn begin(&self) -> Run {
        self.schedule().begin(self.prepare().await.unwrap()).await.unwrap()
    }

    /// One whose only step is everybody.
    async fn begin_at_once(&self) -> Run {
        self.schedule().begin(self.prepare_of(&[100], &[]).await.unwrap()).await.unwrap()
    }

    async fn run(&self) -> Run {
        self.schedule().newest().await.unwrap().unwrap()
    }

    /// Waits until whoever leads has seen what is there.
    async fn counts(&self) {
        eventually("the window counts", async || self.run().await.window_since.is_some()).await;
    }

    /// A window with so many calls and faults, which is judged.
    async fn window(&self, inside: u64, faults: u64) {
        self.counts().await;
        let (at, before) = (self.run().await.step, self.run().await.progress);
        let has_gone_on = |now: &Run| now.state != RunState::Running || now.step != at;
        self.calls(inside, faults).await;
        eventually("they are counted", async || {
            let now = self.run().await;
            has_gone_on(&now) || now.progress.at_step.inside >= before.at_step.inside + inside
        })
        .await;
        self.passes(300).await;
        eventually("it is judged", async || {
            let now = self.run().await;
            has_gone_on(&now) || now.progress.good + now.progress.bad != before.good + before.bad
        })
        .await;
    }

    async fn soaks_to_the_end(&self, hours: u64) {
        let step = self.run().await.step;
        self.window(500, 0).await;
        self.passes(hours * 3600).await;
        eventually("the next step", async || {
            let now = self.run().await;
            now.step != step || !now.is_open()
        })
        .await;
    }

    async fn is_led(&self) {
        eventually("it is led", async || self.run().await.is_led()).await;
    }
}

fn percent(rollout: &Rollout) -> (Stage, String) {
    (rollout.stage, rollout.percent.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_from_step_to_step_by_the_databases_clock_and_writes_its_report() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let _node = lab.resolver("one").await;
        let run = lab.begin().await;
        assert_eq!((run.id, run.step, run.state), (1, 1, RunState::Running), "{kind:?}");
        assert_eq!(percent(&lab.rollout().await), (Stage::Percent, "10".into()), "at once");
        lab.is_led().await;
        assert_eq!(lab.run().await.leader_name.as_deref(), Some("one"));
        lab.window(500, 5).await;
        assert_eq!(percent(&lab.rollout().await).1, "10", "a window is no soak");
        lab.soaks_to_the_end(24).await;
        assert_eq!(percent(&lab.rollout().await).1, "50");
        lab.soaks_to_the_end(48).await;
        assert_eq!(percent(&lab.rollout().await).1, "100");
        lab.window(100, 0).await;
        let run = lab.run().await;
        assert_eq!((run.state, run.is_open()), (RunState::Done, false));
        let results = &run.progress.results;
        let told: Vec<_> =
            results.iter().map(|at| (at.step, at.counts.inside, at.outcome)).collect();
        let passed = Outcome::Passed;
        assert_eq!(told, [(1, 1000, passed), (2, 500, passed), (3, 100, passed)]);
        assert_eq!((results[0].counts.faults, results[0].good), (5, 2));
        // Another one may begin, where there is something to roll out.
        let error = lab.prepare().await.unwrap_err();
        assert!(error.to_string().contains("at 100 % already"), "{error}");
        lab.set("off").await;
        assert_eq!(lab.begin().await.id, 2);
        let audited = "select count(*) from trunkline_audit where row_id = 'run 1'";
        assert_eq!(lab.database.value(audited).await, "4", "its begin, two steps and its end");
        let steps =
            "select count(*) from trunkline_audit where entity = 'rollout' and row_id = '1'";
        assert_eq!(lab.database.value(steps).await, "6", "as any other change of the rollout");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_bad_windows_in_a_row_go_back_one_step_and_pause() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let _node = lab.resolver("one").await;
        lab.begin().await;
        lab.soaks_to_the_end(24).await;
        lab.window(1000, 11).await;
        assert_eq!(percent(&lab.rollout().await).1, "50", "{kind:?}: one is none");
        lab.counts().await;
        lab.calls(1000, 11).await;
        lab.passes(300).await;
        eventually("it goes back", async || lab.run().await.went_back()).await;
        assert_eq!(percent(&lab.rollout().await), (Stage::Percent, "10".into()));
        let run = lab.run().await;
        assert_eq!((run.step, run.state), (1, RunState::Paused));
        assert!(run.why.unwrap().contains("11 were faults"));
        lab.schedule().resume().await.unwrap();
        lab.soaks_to_the_end(24).await;
        assert_eq!(percent(&lab.rollout().await).1, "50", "and on again");
        // From the first step it goes back to where the rollout was.
        lab.schedule().stop().await.unwrap();
        lab.set("shadow").await;
        lab.begin().await;
        lab.window(1000, 11).await;
        lab.counts().await;
        lab.calls(1000, 11).await;
        lab.passes(300).await;
        eventually("it goes back", async || lab.run().await.went_back()).await;
        assert_eq!(lab.rollout().await.stage, Stage::Shadow);
        lab.schedule().resume().await.unwrap();
        eventually("it begins anew", async || lab.run().await.step == 1).await;
        assert_eq!(percent(&lab.rollout().await), (Stage::Percent, "10".into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_no_runs_keeps_one_from_beginning_and_from_its_next_step() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        lab.node_that_counts("old", "null, null").await;
        let error = lab.prepare().await.unwrap_err();
        assert!(matches!(error, ScheduleError::Blocked { .. }), "{error}");
        assert!(error.to_string().contains("knows no runs: old"), "{error}");
        lab.database.sql("delete from trunkline_nodes where name = 'old'").await;
        let _node = lab.resolver("one").await;
        lab.begin().await;
        lab.window(500, 0).await;
        lab.node_that_counts("older", "null, null").await;
        eventually("it is seen", async || lab.run().await.is_blocked()).await;
        lab.passes(24 * 3600).await;
        lab.window(500, 0).await;
        let run = lab.run().await;
        assert_eq!((run.step, run.progress.blocked_by), (1, vec!["older".to_owned()]), "{kind:?}");
        lab.database.sql("delete from trunkline_nodes where name = 'older'").await;
        eventually("the next step", async || lab.run().await.step == 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_pause_resume_and_end_a_run_and_whoever_sets_the_rollout_pauses_it() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let error = lab.schedule().pause().await.unwrap_err();
        assert!(matches!(error, ScheduleError::NoRun), "{error}");
        let _node = lab.resolver("one").await;
        lab.begin().await;
        let error = lab.prepare().await.unwrap_err();
        assert!(matches!(error, ScheduleError::Open { run: 1, .. }), "{error}");
        lab.window(500, 0).await;
        assert_eq!(lab.schedule().pause().await.unwrap().state, RunState::Paused);
        let error = lab.schedule().pause().await.unwrap_err();
        assert!(error.to_string().contains("run 1 is paused, and not running"), "{error}");
        lab.passes(24 * 3600).await;
        let run = lab.schedule().resume().await.unwrap();
        assert_eq!((run.step, run.progress.good), (1, 0), "{kind:?}: the soak begins anew");
        lab.soaks_to_the_end(24).await;

        // By any tool.
        lab.database
            .sql("update trunkline_rollout set percent = 7000, version = version + 1")
            .await;
        eventually("it pauses", async || lab.run().await.state == RunState::Paused).await;
        let run = lab.run().await;
        assert_eq!(run.progress.results.last().unwrap().outcome, Outcome::ChangedByHand);
        assert_eq!(percent(&lab.rollout().await).1, "7", "what people say holds");
        let error = lab.schedule().resume().await.unwrap_err();
        assert!(error.to_string().contains("left the rollout at 50"), "{error}");
        lab.set("50").await;
        lab.schedule().resume().await.unwrap();
        let run = lab.schedule().stop().await.unwrap();
        assert_eq!((run.state, run.is_open()), (RunState::Stopped, false));
        assert_eq!(percent(&lab.rollout().await).1, "50", "it stays there");
        assert!(lab.schedule().resume().await.unwrap_err().to_string().contains("is stopped"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_think_that_they_lead_one_takes_the_step() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let nodes = [lab.resolver("one").await, lab.resolver("two").await];
        lab.begin().await;
        lab.window(500, 0).await;
        // The lease is lost again and again, so that both lead.
        lab.passes(24 * 3600).await;
        eventually("the step", async || {
            let lost = "update trunkline_rollout_runs set leads_until = 0 where ended is null";
            lab.database.sql(lost).await;
            lab.run().await.step == 2
        })
        .await;
        for _ in 0..20 {
            lab.database.sql("update trunkline_rollout_runs set leads_until = 0").await;
            assert_eq!(lab.run().await.step, 2, "{kind:?}");
        }
        assert_eq!(lab.run().await.progress.results.len(), 1);
        assert_eq!(percent(&lab.rollout().await).1, "50");
        drop(nodes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_tells_how_often_those_inside_were_answered_and_what_was_a_fault() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let (ring, store) = (KeyRing::parse(&lab.key).unwrap(), lab.database.store());
        let good = store.create_config(&config(&ring, "eu")).await.unwrap();
        let other = crate::support::ring();
        let unopenable = store.create_config(&config(&other, "elsewhere")).await.unwrap();
        let rows = [(1, Some(good)), (2, Some(unopenable)), (3, None)];
        for (tenant, config) in rows {
            store.add_number(&number(caller(tenant, 1), config)).await.unwrap();
        }
        lab.set("100").await;
        let deny = format!("update trunkline_rollout set deny = '[\"{}\"]'", caller(4, 1).tenant);
        lab.database.sql(&deny).await;
        let resolver = lab.resolver("one").await;
        eventually("changes are heard", async || resolver.hears_changes()).await;
        let reason = async |tenant| match resolver.resolve(caller(tenant, 1)).await {
            Ok(answer) => answer.reason(),
            Err(error) => error.reason(),
        };
        for _ in 0..10 {
            assert_eq!(reason(1).await, None, "{kind:?}");
        }
        assert_eq!(reason(2).await, Some(Reason::SecretUnopenable));
        assert_eq!(reason(3).await, Some(Reason::ConfigUnassigned), "somebody chose that");
        assert_eq!(reason(4).await, Some(Reason::OutsideRollout));
        // What a node has applied it tells of, with all else.
        store.add_number(&number(caller(5, 1), None)).await.unwrap();
        let counts = "select (inside || ' ' || faults) from trunkline_nodes where name = 'one'";
        eventually("it tells", async || lab.database.value(counts).await == "11 1").await;
        // Of another row, it tells what came after that began.
        lab.database.sql("delete from trunkline_nodes where name = 'one'").await;
        store.add_number(&number(caller(6, 1), None)).await.unwrap();
        let rows = "select count(*) from trunkline_nodes where name = 'one'";
        eventually("another row", async || lab.database.value(rows).await == "1").await;
        assert_eq!(lab.database.value(counts).await, "0 0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_this_version_is_listed_in_a_database_before_the_step_of_the_runs() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let down = trunkline::store::Migrations::DownTo(RUNS - 1);
        lab.database.open.migrate(down).await.unwrap();
        let _node = lab.resolver("one").await;
        assert!(lab.schedule().newest().await.unwrap().is_none(), "{kind:?}");
        let error = lab.prepare().await.unwrap_err();
        assert_eq!(error.code(), "not_migrated", "{error}");
        lab.database.open.migrate(trunkline::store::Migrations::Up).await.unwrap();
        lab.database.store().add_number(&number(caller(1, 1), None)).await.unwrap();
        let told = "select count(*) from trunkline_nodes where name = 'one' and inside is not null";
        eventually("it tells", async || lab.database.value(told).await == "1").await;
    }
}

/// Waits until something holds. Leaders look every few seconds, and other tests run beside this one.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = Duration::from_secs(60);
    assert!(tokio::time::timeout(patience, waiting).await.is_ok(), "never came true: {what}");
}

/// The step that brings them.
const RUNS: i64 = 18;
