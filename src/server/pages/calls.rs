//! Calls: one is placed, as by the API, each once; and one is found again by its room, a number or its id.

use askama::Template;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::fields::{Field, Kind, errors};
use super::frame::Frame;
use super::page_of;
use super::parts::When;
use super::tenants::{self, Labels, Named};
use super::visit::Visit;
use super::why::caller_of;
use crate::access::{Scope, hex};
use crate::dispatch::recorded::{AskedCall, Recorded, RecordedCalls};
use crate::dispatch::{CallRequest, Dial, EngineDial};
use crate::server::api::{Asking, Problem, Reply};
use crate::store::{CallFilter, CallLine};

#[derive(Template)]
#[template(path = "calls.html")]
struct CallsPage<'c> {
    frame: &'c Frame<'c>,
    fields: Vec<Field>,
    errors: Vec<(String, String)>,
    dials: String,
    /// A new one for each form, so that a form that is sent twice calls once.
    key: String,
    find: String,
    placed: Vec<Placed>,
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

/// A call as a line of the list.
struct Placed {
    id: String,
    when: Option<When>,
    from: String,
    to: String,
    tenant: Named,
    room: String,
    level: &'static str,
    outcome: String,
}

/// What is told beside the form.
#[derive(Default)]
struct Beside {
    call: Option<Call>,
    wrong: Option<String>,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Calls)?;
    let find = visit.query.given("find").unwrap_or_default();
    if let Ok(id) = find.parse::<Uuid>() {
        return Ok(visit.to(&format!("calls?id={id}")));
    }
    let mut beside = Beside::default();
    if let Some(id) = visit.query.given("id") {
        let found = match id.parse::<Uuid>() {
            Ok(id) => calls(visit)?.look(asking.client.id, id).await?,
            Err(_) => None,
        };
        beside.call = found.as_ref().map(Call::of);
        if beside.call.is_none() {
            beside.wrong = Some("You have placed no call of this id.".to_owned());
        }
    }
    let entered = ["tenant", "from", "to"].map(|name| visit.query.get(name));
    shown(visit, &asking, &entered, "engine", None, beside).await
}

async fn shown(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    [tenant, from, to]: &[String; 3],
    dials: &str,
    problem: Option<&Problem>,
    Beside { call, wrong }: Beside,
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
    let find = visit.query.given("find").unwrap_or_default();
    let frame = visit.frame("Calls", "calls");
    let reply = page_of(&CallsPage {
        fields,
        errors,
        dials: dials.to_owned(),
        key: Uuid::new_v4().to_string(),
        placed: found(visit, asking, &find).await?,
        find,
        call,
        wrong,
        frame: &frame,
    })?;
    Ok(reply.code(problem.map_or(200, |problem| problem.status.as_u16())))
}

/// The newest calls of whoever asks, with this in their room or their numbers.
async fn found(visit: &Visit<'_>, asking: &Asking<'_>, find: &str) -> Result<Vec<Placed>, Problem> {
    let digits: String = find.chars().filter(char::is_ascii_digit).collect();
    let is_number = !digits.is_empty() && !find.contains(char::is_alphabetic);
    // Who dials at home writes a zero that is no part of the number.
    let digits = digits.trim_start_matches('0');
    let filter = match find {
        "" => CallFilter::default(),
        _ if is_number => CallFilter { digits: Some(digits), ..CallFilter::default() },
        room => CallFilter { room: Some(room), ..CallFilter::default() },
    };
    let lines = calls(visit)?.list(asking.client.id, filter, MOST_SHOWN).await?;
    let labels = Labels::of(asking, lines.iter().map(|line| line.tenant).collect()).await?;
    Ok(lines.into_iter().map(|line| Placed::of(line, &labels, visit)).collect())
}

impl Placed {
    fn of(line: CallLine, labels: &Labels, visit: &Visit<'_>) -> Self {
        let (level, outcome) = match (line.state, line.outcome) {
            (_, Some(outcome)) if outcome == "placed" => ("good", outcome),
            (_, Some(outcome)) => ("warn", outcome.replace('_', " ")),
            (state, None) => ("", state.as_str().to_owned()),
        };
        Self {
            id: line.id.to_string(),
            when: line.created_at.map(|at| When::new(at, visit.now)),
            from: format!("+{}", line.caller),
            to: line.callee.map(|callee| format!("+{callee}")).unwrap_or_default(),
            tenant: labels.named(line.tenant),
            room: line.room.unwrap_or_default(),
            level,
            outcome,
        }
    }
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
            shown(visit, &asking, &entered, &dials, Some(&problem), Beside::default()).await
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

/// How many calls are listed.
const MOST_SHOWN: usize = 20;
