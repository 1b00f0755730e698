//! A call that was placed: where it is, and how it is ended.
//!
//! A call lasts for minutes, and its number may get another config meanwhile. So a call keeps the
//! id of the config that placed it, and is ended with that one. "Not found" is not success.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};

use super::Dispatcher;
use super::livekit::{LiveKitError, Participant, Room};
use crate::answer::ResolveError;
use crate::cache::Resolution;
use crate::number::ConfigId;
use crate::reason::Reason;
use crate::store::StoreError;

/// A call that was placed: its room, and the config that placed it. Keep both for as long as you may
/// have to end the call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// Its room.
    pub room: String,
    /// The config that placed it; `None` for the environment.
    pub config: Option<ConfigId>,
    /// The credentials themselves, for when the database cannot be asked.
    placed_with: Option<Resolution>,
}

impl Call {
    /// A call that was placed earlier, perhaps by another process.
    #[must_use]
    pub fn new(room: impl Into<String>, config: Option<ConfigId>) -> Self {
        Self { room: room.into(), config, placed_with: None }
    }

    pub(super) fn placed(room: &str, with: &Resolution) -> Self {
        let placed_with = Some(with.clone());
        Self { room: room.to_owned(), config: with.config_id(), placed_with }
    }
}

/// Where a room was found.
#[derive(Debug)]
#[non_exhaustive]
pub struct FoundCall {
    /// The calls in a room of that name; more than one if several servers have one.
    pub calls: Vec<Call>,
    /// Configs whose server could not be asked, and why.
    pub unasked: Vec<(Option<ConfigId>, String)>,
}

/// How far a call came.
pub(super) enum Trace {
    /// There is no such room, or none any more.
    NoRoom,
    /// There is a room, and nobody was sent into it.
    NoAgent,
    /// An agent was sent.
    Agent {
        /// The id of its dispatch.
        id: String,
    },
}

/// Why a call was not ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HangUpError {
    /// The server has no such room. The call may have ended already.
    #[error("the server has no such room")]
    NotFound,
    /// The config that placed the call can no longer be used.
    #[error(transparent)]
    Credentials(#[from] ResolveError),
    /// The server did not do it.
    #[error(transparent)]
    LiveKit(LiveKitError),
}

impl From<LiveKitError> for HangUpError {
    fn from(error: LiveKitError) -> Self {
        if error.is_not_found() { Self::NotFound } else { Self::LiveKit(error) }
    }
}

impl Dispatcher {
    /// Ends a call: closes its room, which hangs up on everybody in it.
    ///
    /// # Errors
    ///
    /// [`HangUpError`], also if there is no such room.
    pub async fn hang_up(&self, call: &Call) -> Result<(), HangUpError> {
        let answer = self.of_call(call).await?;
        match self.livekit.delete_room(&answer, &call.room).await {
            Err(error) if error.is_unauthorized() => {
                self.resolver.credentials_refused(&answer);
                let answer = self.of_call(call).await?;
                Ok(self.livekit.delete_room(&answer, &call.room).await?)
            }
            done => Ok(done?),
        }
    }

    /// Asks every server for a room, for when you know only its name. If you placed the call, you know
    /// its config, and need not search.
    ///
    /// # Errors
    ///
    /// When the configs cannot be listed.
    pub async fn find(&self, room: &str) -> Result<FoundCall, StoreError> {
        let mut places = vec![None];
        places.extend(self.resolver.config_ids().await?.into_iter().map(Some));
        let mut asked = stream::iter(places)
            .map(|config| async move { (config, self.room(config, room).await) })
            .buffered(AT_ONCE);
        let mut found = FoundCall { calls: Vec::new(), unasked: Vec::new() };
        let mut seen = HashSet::new();
        while let Some((config, answer)) = asked.next().await {
            match answer {
                // Several configs may be of one server, which has the room once.
                Ok(Some(there)) if !seen.insert(there.sid.clone()) => {}
                Ok(Some(_)) => found.calls.push(Call::new(room, config)),
                Ok(None) => {}
                Err(why) => found.unasked.push((config, why.to_string())),
            }
        }
        Ok(found)
    }

    /// How far an earlier run got with a call that it was about to place.
    pub(super) async fn look_into(&self, call: &Call) -> Result<Trace, HangUpError> {
        match self.room(call.config, &call.room).await {
            Ok(Some(_)) => {}
            // Whoever removed the config has left nothing to ask with.
            Ok(None) | Err(HangUpError::Credentials(CONFIG_GONE)) => return Ok(Trace::NoRoom),
            Err(error) => return Err(error),
        }
        let answer = self.of_call(call).await?;
        let sent = self.livekit.dispatches(&answer, &call.room).await?;
        // Servers send one without a name into every room.
        let ours = sent.into_iter().find(|dispatch| !dispatch.agent_name.is_empty());
        Ok(ours.map_or(Trace::NoAgent, |dispatch| Trace::Agent { id: dispatch.id }))
    }

    /// The phones in the room of a call.
    pub(super) async fn phones(&self, call: &Call) -> Result<Vec<Participant>, HangUpError> {
        let answer = self.of_call(call).await?;
        let mut there = self.livekit.participants(&answer, &call.room).await?;
        there.retain(|who| who.call_status().is_some());
        Ok(there)
    }

    async fn room(&self, of: Option<ConfigId>, name: &str) -> Result<Option<Room>, HangUpError> {
        let answer = match self.of_call(&Call::new(name, of)).await {
            Ok(answer) => answer,
            // Nothing was ever placed with an environment that is not there.
            Err(ResolveError::EnvironmentIncomplete { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let rooms = self.livekit.rooms(&answer, &[name]).await?;
        Ok(rooms.into_iter().find(|there| there.name == name))
    }

    /// The current credentials of the config that placed a call, else those that placed it.
    async fn of_call(&self, call: &Call) -> Result<Resolution, ResolveError> {
        let now = match call.config {
            Some(id) => self.resolver.resolve_config(id).await,
            None => self.resolver.resolve_environment(),
        };
        now.or_else(|error| call.placed_with.clone().ok_or(error))
    }
}

const CONFIG_GONE: ResolveError = ResolveError::ConfigUnusable { reason: Reason::ConfigMissing };
/// How many servers are asked at once.
const AT_ONCE: usize = 16;
