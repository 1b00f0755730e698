//! One attempt at a call with the present credentials: its steps, and which of them may be
//! repeated.

mod agent;
mod phone;

use std::time::Duration;

use tokio::time::sleep;

use self::phone::PhoneDial;
use super::livekit::{LiveKit, LiveKitError, Room};
use super::report::{Placed, ReportDraft};
use super::request::phone_identity;
use super::{Again, Call, CallRequest, Dial, DialGate, Dispatcher, Failed, Outcome};
use crate::cache::Resolution;
use crate::routing::{Dialled, Refusal};

/// What the steps of an attempt share.
pub(super) struct Attempt<'a> {
    pub(super) dispatcher: &'a Dispatcher,
    /// The client, for this call.
    pub(super) livekit: &'a LiveKit,
    pub(super) request: &'a CallRequest,
    pub(super) room: &'a str,
    pub(super) answer: Resolution,
}

impl Attempt<'_> {
    /// Goes through the steps. `careful`: an agent may have been sent already.
    ///
    /// Of a call that did not come about, the room is closed, so that no agent waits in it.
    pub(super) async fn run(
        &self,
        careful: bool,
        gate: &impl DialGate,
        draft: &mut ReportDraft,
    ) -> Result<Placed, Failed> {
        let Self { dispatcher, request, answer, .. } = self;
        let (dialled, metadata) = self.prepare(draft)?;
        let check = dispatcher.trunks.check(self.livekit, answer, &dialled.caller);
        self.waited(draft, check).await?;

        self.waited(draft, self.make_room(&metadata)).await?;
        draft.call = Some(Call::placed(self.room, answer));
        let recorded = gate.about_to_dial(self.room, answer.config_id(), dialled.e164).await;
        if let Err(error) = recorded {
            // An agent of an earlier attempt may be in there, and somebody on the phone.
            if !careful {
                self.close_room(draft).await;
            }
            let message = format!("not dialled, since it could not be recorded: {error}");
            return Err(Failed::new(Outcome::Unreachable, Again::Mended, message));
        }
        match self.send_and_dial(&dialled, &metadata, careful, gate, draft).await {
            Err(failed) if failed.outcome != Outcome::InDoubt && !failed.by_credentials => {
                let closed = self.close_room(draft).await;
                // Whoever could not be sent home may dial yet.
                if !closed && failed.outcome == Outcome::NoAgent && request.dial == Dial::Agent {
                    return Err(Failed { outcome: Outcome::InDoubt, ..failed.final_now() });
                }
                Err(failed)
            }
            ended => ended,
        }
    }

    /// The steps that cannot be taken back.
    async fn send_and_dial(
        &self,
        dialled: &Dialled,
        metadata: &str,
        careful: bool,
        gate: &impl DialGate,
        draft: &mut ReportDraft,
    ) -> Result<Placed, Failed> {
        let Dial::Engine(how) = &self.request.dial else {
            self.turn(gate).await?;
            let sent = self.waited(draft, self.send_agent(metadata, careful)).await;
            draft.dispatch_id = Some(sent?);
            self.waited(draft, self.agent_came()).await?;
            return Ok(Placed { sip_call_id: None });
        };
        let sent = self.waited(draft, self.send_agent(metadata, careful)).await;
        draft.dispatch_id = Some(sent?);
        self.waited(draft, self.agent_came()).await?;
        self.turn(gate).await?;
        let phone = PhoneDial::new(self, dialled, how);
        let placed = self.waited(draft, phone.dial()).await?;
        Ok(placed)
    }

    /// Waits for the moment at which the carrier may be asked.
    async fn turn(&self, gate: &impl DialGate) -> Result<(), Failed> {
        gate.turn().await.map_err(|error| {
            Failed::new(Outcome::Unreachable, Again::Mended, format!("not dialled: {error}"))
        })
    }

    /// What is decided before any server is asked: what is dialled, and the metadata.
    pub(super) fn prepare(&self, draft: &mut ReportDraft) -> Result<(Dialled, String), Failed> {
        let Self { dispatcher, request, answer, .. } = self;
        draft.resolution = Some(answer.clone());
        let routing = dispatcher.resolver.route_with(answer, request.caller, &request.to);
        let routing = draft.routing.insert(routing);
        let dialled = match &routing.verdict {
            Ok(dialled) => dialled.clone(),
            // Rules that are unknown will be known again.
            Err(why @ Refusal::RulesUnknown) => {
                return Err(Failed::new(Outcome::NoCredentials, Again::Soon, why.to_string()));
            }
            Err(refusal) => {
                let message = refusal.to_string();
                return Err(Failed::new(Outcome::NotAllowed, Again::Never, message));
            }
        };
        draft.phone_identity = Some(phone_identity(&dialled));
        let metadata = request.metadata(answer, routing, &dialled)?;
        if matches!(request.dial, Dial::Engine(_)) && answer.trunk_id().is_none() {
            let message = "no trunk: neither the config, the rules nor OUTBOUND_TRUNK_ID name one";
            return Err(Failed::new(Outcome::TrunkUnknown, Again::Mended, message));
        }
        Ok((dialled, metadata))
    }

    /// Adds to the draft how long a step waited for the server.
    async fn waited<T>(&self, draft: &mut ReportDraft, step: impl Future<Output = T>) -> T {
        let began = self.dispatcher.resolver.now();
        let done = step.await;
        draft.waited += self.dispatcher.resolver.now().since(began);
        done
    }

    /// Makes the room, again if it is not clear whether it was made.
    async fn make_room(&self, metadata: &str) -> Result<Room, Failed> {
        let mut waits = BEFORE_NEXT.iter();
        loop {
            let made = self.livekit.create_room(&self.answer, self.room, metadata).await;
            match (made, waits.next()) {
                (Ok(room), _) => return Ok(room),
                (Err(error), Some(wait)) if error.is_temporary() => sleep(*wait).await,
                (Err(error), _) => return Err(Failed::of_preparing(&error)),
            }
        }
    }

    /// Closes the room of a call that did not come about. Whether nobody is in it any more.
    async fn close_room(&self, draft: &mut ReportDraft) -> bool {
        let closing = self.livekit.delete_room(&self.answer, self.room);
        match self.waited(draft, closing).await {
            Ok(()) => draft.call = None,
            Err(LiveKitError::Answered(answer)) if answer.status == 404 => draft.call = None,
            Err(error) => tracing::warn!(%error, room = self.room, "a room stays open"),
        }
        draft.call.is_none()
    }
}

/// How long to wait before a step is tried again, and how often it is.
const BEFORE_NEXT: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
