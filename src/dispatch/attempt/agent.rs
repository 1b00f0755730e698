//! Sends the agent into the room, once, and waits until it is there.
//!
//! LiveKit has no idempotency key for a dispatch. So after a lost answer the room is asked which
//! agents were sent into it, under whichever name: the config may have been edited since.

use tokio::time::{Duration, Instant, sleep};

use super::super::{Again, Failed, Outcome};
use super::{Attempt, BEFORE_NEXT};

impl Attempt<'_> {
    /// Sends the agent. Where it is not clear whether one was sent, the room is looked into before
    /// another one is.
    pub(super) async fn send_agent(&self, metadata: &str, careful: bool) -> Result<String, Failed> {
        let livekit = self.livekit;
        let (agent, mut look_first) = (self.answer.agent_name(), careful);
        // Whether one may have been sent by this attempt.
        let mut sent_one = false;
        let mut waits = BEFORE_NEXT.iter();
        loop {
            if look_first && let Some(id) = self.agent_there(sent_one).await? {
                return Ok(id);
            }
            let sent = livekit.create_dispatch(&self.answer, self.room, agent, metadata).await;
            let error = match sent {
                Ok(dispatch) => return Ok(dispatch.id),
                Err(error) => error,
            };
            // Once an answer was lost, each further try looks first, whatever came back since.
            sent_one |= error.is_ambiguous();
            look_first |= sent_one;
            match waits.next() {
                Some(wait) if error.is_temporary() => sleep(*wait).await,
                _ if look_first => {
                    // The last look decides.
                    return match self.agent_there(sent_one).await? {
                        Some(id) => Ok(id),
                        None => Err(Failed::of_preparing(&error)),
                    };
                }
                _ => return Err(Failed::of_preparing(&error)),
            }
        }
    }

    /// The agent that was sent into the room, if one was. If that cannot be told, the call is in
    /// doubt, or was refused where nothing was sent before (`sent_one`).
    async fn agent_there(&self, sent_one: bool) -> Result<Option<String>, Failed> {
        let there = self.livekit.dispatches(&self.answer, self.room).await;
        let there = there.map_err(|error| {
            let refused = error.is_unauthorized() && !sent_one;
            if refused { Failed::of_preparing(&error) } else { Failed::in_doubt(&error) }
        })?;
        // Under whichever name: it may have been edited since. Servers send one without a name.
        let ours = there.into_iter().find(|dispatch| !dispatch.agent_name.is_empty());
        Ok(ours.map(|dispatch| dispatch.id))
    }

    /// Waits until a worker has taken the agent's job, if the request wants that confirmed.
    pub(super) async fn agent_came(&self) -> Result<(), Failed> {
        let Some(patience) = self.request.confirm_agent else { return Ok(()) };
        let until = Instant::now() + patience;
        let mut looks = LOOKS.into_iter();
        loop {
            let there = self.livekit.dispatches(&self.answer, self.room).await;
            if there.iter().flatten().any(|sent| !sent.agent_name.is_empty() && sent.taken) {
                return Ok(());
            }
            if Instant::now() >= until {
                let agent = self.answer.agent_name();
                let message = match there {
                    Ok(_) => format!(
                        "no worker took the job of agent {agent} in {patience:?}: does one with \
                         that name run on this server?"
                    ),
                    Err(error) => {
                        format!("it could not be seen whether agent {agent} came: {error}")
                    }
                };
                return Err(Failed::new(Outcome::NoAgent, Again::Mended, message));
            }
            let wait = looks.next().unwrap_or(LAST_LOOKS);
            sleep(wait.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }
}

/// When it is looked for the agent, each after the one before; then every second.
const LOOKS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(500)];
const LAST_LOOKS: Duration = Duration::from_secs(1);
