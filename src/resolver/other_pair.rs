//! The other pair of a config, for a request that its server refused with the one at hand.
//!
//! It is found in memory, among those that verification knows, and its secret is opened for this. What is
//! made of it is in no cache: it signs for whoever holds it, and is wiped with the last of those.
//!
//! **Invariant:** a refusal changes nothing: neither which pair is current, nor what is cached.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::Resolver;
use super::decision::answer;
use crate::cache::Resolution;
use crate::credentials::Credentials;
use crate::store::PairPhase;

impl Resolver {
    /// The same answer with the other pair of its config: the one that is pending, or the previous one.
    /// `None`: there is no other one, or it cannot be used.
    pub(crate) async fn other_pair(&self, refused: &Resolution) -> Option<(Resolution, PairPhase)> {
        let id = refused.config_id()?;
        let engine = &self.engine;
        let known = engine.issuers.pairs().await.ok()?;
        let pair = known.other(id, refused.api_key())?;
        let running = engine.live.running();
        let chosen = running.choose_begun(id, Some(pair.config.clone())).ok()?;
        // Of another server it would be refused, or worse, known there.
        if chosen.url != *refused.url() {
            return None;
        }
        let opened = chosen.config.open(&chosen.ring).ok()?;
        let credentials = Credentials::sealed(
            chosen.url.clone(),
            &chosen.config.api_key,
            chosen.config.api_secret.expose_secret(),
            &opened.secret,
            Arc::clone(&chosen.ring),
            Arc::clone(&engine.clock),
        );
        let (facts, rules) = (chosen.facts(), refused.known_rules().rules().cloned());
        let now = engine.clock.now();
        let environment = &running.environment;
        let answer = answer(Arc::new(credentials), id, &facts, rules, environment, now);
        Some((answer, pair.phase))
    }
}
