//! Rooms, and who is in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LiveKit, LiveKitError, admin_of, null_is_empty};
use crate::cache::Resolution;
use crate::token::VideoGrant;

/// A room.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Room {
    /// Its id, `RM_…`.
    #[serde(default)]
    pub sid: String,
    /// Its name.
    pub name: String,
    /// What was put on it when it was made.
    #[serde(default)]
    pub metadata: String,
    /// How many are in it, the agent included.
    #[serde(default)]
    pub num_participants: u32,
}

/// Somebody in a room: a phone, an agent, a person.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Participant {
    /// Who it is in its room.
    #[serde(default)]
    pub identity: String,
    /// What kind it is, such as `SIP` or `AGENT`.
    #[serde(default)]
    pub kind: String,
    /// What others are told of it; of a phone, how its call stands.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// How the call of a phone stands, as the SIP service tells of it in `sip.callStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallStatus {
    /// The carrier was asked, and no phone rings yet.
    Dialing,
    /// The phone rings.
    Ringing,
    /// It was answered.
    Active,
    /// It was hung up, or the word is one that is not known here.
    Other,
}

impl Participant {
    /// How its call stands, if it is a phone.
    #[must_use]
    pub fn call_status(&self) -> Option<CallStatus> {
        Some(match self.attributes.get("sip.callStatus")?.as_str() {
            "dialing" => CallStatus::Dialing,
            "ringing" => CallStatus::Ringing,
            // Tones are sent into a call that was answered.
            "active" | "automation" => CallStatus::Active,
            _ => CallStatus::Other,
        })
    }
}

impl LiveKit {
    /// Makes a room. Doing it twice makes one room.
    ///
    /// # Errors
    ///
    /// [`LiveKitError`], as for every method here.
    pub async fn create_room(
        &self,
        on: &Resolution,
        name: &str,
        metadata: &str,
    ) -> Result<Room, LiveKitError> {
        #[derive(Serialize)]
        struct CreateRoom<'a> {
            name: &'a str,
            metadata: &'a str,
        }
        let rights = VideoGrant::create();
        self.ask(on, "RoomService/CreateRoom", &rights.into(), &CreateRoom { name, metadata }).await
    }

    /// The rooms with these names that exist.
    pub async fn rooms(&self, on: &Resolution, names: &[&str]) -> Result<Vec<Room>, LiveKitError> {
        #[derive(Serialize)]
        struct ListRooms<'a> {
            names: &'a [&'a str],
        }
        #[derive(Deserialize)]
        struct Rooms {
            #[serde(default, deserialize_with = "null_is_empty")]
            rooms: Vec<Room>,
        }
        let rights = VideoGrant::list();
        let found: Rooms =
            self.ask(on, "RoomService/ListRooms", &rights.into(), &ListRooms { names }).await?;
        Ok(found.rooms)
    }

    /// Closes a room and hangs up on everybody in it.
    ///
    /// # Errors
    ///
    /// A room that does not exist is one, too: [`LiveKitError::is_not_found`].
    pub async fn delete_room(&self, on: &Resolution, name: &str) -> Result<(), LiveKitError> {
        #[derive(Serialize)]
        struct DeleteRoom<'a> {
            room: &'a str,
        }
        #[derive(Deserialize)]
        struct Deleted {}
        let rights = VideoGrant::create();
        let Deleted {} = self
            .ask(on, "RoomService/DeleteRoom", &rights.into(), &DeleteRoom { room: name })
            .await?;
        Ok(())
    }

    /// Who is in a room. Nobody is in one that does not exist.
    pub async fn participants(
        &self,
        on: &Resolution,
        room: &str,
    ) -> Result<Vec<Participant>, LiveKitError> {
        #[derive(Serialize)]
        struct ListParticipants<'a> {
            room: &'a str,
        }
        #[derive(Deserialize)]
        struct Participants {
            #[serde(default, deserialize_with = "null_is_empty")]
            participants: Vec<Participant>,
        }
        let found: Participants = self
            .ask(on, "RoomService/ListParticipants", &admin_of(room), &ListParticipants { room })
            .await?;
        Ok(found.participants)
    }
}
