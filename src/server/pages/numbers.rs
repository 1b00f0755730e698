//! Caller numbers: the list with its filters and orders.

use std::collections::HashMap;

use askama::Template;

use super::fields::with_cursor;
use super::frame::Frame;
use super::number_filter::{Found, Wanted};
use super::page_of;
use super::rules::in_short;
use super::tenants::{self, Labels, Named};
use super::visit::Visit;
use crate::access::Scope;
use crate::number::ConfigId;
use crate::rules::Rules;
use crate::server::api::numbers::config_of;
use crate::server::api::{Asking, Page, Problem, Reply};
use crate::store::{Config, ConfigFilter, Number};

#[derive(Template)]
#[template(path = "numbers.html")]
struct List<'l> {
    frame: &'l Frame<'l>,
    rows: Vec<Row>,
    configs: Vec<(String, String)>,
    tenants: Vec<String>,
    wanted: &'l Wanted,
    states: [(&'static str, &'static str); 5],
    next: Option<String>,
    is_first: bool,
    /// How many were looked through, where not all could be.
    looked_through: Option<String>,
    may_edit: bool,
    may_ask_why: bool,
}

/// A number as a row.
struct Row {
    id: String,
    number: String,
    tenant: Named,
    carrier: String,
    /// The config that the rules name.
    config: Option<NamedConfig>,
    rules: String,
    is_broken: bool,
}

/// A config that rules name.
struct NamedConfig {
    id: String,
    /// `None`: it is gone.
    name: Option<String>,
    is_disabled: bool,
}

/// The configs that a choice offers, by name.
pub(super) async fn offered(asking: &Asking<'_>) -> Result<Vec<Config>, Problem> {
    let (rows, filter) = (asking.rows()?, ConfigFilter::default());
    Ok(rows.config_page(&asking.whose(), &filter, None, MOST_CONFIGS).await?)
}

/// Their names by id.
pub(super) async fn config_names(asking: &Asking<'_>) -> Result<Vec<(String, String)>, Problem> {
    Ok(names_of(&offered(asking).await?))
}

fn names_of(configs: &[Config]) -> Vec<(String, String)> {
    configs.iter().map(|config| (config.id.to_string(), config.name.clone())).collect()
}

pub(super) async fn list(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Numbers)?;
    let wanted = Wanted::read(&asking, visit.query).await?;
    let cursor = visit.query.given("cursor");
    let page = Page::at(asking.client.id, "numbers", &wanted.query, None, cursor.as_deref())?;
    let Found { numbers, next, looked_through } = wanted.find(&asking, &page).await?;
    let offered = offered(&asking).await?;
    let named = Configs::of(&asking, &numbers, &offered).await?;
    let labels = Labels::of(&asking, numbers.iter().map(|number| number.tenant).collect()).await?;
    let frame = visit.frame("Numbers", "numbers");
    page_of(&List {
        rows: numbers.iter().map(|number| Row::of(number, &named, &labels)).collect(),
        next: next.map(|next| with_cursor(&wanted.query, &next)),
        is_first: cursor.is_none(),
        looked_through,
        states: super::number_filter::STATES,
        may_edit: visit.may(Scope::EditNumbers),
        may_ask_why: visit.may(Scope::Resolve),
        configs: names_of(&offered),
        tenants: tenants::suggestions(&asking).await?,
        wanted: &wanted,
        frame: &frame,
    })
}

/// The configs that numbers of a page name: each with its name, and whether it is disabled.
pub(super) struct Configs(HashMap<ConfigId, (String, bool)>);

impl Configs {
    /// Those that are offered are known; each other one is looked up.
    pub(super) async fn of(
        asking: &Asking<'_>,
        numbers: &[Number],
        offered: &[Config],
    ) -> Result<Self, Problem> {
        Self::named(asking, numbers.iter().filter_map(config_of).collect(), offered).await
    }

    pub(super) async fn named(
        asking: &Asking<'_>,
        ids: Vec<ConfigId>,
        offered: &[Config],
    ) -> Result<Self, Problem> {
        let (rows, whose) = (asking.rows()?, asking.whose());
        let told = |config: &Config| (config.name.clone(), config.disabled_at.is_some());
        let mut found: HashMap<_, _> =
            offered.iter().map(|config| (config.id, told(config))).collect();
        for id in ids {
            if !found.contains_key(&id)
                && let Some(config) = rows.config_seen(&whose, id).await?
            {
                found.insert(id, told(&config));
            }
        }
        Ok(Self(found))
    }

    pub(super) fn name(&self, id: ConfigId) -> Option<&str> {
        self.0.get(&id).map(|(name, _)| name.as_str())
    }
}

impl Row {
    fn of(number: &Number, configs: &Configs, labels: &Labels) -> Self {
        let rules = Rules::read(number.provider.as_deref(), &number.rules);
        Self {
            id: number.id.to_string(),
            number: format!("+{}", number.digits),
            tenant: labels.named(number.tenant),
            carrier: number.provider.clone().unwrap_or_default(),
            config: config_of(number).map(|id| NamedConfig {
                id: id.to_string(),
                name: configs.name(id).map(ToOwned::to_owned),
                is_disabled: configs.0.get(&id).is_some_and(|(_, is_disabled)| *is_disabled),
            }),
            rules: in_short(&rules),
            is_broken: rules.check().is_err(),
        }
    }
}

/// How many configs a choice offers.
const MOST_CONFIGS: usize = 500;
