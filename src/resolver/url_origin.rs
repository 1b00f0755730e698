//! Where the URLs of a host came from: over the API, or from somebody who edits the database by himself. The
//! audit tells, since it has every edit and who made it.
//!
//! It is asked where a name leads into a private network, and nowhere else. Of a URL that is older than the
//! audit, or whose row was pruned, nobody knows that it came over the API, so it counts as not.

use super::Resolver;
use crate::server_url::ServerUrl;
use crate::store::{AuditFilter, AuditLog, Config, StoreError};

impl Resolver {
    /// Whether this host is named by URLs that came over the API, and by no other one: neither of a config
    /// that was edited in the database nor of the environment.
    pub(crate) async fn came_over_api(&self, host: &str) -> Result<bool, StoreError> {
        let engine = &self.engine;
        let (Some(store), Some(database)) = (&engine.loader.store, &engine.database) else {
            return Ok(false);
        };
        let running = engine.live.running();
        let environment = running.environment.credentials();
        if environment.is_some_and(|credentials| names(credentials.url(), host)) {
            return Ok(false);
        }
        let (audit, mut is_named) = (database.audit(), false);
        for config in store.configs().await? {
            if !config.url.parse().is_ok_and(|url| names(&url, host)) {
                continue;
            }
            if !has_url_of_api(&*audit, &config).await? {
                return Ok(false);
            }
            is_named = true;
        }
        Ok(is_named)
    }
}

fn names(url: &ServerUrl, host: &str) -> bool {
    let bare = |host: &str| host.trim_end_matches('.').to_ascii_lowercase();
    bare(&url.address().0) == bare(host)
}

/// Whether the last edit of its URL was one of a client or a person.
async fn has_url_of_api(audit: &dyn AuditLog, config: &Config) -> Result<bool, StoreError> {
    let filter = AuditFilter {
        entity: Some("config".to_owned()),
        row_id: Some(config.id.to_string()),
        ..AuditFilter::default()
    };
    let mut before = None;
    for _ in 0..MOST_PAGES {
        let page = audit.audit_page(&filter, before, PAGE).await?;
        for entry in &page {
            let [was, is] =
                [entry.row.before(), entry.row.after()].map(|row| row.get(URL).cloned());
            if is.as_ref().and_then(|url| url.as_str()) == Some(&config.url) && was != is {
                return Ok(entry.row.claimed().contains_key("client"));
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => before = Some(last.row.id),
            _ => break,
        }
    }
    Ok(false)
}

const URL: &str = "livekit_url";
/// How many edits of a config are read at once, and how often: its secret may have been sealed again since.
const PAGE: usize = 200;
const MOST_PAGES: usize = 50;
