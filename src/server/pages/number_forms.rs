//! One caller number: added, looked at, edited, removed.

use askama::Template;
use serde_json::{Value, json};
use uuid::Uuid;

use super::configs::{expected, id_in};
use super::fields::{Field, Fields, Kind, errors};
use super::frame::Frame;
use super::numbers::config_names;
use super::page_of;
use super::rules::in_words;
use super::tenants::{self, Labels, Named};
use super::visit::Visit;
use crate::access::Scope;
use crate::draft::{NumberDraft, NumberEditDraft};
use crate::number::ConfigId;
use crate::rules::Rules;
use crate::server::api::numbers as api;
use crate::server::api::{Asking, Problem, Reply, version};
use crate::store::{Edited, Number};

#[derive(Template)]
#[template(path = "number.html")]
struct Form<'f> {
    frame: &'f Frame<'f>,
    /// Empty for a new one.
    id: String,
    number: String,
    tenant: Named,
    version: String,
    words: Vec<String>,
    fields: Vec<Field>,
    errors: Vec<(String, String)>,
    is_outdated: bool,
    may_edit: bool,
    may_ask_why: bool,
}

/// What is entered of a number.
struct Texts {
    tenant: String,
    number: String,
    provider: String,
    config: String,
    rules: String,
}

impl Texts {
    fn entered(form: Fields<'_>) -> Self {
        let line = |name| form.given(name).unwrap_or_default();
        Self {
            tenant: line("tenant_id"),
            number: line("number"),
            provider: line("provider"),
            config: line("config_id"),
            rules: line("rules"),
        }
    }

    fn of(number: &Number) -> Self {
        let mut rules = number.rules.clone();
        if let Some(members) = rules.as_object_mut()
            && api::config_of(number).is_some()
        {
            members.remove(CONFIG);
        }
        Self {
            tenant: number.tenant.to_string(),
            number: format!("+{}", number.digits),
            provider: number.provider.clone().unwrap_or_default(),
            config: api::config_of(number).map(|id| id.to_string()).unwrap_or_default(),
            rules: format!("{rules:#}"),
        }
    }

    /// The rules that are written, with the config that is chosen.
    fn rules(&self) -> Result<Value, Problem> {
        let text = if self.rules.is_empty() { "{}" } else { &self.rules };
        let mut rules: Value = serde_json::from_str(text).map_err(|error| {
            let why =
                format!("must be JSON; line {}, character {} is not", error.line(), error.column());
            Problem::field("rules_malformed", "rules", &why)
        })?;
        if let (Some(members), Ok(id)) = (rules.as_object_mut(), self.config.parse::<ConfigId>()) {
            members.insert(CONFIG.into(), json!(id));
        }
        Ok(rules)
    }

    fn fields(&self, configs: Vec<(String, String)>, tenants: Option<Vec<String>>) -> Vec<Field> {
        let none = (String::new(), "None: the environment answers".to_owned());
        let choice = std::iter::once(none).chain(configs).collect();
        let mut fields = Vec::new();
        if let Some(tenants) = tenants {
            fields.push(tenants::field("tenant_id", &self.tenant, tenants).required());
            fields.push(
                Field::line("number", "Number", &self.number)
                    .required()
                    .help("In E.164, with + and country code, such as +971501234567."),
            );
        }
        let rules = Field::new("rules", "Rules", &self.rules, Kind::Area { is_code: true });
        fields.extend([
            Field::new("config_id", "LiveKit config", &self.config, Kind::Choice(choice))
                .help("Which credentials place its calls."),
            Field::line("provider", "Carrier", &self.provider),
            rules.help(
                "JSON, such as {\"allowed_outbound\": [\"IN\", \"AE\"]}. Empty: every country. \
                 docs/guide.md has every member.",
            ),
        ]);
        fields
    }
}

/// What is shown around the fields.
#[derive(Default)]
struct Beside {
    problem: Option<Problem>,
    is_outdated: bool,
}

async fn form(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    texts: &Texts,
    number: Option<(&Number, String)>,
    Beside { problem, is_outdated }: Beside,
) -> Result<Reply, Problem> {
    let tenants = match number {
        None => Some(tenants::suggestions(asking).await?),
        Some(_) => None,
    };
    let mut fields = texts.fields(config_names(asking).await?, tenants);
    let errors = errors(&mut fields, problem.as_ref());
    let title = number.as_ref().map_or_else(|| "New number".to_owned(), |_| texts.number.clone());
    let frame = visit.frame(&title, "numbers");
    let read = |number: &Number| Rules::read(number.provider.as_deref(), &number.rules);
    let words = number.as_ref().map(|(number, _)| in_words(&read(number))).unwrap_or_default();
    let tenant = match number.as_ref() {
        Some((number, _)) => Labels::of(asking, vec![number.tenant]).await?.named(number.tenant),
        None => Named { id: String::new(), label: None },
    };
    let (id, version) =
        number.map_or_else(Default::default, |(number, version)| (number.id.to_string(), version));
    let status = problem.as_ref().map_or(200, |problem| problem.status.as_u16());
    let reply = page_of(&Form {
        id,
        number: texts.number.clone(),
        tenant,
        version,
        words,
        fields,
        errors,
        is_outdated,
        may_edit: visit.may(Scope::EditNumbers),
        may_ask_why: visit.may(Scope::Resolve),
        frame: &frame,
    })?;
    Ok(reply.code(if is_outdated { 409 } else { status }))
}

pub(super) async fn blank(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditNumbers)?;
    let mut texts = Texts::entered(visit.query);
    texts.rules = "{}".into();
    form(visit, &asking, &texts, None, Beside::default()).await
}

pub(super) async fn create(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditNumbers)?;
    let texts = Texts::entered(visit.form);
    let problem = match (texts.rules(), tenant_entered(&asking, &texts.tenant).await) {
        (Ok(rules), Ok(tenant)) => {
            let draft = NumberDraft {
                tenant,
                number: texts.number.clone(),
                provider: some(&texts.provider),
                rules: Some(rules),
                livekit_config: None,
            };
            match api::insert(&asking, &draft, None).await {
                Ok((answer, Edited::Done(written))) => {
                    let path = format!("numbers/{}", id_in(&answer));
                    return Ok(visit.done(&asking, &path, "created", written).await);
                }
                Ok((_, refused)) => refused.problem(),
                Err(problem) => problem,
            }
        }
        (Err(problem), _) | (_, Err(problem)) => problem,
    };
    form(visit, &asking, &texts, None, Beside { problem: Some(problem), ..Beside::default() }).await
}

/// What was entered as a tenant, as its id. What is empty is told with everything else that is wrong.
async fn tenant_entered(asking: &Asking<'_>, entered: &str) -> Result<String, Problem> {
    if entered.is_empty() {
        return Ok(String::new());
    }
    Ok(tenants::chosen(asking, "tenant_id", entered, false).await?.to_string())
}

async fn read(asking: &Asking<'_>, id: Uuid) -> Result<Number, Problem> {
    let mut found = asking.rows()?.numbers_with(&asking.whose(), &[id]).await?;
    found.pop().ok_or_else(api::missing)
}

pub(super) async fn filled(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Numbers)?;
    let number = read(&asking, id).await?;
    let version = version::of_number(&number);
    form(visit, &asking, &Texts::of(&number), Some((&number, version)), Beside::default()).await
}

pub(super) async fn save(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditNumbers)?;
    let number = read(&asking, id).await?;
    let (entered, now) = (Texts::entered(visit.form), Texts::of(&number));
    let texts = Texts { tenant: now.tenant, number: now.number, ..entered };
    let sent = visit.form.get("version");
    let outcome = match texts.rules() {
        Ok(rules) => {
            // An edit names what differs, so that what nobody touched is not checked anew.
            let draft = NumberEditDraft {
                provider: (texts.provider != now.provider).then(|| some(&texts.provider)),
                rules: (rules != number.rules).then_some(rules),
                livekit_config: None,
            };
            api::edit(&asking, id, &expected(visit.form), &draft).await
        }
        Err(problem) => Err(problem),
    };
    let (problem, version, is_outdated) = match outcome {
        Ok((_, written)) => {
            return Ok(visit.done(&asking, &format!("numbers/{id}"), "saved", written).await);
        }
        Err(problem) if problem.code == "version_mismatch" => {
            (None, version::of_number(&number), true)
        }
        Err(problem) => (Some(problem), sent, false),
    };
    let beside = Beside { problem, is_outdated };
    form(visit, &asking, &texts, Some((&number, version)), beside).await
}

#[derive(Template)]
#[template(path = "number-remove.html")]
struct Removing<'r> {
    frame: &'r Frame<'r>,
    id: String,
    number: String,
    tenant: Named,
    version: String,
    /// Whether the password is asked for again.
    asks_password: bool,
    wrong: Option<String>,
}

pub(super) async fn removing(
    visit: &Visit<'_>,
    id: Uuid,
    wrong: Option<String>,
) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditNumbers)?;
    let number = read(&asking, id).await?;
    let frame = visit.frame("Delete a number", "numbers");
    let status = if wrong.is_some() { 422 } else { 200 };
    let reply = page_of(&Removing {
        id: id.to_string(),
        number: format!("+{}", number.digits),
        tenant: Labels::of(&asking, vec![number.tenant]).await?.named(number.tenant),
        version: version::of_number(&number),
        asks_password: asking.needs_confirmation().is_err(),
        wrong,
        frame: &frame,
    })?;
    Ok(reply.code(status))
}

pub(super) async fn remove(visit: &Visit<'_>, id: Uuid) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditNumbers)?;
    if let Err(problem) = visit.confirmed(&asking).await {
        return removing(visit, id, Some(problem.message().to_owned())).await;
    }
    let written = api::drop_number(&asking, id, &expected(visit.form)).await?;
    Ok(visit.done(&asking, "numbers", "removed", written).await)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The member of the rules that names a config.
const CONFIG: &str = "livekit_config";
