//! Whether a server accepts a pair that is about to be used.

use super::{Reach, Subject, Verdict, check_telling};
use crate::clock::SystemClock;
use crate::dispatch::livekit::Timeouts;
use crate::keyring::Secret;
use crate::rotation::{PairCheck, PairRefused};

/// Looks at pairs as [`check`](super::check()) does, but for trunks.
#[derive(Debug, Clone, Copy)]
pub struct PairsAtServers<'r> {
    /// How long a server may take.
    pub timeouts: Timeouts,
    /// How far the check goes.
    pub reach: Reach<'r>,
}

impl PairCheck for PairsAtServers<'_> {
    async fn accepts(
        &self,
        url: &str,
        api_key: &str,
        api_secret: &Secret,
    ) -> Result<(), PairRefused> {
        let subject = Subject { url, api_key, api_secret, trunks: &[] };
        let clock = SystemClock::default();
        let findings =
            check_telling(self.timeouts, &clock, &subject, self.reach, &mut |_| {}).await;
        match findings.into_iter().find(|finding| finding.verdict == Verdict::Failed) {
            Some(wrong) => Err(PairRefused::new(wrong.code, wrong.message, wrong.hint)),
            None => Ok(()),
        }
    }
}
