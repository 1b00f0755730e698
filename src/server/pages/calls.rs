//! Calls: one is placed, as by the API, each once; and one is looked up again by its id.

use askama::Template;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::fields::{Field, Kind, errors};
use super::frame::Frame;
use super::page_of;
use super::tenants;
use super::visit::Visit;
use super::why::caller_of;
use crate::access::{Scope, hex};
use crate::dispatch::recorded::{AskedCall, Recorded, RecordedCalls};
use crate::dispatch::{CallRequest, Dial, EngineDial};
use crate::server::api::{Asking, Problem, Reply};

#[derive(Template)]
#[template(path = "calls.html")]
struct CallsPage<'c> {
    frame: &'c Frame<'c>,
    fields: Vec<Field>,
    errors: Vec<(String, String)>,
    dials: String,
    /// A new one for each form, so that a form that is sent twice calls once.
    key: String,
    id: String,
    call: Option<Call>,
    wrong: Option<String>,
}

/// A call as it is told.
struct Call {
    id: String,
    level: &'static str,
    title: String,
    facts: Vec<(&'static str, String)>,
    config: Option<String>,
    may_end: bool,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let (mut call, mut wrong) = (None, None);
    let id = visit.query.given("id").unwrap_or_default();
    if !id.is_empty() {
        let found = match id.parse::<Uuid>() {
            Ok(id) => calls(visit)?.look(asking.client.id, id).await?,
            Err(_) => None,
        };
        call = found.as_ref().map(Call::of);
        if call.is_none() {
            wrong = Some("You have placed no call of this id.".to_owned());
        }
    }
    let entered = ["tenant", "from", "to"].map(|name| visit.query.get(name));
    shown(visit, &asking, &entered, "engine", None, (id, call, wrong)).await
}

async fn shown(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    [tenant, from, to]: &[String; 3],
    dials: &str,
    problem: Option<&Problem>,
    (id, call, wrong): (String, Option<Call>, Option<String>),
) -> Result<Reply, Problem> {
    let phone = |name, label, value: &String| {
        let kind = Kind::Line { input: "tel", completes: "off" };
        Field::new(name, label, value, kind).required()
    };
    let mut fields = vec![
        tenants::field("tenant", tenant, tenants::suggestions(asking).await?).required(),
        phone("from", "Caller number", from).help("One of the tenant's, such as +971501234567."),
        phone("to", "Phone to call", to).help("Your own, while you try."),
    ];
    let errors = errors(&mut fields, problem);
    let frame = visit.frame("Calls", "calls");
    let reply = page_of(&CallsPage {
        fields,
        errors,
        dials: dials.to_owned(),
        key: Uuid::new_v4().to_string(),
        id,
        call,
        wrong,
        frame: &frame,
    })?;
    Ok(reply.code(problem.map_or(200, |problem| problem.status.as_u16())))
}

fn calls<'v>(visit: &'v Visit<'_>) -> Result<&'v RecordedCalls, Problem> {
    visit.place.shared.calls.as_ref().ok_or_else(Problem::no_database)
}

pub(super) async fn place(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let entered = ["tenant", "from", "to"].map(|name| visit.form.given(name).unwrap_or_default());
    let dials = visit.form.get("dials");
    match placed(visit, &asking, &entered, &dials).await {
        Ok(answer) => {
            let id = answer["id"].as_str().unwrap_or_default();
            Ok(visit.to(&format!("calls?id={id}")))
        }
        Err(problem) => {
            shown(visit, &asking, &entered, &dials, Some(&problem), <_>::default()).await
        }
    }
}

async fn placed(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    [tenant, from, to]: &[String; 3],
    dials: &str,
) -> Result<Value, Problem> {
    let named = tenants::chosen(asking, "tenant", tenant, false).await?;
    let caller = caller_of(asking, &named.to_string(), from)?;
    // It is told at once that it rings; whether it is answered is seen by looking again.
    let dial = match dials {
        "agent" => Dial::Agent,
        _ => Dial::Engine(EngineDial { wait_until_answered: false, ..EngineDial::default() }),
    };
    let request = CallRequest { dial, job: "test".into(), ..CallRequest::new(caller, to.clone()) };
    request.check().map_err(|wrong| Problem::field("call_malformed", "to", &wrong.to_string()))?;
    let key = visit.form.given("key").filter(|key| key.parse::<Uuid>().is_ok());
    let key =
        key.ok_or_else(|| Problem::field("field_malformed", "key", "must be that of a form"))?;
    let body = hex(&Sha256::digest(format!("{tenant}\n{from}\n{to}\n{dials}")));
    let asked = AskedCall { client: asking.client.id, key: format!("page-{key}"), body, request };
    let Recorded { answer, .. } = calls(visit)?.place(asked).await?;
    Ok(answer)
}

pub(super) async fn end(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let id = visit.form.get("id").parse::<Uuid>();
    let id = id.map_err(|_| Problem::missing("call_not_found", "there is no such call"))?;
    calls(visit)?.end(asking.client.id, id).await?;
    Ok(visit.to(&format!("calls?id={id}&did=ended")))
}

impl Call {
    fn of(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().map(ToOwned::to_owned);
        let (state, outcome) = (text("state").unwrap_or_default(), text("outcome"));
        let is_good = outcome.as_deref() == Some("placed");
        let (level, title) = match (&*state, &outcome) {
            (_, Some(outcome)) => {
                (if is_good { "good" } else { "warn" }, format!("{}.", outcome.replace('_', " ")))
            }
            ("accepted", _) => ("note", "Accepted: nobody was called yet.".to_owned()),
            _ => ("note", "Being dialled.".to_owned()),
        };
        let facts = [
            ("Why", text("message")),
            ("Room", text("room")),
            ("Left", text("left_at")),
            ("Because", text("disconnect_reason")),
            ("SIP", text("sip_call_status")),
            ("Seconds", answer["seconds"].as_u64().map(|seconds| seconds.to_string())),
        ];
        Self {
            id: text("id").unwrap_or_default(),
            level,
            title: capital(&title),
            facts: facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            config: text("config_id"),
            may_end: text("room").is_some() && text("left_at").is_none(),
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
