//! One request for a page: who asks, for which page, with what.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::fields::Fields;
use super::frame::{Frame, Theme};
use super::{
    assigning, audit, audit_export, config_forms, config_list, config_many, configs, importing,
    key_steps, keys, nodes, number_export, number_forms, numbers, overview, people, person,
    rollout, sign_in, tenants,
};
#[cfg(feature = "dispatch")]
use super::{batch, batches, calls, why};
use crate::access::{Permissions, Scope};
use crate::number::ConfigId;
use crate::resolver::Person;
use crate::server::api::{Asking, Known, Place, Problem, Reply, RequestId, Visitor, behalf, body};
use crate::store::{Behalf, Client};

/// A request whose sender is known.
pub(super) struct Visit<'v> {
    pub(super) place: &'v Place,
    pub(super) path: &'v str,
    method: &'v str,
    pub(super) query: Fields<'v>,
    pub(super) form: Fields<'v>,
    pub(super) now: DateTime<Utc>,
    pub(super) theme: Theme,
    pub(super) client: Arc<Client>,
    /// Who it is, if it is a person.
    pub(super) person: Option<Arc<Person>>,
    pub(super) visitor: Visitor<'v>,
    id: &'v RequestId,
}

impl<'v> Visit<'v> {
    pub(super) fn of(
        place: &'v Place,
        (known, visitor): (Known, Visitor<'v>),
        parts: &'v Parts,
        entered: &'v [u8],
        id: &'v RequestId,
    ) -> Self {
        let Known { client, person, .. } = known;
        let now = place.shared.resolver.unix_time();
        Self {
            place,
            path: parts.uri.path(),
            method: parts.method.as_str(),
            query: Fields(parts.uri.query().unwrap_or_default().as_bytes()),
            form: Fields(entered),
            now: moment(now.as_secs()),
            theme: Theme::of(&parts.headers),
            client,
            person,
            visitor,
            id,
        }
    }

    /// Asks for something, if the one who asks may.
    pub(super) fn asking(&self, scope: Scope) -> Result<Asking<'_>, Problem> {
        let who = (&*self.client, self.person.as_ref());
        Asking::new(&self.place.shared.resolver, who, scope, self.id, self.visitor.peer)
    }

    /// The same of what belongs to no tenant, which nobody is told who is limited to some.
    pub(super) fn asking_of_all(&self, scope: Scope) -> Result<Asking<'_>, Problem> {
        let asking = self.asking(scope)?;
        asking.needs_all()?;
        Ok(asking)
    }

    /// On whose behalf an edit is made.
    pub(super) fn behalf(&self) -> Behalf {
        behalf(&self.client, self.id, self.visitor.peer)
    }

    /// Takes the password again that came with a form, where it was not given a moment ago.
    pub(super) async fn confirmed(&self, asking: &Asking<'_>) -> Result<(), Problem> {
        let Some(person) = self.person.as_ref().filter(|_| asking.needs_confirmation().is_err())
        else {
            return Ok(());
        };
        let password = Zeroizing::new(self.form.get("password"));
        if password.is_empty() {
            return asking.needs_confirmation();
        }
        self.visitor.confirm(person, &password).await
    }

    pub(super) fn may(&self, scope: Scope) -> bool {
        self.client.permissions.as_ref().is_some_and(|permissions| permissions.may(scope))
    }

    /// Whether what belongs to no tenant may be edited.
    pub(super) fn may_edit_configs(&self) -> bool {
        let permissions = self.client.permissions.as_ref();
        let is_limited = permissions.is_none_or(Permissions::is_limited);
        self.may(Scope::EditConfigs) && !is_limited
    }

    pub(super) fn frame(&self, title: &str, here: &'static str) -> Frame<'_> {
        Frame::of(self, title, here)
    }

    /// The page that was asked for.
    pub(super) async fn go(&self) -> Result<Reply, Problem> {
        let path: Vec<_> = self.path.trim_start_matches('/').split('/').collect();
        match (self.method, &path[..]) {
            ("GET", [""]) => overview::page(self).await,
            ("POST", ["theme"]) => Ok(self.theme_chosen()),
            ("GET", ["configs"]) => config_list::page(self).await,
            ("POST", ["configs", "many"]) => config_many::page(self).await,
            ("GET", ["configs", "new"]) => config_forms::blank(self).await,
            ("POST", ["configs", "new"]) => config_forms::create(self).await,
            ("GET", ["configs", id]) => configs::one(self, config(id)?).await,
            ("GET", ["configs", id, "edit"]) => config_forms::filled(self, config(id)?).await,
            ("POST", ["configs", id, "edit"]) => config_forms::save(self, config(id)?).await,
            ("POST", ["configs", id, "check"]) => configs::check(self, config(id)?).await,
            ("POST", ["configs", id, "copy"]) => configs::copy(self, config(id)?).await,
            ("POST", ["configs", id, "disable"]) => configs::turn(self, config(id)?, true).await,
            ("POST", ["configs", id, "enable"]) => configs::turn(self, config(id)?, false).await,
            #[cfg(feature = "dispatch")]
            ("POST", ["configs", id, "pair", step]) => {
                configs::turn_pair(self, config(id)?, step).await
            }
            ("GET", ["configs", id, "remove"]) => configs::removing(self, config(id)?, None).await,
            ("POST", ["configs", id, "remove"]) => configs::remove(self, config(id)?).await,
            ("GET", ["numbers"]) => numbers::list(self).await,
            ("POST", ["numbers", "assign"]) => assigning::page(self).await,
            ("GET", ["numbers.csv"]) => number_export::page(self).await,
            ("GET", ["numbers", "import"]) => importing::blank(self),
            ("POST", ["numbers", "import"]) => importing::carry_out(self).await,
            ("GET", ["numbers", "new"]) => number_forms::blank(self).await,
            ("POST", ["numbers", "new"]) => number_forms::create(self).await,
            ("GET", ["numbers", id]) => number_forms::filled(self, number(id)?).await,
            ("POST", ["numbers", id]) => number_forms::save(self, number(id)?).await,
            ("GET", ["numbers", id, "remove"]) => {
                number_forms::removing(self, number(id)?, None).await
            }
            ("POST", ["numbers", id, "remove"]) => number_forms::remove(self, number(id)?).await,
            #[cfg(feature = "dispatch")]
            ("GET", ["why"]) => why::page(self).await,
            #[cfg(feature = "dispatch")]
            ("GET", ["calls"]) => calls::page(self).await,
            #[cfg(feature = "dispatch")]
            ("POST", ["calls"]) => calls::place(self).await,
            #[cfg(feature = "dispatch")]
            ("POST", ["calls", "end"]) => calls::end(self).await,
            #[cfg(feature = "dispatch")]
            ("GET", ["batches"]) => batches::list(self).await,
            #[cfg(feature = "dispatch")]
            ("POST", ["batches"]) => batches::offer(self).await,
            #[cfg(feature = "dispatch")]
            ("GET", ["batches.csv"]) => batches::export(self).await,
            #[cfg(feature = "dispatch")]
            ("POST", ["batches", "cancel"]) => batches::cancel_all(self).await,
            #[cfg(feature = "dispatch")]
            ("GET", ["batches", id]) => batch::page(self, number(id)?).await,
            #[cfg(feature = "dispatch")]
            ("GET", ["batches", id, "results.csv"]) => batch::results(self, number(id)?).await,
            #[cfg(feature = "dispatch")]
            ("POST", ["batches", id, "cancel"]) => batch::cancel(self, number(id)?).await,
            #[cfg(feature = "dispatch")]
            ("POST", ["batches", id, "resume"]) => batch::resume(self, number(id)?).await,
            ("GET", ["audit"]) => audit::page(self).await,
            ("GET", ["audit.csv"]) => audit_export::page(self).await,
            ("GET", ["nodes"]) => nodes::page(self).await,
            ("GET", ["keys"]) => keys::page(self).await,
            ("POST", ["keys"]) => key_steps::page(self).await,
            ("GET", ["rollout"]) => rollout::page(self).await,
            ("POST", ["rollout"]) => rollout::step(self).await,
            ("GET", ["tenants"]) => tenants::page(self).await,
            ("POST", ["tenants"]) => tenants::save(self).await,
            ("GET", ["people"]) => people::page(self).await,
            ("POST", ["people"]) => people::add_user(self).await,
            ("POST", ["people", "confirm"]) => people::confirm(self).await,
            ("POST", ["people", "clients"]) => people::add_client(self).await,
            ("POST", ["people", "clients", id]) => people::edit_client(self, number(id)?).await,
            ("GET", ["people", id]) => person::page(self, number(id)?).await,
            ("POST", ["people", id]) => people::edit_user(self, number(id)?).await,
            ("GET", ["account"]) => sign_in::account(self, None),
            ("POST", ["account"]) => sign_in::change_password(self).await,
            ("POST", ["sign-out"]) => sign_in::sign_out(self).await,
            _ => Err(nothing_here()),
        }
    }

    /// Remembers a scheme, and goes back to where it was chosen.
    fn theme_chosen(&self) -> Reply {
        let theme = Theme::named(&self.form.get("theme"));
        let back = self.form.get("back");
        Reply::see(&format!("./{}", sign_in::ours(&back)))
            .header(axum::http::header::SET_COOKIE, &theme.cookie())
    }

    /// To another page, by its path from the root of all pages.
    pub(super) fn to(&self, path: &str) -> Reply {
        Reply::see(&format!("{}{path}", root(self.path)))
    }

    /// The same after an edit, which tells there who has seen it.
    pub(super) async fn done(
        &self,
        asking: &Asking<'_>,
        path: &str,
        what: &str,
        written: Option<crate::store::Written>,
    ) -> Reply {
        let seen = asking.resolver.seen(written).await;
        let (nodes, of) = seen.nodes.unwrap_or((usize::from(seen.applied), 0));
        self.to(&format!("{path}?did={what}&seen={nodes}&of={of}"))
    }
}

/// The path from a page to the root of all, so that links hold wherever a proxy puts them.
pub(super) fn root(path: &str) -> String {
    match path.trim_start_matches('/').matches('/').count() {
        0 => "./".to_owned(),
        deep => "../".repeat(deep),
    }
}

/// The body of a form. Empty where nothing is sent.
pub(super) async fn read_form(parts: &Parts, given: &mut Option<Body>) -> Result<Vec<u8>, Problem> {
    if parts.method != axum::http::Method::POST {
        return Ok(Vec::new());
    }
    refuse_other_kinds(&parts.headers)?;
    let given = given.take().unwrap_or_default();
    let most = match parts.uri.path() {
        "/batches" => LARGEST_ROWS,
        "/numbers/import" => LARGEST_TABLE,
        _ => return body::read(&parts.headers, given).await,
    };
    body::read_up_to(most, &parts.headers, given).await
}

fn refuse_other_kinds(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(axum::http::header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim() == FORM {
        return Ok(());
    }
    let message = format!("a page takes a form, with Content-Type: {FORM}");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_form", message))
}

pub(super) fn moment(seconds: u64) -> DateTime<Utc> {
    let seconds = i64::try_from(seconds).unwrap_or(0);
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

fn config(id: &str) -> Result<ConfigId, Problem> {
    id.parse().map_err(|_| nothing_here())
}

fn number(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| nothing_here())
}

fn nothing_here() -> Problem {
    Problem::missing("not_found", "there is no such page")
}

/// In bytes, as a form has them.
const LARGEST_ROWS: usize = 6 << 20;
const LARGEST_TABLE: usize = 512 * 1024;
const FORM: &str = "application/x-www-form-urlencoded";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_all_pages_is_found_from_each_of_them() {
        for (path, expected) in [
            ("/", "./"),
            ("/configs", "./"),
            ("/configs/new", "../"),
            ("/configs/5f0c/edit", "../../"),
        ] {
            assert_eq!(root(path), expected, "{path}");
        }
    }
}
