//! Why: which credentials, trunk, agent and dialled number a caller gets, step by step, and what would have
//! to change for another answer.

use askama::Template;

use super::fields::{Field, Kind, query};
use super::frame::Frame;
use super::page_of;
use super::rules::{advice, in_words};
use super::tenants::{self, Labels, Named};
use super::visit::Visit;
use crate::access::Scope;
use crate::answer::Source;
use crate::number::{Caller, E164, TenantId};
use crate::resolver::{Explanation, Step};
use crate::routing::CallRouting;
use crate::server::api::{Asking, Problem, Reply};
use crate::store::NumberFilter;

#[derive(Template)]
#[template(path = "why.html")]
struct WhyPage<'w> {
    frame: &'w Frame<'w>,
    fields: Vec<Field>,
    wrong: Option<String>,
    /// Tenants that have the number, where none was named: id and path.
    tenants: Vec<(Named, String)>,
    answer: Option<Answer>,
    route: Option<Routed>,
    caller: String,
    /// Whose it is, by its id.
    tenant: String,
    may_call: bool,
}

/// What came out.
struct Answer {
    level: &'static str,
    title: String,
    facts: Vec<(&'static str, String)>,
    config: Option<(String, String)>,
    steps: Vec<(&'static str, Step)>,
    change: Option<&'static str>,
    words: Vec<String>,
}

/// Whether the destination may be called.
struct Routed {
    is_allowed: bool,
    title: String,
    facts: Vec<(&'static str, String)>,
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Resolve)?;
    let given = |name| visit.query.given(name);
    let (entered, from, to) = (given("tenant"), given("from"), given("to"));
    let (mut wrong, mut owners) = (None, Vec::new());
    let mut tenant = match &entered {
        None => None,
        Some(entered) => match tenants::chosen(&asking, "tenant", entered, true).await {
            Ok(tenant) => Some(tenant),
            Err(problem) => {
                wrong = Some(problem.message().to_owned());
                None
            }
        },
    };
    if let (None, Some(from)) = (&entered, &from) {
        let found = tenants_with(visit, &asking, from).await?;
        match &found[..] {
            [] => {
                let why = "No number of a tenant is this one; name the tenant to see why.";
                wrong = Some(why.to_owned());
            }
            [only] => tenant = Some(*only),
            _ => {
                let labels = Labels::of(&asking, found.clone()).await?;
                let path = |tenant: Named| {
                    let to = to.as_deref().unwrap_or_default();
                    let path = query(&[("tenant", &tenant.id), ("from", from), ("to", to)]);
                    (tenant, path)
                };
                owners = found.iter().map(|tenant| path(labels.named(*tenant))).collect();
            }
        }
    }
    let caller = match (&tenant, &from) {
        (Some(tenant), Some(from)) => {
            match asking.from(Some(&tenant.to_string()), from).and_then(|from| from.caller()) {
                Ok(caller) => Some(caller),
                Err(problem) => {
                    wrong = Some(problem.message().to_owned());
                    None
                }
            }
        }
        _ => None,
    };
    let (mut answer, mut route) = (None, None);
    if let Some(caller) = caller {
        answer = Some(Answer::of(asking.resolver.explain(caller).await));
        if let Some(to) = &to {
            asking.needs(Scope::Route)?;
            route = Some(Routed::of(&asking.resolver.route(caller, to).await));
        }
    }
    let frame = visit.frame("Why", "why");
    let shown = match tenant {
        Some(tenant) => Labels::of(&asking, vec![tenant]).await?.named(tenant).words().to_owned(),
        None => entered.unwrap_or_default(),
    };
    let line = |name, label, value: &Option<String>, input| {
        let kind = Kind::Line { input, completes: "off" };
        Field::new(name, label, value.clone().unwrap_or_default(), kind)
    };
    let fields = vec![
        line("from", "Caller number", &from, "tel").required().help("Such as +971501234567"),
        tenants::field("tenant", &shown, tenants::suggestions(&asking).await?)
            .help("Its label or id; needed where several have the number."),
        line("to", "Destination", &to, "tel").help("As people write it, such as 050 765 4321."),
    ];
    page_of(&WhyPage {
        fields,
        wrong,
        tenants: owners,
        answer,
        route,
        caller: caller.map(|caller| caller.number.to_string()).unwrap_or_default(),
        tenant: tenant.map(|tenant| tenant.to_string()).unwrap_or_default(),
        may_call: visit.may(Scope::Calls),
        frame: &frame,
    })
}

/// The tenants that have a number, as far as whoever asks may see.
async fn tenants_with(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    from: &str,
) -> Result<Vec<TenantId>, Problem> {
    let (Ok(number), true) = (from.parse::<E164>(), visit.may(Scope::Numbers)) else {
        return Ok(Vec::new());
    };
    let digits = number.digits();
    let filter = NumberFilter { prefix: Some(digits.clone()), ..NumberFilter::default() };
    let found = asking.rows()?.number_page(&asking.whose(), &filter, None, MOST_TENANTS).await?;
    let same = found.into_iter().filter(|number| number.digits == digits);
    Ok(same.map(|number| number.tenant).collect())
}

impl Answer {
    fn of(explanation: Explanation) -> Self {
        let Explanation { steps, outcome } = explanation;
        let steps: Vec<_> = steps.into_iter().map(|step| (kind_of(&step), step)).collect();
        match outcome {
            Ok(answer) => {
                let reason = answer.reason();
                let is_good = answer.source() == Source::Database && !answer.stale();
                let title = match (answer.source(), answer.config_name(), answer.stale()) {
                    (Source::Database, Some(name), false) => {
                        format!("Config {name} places its calls.")
                    }
                    (Source::Database, Some(name), true) => {
                        format!("The last good answer serves: config {name}.")
                    }
                    _ => match reason {
                        Some(reason) => format!("The environment answers: {reason}."),
                        None => "The environment answers.".to_owned(),
                    },
                };
                let trunk = answer.trunk_id().unwrap_or("none: calls cannot be dialled").to_owned();
                let config = answer.config_id().zip(answer.config_name());
                Self {
                    level: if is_good { "good" } else { "warn" },
                    title,
                    facts: vec![
                        ("Server", answer.url().as_str().to_owned()),
                        ("Trunk", trunk),
                        ("Agent", answer.agent_name().to_owned()),
                    ],
                    config: config.map(|(id, name)| (id.to_string(), name.to_owned())),
                    steps,
                    change: reason.map(advice),
                    words: answer.rules().map(in_words).unwrap_or_default(),
                }
            }
            Err(error) => Self {
                level: "bad",
                title: format!("Nobody answers: {error}."),
                facts: Vec::new(),
                config: None,
                steps,
                change: Some(error.hint()),
                words: Vec::new(),
            },
        }
    }
}

/// How a step is marked.
fn kind_of(step: &Step) -> &'static str {
    match step.step {
        "answer" if step.found.starts_with("from the database") => "ok",
        "fallback" | "database" | "answer" => "warning",
        _ => "plain",
    }
}

impl Routed {
    fn of(routing: &CallRouting) -> Self {
        let mut facts = Vec::new();
        facts.extend(routing.country.map(|country| ("Country", country.code().to_owned())));
        facts.extend(routing.carrier.as_ref().map(|carrier| ("Carrier", carrier.to_string())));
        match &routing.verdict {
            Ok(dialled) => {
                facts.push(("Dialled", dialled.formatted.to_string()));
                facts.push(("Shown as", dialled.caller.formatted.to_string()));
                let title = format!("{} may be called.", dialled.e164);
                Self { is_allowed: true, title, facts }
            }
            Err(refusal) => {
                Self { is_allowed: false, title: format!("Not called: {refusal}."), facts }
            }
        }
    }
}

/// Whoever has a number.
pub(super) fn caller_of(asking: &Asking<'_>, tenant: &str, from: &str) -> Result<Caller, Problem> {
    let tenant = (!tenant.is_empty()).then_some(tenant);
    asking.from(tenant, from)?.caller()
}

const MOST_TENANTS: usize = 50;
