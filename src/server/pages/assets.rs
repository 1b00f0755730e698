//! What pages load: embedded, named by what is in it, and so kept by browsers for good.

use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use sha2::{Digest, Sha256};

use crate::access::hex;
use crate::server::api::Reply;

/// The files, with their names.
pub(super) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
    pub(super) icon: Asset,
}

/// One file.
pub(super) struct Asset {
    /// Its path from the root of all pages, such as `assets/page-5f0c….css`.
    pub(super) path: String,
    kind: &'static str,
    content: &'static str,
}

impl Default for Assets {
    fn default() -> Self {
        let asset = |ending, kind, content: &'static str| {
            let hash = hex(&Sha256::digest(content)[..8]);
            Asset { path: format!("assets/page-{hash}.{ending}"), kind, content }
        };
        Self {
            style: asset("css", "text/css; charset=utf-8", include_str!("assets/page.css")),
            script: asset("js", "text/javascript; charset=utf-8", include_str!("assets/page.js")),
            icon: asset("svg", "image/svg+xml", include_str!("assets/icon.svg")),
        }
    }
}

impl Assets {
    /// The file at a path, if it is one of ours.
    pub(super) fn answer(&self, path: &str) -> Option<Reply> {
        let path = path.strip_prefix('/')?;
        let all = [&self.style, &self.script, &self.icon];
        let asset = all.into_iter().find(|asset| asset.path == path)?;
        let reply = Reply::file(asset.kind, asset.content);
        Some(reply.header(CACHE_CONTROL, FOR_GOOD).header(RESOURCE_POLICY, "same-origin"))
    }
}

const FOR_GOOD: &str = "public, max-age=31536000, immutable";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
