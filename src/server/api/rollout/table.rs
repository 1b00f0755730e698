//! The routes of the rollout.

use crate::access::Scope;
use crate::server::api::editing::{APPLIED, ETAG, IF_MATCH, SEEN_BY};
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is done.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    Read,
    Plan,
    Change,
    Reset,
    ReadRun,
    BeginRun,
    PauseRun,
    ResumeRun,
    StopRun,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/rollout",
        name: "readRollout",
        summary: "Whom the database answers, as `trunkline rollout status` shows it.",
        scope: Some(Scope::Fleet),
        answered: ROLLOUT,
        answered_headers: &[ETAG],
        codes: &[200, 401, 403, 429, 503],
        operation: Of::Rollout(Operation::Read),
        ..BARE
    },
    Route {
        path: "/v1/rollout",
        method: "PATCH",
        name: "changeRollout",
        summary: "Goes to a stage or to a share, or puts tenants onto a list. Every node obeys within LEASE.",
        scope: Some(Scope::Rollout),
        headers: &[IF_MATCH],
        asked: CHANGE,
        answered: WRITTEN,
        answered_headers: &[ETAG],
        codes: &[200, 400, 401, 403, 408, 409, 412, 413, 415, 429, 503, 504],
        operation: Of::Rollout(Operation::Change),
        ..BARE
    },
    Route {
        path: "/v1/rollout/plan",
        method: "POST",
        name: "planRollout",
        summary: "What a change would do: who moves, and for whom the database has no answer. Changes nothing.",
        scope: Some(Scope::Fleet),
        asked: CHANGE,
        answered: &[
            required("now", Kind::Object(STATE), "What holds now."),
            required("then", Kind::Object(STATE), "What would hold."),
            required(
                "survey",
                Kind::Object(SURVEY),
                "What that would do, looked up for every number.",
            ),
        ],
        codes: &[200, 400, 401, 403, 408, 413, 415, 429, 503],
        operation: Of::Rollout(Operation::Plan),
        ..BARE
    },
    Route {
        path: "/v1/rollout/reset",
        method: "POST",
        name: "resetRollout",
        summary: "Begins anew: the stage off, empty lists, and other tenants come first.",
        scope: Some(Scope::Rollout),
        headers: &[IF_MATCH],
        asked: &[optional("by", UNIT, "What a share is a share of; of the tenants if not given.")],
        answered: WRITTEN,
        answered_headers: &[ETAG],
        codes: &[200, 400, 401, 403, 408, 409, 412, 413, 415, 429, 503, 504],
        operation: Of::Rollout(Operation::Reset),
        ..BARE
    },
    Route {
        path: "/v1/rollout/run",
        name: "readRolloutRun",
        summary: "The newest run, open or not, and what it has found, as `trunkline rollout report` shows it.",
        scope: Some(Scope::Fleet),
        answered: RUN,
        codes: &[200, 401, 403, 404, 429, 503],
        operation: Of::Rollout(Operation::ReadRun),
        ..BARE
    },
    Route {
        path: "/v1/rollout/run",
        method: "POST",
        name: "beginRolloutRun",
        summary: "Begins a run: it takes its first step, and nodes take the others. With `preview` nothing is changed.",
        scope: Some(Scope::Rollout),
        asked: BEGIN,
        answered: &[
            required("preview", Kind::Flag, "Whether it was only looked at."),
            optional("prepared", Kind::Anything, "What it would be."),
            optional("run", Kind::Object(RUN), "What it is."),
        ],
        codes: &[200, 400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 504],
        operation: Of::Rollout(Operation::BeginRun),
        ..BARE
    },
    Route {
        path: "/v1/rollout/run/pause",
        method: "POST",
        name: "pauseRolloutRun",
        summary: "Has the open run stay where it is.",
        scope: Some(Scope::Rollout),
        answered: RUN,
        codes: CHANGED,
        operation: Of::Rollout(Operation::PauseRun),
        ..BARE
    },
    Route {
        path: "/v1/rollout/run/resume",
        method: "POST",
        name: "resumeRolloutRun",
        summary: "Lets a paused run go on. Its soak begins anew.",
        scope: Some(Scope::Rollout),
        answered: RUN,
        codes: CHANGED,
        operation: Of::Rollout(Operation::ResumeRun),
        ..BARE
    },
    Route {
        path: "/v1/rollout/run/stop",
        method: "POST",
        name: "stopRolloutRun",
        summary: "Ends the open run. The rollout stays where it is.",
        scope: Some(Scope::Rollout),
        answered: RUN,
        codes: CHANGED,
        operation: Of::Rollout(Operation::StopRun),
        ..BARE
    },
];

const CHANGED: &[u16] = &[200, 400, 401, 403, 408, 409, 413, 415, 429, 503, 504];

const BEGIN: &[Field] = &[
    optional(
        "steps",
        Kind::TextList,
        "The shares to go to, in per cent; 10, 50, 100 if not given.",
    ),
    optional(
        "soak",
        Kind::TextList,
        "How long to stay, such as 24h: at each step, at each but the last, or one time for all but the last. \
         24h, 48h if not given.",
    ),
    optional(
        "bad",
        Kind::Text,
        "A window is bad if more than this share of its calls were faults, in per cent; 1 if not given.",
    ),
    optional("least", MANY, "A window has at least so many calls; 100 if not given."),
    optional("window", Kind::Text, "A window is at least so long; 5m if not given."),
    optional("preview", Kind::Flag, "Whether it is only looked at."),
];

const RESULT: &[Field] = &[
    required("step", MANY, "Which step."),
    required("percent", Kind::Number, "The share that was inside."),
    required("from", Kind::Time, "From when."),
    required("until", Kind::Time, "Until when."),
    required("inside", MANY, "Calls of those inside."),
    required("faults", MANY, "How many of these were faults."),
    required("good", MANY, "Good windows."),
    required("bad", MANY, "Bad windows."),
    required(
        "outcome",
        Kind::Word(&["passed", "went_back", "paused", "changed_by_hand", "stopped"]),
        "How it ended.",
    ),
];

const RUN: &[Field] = &[
    required("id", MANY, "Which run, counted from one."),
    required("state", Kind::Word(&["running", "paused", "done", "stopped"]), "Whether it goes on."),
    required("step", MANY, "At which step, counted from one; 0: where the rollout was before."),
    required("since", Kind::Time, "Since when, by the database's clock."),
    optional("window_since", Kind::Time, "Since when the counters of this window count."),
    optional("why", Kind::Text, "Why it is paused or has ended."),
    optional("led_by", Kind::Text, "Which node takes it further, or did so last."),
    required("is_led", Kind::Flag, "Whether one does at present."),
    required(
        "plan",
        Kind::Anything,
        "Its steps with their soaks in seconds, and what its guard looks for.",
    ),
    required(
        "progress",
        Kind::Anything,
        "What it counted at this step, and who keeps it from the next.",
    ),
    required("results", Kind::List(RESULT), "What it found at each step."),
    required("begun", Kind::Time, "When it began."),
    optional("ended", Kind::Time, "When it ended."),
    required("now", Kind::Time, "What the database's clock said."),
];

const MANY: Kind = Kind::Whole(0, i64::MAX.unsigned_abs());
const UNIT: Kind = Kind::Word(&["tenant", "number"]);

const CHANGE: &[Field] = &[
    optional(
        "to",
        Kind::Text,
        "off, shadow, live, complete, or a share in per cent, such as 10 or 0.125.",
    ),
    optional("allow", Kind::Ids, "Tenants that are inside whatever the share."),
    optional("deny", Kind::Ids, "Tenants that are outside whatever else is said."),
    optional("unlist", Kind::Ids, "Tenants to take off both lists."),
    optional("force", Kind::Flag, "Whether to complete it though some numbers have no answer."),
];

const STAGE: Field = required(
    "stage",
    Kind::Word(&["off", "shadow", "percent", "live", "complete"]),
    "How far it has come.",
);
const PERCENT: Field =
    required("percent", Kind::Number, "The share that is inside, at the stage percent.");
const OF: Field = required("unit", UNIT, "What that is a share of.");
const SALT: Field =
    required("salt", Kind::Text, "What the hashes begin with; empty where there is no rollout.");
const ALLOW: Field =
    required("allow", Kind::TextList, "Tenants that are inside whatever the share.");
const DENY: Field =
    required("deny", Kind::TextList, "Tenants that are outside whatever else is said.");
const VERSION: Field = required("version", MANY, "How often it was changed; 0: never.");
const FLAG: Field =
    required("flag", Kind::Flag, "Whether USE_SELFHOST_ROUTING_TABLE is on at this node.");

const STATE: &[Field] = &[STAGE, PERCENT, OF, SALT, ALLOW, DENY, VERSION];
const ROLLOUT: &[Field] = &[STAGE, PERCENT, OF, SALT, ALLOW, DENY, VERSION, FLAG];
const WRITTEN: &[Field] = &[STAGE, PERCENT, OF, SALT, ALLOW, DENY, VERSION, FLAG, APPLIED, SEEN_BY];

const SURVEY: &[Field] = &[
    required("numbers", MANY, "How many numbers there are."),
    required("tenants", MANY, "Of how many tenants."),
    required("inside_now", MANY, "Numbers that the database answers now."),
    required("inside_then", MANY, "Numbers that it would answer."),
    required("moving_in", Kind::Object(MOVING), "Who moves from the environment to the database."),
    required("moving_out", Kind::Object(MOVING), "Who moves from the database to the environment."),
    required("answered", MANY, "For how many of all numbers the database has an answer."),
    required("unanswered", Kind::Anything, "For how many it has none, by reason."),
    required("unanswered_inside", MANY, "How many of those would be inside."),
    required(
        "fields",
        Kind::Anything,
        "How often each field is as the environment has it, and how often not.",
    ),
    required("unreadable", MANY, "Rows whose digits are no number."),
];
const MOVING: &[Field] = &[
    required("numbers", MANY, "How many numbers."),
    required("tenants", MANY, "How many tenants have such a number."),
];
