//! What all edits have in common: whose rows a client sees, and how is told what came of an edit.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::asking::Asking;
use super::fields::{Field, Kind, optional, required};
use super::idempotency::{Key, REPLAYED};
use super::problem::Problem;
use super::reply::Reply;
use super::routes::Header;
use crate::keyring::{KeyError, KeyRing};
use crate::nodes::WrittenSeen;
use crate::number::TenantId;
use crate::store::{EditStore, Edited, Whose, Written};

impl Asking<'_> {
    /// The rows of the database.
    pub(in crate::server) fn rows(&self) -> Result<Arc<dyn EditStore>, Problem> {
        self.resolver.edits().ok_or_else(Problem::no_database)
    }

    /// The ring by which secrets are sealed.
    pub(in crate::server) async fn sealing_ring(&self) -> Result<Arc<KeyRing>, Problem> {
        Ok(self.resolver.sealing_ring().await?.ok_or(KeyError::KeyMissing)?)
    }

    /// Whose numbers the client sees.
    pub(in crate::server) fn whose(&self) -> Whose {
        let prefixes = self.permissions.numbers.iter();
        Whose {
            tenants: self.permissions.tenants.clone(),
            prefixes: prefixes.map(|prefix| prefix.digits().to_owned()).collect(),
        }
    }

    /// The same of one tenant, if the client may ask for it.
    pub(in crate::server) fn whose_of(&self, tenant: TenantId) -> Result<Whose, Problem> {
        if !self.permissions.may_ask_for(tenant) {
            let why = "this client may not ask for this tenant";
            return Err(Problem::forbidden_field("tenant_not_allowed", "tenant_id", why));
        }
        Ok(Whose { tenants: Some(vec![tenant]), ..self.whose() })
    }

    /// Refuses a client that is limited to tenants or numbers: what it asks for is of all.
    pub(in crate::server) fn needs_all(&self) -> Result<(), Problem> {
        if !self.permissions.is_limited() {
            return Ok(());
        }
        let message = "this client is limited to tenants or numbers, and this is not of them alone";
        Err(Problem::forbidden("client_limited", message))
    }

    /// Waits for who sees what was written, and adds it to an answer.
    async fn tell_seen(&self, mut answer: Value, written: Option<Written>) -> Value {
        let WrittenSeen { applied, nodes } = self.resolver.seen(written).await;
        answer["applied"] = json!(applied);
        answer["seen_by"] = json!(nodes.map(|(nodes, of)| json!({"nodes": nodes, "of": of})));
        answer
    }

    /// The answer to an edit that is committed.
    pub(super) async fn written(&self, answer: Value, written: Option<Written>) -> Reply {
        Reply::json(&self.tell_seen(answer, written).await)
    }

    /// The answer to a creation, which holds `id` and `version`. `folder` is where such things are.
    pub(super) async fn created(
        &self,
        edited: Edited,
        answer: String,
        folder: &str,
        key: Option<&Key<'_>>,
    ) -> Result<Reply, Problem> {
        let (answer, written, is_replayed) = match (edited, key) {
            (Edited::Done(written), _) => (answer, written, false),
            (Edited::Earlier(earlier), Some(key)) => {
                (key.earlier(earlier)?, self.rows()?.newest_written().await?, true)
            }
            (refused, _) => return Err(refused.problem()),
        };
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let (id, version) = (text("id"), text("version"));
        let reply = self.written(answer, written).await;
        let reply = reply.created(&format!("{folder}/{id}")).version(&version);
        Ok(if is_replayed { reply.header(REPLAYED, "true") } else { reply })
    }
}

impl Edited {
    /// Why nothing was done.
    pub(in crate::server) fn problem(self) -> Problem {
        match self {
            Self::ConfigMissing => config_missing("config_id"),
            Self::InUse(users) => {
                let message = format!("{users} numbers use this config");
                Problem::conflict("config_in_use", message)
                    .hint("assign them another one first: POST /v1/numbers/assign")
            }
            // Who asks with a version or a key has told apart already what these come to.
            Self::Done(_) | Self::Declined | Self::Earlier(_) | Self::Missing => {
                Problem::missing("not_found", "it is not there")
            }
        }
    }
}

/// A number is to have a config that is not there, or that the client does not see.
pub(super) fn config_missing(field: &'static str) -> Problem {
    let why = "there is no such config, or it is not for this client's numbers";
    Problem::unprocessable_field("config_not_found", field, why)
        .hint("GET /v1/configs tells what there is")
}

/// What is there has another version than the client edits.
pub(super) fn other_version() -> Problem {
    let message = "it has been changed since the version that If-Match names";
    Problem::new(StatusCode::PRECONDITION_FAILED, "version_mismatch", message)
        .hint("read it again, and edit what is there now")
}

pub(super) const APPLIED: Field = required(
    "applied",
    Kind::Flag,
    "Whether this node answers calls by it. False: not within LEASE; it will.",
);
pub(super) const SEEN_BY: Field = optional(
    "seen_by",
    Kind::Object(&[
        required("nodes", Kind::Whole(0, 10_000), "How many live nodes answer by it."),
        required("of", Kind::Whole(0, 10_000), "How many live nodes there are."),
    ]),
    "Which nodes have seen it by now; null where that cannot be told.",
);
pub(super) const VERSION: Field =
    required("version", Kind::Text, "Its version, which stands in the header ETag, too.");

pub(super) const IF_MATCH: Header = Header {
    name: "If-Match",
    help: "The ETag that was read: what has another one by now is left as it is. Without it, \
           whatever is there is edited.",
};
pub(super) const ETAG: Header = Header { name: "ETag", help: "The version of what is answered." };
pub(super) const LOCATION: Header =
    Header { name: "Location", help: "Where it is read and edited." };
