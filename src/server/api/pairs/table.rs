//! The routes of the key pairs of a config.

use crate::access::Scope;
use crate::server::api::editing::{APPLIED, SEEN_BY};
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is done.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    Read,
    Rotate,
    Promote,
    RollBack,
    Retire,
    Compromise,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/configs/{id}/pair",
        name: "readPair",
        summary: "The key pairs of a LiveKit config: the current one, and those that are pending or previous. \
                  Never their secrets.",
        scope: Some(Scope::Configs),
        answered: &[
            required("pairs", Kind::List(PAIR), "The pairs."),
            optional(
                "retire_from",
                Kind::Time,
                "When the previous one may be retired, at the earliest; null where there is none.",
            ),
        ],
        codes: &[200, 401, 403, 404, 429, 503],
        operation: Of::Pairs(Operation::Read),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/pair/rotate",
        method: "POST",
        name: "rotatePair",
        summary: "Places calls with a new key pair, once the server accepts both. Where it does not, the new \
                  one stays pending.",
        scope: Some(Scope::EditConfigs),
        asked: &[
            required("api_key", Kind::Text, "The new API key, which is not the current one."),
            required("api_secret", Kind::Text, "Its secret, plain or sealed."),
            OLD_IS_GONE,
        ],
        answered: STEP,
        codes: STEPS,
        operation: Of::Pairs(Operation::Rotate),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/pair/promote",
        method: "POST",
        name: "promotePair",
        summary: "Places calls with the pending key pair, once the server accepts both.",
        scope: Some(Scope::EditConfigs),
        asked: &[OLD_IS_GONE],
        answered: STEP,
        codes: STEPS,
        operation: Of::Pairs(Operation::Promote),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/pair/roll-back",
        method: "POST",
        name: "rollBackPair",
        summary: "Takes the last step back: forgets a pending key pair, or else places calls with the previous \
                  one again, once the server accepts it.",
        scope: Some(Scope::EditConfigs),
        answered: STEP,
        codes: STEPS,
        operation: Of::Pairs(Operation::RollBack),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/pair/retire",
        method: "POST",
        name: "retirePair",
        summary: "Forgets the previous key pair, once nothing needs it: its server may forget it then.",
        scope: Some(Scope::EditConfigs),
        confirm: true,
        asked: &[optional("now", Kind::Flag, "Whether to wait for nothing.")],
        answered: &[
            required("api_key", Kind::Text, "The API key that its server may forget."),
            APPLIED,
            SEEN_BY,
        ],
        codes: STEPS,
        operation: Of::Pairs(Operation::Retire),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/pair/compromise",
        method: "POST",
        name: "compromisePair",
        summary: "Replaces a key pair that others may have, by this one or by the pending one, and says what \
                  stays exposed until its server forgets it.",
        scope: Some(Scope::EditConfigs),
        confirm: true,
        asked: &[
            optional(
                "api_key",
                Kind::Text,
                "The new API key; without it, the pending pair is taken.",
            ),
            optional("api_secret", Kind::Text, "Its secret, plain or sealed."),
        ],
        answered: &[
            required("current", Kind::Text, "The API key that calls are placed with."),
            required("exposed", Kind::Object(EXPOSED), "What stays exposed."),
            APPLIED,
            SEEN_BY,
        ],
        codes: STEPS,
        operation: Of::Pairs(Operation::Compromise),
        ..BARE
    },
];

const STEPS: &[u16] = &[200, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504];

const OLD_IS_GONE: Field =
    optional("old_is_gone", Kind::Flag, "Whether the server need not accept the old one any more.");

const STEP: &[Field] = &[
    required("current", Kind::Text, "The API key that calls are placed with."),
    optional("previous", Kind::Text, "The one before it, which the server must go on accepting."),
    optional("retire_from", Kind::Time, "When that may be retired, at the earliest."),
    APPLIED,
    SEEN_BY,
];

const PAIR: &[Field] = &[
    required("state", Kind::Word(&["pending", "current", "previous"]), "What it is for."),
    required("api_key", Kind::Text, "Its API key."),
    required(
        "of_this_server",
        Kind::Flag,
        "Whether it is for the server that the config names. If not, it is of no use any more.",
    ),
    optional("added_at", Kind::Time, "When it came to be known."),
    optional("checked_at", Kind::Time, "When its server accepted it last, where that was asked."),
    optional("since", Kind::Time, "Since when it is in this state."),
    optional("compromised_at", Kind::Time, "Since when it is known that others may have it."),
];

const EXPOSED: &[Field] = &[
    required("api_key", Kind::Text, "The API key that the server is to forget, at once."),
    required("tokens_until", Kind::Time, "Until when tokens of clients are good, at the latest."),
    optional(
        "calls",
        Kind::Count,
        "How many calls may be in the air; null where that is not known.",
    ),
    optional("calls_until", Kind::Time, "Until when, at the latest."),
    optional("also", Kind::Text, "Another key that the server is to forget."),
];
