//! What a request asks of a route: the id in its path, its parameters, its headers and its body.

use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::body::parse;
use super::fields::{Kind, wrong, wrong_parameter};
use super::problem::Problem;
use super::routes::Route;

/// A request whose client is known.
pub(in crate::server) struct Question<'r> {
    pub(super) route: &'static Route,
    /// What stands for `{id}` in its path.
    pub(super) id: Option<&'r str>,
    pub(super) query: Option<&'r str>,
    pub(super) headers: &'r HeaderMap,
    /// Empty where the route takes none.
    pub(super) body: &'r [u8],
}

impl<'r> Question<'r> {
    /// The id in its path. `None`: it is no id of anything.
    pub(in crate::server) fn id<T: std::str::FromStr>(&self) -> Option<T> {
        self.id.filter(|id| id.len() == 36)?.parse().ok()
    }

    /// The body as what the route takes.
    pub(in crate::server) fn body<T: Deserialize<'r>>(&self) -> Result<T, Problem> {
        parse(self.body, self.route.asked)
    }

    /// The same as a type of several parts, which do not see that a field is of none of them.
    pub(in crate::server) fn body_in_parts<T: Deserialize<'r>>(&self) -> Result<T, Problem> {
        let read = self.body()?;
        let members = serde_json::from_slice(self.body).unwrap_or_default();
        wrong(&members, self.route.asked).map_or(Ok(read), Err)
    }

    /// The parameters as what the route takes.
    pub(in crate::server) fn parameters<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let fields = self.route.query;
        let mut given = Map::new();
        for (name, text) in url::form_urlencoded::parse(self.query.unwrap_or_default().as_bytes()) {
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                given.insert(name.into_owned(), Value::Null);
                continue;
            };
            if text.contains(char::is_control) {
                let why = "must hold no control character";
                return Err(Problem::field("field_malformed", field.name, why));
            }
            if given.insert(field.name.to_owned(), read(&field.kind, &text)).is_some() {
                return Err(Problem::field("field_malformed", field.name, "must be there once"));
            }
        }
        if let Some(problem) = wrong_parameter(&given, fields) {
            return Err(problem);
        }
        serde_json::from_value(Value::Object(given))
            .map_err(|_| Problem::field("field_malformed", "the query", "is not as it must be"))
    }

    /// The version that what is edited must have, if the client says so.
    pub(in crate::server) fn expected(&self) -> Result<Expected, Problem> {
        let mut given = self.headers.get_all(IF_MATCH).iter();
        let Some(first) = given.next() else { return Ok(Expected::Any) };
        let text = first.to_str().unwrap_or_default().trim();
        if text == "*" && given.next().is_none() {
            return Ok(Expected::Any);
        }
        let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match version.filter(|text| !text.contains('"')) {
            Some(version) if given.next().is_none() => Ok(Expected::Version(version.to_owned())),
            _ => {
                let why = "must be one ETag as it was answered, such as \"5f0c…\"";
                Err(Problem::field("field_malformed", "If-Match", why))
            }
        }
    }
}

/// Which version is edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Expected {
    Any,
    Version(String),
}

impl Expected {
    pub(in crate::server) fn is(&self, version: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Version(expected) => expected == version,
        }
    }
}

/// A parameter as JSON has it; as a text where it is nothing of that kind.
fn read(kind: &Kind, text: &str) -> Value {
    let read = match kind {
        Kind::Flag => text.parse::<bool>().ok().map(Value::Bool),
        Kind::Whole(..) | Kind::Seconds => text.parse::<u64>().ok().map(Value::from),
        Kind::Number => text.parse::<f64>().ok().filter(|read| read.is_finite()).map(Value::from),
        Kind::Texts => serde_json::from_str(text).ok(),
        _ => None,
    };
    read.unwrap_or_else(|| Value::String(text.to_owned()))
}
