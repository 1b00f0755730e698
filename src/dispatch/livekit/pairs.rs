//! A request that a server refused with one pair of its config is tried once with the other one, where there
//! is one: so nobody is refused while servers are told of a new pair, one after the other.
//!
//! A refused token is refused before anything is done, so what is sent again was not done. Of a dial that is
//! certain only where the answer is no method's own; nothing else of it is repeated.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::{Counter, counter};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;

use super::{LiveKit, LiveKitError, answer_to};
use crate::cache::Resolution;
use crate::resolver::Resolver;
use crate::store::PairPhase;
use crate::telemetry::{OTHER_PAIR, at_zero};

/// Where the other pair of a config is found, and what became of using it.
#[derive(Clone)]
pub(super) struct OtherPairs {
    resolver: Resolver,
    counters: OtherPairCounters,
    /// When it was told last, in seconds.
    told_at: Arc<AtomicU64>,
    /// Which pair a server accepted in the place of the one at hand, since this was made.
    used: Arc<OnceLock<PairPhase>>,
}

/// What servers said to the other pair of a config.
#[derive(Clone)]
pub(in crate::dispatch) struct OtherPairCounters {
    accepted: Counter,
    refused: Counter,
}

impl OtherPairCounters {
    pub(in crate::dispatch) fn new() -> Self {
        let counted = |result| at_zero(counter!(OTHER_PAIR, "result" => result));
        Self { accepted: counted("accepted"), refused: counted("refused") }
    }
}

impl fmt::Debug for OtherPairs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OtherPairs").field("used", &self.used).finish_non_exhaustive()
    }
}

/// Which answers mean that nothing was done.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// Every refusal of a token.
    Any,
    /// One by the layer that checks tokens, which is plain text: of a dial, a carrier or a service may have
    /// something to say with the same status.
    OfTokenAlone,
}

impl Refusal {
    fn is(self, error: &LiveKitError) -> bool {
        match (self, error) {
            (Self::OfTokenAlone, LiveKitError::Answered(answer)) => {
                error.is_unauthorized() && answer.code.is_none()
            }
            _ => error.is_unauthorized(),
        }
    }
}

impl LiveKit {
    /// It, asking once more with the other pair of a config that the resolver knows.
    pub(in crate::dispatch) fn with_pairs_of(
        self,
        resolver: &Resolver,
        counters: OtherPairCounters,
    ) -> Self {
        let (resolver, told_at, used) = (resolver.clone(), Arc::default(), Arc::default());
        Self { pairs: Some(OtherPairs { resolver, counters, told_at, used }), ..self }
    }

    /// It for one call, of which it is to be told whether the other pair was used.
    pub(in crate::dispatch) fn for_call(&self) -> Self {
        let pairs = self.pairs.clone();
        let pairs = pairs.map(|pairs| OtherPairs { used: Arc::default(), ..pairs });
        Self { pairs, ..self.clone() }
    }

    /// Which pair a server accepted in the place of the one at hand.
    pub(in crate::dispatch) fn other_pair_used(&self) -> Option<PairPhase> {
        self.pairs.as_ref()?.used.get().copied()
    }

    /// Asks, and once more with the other pair if a server refused this one.
    pub(super) async fn with_either_pair<A: DeserializeOwned>(
        &self,
        on: &Resolution,
        refusal: Refusal,
        request: impl Fn(&Resolution) -> Result<RequestBuilder, LiveKitError> + Send + Sync,
    ) -> Result<A, LiveKitError> {
        let refused = match answer_to(request(on)?, self.longest).await {
            Err(error) if refusal.is(&error) => error,
            done => return done,
        };
        let Some(pairs) = &self.pairs else { return Err(refused) };
        let Some((other, phase)) = pairs.resolver.other_pair(on).await else {
            return Err(refused);
        };
        let asked = answer_to(request(&other)?, self.longest).await;
        if let Err(error) = &asked
            && error.is_unauthorized()
        {
            pairs.counters.refused.increment(1);
            return Err(refused);
        }
        pairs.accepted(on, phase);
        asked
    }
}

impl OtherPairs {
    fn accepted(&self, on: &Resolution, phase: PairPhase) {
        self.counters.accepted.increment(1);
        let _ = self.used.set(phase);
        let now = self.resolver.unix_time().as_secs();
        let told_at = self.told_at.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(told_at) >= BETWEEN_WARNINGS;
        let told = || {
            let order = Ordering::Relaxed;
            self.told_at.compare_exchange(told_at, now, order, order).is_ok()
        };
        if is_due && told() {
            tracing::warn!(
                config = on.config_name(),
                pair = phase.as_str(),
                "a LiveKit server refuses the current key pair of a config, and accepts the other one"
            );
        }
    }
}

/// How many seconds pass before it is told again.
const BETWEEN_WARNINGS: u64 = 60;
