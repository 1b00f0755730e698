//! A leader that is killed at each step.

use super::{Lab, eventually, percent};
use crate::support::database::BOTH;
use crate::support::process::Process;
use crate::support::program::Program;

impl Lab {
    async fn daemon(&self, name: &str) -> Process {
        let program = Program::new()
            .with("DATABASE_URL", &self.database.url)
            .with("LIVEKIT_SECRET_ENCRYPTION_KEY", &self.key)
            .with("NODE_NAME", name);
        let mut process = Process::start(program.command(&["serve", "--listen", "127.0.0.1:0"]));
        process.line(|line| (!line.is_empty()).then_some(()));
        self.is_listed(name).await;
        process
    }

    async fn leader(&self) -> String {
        self.is_led().await;
        self.run().await.leader_name.unwrap()
    }

    /// A node that was killed is believed to run for a while, and would be waited for.
    async fn is_forgotten(&self, name: &str) {
        self.database.sql(&format!("delete from trunkline_nodes where name = '{name}'")).await;
        self.database.sql("update trunkline_rollout_runs set leads_until = 0").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leads_may_be_killed_at_each_step_and_another_goes_on_from_there() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        let mut daemons = vec![("one", lab.daemon("one").await), ("two", lab.daemon("two").await)];
        lab.begin().await;
        for (hours, share) in [(24, "50"), (48, "100"), (0, "100")] {
            let led = lab.leader().await;
            lab.counts().await;
            let at = daemons.iter().position(|(name, _)| *name == led).unwrap();
            let (name, killed) = daemons.remove(at);
            killed.end_by("-KILL");
            lab.is_forgotten(name).await;
            eventually("another leads", async || lab.leader().await != name).await;
            daemons.push((name, lab.daemon(name).await));
            if hours > 0 {
                lab.soaks_to_the_end(hours).await;
            } else {
                lab.window(500, 0).await;
            }
            assert_eq!(percent(&lab.rollout().await).1, share, "{kind:?}");
        }
        let run = lab.run().await;
        assert!(!run.is_open() && run.progress.results.len() == 3, "{run:?}");
        // All of them at once, and none for a while: it stays where it is, and goes on.
        lab.set("off").await;
        lab.begin().await;
        lab.counts().await;
        for (name, daemon) in daemons {
            daemon.end_by("-KILL");
            lab.is_forgotten(name).await;
        }
        lab.passes(24 * 3600).await;
        assert_eq!(lab.run().await.step, 1);
        let _late = lab.daemon("late").await;
        lab.window(500, 0).await;
        eventually("it goes on", async || lab.run().await.step == 2).await;
    }
}
