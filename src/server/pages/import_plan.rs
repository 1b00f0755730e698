//! A CSV of which config answers for which number, held against what is there: what would move, and each
//! row that cannot. Nothing is written here.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::import_rows::{Entered, Row, rows};
use super::tenants;
use crate::access::hex;
use crate::number::{ConfigId, E164, TenantId};
use crate::server::api::numbers::config_of;
use crate::server::api::{Asking, Problem};
use crate::store::{Assignment, Config, ConfigFilter, Number};

/// What a CSV would do.
pub(super) struct Plan {
    pub(super) refused: Vec<Refused>,
    pub(super) moves: Vec<Move>,
    /// How many have that config already.
    pub(super) stay: usize,
}

/// A row that cannot be.
pub(super) struct Refused {
    pub(super) line: usize,
    pub(super) entered: String,
    pub(super) why: String,
}

/// A number that gets another config.
pub(super) struct Move {
    pub(super) id: Uuid,
    pub(super) digits: String,
    pub(super) tenant: TenantId,
    pub(super) from: Option<ConfigId>,
    pub(super) to: Option<ConfigId>,
}

impl Plan {
    /// Reads a CSV. An error: it is none, or has other columns.
    pub(super) async fn of(
        asking: &Asking<'_>,
        csv: &str,
        offered: &[Config],
    ) -> Result<Result<Self, String>, Problem> {
        let entered = match rows(csv) {
            Ok(entered) => entered,
            Err(why) => return Ok(Err(why)),
        };
        let mut known = Known::read(asking, offered, &entered).await?;
        let mut plan = Self { refused: Vec::new(), moves: Vec::new(), stay: 0 };
        let mut lines = HashMap::new();
        for (line, row) in entered {
            let found = match row {
                Ok(row) => known.found(&row).map_err(|why| (row.shown(), why)),
                Err(why) => Err(why),
            };
            let found = found.and_then(|(number, to)| match lines.insert(number.id, line) {
                None => Ok((number, to)),
                Some(earlier) => Err((
                    format!("+{}", number.digits),
                    format!("stands in line {earlier} already"),
                )),
            });
            match found {
                Ok((number, to)) if config_of(&number) == to => plan.stay += 1,
                Ok((number, to)) => plan.moves.push(Move {
                    id: number.id,
                    from: config_of(&number),
                    digits: number.digits,
                    tenant: number.tenant,
                    to,
                }),
                Err((entered, why)) => plan.refused.push(Refused { line, entered, why }),
            }
        }
        Ok(Ok(plan))
    }

    /// What moves, by the config that it gets.
    pub(super) fn assignments(&self) -> Vec<Assignment> {
        let mut all: Vec<Assignment> = Vec::new();
        for one in &self.moves {
            match all.iter_mut().find(|(to, _)| *to == one.to) {
                Some((_, ids)) => ids.push(one.id),
                None => all.push((one.to, vec![one.id])),
            }
        }
        all
    }

    /// Whether these numbers are still as they were when this was planned.
    pub(super) fn fits(&self, numbers: &[Number]) -> bool {
        let from: HashMap<_, _> = self.moves.iter().map(|one| (one.id, one.from)).collect();
        numbers.iter().all(|number| from.get(&number.id) == Some(&config_of(number)))
    }

    /// A hash of what moves and what is refused: what was seen is what is done.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for one in &self.moves {
            hash.update(format!("{} {:?} {:?}\n", one.id, one.from, one.to));
        }
        for one in &self.refused {
            hash.update(format!("{} {}\n", one.line, one.why));
        }
        hex(&hash.finalize())
    }
}

/// What the rows of a CSV name, looked up.
struct Known {
    numbers: HashMap<String, Vec<Number>>,
    configs: HashMap<String, ConfigId>,
    tenants: HashMap<String, Result<TenantId, String>>,
}

impl Known {
    async fn read(
        asking: &Asking<'_>,
        offered: &[Config],
        entered: &[Row],
    ) -> Result<Self, Problem> {
        let rows: Vec<_> = entered.iter().filter_map(|(_, row)| row.as_ref().ok()).collect();
        let mut numbers: HashMap<_, Vec<_>> = HashMap::new();
        let mut digits: Vec<_> = rows.iter().filter_map(|row| row.digits()).collect();
        digits.sort_unstable();
        digits.dedup();
        let most = 4 * digits.len();
        for number in asking.rows()?.numbers_of(&asking.whose(), &digits, most).await? {
            numbers.entry(number.digits.clone()).or_default().push(number);
        }
        let mut known = Self {
            numbers,
            configs: offered.iter().map(|config| (config.name.clone(), config.id)).collect(),
            tenants: HashMap::new(),
        };
        for row in rows {
            known.learn_config(asking, &row.config).await?;
            known.learn_tenant(asking, &row.tenant).await?;
        }
        Ok(known)
    }

    /// By its id, or by its name if more configs are there than a choice offers.
    async fn learn_config(&mut self, asking: &Asking<'_>, text: &str) -> Result<(), Problem> {
        if Entered::names_none(text) || self.configs.contains_key(text) {
            return Ok(());
        }
        let (rows, whose) = (asking.rows()?, asking.whose());
        let found = match text.parse::<ConfigId>() {
            Ok(id) => rows.config_seen(&whose, id).await?,
            Err(_) => {
                let filter = ConfigFilter { search: Some(text.into()), ..ConfigFilter::default() };
                let found = rows.config_page(&whose, &filter, None, MOST_ALIKE).await?;
                found.into_iter().find(|config| config.name == text)
            }
        };
        if let Some(config) = found {
            self.configs.insert(text.to_owned(), config.id);
        }
        Ok(())
    }

    async fn learn_tenant(&mut self, asking: &Asking<'_>, text: &str) -> Result<(), Problem> {
        if text.is_empty() || self.tenants.contains_key(text) {
            return Ok(());
        }
        let tenant = match tenants::chosen(asking, "tenant", text, false).await {
            Ok(tenant) => Ok(tenant),
            Err(problem) if problem.code == "tenant_not_found" => {
                Err("no tenant has this label or id".to_owned())
            }
            Err(problem) => return Err(problem),
        };
        self.tenants.insert(text.to_owned(), tenant);
        Ok(())
    }

    /// The number that a row means, and the config that it is to have.
    fn found(&mut self, row: &Entered) -> Result<(Number, Option<ConfigId>), String> {
        let number = row.number.parse::<E164>().map_err(|error| error.to_string())?;
        let to = if Entered::names_none(&row.config) {
            None
        } else {
            let known = self.configs.get(&row.config);
            Some(*known.ok_or("there is no config of this name or id")?)
        };
        let tenant = self.tenants.get(&row.tenant).cloned().transpose()?;
        let alike = self.numbers.get(&number.digits()).map(Vec::as_slice).unwrap_or_default();
        let mut meant = alike.iter().filter(|one| tenant.is_none_or(|tenant| one.tenant == tenant));
        match (meant.next(), meant.next()) {
            (Some(one), None) => Ok((one.clone(), to)),
            (Some(_), Some(_)) if tenant.is_none() => {
                Err("several tenants have this number; name one in a column tenant".to_owned())
            }
            (Some(_), Some(_)) => Err("the tenant has this number twice".to_owned()),
            (None, _) if tenant.is_some() => Err("this tenant has no such number".to_owned()),
            (None, _) => Err("no tenant has this number; add it first".to_owned()),
        }
    }
}

/// How many configs with a name in theirs are looked through for the one that has it whole.
const MOST_ALIKE: usize = 100;
