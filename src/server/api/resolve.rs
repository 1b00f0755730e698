//! `POST /v1/resolve`: which server, trunk and agent; and the secret, to a client that may have it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::asking::{Asking, CallFrom};
use super::body::parse;
use super::fields::{Field, Kind, optional, required};
use super::problem::Problem;
use super::tokens::{AGENT, FROM, REASON, SOURCE, STALE, TENANT, TRUNK, URL};
use crate::access::Scope;
use crate::answer::Source;
use crate::cache::Resolution;
use crate::keyring::{ExposeSecret, Secret};
use crate::number::ConfigId;
use crate::reason::Reason;
use crate::resolver::Step;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResolveQuestion {
    tenant: Option<String>,
    from: String,
    explain: Option<bool>,
    secret: Option<bool>,
}

#[derive(Serialize)]
struct ResolveAnswer<'a> {
    url: &'a str,
    config_id: Option<ConfigId>,
    config_name: Option<&'a str>,
    trunk_id: Option<&'a str>,
    agent_name: &'a str,
    source: Source,
    reason: Option<Reason>,
    stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<Step>>,
}

pub(super) async fn answer(asking: &Asking<'_>, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let ResolveQuestion { tenant, from, explain, secret } = parse(body, ASKED)?;
    let reveals = secret == Some(true);
    if reveals {
        asking.needs(Scope::Secret)?;
    }
    let from = asking.from(tenant.as_deref(), &from)?;
    let (answer, steps) = if explain == Some(true) {
        let explanation = Box::pin(asking.resolver.explain(from.caller()?)).await;
        let told = |error| Problem::from(error).steps(json!(explanation.steps));
        (explanation.outcome.map_err(told)?, Some(explanation.steps))
    } else {
        (asking.resolve(&from).await?, None)
    };
    let secret = if reveals { Some(reveal(asking, &from, &answer)?) } else { None };
    let answered = ResolveAnswer {
        url: answer.url().as_str(),
        config_id: answer.config_id(),
        config_name: answer.config_name(),
        trunk_id: answer.trunk_id(),
        agent_name: answer.agent_name(),
        source: answer.source(),
        reason: answer.reason(),
        stale: answer.stale(),
        api_key: reveals.then(|| answer.api_key()),
        api_secret: secret.as_ref().map(|secret| secret.expose_secret().as_str()),
        steps,
    };
    Ok(serde_json::to_vec(&answered).expect("text and numbers are JSON"))
}

/// The secret in the clear. Who got it stands in the log.
fn reveal(asking: &Asking<'_>, from: &CallFrom, answer: &Resolution) -> Result<Secret, Problem> {
    let secret = answer.api_secret()?;
    tracing::info!(
        request_id = %asking.request_id,
        client = asking.client.name,
        config = answer.config_name().unwrap_or("none: the environment"),
        number = %from.number().masked(),
        "gave the API secret to a client"
    );
    Ok(secret)
}

pub(super) const ASKED: &[Field] = &[
    TENANT,
    FROM,
    optional(
        "explain",
        Kind::Flag,
        "Also tells each step. Asks the database each time, and needs the tenant.",
    ),
    optional(
        "secret",
        Kind::Flag,
        "Also gives API key and secret, to a client with the scope secret.",
    ),
];

pub(super) const ANSWERED: &[Field] = &[
    URL,
    optional("config_id", Kind::Text, "The LiveKit config that answers, a UUID."),
    optional("config_name", Kind::Text, "Its name."),
    TRUNK,
    AGENT,
    SOURCE,
    REASON,
    STALE,
    optional("api_key", Kind::Text, "The API key; only where the secret was asked for."),
    optional("api_secret", Kind::Text, "The API secret; only where it was asked for."),
    optional("steps", Kind::List(STEP), "The steps; only where they were asked for."),
];

const STEP: &[Field] = &[
    required("step", Kind::Text, "What was looked at."),
    required("found", Kind::Text, "What was found, and what follows from it."),
];
