//! The SIP service and the carrier of a stand-in: what is at the other end of a line, and how the
//! server tells of it.
//!
//! A phone is in its room from before the carrier is asked until its call has ended, and its
//! attributes say how that stands. A room that is closed ends the call.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::http::Message;
use super::{State, chance, no_service, ok, twirp, twirp_with};

/// What is at the other end of a line.
#[derive(Debug, Clone)]
pub enum FarEnd {
    Answers,
    /// A final SIP response, and how the server tells of it.
    Says {
        code: u16,
        text: &'static str,
        status: &'static str,
        twirp: &'static str,
        words: &'static str,
    },
    /// An error of the server without a SIP response.
    Fails {
        status: &'static str,
        twirp: &'static str,
        words: &'static str,
    },
    /// It rings for as long as it may.
    Rings,
    /// It rings for so long, and then this.
    RingsThen(Duration, Box<FarEnd>),
    /// The carrier does not answer at all.
    Silent,
    /// The carrier asks for a password that the trunk does not have.
    WantsPassword,
    /// There is no SIP service.
    NoService,
    /// The connection breaks, whatever happened to the call.
    Breaks,
    /// It is answered, and the connection breaks before that is told.
    AnsweredUnheard,
    /// No answer ever comes.
    Hangs,
}

impl State {
    /// Whether a SIP service takes a call: none does where nothing is at the other end.
    pub(super) fn has_service_for(&self, body: &Value) -> bool {
        let there = self.sip_service.load(Ordering::Relaxed);
        let inline = !body["trunk"].is_null();
        there && (inline || !matches!(self.far_end(body), None | Some(FarEnd::NoService)))
    }

    fn far_end(&self, body: &Value) -> Option<FarEnd> {
        let to = body["sip_call_to"].as_str().unwrap_or_default();
        self.far_ends.lock().unwrap().get(to).cloned()
    }

    /// `None`: the connection breaks.
    pub(super) async fn dial(&self, body: &Value) -> Option<Message> {
        let text = |member: &str| body[member].as_str().unwrap_or_default();
        let invalid = |words: &str| Some(twirp("400 Bad Request", "invalid_argument", words));
        let inline = body["trunk"]["hostname"].as_str();
        let known = self.trunks.lock().unwrap().contains_key(text("sip_trunk_id"));
        if inline.is_none() && !known {
            return Some(twirp("404 Not Found", "not_found", "requested sip trunk does not exist"));
        }
        if text("sip_call_to").is_empty() {
            return invalid("missing sip callee number");
        }
        if text("room_name").is_empty() {
            return invalid("missing room name");
        }
        let serves = self.has_service_for(body);
        if let (true, Some(host)) = (serves, inline) {
            return invalid(&format!("twirp error unknown: lookup {host}: no such host"));
        }
        if !serves {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Some(no_service());
        }
        let far_end = self.far_end(body).expect("somebody is there");
        self.dialled.lock().unwrap().push((body.clone(), Instant::now()));
        self.join(body);
        let answered = || {
            ok(&json!({"participant_id": format!("PA_{}", chance()),
                "participant_identity": text("participant_identity"),
                "room_name": text("room_name"), "sip_call_id": format!("SCL_{}", chance())}))
        };
        if body["wait_until_answered"] != true && !matches!(far_end, FarEnd::Breaks | FarEnd::Hangs)
        {
            return Some(answered());
        }
        self.comes_to(far_end, body, &answered).await
    }

    async fn comes_to(
        &self,
        far_end: FarEnd,
        body: &Value,
        answered: &(dyn Fn() -> Message + Sync),
    ) -> Option<Message> {
        let timed_out = ("408 Request Timeout", "canceled", "sip request timed out");
        let (status, code, words) = match far_end {
            FarEnd::Answers => {
                self.tell(body, "active");
                return Some(answered());
            }
            FarEnd::AnsweredUnheard => {
                self.tell(body, "active");
                return None;
            }
            FarEnd::Says { code, text, status, twirp, words } => {
                self.leave(body);
                let msg = format!("twirp error unknown: {words}: sip status: {code}: {text}");
                let meta = json!({"error_details": "ChkSFw==", "sip_status": text, "sip_status_code": code.to_string()});
                return Some(twirp_with(status, twirp, &msg, Some(&meta)));
            }
            FarEnd::Fails { status, twirp, words } => (status, twirp, words),
            FarEnd::Rings => {
                self.rings(body, ringing_timeout(body)).await;
                timed_out
            }
            FarEnd::RingsThen(time, then) => {
                if !self.rings(body, time).await {
                    self.leave(body);
                    let words = format!("twirp error unknown: {}", timed_out.2);
                    return Some(twirp(timed_out.0, timed_out.1, &words));
                }
                return Box::pin(self.comes_to(*then, body, answered)).await;
            }
            FarEnd::Silent => {
                self.until(body, ringing_timeout(body)).await;
                timed_out
            }
            FarEnd::WantsPassword => {
                let words = "sip server required auth, but no username or password was provided";
                ("412 Precondition Failed", "failed_precondition", words)
            }
            FarEnd::Breaks | FarEnd::NoService => {
                self.leave(body);
                return None;
            }
            FarEnd::Hangs => {
                self.leave(body);
                std::future::pending().await
            }
        };
        self.leave(body);
        Some(twirp(status, code, &format!("twirp error unknown: {words}")))
    }

    /// Rings for so long; `false`: the room was closed before.
    async fn rings(&self, body: &Value, time: Duration) -> bool {
        self.tell(body, "ringing");
        {
            let mut ringing = self.ringing.lock().unwrap();
            ringing.0 += 1;
            ringing.1 = ringing.1.max(ringing.0);
        }
        let lasted = self.until(body, time).await;
        self.ringing.lock().unwrap().0 -= 1;
        lasted
    }

    /// Waits for so long; `false`: the room was closed before.
    async fn until(&self, body: &Value, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if !self.rooms.lock().unwrap().contains_key(body["room_name"].as_str().unwrap()) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10).min(time)).await;
        }
        true
    }

    /// The phone joins its room.
    fn join(&self, body: &Value) {
        let mut rooms = self.rooms.lock().unwrap();
        let room = rooms.entry(body["room_name"].as_str().unwrap().to_owned()).or_default();
        let mut attributes = body["participant_attributes"].clone();
        if attributes.is_null() {
            attributes = json!({});
        }
        attributes["sip.callStatus"] = json!("dialing");
        attributes["sip.callID"] = json!(format!("SCL_{}", chance()));
        room.phones.push(
            json!({"sid": format!("PA_{}", chance()), "state": "ACTIVE", "kind": "SIP",
            "identity": body["participant_identity"], "name": body["participant_name"],
            "attributes": attributes}),
        );
    }

    fn tell(&self, body: &Value, status: &str) {
        self.with_phones(body, |phones| {
            let ours = phones.iter_mut().find(|phone| is_of(phone, body));
            ours.expect("it has joined")["attributes"]["sip.callStatus"] = json!(status);
        });
    }

    fn leave(&self, body: &Value) {
        self.with_phones(body, |phones| phones.retain(|phone| !is_of(phone, body)));
    }

    /// Changes the phones of a room, if it is there still.
    fn with_phones(&self, body: &Value, change: impl FnOnce(&mut Vec<Value>)) {
        let mut rooms = self.rooms.lock().unwrap();
        if let Some(room) = rooms.get_mut(body["room_name"].as_str().unwrap()) {
            change(&mut room.phones);
        }
    }
}

fn is_of(phone: &Value, body: &Value) -> bool {
    phone["identity"] == body["participant_identity"]
}

fn ringing_timeout(body: &Value) -> Duration {
    let seconds = body["ringing_timeout"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    Duration::from_secs(seconds)
}
