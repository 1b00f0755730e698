//! Which numbers a list is to show, as its address says: filters, and in which order.

use super::fields::{Fields, query};
use super::parts::grouped;
use super::tenants;
use crate::access::NumberPrefix;
use crate::number::ConfigId;
use crate::rules::{Country, Rules};
use crate::server::api::{Asking, Page, Problem};
use crate::store::{NamedConfig, Number, NumberFilter, NumberSort, Whose};

/// Which numbers are wanted: as it was entered, and as it was understood.
pub(super) struct Wanted {
    pub(super) prefix: String,
    pub(super) tenant: String,
    pub(super) config: String,
    pub(super) country: String,
    pub(super) state: String,
    pub(super) sort: String,
    /// All of it as a query, by which the list is found again.
    pub(super) query: String,
    /// The same without the order.
    pub(super) filter: String,
    pub(super) wrong: Option<String>,
    whose: Whose,
    rows: NumberFilter,
    keeps: Keeps,
}

/// What the database does not tell of a number.
#[derive(Default)]
struct Keeps {
    country: Option<Country>,
    broken: bool,
}

/// A page of them.
pub(super) struct Found {
    pub(super) numbers: Vec<Number>,
    pub(super) next: Option<String>,
    /// How many were looked through, where there may be more that nobody looked at.
    pub(super) looked_through: Option<String>,
}

impl Wanted {
    pub(super) async fn read(asking: &Asking<'_>, fields: Fields<'_>) -> Result<Self, Problem> {
        let text = |name| fields.given(name).unwrap_or_default();
        let [prefix, tenant, config, country, state, sort] =
            ["prefix", "tenant", "config", "country", "state", "sort"].map(text);
        let pairs = [
            ("prefix", prefix.as_str()),
            ("tenant", &tenant),
            ("config", &config),
            ("country", &country),
            ("state", &state),
            ("sort", &sort),
        ];
        let (filter, query) = (query(&pairs[..5]), query(&pairs));
        let mut read = Self {
            rows: NumberFilter::default(),
            keeps: Keeps::default(),
            wrong: None,
            whose: asking.whose(),
            filter,
            query,
            prefix,
            tenant,
            config,
            country,
            state,
            sort,
        };
        if let Err(why) = read.understand(asking).await? {
            read.wrong = Some(why);
        }
        Ok(read)
    }

    /// What was entered, understood; or what of it is not.
    async fn understand(&mut self, asking: &Asking<'_>) -> Result<Result<(), String>, Problem> {
        self.rows.sort = match &*self.sort {
            "-number" => NumberSort::NumberDown,
            "tenant" => NumberSort::Tenant,
            _ => NumberSort::Number,
        };
        (self.rows.assigned, self.rows.named) = match &*self.state {
            "none" => (Some(false), None),
            "in_use" => (None, Some(NamedConfig::InUse)),
            "disabled" => (None, Some(NamedConfig::Disabled)),
            "gone" => (None, Some(NamedConfig::Gone)),
            _ => (None, None),
        };
        self.keeps.broken = self.state == "broken";
        if !self.config.is_empty() {
            let Ok(config) = self.config.parse::<ConfigId>() else {
                return Ok(Err("Config: must be one of the list.".to_owned()));
            };
            self.rows.config = Some(config);
        }
        match prefix_of(&self.prefix) {
            Ok(prefix) => self.rows.prefix = prefix,
            Err(why) => return Ok(Err(why)),
        }
        if !self.country.is_empty() {
            let Ok(country) = self.country.parse::<Country>() else {
                return Ok(Err("Country: must be a code, such as AE or IN.".to_owned()));
            };
            self.keeps.country = Some(country);
        }
        if !self.tenant.is_empty() {
            match tenants::chosen(asking, "tenant", &self.tenant, true).await {
                Ok(tenant) => self.whose = asking.whose_of(tenant)?,
                Err(problem) if problem.code == "tenant_not_found" => {
                    return Ok(Err(problem.message().to_owned()));
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(Ok(()))
    }

    /// The page of them that was asked for.
    pub(super) async fn find(&self, asking: &Asking<'_>, page: &Page) -> Result<Found, Problem> {
        if self.wrong.is_some() {
            return Ok(Found { numbers: Vec::new(), next: None, looked_through: None });
        }
        let rows = asking.rows()?;
        let most = if self.keeps.is_everything() { page.most() } else { BATCH };
        let mut place = page.after().map(|(place, id)| (place.to_owned(), id));
        let (mut found, mut looked) = (Vec::new(), 0);
        for _ in 0..BATCHES {
            let after = place.as_ref().map(|(place, id)| (place.as_str(), *id));
            let batch = rows.number_page(&self.whose, &self.rows, after, most).await?;
            let is_last = batch.len() < most;
            looked += batch.len();
            place = batch.last().map(|last| (self.rows.sort.place(last), last.id));
            let kept = batch.into_iter().filter(|number| self.keeps.keeps(number));
            found.extend(kept.map(|number| (self.rows.sort.place(&number), number)));
            if found.len() >= page.most() || is_last {
                let next = page.cut(&mut found, |(place, number)| (place, number.id));
                let numbers = found.into_iter().map(|(_, number)| number).collect();
                return Ok(Found { numbers, next, looked_through: None });
            }
        }
        // As far as it was looked, and the next page begins there.
        let next = place.as_ref().map(|(place, id)| page.from((place, *id)));
        let numbers = found.into_iter().map(|(_, number)| number).collect();
        Ok(Found { numbers, next, looked_through: Some(grouped(looked as u64)) })
    }

    /// The query of the same list in another order.
    pub(super) fn sorted(&self, sort: &str) -> String {
        let between = if self.filter.is_empty() || sort.is_empty() { "" } else { "&" };
        format!("{}{between}{}", self.filter, query(&[("sort", sort)]))
    }

    /// How a column is sorted, for those who do not see it.
    pub(super) fn sorting(&self, column: &str) -> &'static str {
        match (self.rows.sort, column) {
            (NumberSort::Number, "number") | (NumberSort::Tenant, "tenant") => "ascending",
            (NumberSort::NumberDown, "number") => "descending",
            _ => "none",
        }
    }
}

impl Keeps {
    fn is_everything(&self) -> bool {
        self.country.is_none() && !self.broken
    }

    fn keeps(&self, number: &Number) -> bool {
        let is_there = self.country.is_none_or(|country| country_of(number) == Some(country));
        is_there
            && (!self.broken
                || Rules::read(number.provider.as_deref(), &number.rules).check().is_err())
    }
}

#[cfg(feature = "dispatch")]
fn country_of(number: &Number) -> Option<Country> {
    crate::routing::country_of_digits(&number.digits)
}

/// Without calls out nobody knows numbering plans.
#[cfg(not(feature = "dispatch"))]
fn country_of(_: &Number) -> Option<Country> {
    None
}

/// The first digits, however people write them.
fn prefix_of(entered: &str) -> Result<Option<String>, String> {
    let plain = entered.replace([' ', '-', '(', ')'], "");
    if plain.is_empty() {
        return Ok(None);
    }
    let whole = if plain.starts_with('+') { plain } else { format!("+{plain}") };
    let prefix = whole.parse::<NumberPrefix>();
    let prefix = prefix.map_err(|error| format!("Begins with: {error}."))?;
    Ok(Some(prefix.digits().to_owned()))
}

/// What a number can be, and how that is called.
pub(super) const STATES: [(&str, &str); 5] = [
    ("in_use", "Has a config in use"),
    ("none", "Has no config"),
    ("disabled", "Its config is disabled"),
    ("gone", "Its config is gone"),
    ("broken", "Its rules are wrong"),
];
/// How many are looked through at once, and how often for one page, where each must be looked at.
const BATCH: usize = 500;
const BATCHES: usize = 20;
