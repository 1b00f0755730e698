//! `POST /v1/route`: what `trunkline route --json` says.

use serde::Deserialize;

use super::asking::{Asking, text};
use super::body::parse;
use super::fields::{Field, Kind, optional, required};
use super::problem::Problem;
use super::tokens::{FROM, TENANT};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteQuestion {
    tenant: Option<String>,
    from: String,
    to: String,
}

pub(super) async fn answer(asking: &Asking<'_>, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let RouteQuestion { tenant, from, to } = parse(body, ASKED)?;
    let caller = asking.from(tenant.as_deref(), &from)?.caller()?;
    Ok(text(&asking.resolver.route(caller, &to).await.to_json()))
}

pub(super) const ASKED: &[Field] = &[
    TENANT,
    FROM,
    required("to", Kind::Text, "The number to call, as people write it, such as 050 765 4321."),
];

pub(super) const ANSWERED: &[Field] = &[
    required("allowed", Kind::Flag, "Whether the call may go out."),
    optional("reason", Kind::Text, "Why not, in a word."),
    optional("message", Kind::Text, "Why not, in words."),
    optional("caller", Kind::Text, "The number that the call shows, as the rules want it written."),
    optional("carrier", Kind::Text, "The carrier of the number."),
    optional("country", Kind::Text, "Where the destination is: an ISO 3166 code."),
    optional("formatted", Kind::Text, "What is dialled."),
    optional("e164", Kind::Text, "The destination as an E.164 number."),
    optional("trunk_id", Kind::Text, "The trunk that the rules of the number name."),
    optional("config_id", Kind::Text, "The LiveKit config that they name."),
    required(
        "rules",
        Kind::Word(&["rules", "no_row", "unknown"]),
        "What is known of the rules of the number.",
    ),
];
