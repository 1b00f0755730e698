//! Dialling the phone, once, and what is seen of it in its room meanwhile.
//!
//! The SIP service lets a phone join the room before it asks the carrier, and tells in an attribute
//! how the call stands. That is looked at while the server's answer is waited for: it tells a phone
//! that nobody answers from a carrier that does not, and settles a dial whose answer was lost.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::livekit::{CallStatus, LiveKitError, Participant, SipDial};
use super::super::report::Placed;
use super::super::request::phone_identity;
use super::super::verdict::{Dialling, FailureVerdict, Rang};
use super::super::{EngineDial, Failed, Outcome};
use super::Attempt;
use crate::routing::Dialled;

/// A phone that is about to be dialled.
pub(super) struct PhoneDial<'a> {
    attempt: &'a Attempt<'a>,
    dialled: &'a Dialled,
    how: &'a EngineDial,
    identity: String,
    seen: Mutex<Observed>,
}

/// What was seen of a phone.
struct Observed {
    rang: bool,
    /// When it was known last that it does not ring.
    quiet_at: Instant,
}

impl<'a> PhoneDial<'a> {
    pub(super) fn new(attempt: &'a Attempt<'a>, dialled: &'a Dialled, how: &'a EngineDial) -> Self {
        let seen = Mutex::new(Observed { rang: false, quiet_at: Instant::now() });
        Self { attempt, dialled, how, identity: phone_identity(dialled), seen }
    }

    /// Dials, once.
    pub(super) async fn dial(&self) -> Result<Placed, Failed> {
        let Attempt { livekit, request, room, answer, .. } = self.attempt;
        let rules = answer.rules().and_then(|rules| rules.calls.as_ref().ok()?.phone.as_deref());
        let options = match rules {
            Some(rules) if request.keep_headers => {
                Cow::Owned(rules.with_but_headers(&request.phone))
            }
            Some(rules) => Cow::Owned(rules.with(&request.phone)),
            None => Cow::Borrowed(&request.phone),
        };
        let dial = SipDial {
            trunk: answer.trunk_id().unwrap_or_default(),
            to: &self.dialled.formatted,
            from: &self.dialled.caller.formatted,
            room,
            identity: &self.identity,
            ringing: self.how.ringing,
            longest: self.how.longest,
            wait_until_answered: self.how.wait_until_answered,
            phone: &options,
        };
        let began = Instant::now();
        self.seen().quiet_at = began;
        let asked = livekit.dial(answer, &dial, room);
        let dialled = tokio::select! {
            biased;
            dialled = asked => dialled,
            never = self.watch() => match never {},
        };
        let error = match dialled {
            Ok(phone) => return Ok(Placed { sip_call_id: Some(phone.sip_call_id) }),
            Err(error) => error,
        };
        let cut_short = began.elapsed() + SLACK < self.how.ringing;
        let dialling = Dialling { rang: self.rang(), cut_short };
        let verdict = FailureVerdict::of_dialling(&error, dialling);
        match verdict.outcome {
            Outcome::InDoubt => self.settle(began, &error).await,
            _ => Err(Failed::judged(verdict, &error)),
        }
    }

    /// Looks at the phone now and then, for as long as it does not ring.
    async fn watch(&self) -> std::convert::Infallible {
        let mut waits = FIRST_LOOKS.into_iter();
        while self.how.wait_until_answered && !self.seen().rang {
            sleep(waits.next().unwrap_or(BETWEEN_LOOKS)).await;
            let asked = Instant::now();
            let status = self.look().await.ok().flatten().map(|phone| phone.call_status());
            let mut seen = self.seen();
            match status {
                Some(Some(CallStatus::Dialing)) => seen.quiet_at = asked,
                Some(Some(CallStatus::Ringing | CallStatus::Active)) => seen.rang = true,
                // Nothing is known of who is not there.
                Some(Some(CallStatus::Other) | None) | None => {}
            }
        }
        std::future::pending().await
    }

    /// Whether it rang, by what was seen of it up to now.
    fn rang(&self) -> Rang {
        let seen = self.seen();
        if seen.rang {
            Rang::Yes
        } else if seen.quiet_at.elapsed() <= JUST_NOW {
            Rang::No
        } else {
            Rang::Unknown
        }
    }

    /// What became of a dial whose answer was lost, if the phone is in its room still: whoever was
    /// answered is there, and whoever rings is waited for.
    async fn settle(&self, began: Instant, lost: &LiveKitError) -> Result<Placed, Failed> {
        let until = began + self.how.ringing + PATIENCE;
        loop {
            let Ok(Some(phone)) = self.look().await else { break };
            match phone.call_status() {
                Some(CallStatus::Dialing | CallStatus::Ringing)
                    if self.how.wait_until_answered && Instant::now() < until =>
                {
                    sleep(BETWEEN_LOOKS).await;
                }
                Some(CallStatus::Active) => return Ok(placed(&phone)),
                Some(CallStatus::Dialing | CallStatus::Ringing)
                    if !self.how.wait_until_answered =>
                {
                    return Ok(placed(&phone));
                }
                _ => break,
            }
        }
        Err(Failed::in_doubt(lost))
    }

    /// The phone, if it is in its room.
    async fn look(&self) -> Result<Option<Participant>, LiveKitError> {
        let Attempt { livekit, room, answer, .. } = self.attempt;
        let there = livekit.participants(answer, room).await?;
        Ok(there.into_iter().find(|who| who.identity == self.identity))
    }

    fn seen(&self) -> MutexGuard<'_, Observed> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn placed(phone: &Participant) -> Placed {
    Placed { sip_call_id: phone.attributes.get("sip.callID").cloned() }
}

/// When a phone is looked at first, each after the one before; then every [`BETWEEN_LOOKS`].
const FIRST_LOOKS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// A phone that was quiet so shortly before its call failed has not rung.
const JUST_NOW: Duration = Duration::from_secs(2);
/// By how much a server may be early.
const SLACK: Duration = Duration::from_millis(50);
/// How much longer than it may ring a phone is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
