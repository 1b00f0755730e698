//! Which config answers for numbers that were picked: first who would move, then the move.

use askama::Template;
use uuid::Uuid;

use super::frame::Frame;
use super::numbers::config_names;
use super::page_of;
use super::rules;
use super::tenants::{Labels, Named};
use super::visit::Visit;
use crate::access::Scope;
use crate::number::ConfigId;
use crate::server::api::numbers::{assigning, config_of};
use crate::server::api::{Problem, Reply};

#[derive(Template)]
#[template(path = "numbers-assign.html")]
struct Preview<'p> {
    frame: &'p Frame<'p>,
    to: String,
    to_name: String,
    moves: Vec<Moving>,
    many: String,
    stay: usize,
    back: String,
}

/// A number that was picked, and whether it moves.
struct Moving {
    id: String,
    number: String,
    tenant: Named,
    from: String,
    moves: bool,
}

/// First who would move; then, on purpose, the move itself.
pub(super) async fn page(visit: &Visit<'_>) -> Result<Reply, Problem> {
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
    let labels = Labels::of(&asking, found.iter().map(|number| number.tenant).collect()).await?;
    let moves: Vec<_> = found
        .iter()
        .map(|number| {
            let from = config_of(number);
            Moving {
                id: number.id.to_string(),
                number: format!("+{}", number.digits),
                tenant: labels.named(number.tenant),
                from: name(from),
                moves: from != config,
            }
        })
        .collect();
    let moving = moves.iter().filter(|moving| moving.moves).count();
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

/// How many numbers are moved at once: as many as the API takes, and a form can hold.
const MOST_AT_ONCE: usize = 1000;
