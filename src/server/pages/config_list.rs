//! The list of LiveKit configs, with its filters and orders.

use std::collections::HashMap;

use askama::Template;

use super::audit::{SOMEBODY, who};
use super::fields::{query, with_cursor};
use super::frame::Frame;
use super::page_of;
use super::parts::When;
use super::visit::Visit;
use crate::access::Scope;
use crate::server::api::configs as api;
use crate::server::api::{Page, Problem, Reply};
use crate::store::{Config, ConfigFilter, ConfigSort};

#[derive(Template)]
#[template(path = "configs.html")]
struct List<'l> {
    frame: &'l Frame<'l>,
    rows: Vec<Row>,
    wanted: Wanted,
    next: Option<String>,
    is_first: bool,
    may_edit: bool,
    is_limited: bool,
}

/// A config as a row.
struct Row {
    id: String,
    name: String,
    url: String,
    trunk: String,
    agent: String,
    secret: (&'static str, String),
    is_disabled: bool,
    updated: Option<When>,
    /// Whoever did that, as far as the audit is told.
    updated_by: String,
    used: Option<When>,
}

/// Which configs are wanted, as the address says.
struct Wanted {
    search: String,
    state: String,
    sort: ConfigSort,
    /// All of it as a query, by which the list is found again.
    query: String,
    /// The same without the order.
    filter: String,
}

impl Wanted {
    fn read(visit: &Visit<'_>, is_limited: bool) -> Self {
        let text = |name| visit.query.given(name).unwrap_or_default();
        let [search, state, sort] = ["search", "state", "sort"].map(text);
        let pairs = [("search", search.as_str()), ("state", &state), ("sort", &sort)];
        let (filter, query) = (query(&pairs[..2]), query(&pairs));
        let sort = match &*sort {
            "-name" => ConfigSort::NameDown,
            // When a config was changed is not told to who sees its name only.
            "changed" if !is_limited => ConfigSort::Changed,
            _ => ConfigSort::Name,
        };
        Self { search, state, sort, query, filter }
    }

    fn filter(&self) -> ConfigFilter {
        let disabled = match &*self.state {
            "disabled" => Some(true),
            "in_use" => Some(false),
            _ => None,
        };
        let search = (!self.search.is_empty()).then(|| self.search.clone());
        ConfigFilter { search, disabled, sort: self.sort }
    }

    /// The query of the same list in another order.
    fn sorted(&self, sort: &str) -> String {
        let between = if self.filter.is_empty() || sort.is_empty() { "" } else { "&" };
        format!("{}{between}{}", self.filter, query(&[("sort", sort)]))
    }

    /// How a column is sorted, for those who do not see it.
    fn sorting(&self, column: &str) -> &'static str {
        match (self.sort, column) {
            (ConfigSort::Name, "name") => "ascending",
            (ConfigSort::NameDown, "name") | (ConfigSort::Changed, "changed") => "descending",
            _ => "none",
        }
    }
}

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Configs)?;
    let (is_limited, ring) = (asking.permissions.is_limited(), asking.resolver.ring());
    let wanted = Wanted::read(visit, is_limited);
    let cursor = visit.query.given("cursor");
    let page = Page::at(asking.client.id, "configs", &wanted.query, None, cursor.as_deref())?;
    let (rows, whose, filter) = (asking.rows()?, asking.whose(), wanted.filter());
    let found = rows.config_page(&whose, &filter, page.after(), page.most()).await?;
    let placed = |config: Config| (wanted.sort.place(&config), config);
    let mut found: Vec<_> = found.into_iter().map(placed).collect();
    let next = page.cut(&mut found, |(place, config)| (place, config.id.0));
    let editors = if is_limited { HashMap::new() } else { editors(visit, &found).await };
    let ago = |ago| Some(When::new(visit.now - chrono::Duration::from_std(ago).ok()?, visit.now));
    let frame = visit.frame("Configs", "configs");
    let row = |config: &Config| {
        let seen = |text: &str| if is_limited { String::new() } else { text.to_owned() };
        let (state, key) = api::state_of_secret(config, ring.as_deref());
        Row {
            id: config.id.to_string(),
            name: config.name.clone(),
            url: seen(&config.url),
            trunk: seen(config.trunk_id.as_deref().unwrap_or_default()),
            agent: seen(config.agent.as_deref().unwrap_or_default()),
            secret: (if is_limited { "" } else { state }, key.unwrap_or_default()),
            is_disabled: config.disabled_at.is_some(),
            updated: config.updated_at.filter(|_| !is_limited).map(|at| When::new(at, visit.now)),
            updated_by: editors.get(&config.id.to_string()).cloned().unwrap_or_default(),
            used: asking.resolver.used_ago(config.id).filter(|_| !is_limited).and_then(ago),
        }
    };
    page_of(&List {
        rows: found.iter().map(|(_, config)| row(config)).collect(),
        next: next.map(|next| with_cursor(&wanted.query, &next)),
        wanted,
        is_first: cursor.is_none(),
        may_edit: visit.may_edit_configs(),
        is_limited,
        frame: &frame,
    })
}

/// Who edited each config last, for those who may read the audit. Where the daemon's role may not read it,
/// that is told of none.
async fn editors(visit: &Visit<'_>, found: &[(String, Config)]) -> HashMap<String, String> {
    let Some(audit) = visit.asking(Scope::Audit).ok().and_then(|asking| asking.resolver.audit())
    else {
        return HashMap::new();
    };
    let ids: Vec<_> = found.iter().map(|(_, config)| config.id.0).collect();
    let edits = audit.last_edits("config", &ids).await.unwrap_or_default();
    let by =
        |name: String| if name == SOMEBODY { "somebody with the database".into() } else { name };
    let edits = edits.into_iter();
    edits.filter_map(|edit| Some((edit.row.row_id.clone()?, by(who(&edit.row))))).collect()
}
