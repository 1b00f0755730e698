//! The routes of `/v1/batches`.

use crate::access::Scope;
use crate::dispatch::batch::Limits;
use crate::server::api::dialling::{
    CONFIRM_AGENT, DIAL, DISPLAY_NAME, HEADERS, HIDE_NUMBER, KRISP, LONGEST, PHONE_ATTRIBUTES,
    PHONE_NAME, RINGING, WAIT,
};
use crate::server::api::editing::LOCATION;
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::idempotency::{KEY_HEADER, REPLAYED_HEADER};
use crate::server::api::page::{CURSOR_FIELD, LIMIT_FIELD, NEXT};
use crate::server::api::routes::{BARE, EventKind, Operation as Of, Route};

/// What is done with batches.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    Upload,
    Rehearse,
    List,
    Read,
    Listen,
    Results,
    Cancel,
    CancelAll,
    Resume,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/batches",
        method: "POST",
        name: "runBatch",
        summary: "Takes the calls of a file and begins to place them, each once. The same key never runs \
                  it twice.",
        scope: Some(Scope::Calls),
        query: OPTIONS,
        headers: &[KEY_HEADER],
        uploads: KINDS,
        answered: BATCH,
        answered_headers: &[LOCATION, REPLAYED_HEADER],
        codes: &[201, 400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 504],
        operation: Of::Batches(Operation::Upload),
        ..BARE
    },
    Route {
        path: "/v1/batches/rehearse",
        method: "POST",
        name: "rehearseBatch",
        summary: "What a file would come to, and calls nobody.",
        scope: Some(Scope::Calls),
        query: OPTIONS,
        uploads: KINDS,
        answered: REHEARSAL,
        codes: &[200, 400, 401, 403, 408, 413, 415, 422, 429, 503],
        operation: Of::Batches(Operation::Rehearse),
        ..BARE
    },
    Route {
        path: "/v1/batches/cancel",
        method: "POST",
        name: "cancelBatches",
        summary: "Has every batch that the client may see cancelled, on whichever nodes they run.",
        scope: Some(Scope::Calls),
        asked: &[END_CALLS],
        answered: &[required("cancelled", Kind::Count, "How many were open.")],
        codes: &[200, 400, 401, 403, 408, 413, 415, 429, 503, 504],
        operation: Of::Batches(Operation::CancelAll),
        ..BARE
    },
    Route {
        path: "/v1/batches",
        name: "listBatches",
        summary: "The batches that the client may see, the newest first.",
        scope: Some(Scope::Calls),
        query: &[LIMIT_FIELD, CURSOR_FIELD],
        answered: &[required("batches", Kind::List(BATCH), "The batches of this page."), NEXT],
        codes: &[200, 400, 401, 403, 429, 503],
        operation: Of::Batches(Operation::List),
        ..BARE
    },
    Route {
        path: "/v1/batches/{id}",
        name: "readBatch",
        summary: "How a batch stands. It is kept for 30 days.",
        scope: Some(Scope::Calls),
        answered: BATCH,
        codes: &[200, 401, 403, 404, 429, 503],
        operation: Of::Batches(Operation::Read),
        ..BARE
    },
    Route {
        path: "/v1/batches/{id}/events",
        name: "watchBatch",
        summary: "How far a batch is, until it has ended.",
        scope: Some(Scope::Calls),
        events: &[
            EventKind { name: "progress", help: "How it stands.", holds: BATCH },
            EventKind {
                name: "end",
                help: "Nothing more comes.",
                holds: &[required(
                    "reason",
                    Kind::Word(&["ended", "gone", "stopping", "client_ended", "clients_unknown"]),
                    "Why.",
                )],
            },
        ],
        codes: &[200, 401, 403, 404, 429, 503],
        operation: Of::Batches(Operation::Listen),
        ..BARE
    },
    Route {
        path: "/v1/batches/{id}/results",
        name: "readResults",
        summary: "What became of each entry, from the node that has the journal of the batch.",
        scope: Some(Scope::Calls),
        query: &[
            optional(
                "format",
                Kind::Word(&["csv", "jsonl"]),
                "The rows of the batch with their results, or JSON lines; by Accept if nothing is said.",
            ),
            optional(
                "rows",
                Kind::Word(&["done", "left", "all"]),
                "Entries that have a result (if nothing is said), those that have none, or both.",
            ),
        ],
        downloads: &["text/csv", "application/x-ndjson"],
        codes: &[200, 400, 401, 403, 404, 409, 429, 503],
        operation: Of::Batches(Operation::Results),
        ..BARE
    },
    Route {
        path: "/v1/batches/{id}/cancel",
        method: "POST",
        name: "cancelBatch",
        summary: "Has a batch cancelled, on whichever node it runs: nobody else is called.",
        scope: Some(Scope::Calls),
        asked: &[END_CALLS],
        answered: BATCH,
        codes: &[200, 400, 401, 403, 404, 408, 409, 413, 415, 429, 503, 504],
        operation: Of::Batches(Operation::Cancel),
        ..BARE
    },
    Route {
        path: "/v1/batches/{id}/resume",
        method: "POST",
        name: "resumeBatch",
        summary: "Has a batch that ended with something left gone on with. Nobody is called twice.",
        scope: Some(Scope::Calls),
        answered: BATCH,
        codes: &[200, 400, 401, 403, 404, 408, 409, 413, 415, 429, 503, 504],
        operation: Of::Batches(Operation::Resume),
        ..BARE
    },
];

/// What a file may be.
const KINDS: &[&str] = &["text/csv", "application/x-ndjson", "application/jsonl"];

const END_CALLS: Field = optional(
    "end_calls",
    Kind::Flag,
    "true: those who are being called are hung up on, too; else their calls may finish.",
);

/// What is said of a batch that is run, beside how.
const NAME: Field =
    optional("name", Kind::Text, "What people call it, of 100 characters at the most.");
const ANYWAY: Field = optional(
    "anyway",
    Kind::Flag,
    "true: begins even if rows must be corrected, or something is missing that they need.",
);

/// Both take the same, so that what was rehearsed is what is run.
const OPTIONS: &[Field] = &[
    NAME,
    ANYWAY,
    optional("tenant", Kind::Id, "The tenant of rows that name none."),
    optional("from", Kind::Text, "The caller number of rows that name none."),
    optional(
        "separator",
        Kind::Text,
        "The separator of CSV: comma, semicolon, tab or one character; it is detected.",
    ),
    optional(
        "columns",
        Kind::Text,
        "Columns with other names, such as to=phone_number,job=id. There are to, from, tenant and job.",
    ),
    optional(
        "concurrency",
        Kind::Whole(1, Limits::MOST_CONCURRENCY as u64),
        "Calls placed at once on one server; 16.",
    ),
    optional(
        "cps",
        Kind::Number,
        "Calls a second over one trunk, from 0.001 to 10000, or 0, which is no limit; 10.",
    ),
    optional(
        "live",
        Kind::Whole(1, 100_000),
        "Calls of this batch that are up at the same time over one trunk; as many as come.",
    ),
    optional(
        "retries",
        Kind::Whole(0, 100),
        "How often an entry is tried again if nothing was dialled for it; 2.",
    ),
    optional("allow_duplicates", Kind::Flag, "Call a person again for each row that names them."),
    DIAL,
    WAIT,
    RINGING,
    LONGEST,
    CONFIRM_AGENT,
    KRISP,
    DISPLAY_NAME,
    HIDE_NUMBER,
    PHONE_NAME,
    PHONE_ATTRIBUTES,
    HEADERS,
];

const BATCH: &[Field] = &[
    required("id", Kind::Id, "Which batch."),
    required("name", Kind::Text, "What people call it."),
    required(
        "state",
        Kind::Word(&[
            "accepted",
            "running",
            "cancelling",
            "interrupted",
            "done",
            "left",
            "cancelled",
            "failed",
        ]),
        "How it stands. interrupted: the node that has its journal says nothing, and it goes on when that \
         is there again. left: it ended, and entries have no result.",
    ),
    optional("message", Kind::Text, "Why it failed."),
    required("entries", Kind::Whole(0, MANY), "How many entries there are."),
    required("done", Kind::Whole(0, MANY), "How many have a result."),
    required("left", Kind::Whole(0, MANY), "How many have none."),
    required("outcomes", Kind::Anything, "How many have each outcome."),
    required("left_with", Kind::Anything, "Why those were left that were looked at."),
    optional(
        "cancel",
        Kind::Word(&["stop", "end"]),
        "It is to be cancelled: calls may finish, or are ended.",
    ),
    required("options", Kind::Anything, "What was asked for with it."),
    optional("client", Kind::Text, "Who asked for it; null for a limited client."),
    optional("node", Kind::Id, "The node that runs it or did; null for a limited client."),
    required("results_here", Kind::Flag, "Whether this node has its journal, and so its results."),
    optional("created_at", Kind::Time, "When it was taken."),
    optional("begun_at", Kind::Time, "When it was begun."),
    optional("ended_at", Kind::Time, "When it ended."),
];

const TALLY: [Field; 2] = [
    required("entries", Kind::Whole(0, MANY), "How many entries."),
    required("lines", Kind::Numbers, "The lines of the first five."),
];

const REHEARSAL: &[Field] = &[
    required("dry_run", Kind::Flag, "true."),
    required("entries", Kind::Whole(0, MANY), "How many entries there are."),
    required("encoding", Kind::Text, "How the text is encoded."),
    optional("separator", Kind::Text, "What separates the fields of CSV."),
    optional("headings", Kind::TextList, "The headings of CSV."),
    required("calls", Kind::Object(&TALLY), "Those that would be called."),
    required("without_rules", Kind::Object(&TALLY), "Those of them without known rules."),
    required(
        "duplicates",
        Kind::Object(&TALLY),
        "Those that name somebody whom another one calls.",
    ),
    required("countries", Kind::List(&TALLY), "Those that would be called, by country."),
    required(
        "trunks",
        Kind::List(&TALLY),
        "The same by trunk, for a client with the scope resolve.",
    ),
    required("refused", Kind::List(&TALLY), "Those that would not be called, and why."),
    required("lacks", Kind::List(&TALLY), "What is missing that entries need."),
    optional("takes_seconds", Kind::Number, "How long it takes at the rate; null for no limit."),
];

/// More lines are no batch.
const MANY: u64 = 1_000_000_000;
