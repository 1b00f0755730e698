//! Caller numbers: the list with its filters, and which config answers for many of them.

use std::collections::HashMap;

use askama::Template;
use uuid::Uuid;

use super::configs::with_cursor;
use super::fields::query;
use super::frame::Frame;
use super::page_of;
use super::rules::{self, in_short};
use super::visit::Visit;
use crate::access::{NumberPrefix, Scope};
use crate::number::{ConfigId, TenantId};
use crate::rules::Rules;
use crate::server::api::numbers::{assigning, config_of};
use crate::server::api::{Asking, Page, Problem, Reply};
use crate::store::{ConfigFilter, Number, NumberFilter};

#[derive(Template)]
#[template(path = "numbers.html")]
struct List<'l> {
    frame: &'l Frame<'l>,
    rows: Vec<Row>,
    configs: Vec<(String, String)>,
    prefix: String,
    tenant: String,
    config: String,
    assigned: String,
    wrong: Option<String>,
    filter: String,
    next: Option<String>,
    is_first: bool,
    may_edit: bool,
    may_ask_why: bool,
}

/// A number as a row.
struct Row {
    id: String,
    number: String,
    tenant: String,
    carrier: String,
    /// The config that the rules name: id and name.
    config: Option<(String, String)>,
    rules: String,
    is_broken: bool,
}

/// The names of configs by id, in the order of names; as many as a list takes.
pub(super) async fn config_names(asking: &Asking<'_>) -> Result<Vec<(String, String)>, Problem> {
    let (rows, filter) = (asking.rows()?, ConfigFilter::default());
    let found = rows.config_page(&asking.whose(), &filter, None, MOST_CONFIGS).await?;
    Ok(found.into_iter().map(|config| (config.id.to_string(), config.name)).collect())
}

pub(super) async fn list(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Numbers)?;
    let given = |name| visit.query.given(name);
    let mut wrong = None;
    let prefix = given("prefix").map(|text| text.replace([' ', '-', '(', ')'], ""));
    let prefix = prefix.map(|text| if text.starts_with('+') { text } else { format!("+{text}") });
    let parsed = prefix.as_deref().map(str::parse::<NumberPrefix>).transpose();
    let parsed = parsed.unwrap_or_else(|error| {
        wrong = Some(format!("Begins with: {error}."));
        None
    });
    let tenant = given("tenant").map(|text| text.parse::<TenantId>()).transpose();
    let tenant = tenant.unwrap_or_else(|error| {
        wrong = Some(format!("Tenant: {error}."));
        None
    });
    let whose = tenant.map_or_else(|| Ok(asking.whose()), |tenant| asking.whose_of(tenant))?;
    let assigned = match given("assigned").as_deref() {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        _ => None,
    };
    let config = given("config").and_then(|id| id.parse::<ConfigId>().ok());
    let wanted =
        NumberFilter { config, prefix: parsed.map(|prefix| prefix.digits().to_owned()), assigned };
    let texts =
        ["prefix", "tenant", "config", "assigned"].map(|name| (name, visit.query.get(name)));
    let pairs: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let filter = query(&pairs);
    let cursor = given("cursor");
    let page = Page::at(asking.client.id, "numbers", &filter, None, cursor.as_deref())?;
    let rows = asking.rows()?;
    let mut found = match &wrong {
        None => rows.number_page(&whose, &wanted, page.after(), page.most()).await?,
        Some(_) => Vec::new(),
    };
    let next = page.cut(&mut found, |number| (&number.digits, number.id));
    let configs = config_names(&asking).await?;
    let names: HashMap<_, _> = configs.iter().map(|(id, name)| (id.as_str(), name)).collect();
    let frame = visit.frame("Numbers", "numbers");
    let [(_, prefix), (_, tenant), (_, config), (_, assigned)] = texts;
    page_of(&List {
        rows: found.iter().map(|number| Row::of(number, &names)).collect(),
        prefix,
        tenant,
        config,
        assigned,
        wrong,
        next: next.map(|next| with_cursor(&filter, &next)),
        is_first: cursor.is_none(),
        filter,
        may_edit: visit.may(Scope::EditNumbers),
        may_ask_why: visit.may(Scope::Resolve),
        configs,
        frame: &frame,
    })
}

impl Row {
    fn of(number: &Number, names: &HashMap<&str, &String>) -> Self {
        let rules = Rules::read(number.provider.as_deref(), &number.rules);
        let config = config_of(number).map(|id| id.to_string());
        Self {
            id: number.id.to_string(),
            number: format!("+{}", number.digits),
            tenant: number.tenant.to_string(),
            carrier: number.provider.clone().unwrap_or_default(),
            config: config.map(|id| {
                let name =
                    names.get(&*id).map_or_else(|| "(removed)".to_owned(), |name| (*name).clone());
                (id, name)
            }),
            rules: in_short(&rules),
            is_broken: rules.check().is_err(),
        }
    }
}

#[derive(Template)]
#[template(path = "numbers-assign.html")]
struct Preview<'p> {
    frame: &'p Frame<'p>,
    to: String,
    to_name: String,
    moves: Vec<(String, String, String, bool)>,
    many: String,
    stay: usize,
    back: String,
}

/// First who would move; then, on purpose, the move itself.
pub(super) async fn assign(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditNumbers)?;
    let ids: Vec<_> =
        visit.form.all("id").iter().filter_map(|id| id.parse::<Uuid>().ok()).collect();
    if ids.is_empty() || ids.len() > MOST_AT_ONCE {
        let why = format!("1 to {MOST_AT_ONCE} numbers must be picked");
        return Err(Problem::unprocessable("none_picked", why));
    }
    let to = visit.form.get("to");
    let config =
        match &*to {
            "" => return Err(Problem::unprocessable("no_config", "a config must be chosen")),
            "none" => None,
            id => Some(id.parse::<ConfigId>().map_err(|_| {
                Problem::unprocessable("config_not_found", "there is no such config")
            })?),
        };
    let filter = visit.form.get("filter");
    if visit.form.get("do") == "assign" {
        let (_, written) = assigning::move_all(&asking, &ids, config).await?;
        let between = if filter.is_empty() { "" } else { "&" };
        let seen = asking.resolver.seen(written).await;
        let (nodes, of) = seen.nodes.unwrap_or((usize::from(seen.applied), 0));
        return Ok(visit.to(&format!("numbers?{filter}{between}did=assigned&seen={nodes}&of={of}")));
    }
    let found = assigning::foresee(&asking, &ids, config).await?;
    let configs = config_names(&asking).await?;
    let name = |id: Option<ConfigId>| match id {
        None => "none: the environment answers".to_owned(),
        Some(id) => {
            let id = id.to_string();
            configs
                .iter()
                .find(|(of, _)| *of == id)
                .map_or_else(|| id.clone(), |(_, name)| name.clone())
        }
    };
    let moves: Vec<_> = found
        .iter()
        .map(|number| {
            let from = config_of(number);
            (number.id.to_string(), format!("+{}", number.digits), name(from), from != config)
        })
        .collect();
    let moving = moves.iter().filter(|(.., moves)| *moves).count();
    let frame = visit.frame("Assign numbers", "numbers");
    page_of(&Preview {
        to_name: name(config),
        to,
        many: rules::numbers(moving, false),
        stay: moves.len() - moving,
        moves,
        back: filter,
        frame: &frame,
    })
}

/// How many configs a choice offers.
const MOST_CONFIGS: usize = 500;
/// How many numbers are moved at once: as many as the API takes, and a form can hold.
const MOST_AT_ONCE: usize = 1000;
