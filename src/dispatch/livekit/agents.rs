//! Agents that are sent into rooms.

use serde::{Deserialize, Deserializer, Serialize};

use super::{LiveKit, LiveKitError, admin_of, null_is_empty};
use crate::cache::Resolution;

/// An agent that was sent into a room.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct AgentDispatch {
    /// Its id, `AD_…`.
    pub id: String,
    /// The agent's name.
    #[serde(default)]
    pub agent_name: String,
    /// Where to.
    #[serde(default)]
    pub room: String,
    /// What the agent was told.
    #[serde(default)]
    pub metadata: String,
    /// Whether a worker has taken it: a job of it runs, or has been done already.
    #[serde(default, rename = "state", deserialize_with = "taken")]
    pub taken: bool,
}

impl LiveKit {
    /// Sends an agent into a room. Doing it twice sends two.
    pub async fn create_dispatch(
        &self,
        on: &Resolution,
        room: &str,
        agent_name: &str,
        metadata: &str,
    ) -> Result<AgentDispatch, LiveKitError> {
        #[derive(Serialize)]
        struct CreateDispatch<'a> {
            room: &'a str,
            agent_name: &'a str,
            metadata: &'a str,
        }
        let body = CreateDispatch { room, agent_name, metadata };
        self.ask(on, "AgentDispatchService/CreateDispatch", &admin_of(room), &body).await
    }

    /// The agents that were sent into a room. A room that does not exist is an error after three
    /// seconds, `unavailable`.
    pub async fn dispatches(
        &self,
        on: &Resolution,
        room: &str,
    ) -> Result<Vec<AgentDispatch>, LiveKitError> {
        #[derive(Serialize)]
        struct ListDispatch<'a> {
            room: &'a str,
        }
        #[derive(Deserialize)]
        struct Dispatches {
            #[serde(default, deserialize_with = "null_is_empty")]
            agent_dispatches: Vec<AgentDispatch>,
        }
        let found: Dispatches = self
            .ask(on, "AgentDispatchService/ListDispatch", &admin_of(room), &ListDispatch { room })
            .await?;
        Ok(found.agent_dispatches)
    }
}

/// Whether one of a dispatch's jobs runs or is done.
fn taken<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    #[derive(Default, Deserialize)]
    struct Dispatched {
        #[serde(default, deserialize_with = "null_is_empty")]
        jobs: Vec<Job>,
    }
    #[derive(Deserialize)]
    struct Job {
        #[serde(default)]
        state: Option<State>,
    }
    #[derive(Deserialize)]
    struct State {
        #[serde(default)]
        status: String,
    }
    let dispatched = Option::<Dispatched>::deserialize(from)?.unwrap_or_default();
    let states = dispatched.jobs.into_iter().filter_map(|job| job.state);
    Ok(states.map(|state| state.status).any(|word| word == "JS_RUNNING" || word == "JS_SUCCESS"))
}
