//! What stands around every page: navigation, scheme, who is signed in, and what was just done.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use axum::http::request::Parts;

use super::assets::Assets;
use super::fields::Fields;
use super::parts::machine;
use super::visit::{Visit, moment, root};
use crate::access::Scope;
use crate::server::api::Place;

/// Which colours are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::Auto,
        }
    }

    /// What the browser's cookie says.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';').map(str::trim));
        pairs.find_map(|pair| pair.strip_prefix("theme=")).map_or(Self::Auto, Self::named)
    }

    /// It is no secret, and scripts do not need it either.
    pub(super) fn cookie(self) -> String {
        format!("theme={}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax", self.as_str())
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// A place in the navigation.
pub(super) struct Link {
    pub(super) path: &'static str,
    pub(super) label: &'static str,
    pub(super) is_here: bool,
}

/// What was just done, in words.
pub(super) struct Told {
    pub(super) what: &'static str,
    pub(super) seen: String,
    pub(super) is_whole: bool,
}

/// What every page has.
pub(super) struct Frame<'f> {
    pub(super) title: String,
    /// The path to the root of all pages.
    pub(super) root: String,
    pub(super) theme: &'static str,
    pub(super) themes: [(&'static str, &'static str); 3],
    pub(super) links: Vec<Link>,
    /// Who asks, and whether it is a person, who has an account.
    pub(super) who: Option<(&'f str, bool)>,
    pub(super) assets: &'f Assets,
    pub(super) now: String,
    pub(super) version: &'static str,
    /// Where a chosen scheme leads back to, from the root.
    pub(super) back: String,
    pub(super) told: Option<Told>,
    /// Whether changes may be heard.
    pub(super) hears: bool,
}

impl<'f> Frame<'f> {
    pub(super) fn of(visit: &'f Visit<'_>, title: &str, here: &'static str) -> Self {
        let links = LINKS.iter().filter(|(_, _, scope)| visit.may(*scope));
        let links = links.map(|&(path, label, _)| Link { path, label, is_here: path == here });
        let query = std::str::from_utf8(visit.query.0).unwrap_or_default();
        let mark = if query.is_empty() { "" } else { "?" };
        Self {
            title: title.to_owned(),
            root: root(visit.path),
            theme: visit.theme.as_str(),
            themes: THEMES,
            links: links.collect(),
            who: Some(match &visit.person {
                Some(person) => (&person.name, true),
                None => (&visit.client.name, false),
            }),
            assets: &visit.place.shared.pages.assets,
            now: machine(visit.now),
            version: env!("CARGO_PKG_VERSION"),
            back: format!("{}{mark}{query}", visit.path.trim_start_matches('/')),
            told: told(visit.query),
            hears: visit.may(Scope::Changes),
        }
    }

    /// The frame for who is not known.
    pub(super) fn of_nobody(place: &'f Place, parts: &Parts, title: &str) -> Self {
        let path = parts.uri.path();
        Self {
            title: title.to_owned(),
            root: root(path),
            theme: Theme::of(&parts.headers).as_str(),
            themes: THEMES,
            links: Vec::new(),
            who: None,
            assets: &place.shared.pages.assets,
            now: machine(moment(place.shared.resolver.unix_time().as_secs())),
            version: env!("CARGO_PKG_VERSION"),
            back: path.trim_start_matches('/').to_owned(),
            told: told(Fields(parts.uri.query().unwrap_or_default().as_bytes())),
            hears: false,
        }
    }
}

/// What the path says that was done. Only words of ours are shown.
fn told(query: Fields<'_>) -> Option<Told> {
    let did = query.given("did")?;
    let (_, what) = DONE.iter().find(|(word, _)| *word == did)?;
    let count = |name| query.get(name).parse::<u32>().ok();
    let (seen, is_whole) = match (count("seen"), count("of")) {
        (Some(seen), Some(of)) if of > 0 && seen >= of => {
            let nodes = if of == 1 { "the one node".to_owned() } else { format!("all {of} nodes") };
            (format!("Calls use it: {nodes} answer by it."), true)
        }
        (Some(seen), Some(of)) if of > 0 => (
            format!("{seen} of {of} nodes answer by it so far; the others will within LEASE."),
            false,
        ),
        (Some(1..), _) => ("This node answers by it.".to_owned(), true),
        (Some(0), _) => {
            ("This node does not answer by it yet; it will within LEASE.".to_owned(), false)
        }
        _ => (String::new(), true),
    };
    Some(Told { what, seen, is_whole })
}

const DONE: [(&str, &str); 16] = [
    ("created", "Created."),
    ("saved", "Saved."),
    ("copied", "Copied, with its secret."),
    ("disabled", "Disabled: its numbers are answered by the environment now."),
    ("enabled", "Enabled."),
    ("turned", "The step was taken; the server's own list of keys is not changed by it."),
    ("removed", "Deleted."),
    ("assigned", "Assigned."),
    ("labelled", "The label is given."),
    ("unlabelled", "The label is taken away."),
    ("stepped", "The step was taken."),
    ("placed", "The call was placed."),
    ("ended", "Hung up."),
    ("cancelled", "Cancelled: nobody else is called."),
    ("resumed", "It goes on."),
    ("signed-out", "Signed out."),
];

const THEMES: [(&str, &str); 3] = [("auto", "Auto"), ("light", "Light"), ("dark", "Dark")];

const LINKS: &[(&str, &str, Scope)] = &[
    ("", "Overview", Scope::Fleet),
    ("configs", "Configs", Scope::Configs),
    ("numbers", "Numbers", Scope::Numbers),
    #[cfg(feature = "dispatch")]
    ("why", "Why", Scope::Resolve),
    #[cfg(feature = "dispatch")]
    ("calls", "Calls", Scope::Calls),
    #[cfg(feature = "dispatch")]
    ("batches", "Batches", Scope::Calls),
    ("audit", "Audit", Scope::Audit),
    ("nodes", "Nodes", Scope::Fleet),
    ("rollout", "Rollout", Scope::Fleet),
    ("keys", "Keys", Scope::Fleet),
    ("people", "People", Scope::Users),
];
