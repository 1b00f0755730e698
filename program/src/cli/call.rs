//! `trunkline call`: places a call, or ends one.

mod dialling;
mod report;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use trunkline::Caller;
use trunkline::dispatch::{self, CallRequest, Dispatcher, HangUpError, Outcome, Report};

pub(super) use self::dialling::{Dialling, time};
pub(super) use self::report::what_to_do;
use self::report::{ended, print_report, show};
use super::Context;
use super::failure::{Done, Exit, Failure};
use super::livekit::find;
use super::output::{json_line, line};
use super::signals::stop_requested;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Call {
    #[command(subcommand)]
    end: Option<End>,
    #[command(flatten)]
    place: PlaceCall,
}

#[derive(Subcommand)]
enum End {
    /// End a call: close its room and hang up on everybody in it
    End {
        /// The room of the call
        room: String,
        /// The config that placed the call, by id or name; without it all servers are asked
        #[arg(long, value_name = "CONFIG", conflicts_with = "environment")]
        livekit: Option<String>,
        /// The credentials of the environment placed the call
        #[arg(long)]
        environment: bool,
    },
}

#[derive(Args)]
struct PlaceCall {
    /// The tenant of the number that calls
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
    /// Print what would be done, and ask no LiveKit server
    #[arg(long)]
    dry_run: bool,
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

impl PlaceCall {
    async fn run(self, context: &Context) -> Done {
        // Without a subcommand all three are there.
        let [tenant, from, to] = [self.tenant, self.from, self.to].map(Option::unwrap_or_default);
        let caller = Caller::parse(&tenant, &from)?;
        let fields = self.metadata.as_deref().map(fields).transpose()?.unwrap_or_default();
        let new = CallRequest::new(caller, to);
        let job = self.job.unwrap_or_else(|| new.job.clone());
        let (dial, confirm_agent) = (self.dialling.dial(), self.dialling.confirm_agent);
        let phone = self.dialling.phone()?;
        let request = CallRequest { job, fields, dial, confirm_agent, phone, ..new }.named();
        request.check().map_err(|wrong| Failure::usage("call_malformed", wrong.to_string()))?;
        let (dispatcher, _) = context.dispatcher(None)?;
        let done = if self.dry_run {
            rehearse(context, &dispatcher, &request).await
        } else {
            place(context, &dispatcher, &request).await
        };
        dispatcher.resolver().stop(STOP).await;
        done
    }
}

/// Places it. Ctrl-C in between ends the call, since a phone may ring by then.
async fn place(context: &Context, dispatcher: &Dispatcher, request: &CallRequest) -> Done {
    let made = Mutex::new(None);
    let room_made = |call: &dispatch::Call| {
        // Whoever reads JSON reads one object.
        if !context.json {
            eprintln!("room {}", call.room);
        }
        made.lock().unwrap_or_else(PoisonError::into_inner).replace(call.clone());
    };
    let mut placing = std::pin::pin!(dispatcher.call_notifying(request, room_made));
    let report = tokio::select! {
        report = &mut placing => report,
        () = stop_requested() => {
            let made = made.lock().unwrap_or_else(PoisonError::into_inner).take();
            return interrupted(context, dispatcher, request, made, placing).await;
        }
    };
    print_report(context, request, &report)
}

/// Ends a call that is being placed, and tells what became of it.
async fn interrupted(
    context: &Context,
    dispatcher: &Dispatcher,
    request: &CallRequest,
    made: Option<dispatch::Call>,
    placing: impl Future<Output = Report>,
) -> Done {
    let failure = |message: String| Failure::new("interrupted", message, Exit::Failed);
    let Some(call) = made else {
        return Err(failure("interrupted before a room was made: nobody was called".to_owned()));
    };
    let room = &call.room;
    let ended = async {
        let hung_up = dispatcher.hang_up(&call).await;
        (hung_up, placing.await)
    };
    match tokio::time::timeout(ENDING, ended).await {
        Ok((Ok(()) | Err(HangUpError::NotFound), report)) => match report.outcome {
            Outcome::Placed => {
                Err(failure(format!("interrupted: the call was placed, and room {room} closed")))
            }
            _ => print_report(context, request, &report),
        },
        Ok((Err(_), _)) | Err(_) => {
            Err(failure("interrupted while the call was being placed".to_owned())
                .hint(format!("a phone may ring: `trunkline call end {room}` ends it")))
        }
    }
}

async fn rehearse(context: &Context, dispatcher: &Dispatcher, request: &CallRequest) -> Done {
    let (report, metadata) = dispatcher.rehearse(request).await;
    let Some(metadata) = metadata else { return ended(request, &report) };
    if context.json {
        let mut object = json!(report);
        object["outcome"] = json!("would_be_placed");
        object["dry_run"] = json!(true);
        object["metadata"] = serde_json::from_str(&metadata).unwrap_or_default();
        return json_line(&object);
    }
    show(request, &report, "would be placed", Some(&metadata))
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
    let (dispatcher, _) = context.dispatcher(None)?;
    let done = async {
        let call = match livekit {
            Some(config) => {
                let id = find(&*context.store()?, config).await?.id;
                dispatch::Call::new(room, Some(id))
            }
            None if environment => dispatch::Call::new(room, None),
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
async fn search(dispatcher: &Dispatcher, room: &str) -> Result<dispatch::Call, Failure> {
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
/// How long a call that is ended while it is being placed may take to end.
const ENDING: Duration = Duration::from_secs(5);
