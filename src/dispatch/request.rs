//! What is asked for: who calls whom, for which job, and what the agent is told.

use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Again, Failed, Outcome};
use crate::cache::Resolution;
use crate::number::Caller;
use crate::routing::{CallRouting, Dialled};
use crate::rules::{Phone, PhoneError};

/// A call to be placed.
#[derive(Debug, Clone)]
pub struct CallRequest {
    /// Who calls.
    pub caller: Caller,
    /// The number to call, in any spelling that people use.
    pub to: String,
    /// The job that the call is for, at most 64 letters, digits, `-`, `_` and `.`. Part of the
    /// room's name.
    pub job: String,
    /// Who dials.
    pub dial: Dial,
    /// Your own fields of the metadata. They must not have a name of [`OWN_FIELDS`].
    pub fields: Map<String, Value>,
    /// The name of its room. `None`: `call-<job>-<8 random hex digits>`.
    pub room: Option<String>,
    /// Whether an earlier attempt may have sent the agent into [`room`](Self::room) already. If so, the
    /// room is checked before an agent is sent.
    pub again: bool,
    /// How long to wait until a worker has taken the agent's job; the engine dials only then. `None`: a
    /// call counts as placed as soon as the agent was sent.
    pub confirm_agent: Option<Duration>,
    /// How the engine dials the phone, and how the phone joins the room. Where this says nothing, the
    /// rules of the number apply.
    pub phone: Phone,
    /// Whether headers that the rules of the number set stay as they are, whatever [`phone`](Self::phone)
    /// says: for those who may call by the rules, and may not write them.
    pub keep_headers: bool,
}

/// Who dials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dial {
    /// The agent, from what the metadata says.
    #[default]
    Agent,
    /// The engine, into the room to which the agent was sent.
    Engine(EngineDial),
}

/// How the engine dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineDial {
    /// Whether to wait until the phone is answered. If not, a call counts as placed as soon as it is
    /// dialled.
    pub wait_until_answered: bool,
    /// How long it may ring.
    pub ringing: Duration,
    /// How long the call may take.
    pub longest: Duration,
}

impl EngineDial {
    /// How many seconds a phone may ring at the most: servers wait no longer.
    pub const MOST_RINGING: u64 = 80;
    /// How many seconds a call may last at the most.
    pub const MOST_LASTING: u64 = 86_400;
}

impl Default for EngineDial {
    /// Waits; rings for 30 seconds at the most, and lasts for an hour at the most.
    fn default() -> Self {
        Self {
            wait_until_answered: true,
            ringing: Duration::from_secs(30),
            longest: Duration::from_secs(3600),
        }
    }
}

/// Why a request cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrongRequest {
    /// The job could not be part of a room's name.
    #[error("a job must be 1 to 64 letters, digits, '-', '_' and '.'")]
    Job,
    /// One of your fields has a name that is reserved.
    #[error("the field {0:?} is written by the engine; give yours another name")]
    Field(String),
    /// A server would refuse the options of the phone.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// Your fields alone are too large.
    #[error("the metadata would have {length} bytes; at most {MOST_METADATA} are sent")]
    TooLarge {
        /// The length of the fields as JSON.
        length: usize,
    },
}

impl CallRequest {
    /// A call for a job of its own, dialled by the agent, without further fields.
    #[must_use]
    pub fn new(caller: Caller, to: impl Into<String>) -> Self {
        let job = Uuid::new_v4().simple().to_string();
        let (to, dial, fields) = (to.into(), Dial::Agent, Map::new());
        Self {
            caller,
            to,
            job,
            dial,
            fields,
            room: None,
            again: false,
            confirm_agent: None,
            phone: Phone::default(),
            keep_headers: false,
        }
    }

    /// Whether it can be followed.
    ///
    /// # Errors
    ///
    /// [`WrongRequest`] says what is wrong with it.
    pub fn check(&self) -> Result<(), WrongRequest> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=64).contains(&self.job.len()) || !self.job.bytes().all(named) {
            return Err(WrongRequest::Job);
        }
        if let Some(taken) = OWN_FIELDS.iter().find(|own| self.fields.contains_key(**own)) {
            return Err(WrongRequest::Field((*taken).to_owned()));
        }
        self.phone.check()?;
        let length = Value::Object(self.fields.clone()).to_string().len();
        if length > MOST_METADATA { Err(WrongRequest::TooLarge { length }) } else { Ok(()) }
    }

    /// Names its room, so that you can find the call whatever becomes of it.
    #[must_use]
    pub fn named(mut self) -> Self {
        self.room = Some(self.room_name());
        self
    }

    /// The room that was given, or one by chance.
    pub(super) fn room_name(&self) -> String {
        let new = || self.room_with(&Uuid::new_v4().simple().to_string());
        self.room.clone().unwrap_or_else(new)
    }

    /// `call-<job>-<8 hex digits>`, with the first of these.
    pub(super) fn room_with(&self, hex: &str) -> String {
        format!("call-{}-{}", self.job, hex.get(..8).unwrap_or(hex))
    }

    /// What agent and room are told, as JSON.
    pub(super) fn metadata(
        &self,
        answer: &Resolution,
        routing: &CallRouting,
        dialled: &Dialled,
    ) -> Result<String, Failed> {
        let ours = json!({
            "call_mode": "outbound",
            "job_id": self.job,
            "tenant_id": self.caller.tenant,
            "from_number": self.caller.number,
            "to_number": self.to,
            "phone_number": dialled.formatted,
            "sip_number": dialled.caller.formatted,
            "outbound_trunk_id": answer.trunk_id(),
            "carrier": routing.carrier,
            "trunk_resolution": answer.source(),
            "dial": match self.dial { Dial::Agent => "agent", Dial::Engine(_) => "engine" },
            "phone_identity": phone_identity(dialled),
        });
        let Value::Object(mut all) = ours else { unreachable!("it is written as an object") };
        all.extend(self.fields.clone());
        let text = Value::Object(all).to_string();
        match text.len() {
            length if length > MOST_METADATA => Err(WrongRequest::TooLarge { length }.into()),
            _ => Ok(text),
        }
    }
}

/// The identity under which a phone joins its room.
pub(super) fn phone_identity(dialled: &Dialled) -> String {
    format!("phone-{}", dialled.e164.digits())
}

impl From<WrongRequest> for Failed {
    fn from(wrong: WrongRequest) -> Self {
        Self::new(Outcome::Invalid, Again::Never, wrong.to_string())
    }
}

/// The fields of the metadata that the engine writes, under the names that agents know.
pub const OWN_FIELDS: [&str; 12] = [
    "call_mode",
    "job_id",
    "tenant_id",
    "from_number",
    "to_number",
    "phone_number",
    "sip_number",
    "outbound_trunk_id",
    "carrier",
    "trunk_resolution",
    "dial",
    "phone_identity",
];

/// How many bytes of metadata are sent at the most. Servers take more, agents should not have to.
pub const MOST_METADATA: usize = 60_000;
