//! The numbers of a list as CSV, which can be edited and imported again.

use axum::http::header::CONTENT_DISPOSITION;

use super::audit_export::cell;
use super::number_filter::{Found, Wanted};
use super::numbers::{Configs, offered};
use super::rules::in_short;
use super::tenants::Labels;
use super::visit::Visit;
use crate::access::Scope;
use crate::rules::Rules;
use crate::server::api::numbers::config_of;
use crate::server::api::{Page, Problem, Reply};

pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::Numbers)?;
    let wanted = Wanted::read(&asking, visit.query).await?;
    let offered = offered(&asking).await?;
    let mut csv = String::from("number,tenant,config,carrier,may_call\r\n");
    let (mut cursor, mut pages) = (None, 0);
    loop {
        let page =
            Page::at(asking.client.id, "numbers", &wanted.query, Some(PAGE), cursor.as_deref())?;
        let Found { numbers, next, .. } = wanted.find(&asking, &page).await?;
        let configs = Configs::of(&asking, &numbers, &offered).await?;
        let tenants = numbers.iter().map(|number| number.tenant).collect();
        let labels = Labels::of(&asking, tenants).await?;
        for number in &numbers {
            let rules = Rules::read(number.provider.as_deref(), &number.rules);
            let config = config_of(number)
                .map(|id| configs.name(id).map_or_else(|| id.to_string(), ToOwned::to_owned));
            let tenant = labels.named(number.tenant);
            let cells = [
                &*format!("+{}", number.digits),
                tenant.words(),
                config.as_deref().unwrap_or("none"),
                number.provider.as_deref().unwrap_or_default(),
                &in_short(&rules),
            ];
            csv.push_str(&cells.map(cell).join(","));
            csv.push_str("\r\n");
        }
        (cursor, pages) = (next, pages + 1);
        if cursor.is_none() || pages == MOST_PAGES {
            break;
        }
    }
    let reply = Reply::file("text/csv; charset=utf-8", csv);
    Ok(reply.header(CONTENT_DISPOSITION, "attachment; filename=\"numbers.csv\""))
}

const PAGE: u64 = 500;
/// So many numbers at the most: 10,000.
const MOST_PAGES: usize = 20;
