//! `trunkline resolve`: which credentials a number gets, and why.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::Notify;
use trunkline::{Caller, CallerError, E164, Resolution, ResolveError, Resolver, Step};

use super::Context;
use super::failure::{Done, Failure};
use super::output::{json_line, line, or_dash, resolution_json, table};

#[derive(Args)]
pub(crate) struct Resolve {
    /// The tenant; optional if exactly one tenant owns the number
    #[arg(long, value_name = "UUID")]
    tenant: Option<String>,
    /// The number that calls, such as +971501234567
    #[arg(long, value_name = "NUMBER")]
    from: String,
    /// Print each step and the reason for it
    #[arg(long, requires = "tenant")]
    explain: bool,
    /// Print the answer whenever it changes, until Ctrl-C
    #[arg(long, conflicts_with = "explain")]
    watch: bool,
}

impl Resolve {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let number: E164 = self.from.parse().map_err(CallerError::from)?;
        let caller = match &self.tenant {
            Some(tenant) => Some(Caller::parse(tenant, &self.from)?),
            None => None,
        };
        let resolver = Resolver::builder(context.patient_settings()?).unlisted().start();
        let done = match caller {
            Some(caller) if self.explain => self.explain(context, &resolver, caller).await,
            _ if self.watch => self.watch(context, &resolver, caller, number).await,
            _ => {
                let answer = ask(&resolver, caller, number).await?;
                self.show(context, &answer)
            }
        };
        resolver.stop(Duration::from_secs(1)).await;
        done
    }

    fn json(&self, answer: &Resolution) -> Value {
        let age = answer.age().as_millis();
        resolution_json(answer, self.tenant.as_deref(), &self.from, age)
    }

    fn show(&self, context: &Context, answer: &Resolution) -> Done {
        if context.json {
            return json_line(&self.json(answer));
        }
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let word = |value: Value| value.as_str().unwrap_or("-").to_owned();
        table(
            &[],
            [
                row("source", word(json!(answer.source()))),
                row("reason", or_dash(answer.reason().map(trunkline::Reason::as_str))),
                row("config", or_dash(answer.config_name())),
                row("url", answer.url().to_string()),
                row("api key", answer.api_key().to_owned()),
                row("trunk", or_dash(answer.trunk_id())),
                row("trunk from", word(json!(answer.trunk_origin()))),
                row("agent", answer.agent_name().to_owned()),
            ],
        )
    }

    async fn explain(&self, context: &Context, resolver: &Resolver, caller: Caller) -> Done {
        let explanation = resolver.explain(caller).await;
        let answer = match explanation.outcome {
            Ok(answer) => answer,
            Err(error) => {
                show_steps(context, &explanation.steps)?;
                return Err(error.into());
            }
        };
        if context.json {
            let mut object = self.json(&answer);
            object["steps"] = json!(explanation.steps);
            return json_line(&object);
        }
        show_steps(context, &explanation.steps)?;
        line("")?;
        self.show(context, &answer)
    }

    async fn watch(
        &self,
        context: &Context,
        resolver: &Resolver,
        caller: Option<Caller>,
        number: E164,
    ) -> Done {
        let nudge = Arc::new(Notify::new());
        let following = resolver.clone().follow_settings(context.files.clone(), Arc::clone(&nudge));
        tokio::select! {
            done = self.print_changes(context, resolver, caller, number) => done,
            () = following => Ok(()),
            () = forward_hangups(&nudge) => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }

    async fn print_changes(
        &self,
        context: &Context,
        resolver: &Resolver,
        caller: Option<Caller>,
        number: E164,
    ) -> Done {
        let mut shown = String::new();
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let outcome = ask(resolver, caller, number).await;
            let text = match &outcome {
                Ok(answer) => {
                    let mut object = self.json(answer);
                    // Age changes all the time and is no news.
                    object["age_ms"] = json!(0);
                    object.to_string()
                }
                Err(error) => error.to_string(),
            };
            if text == shown {
                continue;
            }
            shown = text;
            match outcome {
                Ok(answer) if context.json => json_line(&self.json(&answer))?,
                Ok(answer) => line(summary(&answer))?,
                Err(error) => eprintln!("{}", Failure::from(error).text(context.json)),
            }
        }
    }
}

/// Tells `nudge` of every SIGHUP. Never ends by itself.
pub(crate) async fn forward_hangups(nudge: &Notify) {
    use tokio::signal::unix::{SignalKind, signal};

    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    while hangups.recv().await.is_some() {
        nudge.notify_one();
    }
}

async fn ask(
    resolver: &Resolver,
    caller: Option<Caller>,
    number: E164,
) -> Result<Resolution, ResolveError> {
    match caller {
        Some(caller) => resolver.resolve(caller).await,
        None => resolver.resolve_number(number).await,
    }
}

fn show_steps(context: &Context, steps: &[Step]) -> Done {
    if context.json {
        return json_line(&json!({"steps": steps}));
    }
    table(&[], steps.iter().map(|step| vec![step.step.to_owned(), step.found.clone()]))
}

/// One line that says what an answer is.
pub(crate) fn summary(answer: &Resolution) -> String {
    let stale = if answer.stale() { ", stale" } else { "" };
    let from = match answer.reason() {
        None => format!("database ({})", answer.config_name().unwrap_or("-")),
        Some(reason) => format!("environment ({reason})"),
    };
    let trunk = answer.trunk_id().unwrap_or("no trunk");
    format!(
        "{from}{stale}: {} as {}, {trunk}, {}",
        answer.url(),
        answer.api_key(),
        answer.agent_name()
    )
}

const LOOK: Duration = Duration::from_millis(20);
