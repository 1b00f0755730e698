//! `audit list`: what was changed, the newest first.

use chrono::{DateTime, Utc};
use clap::Args;
use clap::builder::PossibleValuesParser;
use trunkline::clock::{Clock, SystemClock};
use trunkline::settings::parse_duration;
use trunkline::store::{AuditEntry, AuditFilter};
use trunkline::{E164, TenantId};
use uuid::Uuid;

use crate::cli::Context;
use crate::cli::failure::Done;
use crate::cli::output::{json_line, table};

#[derive(Args)]
pub(crate) struct List {
    /// From this moment on: how long ago, such as 2h or 7d, or a time such as 2025-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<DateTime<Utc>>,
    /// Before this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<DateTime<Utc>>,
    /// Changes of one kind of row
    #[arg(long, value_parser = PossibleValuesParser::new(["config", "pair", "number", "client", "user", "tenant", "rollout", "batch", "key", "audit"]))]
    entity: Option<String>,
    /// Changes of one kind
    #[arg(long, value_parser = PossibleValuesParser::new(["insert", "update", "delete", "truncate", "prune"]))]
    operation: Option<String>,
    /// Changes of the config, number, client or user with this id
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// Changes of numbers of this tenant
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
    /// Changes of this number
    #[arg(long, value_name = "NUMBER")]
    number: Option<E164>,
    /// Changes by this login; or by this actor, client or id of a client, as sessions claimed
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Changes that one request of the API made, by its X-Request-Id
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// How many at the most
    #[arg(long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Done {
        let audit = context.database()?.audit();
        let filter = AuditFilter {
            since: self.since,
            until: self.until,
            entity: self.entity,
            operation: self.operation,
            row_id: self.id.map(|id| id.to_string()),
            tenant_id: self.tenant.map(|id| id.to_string()),
            digits: self.number.map(E164::digits),
            who: self.who,
            request: self.request,
        };
        let (mut left, mut before, mut shown) = (self.limit as usize, None, Vec::new());
        while left > 0 {
            let page = audit.audit_page(&filter, before, left.min(PAGE)).await?;
            let is_last = page.len() < left.min(PAGE);
            before = page.last().map(|entry| entry.row.id);
            left -= page.len();
            if context.json {
                page.iter().try_for_each(|entry| json_line(&entry.to_json()))?;
            } else {
                shown.extend(page.iter().map(row));
            }
            if is_last {
                break;
            }
        }
        if context.json {
            return Ok(());
        }
        if shown.is_empty() {
            eprintln!("the audit has no such change");
            return Ok(());
        }
        table(&["at", "login", "claims to be", "what", "of", "columns", "position"], shown)
    }
}

fn row(entry: &AuditEntry) -> Vec<String> {
    let AuditEntry { row, position, .. } = entry;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let claimed = row.claimed();
    let said = ["actor", "client_name", "application"];
    let said = said.iter().find_map(|name| claimed.get(*name)?.as_str());
    let named = || {
        let name = row.after().get("name").or(row.before().get("name")).cloned();
        name.and_then(|name| name.as_str().map(ToOwned::to_owned))
    };
    let number = row.digits.as_ref().map(|digits| format!("+{digits}"));
    vec![
        row.at.clone(),
        or_dash(row.login.clone()),
        or_dash(said.map(ToOwned::to_owned)),
        format!("{} {}", row.operation, row.entity),
        or_dash(number.or_else(named).or_else(|| row.row_id.clone())),
        row.fields().join(","),
        or_dash(position.map(|position| position.to_string())),
    ]
}

/// A time as it is written, or so long ago.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let long_ago = || {
        let ago = i64::try_from(parse_duration(text)?.as_secs()).ok()?;
        let now = i64::try_from(SystemClock::default().unix_seconds()).ok()?;
        DateTime::from_timestamp(now.checked_sub(ago)?, 0)
    };
    let written = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
    long_ago().or_else(written).ok_or_else(|| {
        "must be how long ago, such as 30m, 2h or 7d, or a time such as 2025-11-23T12:00:00Z"
            .to_owned()
    })
}

const PAGE: usize = 200;
