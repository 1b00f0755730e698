//! What a token says of the room that it makes.

use serde::Serialize;

/// How the room of a token is made, in LiveKit's words, if it is not there yet. What is `None` is as
/// the server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RoomConfig {
    /// How long it stays while nobody has joined yet, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_timeout: Option<u32>,
    /// How long it stays after the last one has left, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub departure_timeout: Option<u32>,
    /// How many may join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_participants: Option<u32>,
    /// Metadata of the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The agents that are sent into it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<RoomAgent>,
}

/// An agent that is sent into a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RoomAgent {
    /// Its name.
    pub agent_name: String,
    /// What it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

impl RoomAgent {
    /// The agent of this name, which is told this.
    #[must_use]
    pub fn new(agent_name: impl Into<String>, metadata: Option<String>) -> Self {
        Self { agent_name: agent_name.into(), metadata }
    }
}
