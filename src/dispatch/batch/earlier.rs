//! Entries that an earlier run was about to dial: the server is asked what became of them, and
//! nothing is guessed.

use serde_json::json;

use super::EntryEnd;
use super::journal::Begun;
use super::record::EntryKey;
use super::result::whose;
use super::run::Run;
use crate::dispatch::livekit::{CallStatus, Participant};
use crate::dispatch::placed::Trace;
use crate::dispatch::{Call, CallRequest, Outcome};

impl Run<'_> {
    /// What became of an entry that was about to be dialled. `None`: it was not. `recorded`: else that
    /// there is no room any more leaves it in doubt.
    pub(super) async fn look_into(
        &self,
        key: EntryKey,
        request: &CallRequest,
        Begun { room, config, engine }: &Begun,
        recorded: bool,
    ) -> Option<EntryEnd> {
        let result = |outcome: Outcome, message: &str, id: Option<String>| {
            self.batch.dispatcher.metrics.outcome(outcome);
            let mut result = whose(key.0, request);
            result["outcome"] = json!(outcome);
            result["message"] = json!(message);
            result["room"] = json!(room);
            result["config_id"] = json!(config);
            result["dispatch_id"] = json!(id);
            result
        };
        let call = Call::new(room, *config);
        let result = match self.batch.dispatcher.look_into(&call).await {
            // What the journal says of it stays as it is, for a later run to look again.
            Err(why) => {
                let why = format!("it may have been dialled; its server: {why}");
                return Some(EntryEnd::Left(Some(result(Outcome::HeldBack, &why, None))));
            }
            Ok(Trace::NoAgent) => return None,
            Ok(Trace::NoRoom) if !recorded => return None,
            Ok(Trace::NoRoom) => {
                let why = "it may have been dialled, and the room or its config is gone";
                result(Outcome::InDoubt, why, None)
            }
            // That nothing was dialled is in the journal, and the agent waits still.
            Ok(Trace::Agent { .. }) if *engine && !recorded => return None,
            Ok(Trace::Agent { id }) if *engine => match self.phone_in(&call).await {
                Some(CallStatus::Active) => {
                    result(Outcome::Placed, "the phone was answered and is in its room", Some(id))
                }
                Some(CallStatus::Dialing | CallStatus::Ringing) => {
                    let why = "it rings at present: look again with --resume";
                    return Some(EntryEnd::Left(Some(result(Outcome::HeldBack, why, Some(id)))));
                }
                Some(CallStatus::Other) | None => {
                    let why = "the agent was sent, and it may have been dialled";
                    result(Outcome::InDoubt, why, None)
                }
            },
            Ok(Trace::Agent { id }) => result(Outcome::Placed, "the agent had been sent", Some(id)),
        };
        Some(self.end(key, result).await)
    }

    /// How the call of a phone stands that is in a room.
    async fn phone_in(&self, call: &Call) -> Option<CallStatus> {
        let phones = self.batch.dispatcher.phones(call).await.ok()?;
        phones.iter().find_map(Participant::call_status)
    }
}
