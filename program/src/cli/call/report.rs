//! What became of a call, for a person or a script, and what to do about it.

use serde_json::json;
use trunkline::dispatch::{CallRequest, Dial, Outcome, Report};

use super::super::Context;
use super::super::failure::{Done, Exit, Failure};
use super::super::output::{json_line, or_dash, table};
use super::super::route::warn_without_rules;

/// Tells what became of a call.
pub(super) fn print_report(context: &Context, request: &CallRequest, report: &Report) -> Done {
    if context.json {
        json_line(&json!(report))?;
    } else if report.phone_identity.is_some() {
        show(request, report, &in_words(request, report), None)?;
    }
    ended(request, report)
}

/// The outcome in words, with what the carrier said.
fn in_words(request: &CallRequest, report: &Report) -> String {
    let outcome = report.outcome.as_str().replace('_', " ");
    match (&report.sip, report.outcome, &request.dial) {
        (Some(sip), ..) => format!("{outcome}: {} {}", sip.code, sip.text),
        (None, Outcome::Placed, Dial::Agent) => format!("{outcome}: the agent was sent to dial"),
        (None, Outcome::Placed, Dial::Engine(how)) if how.wait_until_answered => {
            format!("{outcome}: the phone was answered")
        }
        (None, Outcome::Placed, Dial::Engine(_)) => format!("{outcome}: the phone was dialled"),
        _ => outcome,
    }
}

pub(super) fn show(
    request: &CallRequest,
    report: &Report,
    outcome: &str,
    metadata: Option<&str>,
) -> Done {
    if let Some(routing) = &report.routing {
        warn_without_rules(routing);
    }
    let object = json!(report);
    let row = |name: &str, value: Option<&str>| vec![name.to_owned(), or_dash(value)];
    let member = |name: &str| object[name].as_str();
    let room = request.room.as_deref().filter(|_| metadata.is_none());
    let closed = room.map(|room| format!("{room} (closed)"));
    let rows = [
        row("outcome", Some(outcome)),
        row("room", member("room").or(closed.as_deref())),
        row("phone", member("phone_identity")),
        row("dialled", member("phone_number")),
        row("country", member("country")),
        row("source", member("source")),
        row("reason", member("reason")),
        row("config", member("config_name")),
        row("url", member("url")),
        row("trunk", member("trunk_id")),
        row("agent", member("agent_name")),
        row("dispatch", member("dispatch_id")),
        row("SIP call", member("sip_call_id")),
    ];
    let metadata = metadata.map(|metadata| row("metadata", Some(metadata)));
    table(&[], rows.into_iter().chain(metadata))
}

/// A call that was not placed is a failure, by its outcome.
pub(super) fn ended(request: &CallRequest, report: &Report) -> Done {
    let exit = match report.outcome {
        Outcome::Placed => return Ok(()),
        Outcome::Invalid => Exit::Usage,
        Outcome::CredentialsRefused => Exit::Key,
        _ => Exit::Failed,
    };
    let words = in_words(request, report);
    let message = match (&report.message, &report.sip) {
        (Some(message), None) => message.clone(),
        (Some(message), Some(_)) if report.outcome == Outcome::CarrierTrouble => {
            format!("{words} ({message})")
        }
        _ => words,
    };
    let message = match &report.call {
        Some(call) => format!("{message} (room {})", call.room),
        None => message,
    };
    let failure = Failure::new(report.outcome.as_str(), message, exit);
    Err(match what_to_do(report.outcome) {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

/// What a person may do about an outcome.
pub(in crate::cli) fn what_to_do(outcome: Outcome) -> Option<&'static str> {
    Some(match outcome {
        Outcome::CredentialsRefused => "`trunkline livekit check` looks at key and secret",
        Outcome::Unreachable => {
            "`trunkline livekit check` looks at key, secret and server; is the server's Redis up?"
        }
        Outcome::NoSipService => {
            "livekit-sip has to run, on the Redis that the server is on; `trunkline livekit check` \
             looks for it"
        }
        Outcome::NoAgent => "a worker with the agent's name has to run on this server",
        Outcome::TrunkUnknown | Outcome::CallerNotOnTrunk => {
            "`trunkline livekit check` looks at the trunk"
        }
        Outcome::CarrierTrouble => {
            "docs/troubleshooting.md, \"When the carrier does not do it\", tells what each means"
        }
        Outcome::NotAllowed => "`trunkline route` tells what the rules allow",
        Outcome::NoCredentials => "`trunkline resolve --explain` tells each step",
        Outcome::InDoubt => "look whether the room is there before you call again",
        _ => return None,
    })
}
