//! `trunkline route`: may this number call that one, and what is dialled then?

use std::time::Duration;

use clap::Args;
use serde_json::json;
use trunkline::routing::CallRouting;
use trunkline::{Caller, Country, Resolver};

use super::Context;
use super::failure::Done;
use super::output::{json_line, or_dash, table};

#[derive(Args)]
pub(crate) struct Route {
    /// The tenant of the number that calls
    #[arg(long, value_name = "UUID")]
    tenant: String,
    /// The number that calls, such as +971501234567
    #[arg(long, value_name = "NUMBER")]
    from: String,
    /// The number to call, as people write it: +91 98765 43210, 00919876543210, 098765 43210
    #[arg(long, value_name = "NUMBER")]
    to: String,
}

impl Route {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let caller = Caller::parse(&self.tenant, &self.from)?;
        let resolver = Resolver::builder(context.patient_settings()?).unlisted().start();
        let routing = resolver.route(caller, &self.to).await;
        resolver.stop(Duration::from_secs(1)).await;
        if context.json {
            return json_line(&routing.to_json());
        }
        let row = |name: &str, value: Option<&str>| vec![name.to_owned(), or_dash(value)];
        warn_without_rules(&routing);
        let refusal = routing.verdict.as_ref().err();
        let dialled = routing.verdict.as_ref().ok();
        let e164 = dialled.map(|dialled| dialled.e164.to_string());
        table(
            &[],
            [
                row("allowed", Some(if refusal.is_none() { "yes" } else { "no" })),
                row("because", refusal.map(ToString::to_string).as_deref()),
                row("carrier", routing.carrier.as_deref()),
                row("country", routing.country.as_ref().map(Country::code)),
                row("dialled", dialled.map(|dialled| &*dialled.formatted)),
                row("E.164", e164.as_deref()),
                row("caller", dialled.map(|dialled| &*dialled.caller.formatted)),
                row("trunk of the rules", routing.trunk_id.as_deref()),
                row("config of the rules", routing.config_id.map(|id| id.to_string()).as_deref()),
                row("rules", json!(routing.known).as_str()),
            ],
        )
    }
}

/// Says on stderr that a call may go out though nothing is known of the rules of its number.
pub(crate) fn warn_without_rules(routing: &CallRouting) {
    if routing.is_without_rules() {
        no_rules_hold("this call");
    }
}

/// The same of one call or of many.
pub(crate) fn no_rules_hold(calls: &str) {
    eprintln!(
        "warning: NO RULES HOLD for {calls}: the database was not asked or not reached, so every \
         country may be called; rules_unknown in FALLBACK_DENY refuses that"
    );
}
