//! `trunkline call`: places a call, or ends one.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use trunkline::Caller;
use trunkline::dispatch::{
    CallRequest, Dial, Dispatcher, EngineDial, HangUpError, Outcome, Report,
};

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::livekit::find;
use super::output::{json_line, line, or_dash, table};
use super::signals::told_to_end;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Call {
    #[command(subcommand)]
    end: Option<End>,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum End {
    /// End a call: close its room and hang up on everybody in it
    End {
        /// The room of the call
        room: String,
        /// The config that the call was placed with, by id or name; without it all servers are asked
        #[arg(long, value_name = "CONFIG", conflicts_with = "environment")]
        livekit: Option<String>,
        /// The call was placed with the credentials of the environment
        #[arg(long)]
        environment: bool,
    },
}

#[derive(Args)]
struct Place {
    /// Whose number calls
    #[arg(long, value_name = "UUID", required = true)]
    tenant: Option<String>,
    /// The number that calls, such as +971501234567
    #[arg(long, value_name = "NUMBER", required = true)]
    from: Option<String>,
    /// The number to call, as people write it
    #[arg(long, value_name = "NUMBER", required = true)]
    to: Option<String>,
    /// The job that the call is for; part of the room's name
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Fields of your own for the agent: a JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    #[command(flatten)]
    dialling: Dialling,
    /// Say what would be done, and ask no LiveKit server
    #[arg(long)]
    dry_run: bool,
}

/// Who dials, and how.
#[derive(Args)]
pub(crate) struct Dialling {
    /// The agent dials, from what the metadata says (the default)
    #[arg(long, conflicts_with = "engine_dials")]
    agent_dials: bool,
    /// The engine dials, and tells what the carrier says
    #[arg(long)]
    engine_dials: bool,
    /// Do not wait until the phone is answered
    #[arg(long, requires = "engine_dials")]
    no_wait: bool,
    /// How long the phone may ring
    #[arg(long, value_name = "SECONDS", requires = "engine_dials", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=80))]
    ringing: u64,
    /// How long the call may last
    #[arg(long, value_name = "SECONDS", requires = "engine_dials", default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    longest: u64,
}

impl Dialling {
    pub(crate) fn dial(&self) -> Dial {
        if !self.engine_dials {
            return Dial::Agent;
        }
        Dial::Engine(EngineDial {
            wait_until_answered: !self.no_wait,
            ringing: Duration::from_secs(self.ringing),
            longest: Duration::from_secs(self.longest),
        })
    }
}

impl Call {
    pub(crate) async fn run(self, context: &Context) -> Done {
        match self.end {
            Some(End::End { room, livekit, environment }) => {
                end(context, &room, livekit.as_deref(), environment).await
            }
            None => self.place.run(context).await,
        }
    }
}

impl Place {
    async fn run(self, context: &Context) -> Done {
        // Without a subcommand all three are there.
        let [tenant, from, to] = [self.tenant, self.from, self.to].map(Option::unwrap_or_default);
        let caller = Caller::parse(&tenant, &from)?;
        let fields = self.metadata.as_deref().map(fields).transpose()?.unwrap_or_default();
        let new = CallRequest::new(caller, to);
        let job = self.job.unwrap_or_else(|| new.job.clone());
        let request = CallRequest { job, fields, dial: self.dialling.dial(), ..new }.named();
        request.check().map_err(|wrong| Failure::usage("call_malformed", wrong.to_string()))?;
        let (dispatcher, _) = context.dispatcher()?;
        let done = if self.dry_run {
            rehearse(context, &dispatcher, &request).await
        } else {
            place(context, &dispatcher, &request).await
        };
        dispatcher.resolver().stop(STOP).await;
        done
    }
}

/// Places it. Ctrl-C in between is told of, since a phone may ring by then.
async fn place(context: &Context, dispatcher: &Dispatcher, request: &CallRequest) -> Done {
    let report = tokio::select! {
        report = dispatcher.call(request) => report,
        () = told_to_end() => {
            let room = request.room.as_deref().unwrap_or_default();
            let message = "interrupted while the call was being placed";
            return Err(Failure::new("interrupted", message, Exit::Failed).hint(format!(
                "a phone may ring: `trunkline call end {room}` ends it"
            )));
        }
    };
    if context.json {
        json_line(&json!(report))?;
    } else if report.outcome == Outcome::Placed {
        show(&report, "placed", None)?;
    }
    ended(report)
}

async fn rehearse(context: &Context, dispatcher: &Dispatcher, request: &CallRequest) -> Done {
    let (report, metadata) = dispatcher.rehearse(request).await;
    let Some(metadata) = metadata else { return ended(report) };
    if context.json {
        let mut object = json!(report);
        object["outcome"] = json!("would_be_placed");
        object["dry_run"] = json!(true);
        object["metadata"] = serde_json::from_str(&metadata).unwrap_or_default();
        return json_line(&object);
    }
    show(&report, "would be placed", Some(&metadata))
}

fn show(report: &Report, outcome: &str, metadata: Option<&str>) -> Done {
    let object = json!(report);
    let row = |name: &str, value: Option<&str>| vec![name.to_owned(), or_dash(value)];
    let member = |name: &str| object[name].as_str();
    let rows = [
        row("outcome", Some(outcome)),
        row("room", member("room")),
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
fn ended(report: Report) -> Done {
    let exit = match report.outcome {
        Outcome::Placed => return Ok(()),
        Outcome::Invalid => Exit::Usage,
        Outcome::CredentialsRefused => Exit::Key,
        _ => Exit::Failed,
    };
    let mut message = report.message.unwrap_or_else(|| "not placed".to_owned());
    if let Some(call) = report.call {
        message = format!("{message} (room {})", call.room);
    }
    let failure = Failure::new(report.outcome.as_str(), message, exit);
    Err(match hint(report.outcome) {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

fn hint(outcome: Outcome) -> Option<&'static str> {
    Some(match outcome {
        Outcome::CredentialsRefused | Outcome::Unreachable | Outcome::NoSipService => {
            "`trunkline livekit check` looks at key, secret and server"
        }
        Outcome::TrunkUnknown | Outcome::CallerNotOnTrunk => {
            "`trunkline livekit check` looks at the trunk"
        }
        Outcome::NotAllowed => "`trunkline route` tells what the rules allow",
        Outcome::NoCredentials => "`trunkline resolve --explain` tells each step",
        Outcome::InDoubt => "look whether the room is there before you call again",
        _ => return None,
    })
}

fn fields(text: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let message = match error.column() {
            0 => "--metadata: JSON, and not an object".to_owned(),
            column => format!("--metadata: not a JSON object, at character {column}"),
        };
        Failure::usage("metadata_malformed", message)
    })
}

async fn end(context: &Context, room: &str, livekit: Option<&str>, environment: bool) -> Done {
    let (dispatcher, _) = context.dispatcher()?;
    let done = async {
        let call = match livekit {
            Some(config) => {
                let id = find(&*context.store()?, config).await?.id;
                trunkline::dispatch::Call::new(room, Some(id))
            }
            None if environment => trunkline::dispatch::Call::new(room, None),
            None => search(&dispatcher, room).await?,
        };
        dispatcher.hang_up(&call).await.map_err(|error| match error {
            HangUpError::NotFound => not_found("the server has no such room"),
            HangUpError::Credentials(error) => error.into(),
            HangUpError::LiveKit(error) if error.is_unauthorized() => {
                Failure::new("credentials_refused", error.to_string(), Exit::Key)
                    .hint("`trunkline livekit check` looks at key and secret")
            }
            other => Failure::new("not_ended", other.to_string(), Exit::Failed)
                .hint("`trunkline livekit check` looks at key, secret and server"),
        })?;
        if context.json {
            json_line(&json!({"ended": room, "config_id": call.config}))
        } else {
            line(format!("ended {room}"))
        }
    };
    let done = done.await;
    dispatcher.resolver().stop(STOP).await;
    done
}

/// The one server that has the room.
async fn search(dispatcher: &Dispatcher, room: &str) -> Result<trunkline::dispatch::Call, Failure> {
    let mut found = dispatcher.find(room).await?;
    let unasked: Vec<_> = found.unasked.iter().map(|(_, why)| why.as_str()).collect();
    match (found.calls.pop(), found.calls.len()) {
        (Some(call), 0) => Ok(call),
        (Some(_), more) => {
            let message = format!("{} configs have a room of that name", more + 1);
            Err(Failure::new("room_ambiguous", message, Exit::Conflict)
                .hint("say --livekit CONFIG: a room of another call may bear the same name"))
        }
        (None, _) if unasked.is_empty() => Err(not_found("no server has such a room")),
        (None, _) => Err(not_found(&format!(
            "no server that could be asked has such a room; {} could not: {}",
            unasked.len(),
            unasked.join("; ")
        ))),
    }
}

fn not_found(message: &str) -> Failure {
    Failure::new("room_not_found", message, Exit::Failed)
        .hint("the call may have ended by itself; rooms close when the last one leaves")
}

const STOP: Duration = Duration::from_secs(1);
