//! One attempt at a call, with the credentials that there are: the steps and what each may repeat.

use std::time::Duration;

use tokio::time::sleep;

use super::livekit::{LiveKitError, Room, SipDial};
use super::report::{Draft, Placed};
use super::{Call, CallRequest, Dial, Dispatcher, EngineDial, Failed, Ledger, Outcome};
use crate::cache::Resolution;
use crate::routing::{Dialled, Refusal};

/// What the steps of an attempt share.
pub(super) struct Attempt<'a> {
    pub(super) dispatcher: &'a Dispatcher,
    pub(super) request: &'a CallRequest,
    pub(super) room: &'a str,
    pub(super) answer: Resolution,
}

impl Attempt<'_> {
    /// Goes through the steps. `careful`: an agent may have been sent already.
    pub(super) async fn run(
        &self,
        careful: bool,
        ledger: &impl Ledger,
        draft: &mut Draft,
    ) -> Result<Placed, Failed> {
        let Self { dispatcher, request, answer, .. } = self;
        let (dialled, metadata) = self.prepare(draft)?;
        let check = dispatcher.trunks.check(&dispatcher.livekit, answer, &dialled.caller);
        self.waited(draft, check).await?;

        self.waited(draft, self.make_room(&metadata)).await?;
        draft.call = Some(Call::placed(self.room, answer));
        ledger.about_to_dial(self.room, answer.config_id()).await.map_err(|error| {
            Failed::new(Outcome::Unreachable, format!("not dialled: the journal: {error}"))
        })?;
        let sent = self.waited(draft, self.send_agent(&metadata, careful)).await;
        draft.dispatch_id = Some(sent?);
        let Dial::Engine(how) = &request.dial else { return Ok(Placed { sip_call_id: None }) };
        let trunk = answer.trunk_id().unwrap_or_default();
        let dialling = self.waited(draft, self.dial(trunk, &dialled, how)).await;
        match dialling {
            Ok(call_id) => Ok(Placed { sip_call_id: Some(call_id) }),
            Err(failed) => {
                if failed.outcome != Outcome::InDoubt && !failed.by_credentials {
                    self.send_agent_home(draft).await;
                }
                Err(failed)
            }
        }
    }

    /// What is decided before any server is asked: what is dialled, and the metadata.
    pub(super) fn prepare(&self, draft: &mut Draft) -> Result<(Dialled, String), Failed> {
        let Self { dispatcher, request, answer, .. } = self;
        draft.resolution = Some(answer.clone());
        let routing = dispatcher.resolver.route_with(answer, request.caller, &request.to);
        let routing = draft.routing.insert(routing);
        let dialled = match &routing.verdict {
            Ok(dialled) => dialled.clone(),
            // Rules that are unknown will be known again.
            Err(why @ Refusal::RulesUnknown) => {
                return Err(Failed::new(Outcome::NoCredentials, why.to_string()));
            }
            Err(refusal) => return Err(Failed::new(Outcome::NotAllowed, refusal.to_string())),
        };
        let metadata = request.metadata(answer, routing, &dialled)?;
        if request.dial != Dial::Agent && answer.trunk_id().is_none() {
            let message = "no trunk: neither the config, the rules nor OUTBOUND_TRUNK_ID name one";
            return Err(Failed::new(Outcome::TrunkUnknown, message));
        }
        Ok((dialled, metadata))
    }

    /// Adds to the draft how long a step waited for the server.
    async fn waited<T>(&self, draft: &mut Draft, step: impl Future<Output = T>) -> T {
        let began = self.dispatcher.resolver.now();
        let done = step.await;
        draft.waited += self.dispatcher.resolver.now().since(began);
        done
    }

    /// Makes the room, again if it is not clear whether it was made.
    async fn make_room(&self, metadata: &str) -> Result<Room, Failed> {
        let mut waits = BEFORE_NEXT.iter();
        loop {
            let made = self.dispatcher.livekit.create_room(&self.answer, self.room, metadata).await;
            match (made, waits.next()) {
                (Ok(room), _) => return Ok(room),
                (Err(error), Some(wait)) if error.is_temporary() => sleep(*wait).await,
                (Err(error), _) => return Err(Failed::of(Outcome::of_preparing(&error), &error)),
            }
        }
    }

    /// Sends the agent. Where it is not clear whether one was sent, the room is looked into before
    /// another one is.
    async fn send_agent(&self, metadata: &str, careful: bool) -> Result<String, Failed> {
        let livekit = &self.dispatcher.livekit;
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
                        None => Err(Failed::of(Outcome::of_preparing(&error), &error)),
                    };
                }
                _ => return Err(Failed::of(Outcome::of_preparing(&error), &error)),
            }
        }
    }

    /// The agent that was sent into the room, if one was. If that cannot be told, the call is in
    /// doubt, or was refused where nothing was sent before (`sent_one`).
    async fn agent_there(&self, sent_one: bool) -> Result<Option<String>, Failed> {
        let there = self.dispatcher.livekit.dispatches(&self.answer, self.room).await;
        let there = there.map_err(|error| {
            let refused = error.is_unauthorized() && !sent_one;
            let outcome = if refused { Outcome::CredentialsRefused } else { Outcome::InDoubt };
            Failed::of(outcome, &error)
        })?;
        // Under whichever name: it may have been edited since. Servers send one without a name.
        let ours = there.into_iter().find(|dispatch| !dispatch.agent_name.is_empty());
        Ok(ours.map(|dispatch| dispatch.id))
    }

    /// Dials, once.
    async fn dial(
        &self,
        trunk: &str,
        dialled: &Dialled,
        how: &EngineDial,
    ) -> Result<String, Failed> {
        let identity = format!("phone-{}", dialled.e164.digits());
        let dial = SipDial {
            trunk,
            to: &dialled.formatted,
            from: &dialled.caller.formatted,
            room: self.room,
            identity: &identity,
            ringing: how.ringing,
            longest: how.longest,
            wait_until_answered: how.wait_until_answered,
        };
        let phone = self.dispatcher.livekit.dial(&self.answer, &dial, self.room).await;
        phone
            .map(|phone| phone.sip_call_id)
            .map_err(|error| Failed::of(Outcome::of_dialling(&error), &error))
    }

    /// Closes the room of a call that did not come about, so that no agent waits in it.
    async fn send_agent_home(&self, draft: &mut Draft) {
        let closing = self.dispatcher.livekit.delete_room(&self.answer, self.room);
        match self.waited(draft, closing).await {
            Ok(()) => draft.call = None,
            Err(LiveKitError::Answered(answer)) if answer.status == 404 => draft.call = None,
            Err(error) => tracing::warn!(%error, room = self.room, "a room stays open"),
        }
    }
}

/// How long to wait before a step is tried again, and how often it is.
const BEFORE_NEXT: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
