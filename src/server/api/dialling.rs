//! Who dials, and how: the fields of a call and of a batch that say it.

use super::fields::{Field, Kind, optional};
use super::problem::Problem;
use crate::dispatch::EngineDial;
use crate::dispatch::options::{MOST_CONFIRMING, WrongOption};

pub(super) const DIAL: Field = optional(
    "dial",
    Kind::Word(&["agent", "engine"]),
    "Who dials: the agent (if nothing is said), or the daemon. What is said below of phones takes engine.",
);
pub(super) const WAIT: Field =
    optional("wait", Kind::Flag, "Whether the daemon waits until the phone is answered; it does.");
pub(super) const RINGING: Field = optional(
    "ringing",
    Kind::Whole(1, EngineDial::MOST_RINGING),
    "How many seconds the phone may ring; 30.",
);
pub(super) const LONGEST: Field = optional(
    "longest",
    Kind::Whole(1, EngineDial::MOST_LASTING),
    "How many seconds a call may last; 3600.",
);
pub(super) const CONFIRM_AGENT: Field = optional(
    "confirm_agent",
    Kind::Whole(1, MOST_CONFIRMING),
    "How many seconds are waited for a worker to take the agent's job, before the daemon dials.",
);
pub(super) const KRISP: Field =
    optional("krisp", Kind::Flag, "Whether noise is removed from the phone's audio.");
pub(super) const DISPLAY_NAME: Field = optional(
    "display_name",
    Kind::Text,
    "The name that the called person sees beside the number, of 128 bytes at the most.",
);
pub(super) const HIDE_NUMBER: Field = optional(
    "hide_number",
    Kind::Flag,
    "Whether others in the room are kept from the phone's number.",
);
pub(super) const PHONE_NAME: Field =
    optional("phone_name", Kind::Text, "The name under which the phone joins the room.");
pub(super) const PHONE_ATTRIBUTES: Field = optional(
    "phone_attributes",
    Kind::Texts,
    "Attributes of the phone that others in the room see; none that begins with sip. or lk.",
);
pub(super) const HEADERS: Field = optional(
    "headers",
    Kind::Texts,
    "SIP headers for the carrier, 16 at the most: X-… (not X-LK-…) and User-to-User. One that the rules of the \
     number set stays as it is there.",
);

impl From<WrongOption> for Problem {
    fn from(WrongOption { field, why }: WrongOption) -> Self {
        Self::field("field_malformed", field, &why)
    }
}
