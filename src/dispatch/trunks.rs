//! Which numbers a trunk carries. LiveKit dials any number over any trunk; the carrier then
//! refuses, or shows another number. So the trunk is asked for its numbers, once in five minutes,
//! and the caller number is always sent and checked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::livekit::{LiveKit, LiveKitError, SipTrunk};
use super::trunk_key::TrunkKey;
use super::{Again, Failed, Outcome};
use crate::cache::Resolution;
use crate::routing::CallerId;
use crate::rules::CallerCheck;

/// What is known of trunks.
pub(super) struct Trunks(moka::sync::Cache<TrunkKey, Arc<OnceCell<TrunkNumbers>>>);

/// The numbers that a trunk lists, as they stand there. `None`: it carries any, or that is not known.
pub(super) struct Listed(Option<Box<[String]>>);

/// What a server said of a trunk, and when.
struct TrunkNumbers {
    numbers: Listed,
    asked_at: Instant,
    /// How long that is good for.
    lasts: Duration,
}

impl Default for Trunks {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(10_000).time_to_live(KNOWN_FOR).build())
    }
}

impl Trunks {
    /// Whether the trunk of an answer carries a number, as far as that is known.
    pub(super) async fn check(
        &self,
        livekit: &LiveKit,
        answer: &Resolution,
        caller: &CallerId,
    ) -> Result<(), Failed> {
        let Some(trunk) = answer.trunk_id() else { return Ok(()) };
        let key = TrunkKey::of(answer);
        let carries = |cached: &TrunkNumbers| cached.numbers.carry(caller);
        let mut cell = self.0.get(&key).unwrap_or_else(|| self.anew(&key));
        if cell.get().is_some_and(|cached| cached.asked_at.elapsed() > cached.lasts) {
            cell = self.anew(&key);
        }
        let asking = || numbers(livekit, answer, trunk);
        if carries(cell.get_or_init(asking).await) {
            return Ok(());
        }
        // Somebody may have added the number a moment ago.
        if cell.get().is_some_and(|cached| cached.asked_at.elapsed() > JUST_NOW) {
            cell = self.anew(&key);
            if carries(cell.get_or_init(asking).await) {
                return Ok(());
            }
        }
        if caller.check == CallerCheck::Warn {
            let number = caller.number.masked();
            tracing::warn!(%number, trunk, "a caller number goes out that its trunk does not list");
            return Ok(());
        }
        let message =
            format!("trunk {trunk} does not carry the caller number; its numbers are others");
        Err(Failed::new(Outcome::CallerNotOnTrunk, Again::Mended, message))
    }

    /// A place for what is asked now. Who comes meanwhile waits for the same answer.
    fn anew(&self, key: &TrunkKey) -> Arc<OnceCell<TrunkNumbers>> {
        let cell = Arc::default();
        self.0.insert(key.clone(), Arc::clone(&cell));
        cell
    }
}

/// What a server says. Where it cannot be asked, that is not known for a while: calls go on.
async fn numbers(livekit: &LiveKit, answer: &Resolution, trunk: &str) -> TrunkNumbers {
    let (numbers, lasts) = match livekit.sip_trunk(answer, trunk).await {
        Ok(found) => (found.map_or(Listed(None), |trunk| Listed::of(&trunk)), KNOWN_FOR),
        // A server without SIP says so each time. Agents may still dial, in ways of their own.
        Err(LiveKitError::Answered(answer)) if answer.status != 401 => (Listed(None), KNOWN_FOR),
        // Credentials that are refused may be others in a moment.
        Err(LiveKitError::Answered(_) | LiveKitError::Credentials(_)) => {
            (Listed(None), Duration::ZERO)
        }
        Err(_) => (Listed(None), UNKNOWN_FOR),
    };
    TrunkNumbers { numbers, asked_at: Instant::now(), lasts }
}

impl Listed {
    /// A trunk that lists nothing but user names says nothing of numbers.
    pub(super) fn of(trunk: &SipTrunk) -> Self {
        let entries = trunk.numbers.iter().map(|entry| entry.trim());
        if entries.clone().any(|entry| entry == "*") {
            return Self(None);
        }
        let is_number = |entry: &&str| {
            let name = entry.contains(char::is_alphabetic);
            !name && entry.contains(|character: char| character.is_ascii_digit())
        };
        let numbers: Box<[_]> = entries.filter(is_number).map(ToOwned::to_owned).collect();
        Self(Some(numbers).filter(|numbers| !numbers.is_empty()))
    }

    /// Whether a caller number is among them.
    pub(super) fn carry(&self, caller: &CallerId) -> bool {
        let listed = |numbers: &[String]| numbers.iter().any(|entry| caller.is_listed_as(entry));
        self.0.as_deref().is_none_or(listed)
    }
}

/// How long a trunk's numbers are known for.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// For how long a server is not asked again that did not answer.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// What was asked for so shortly ago is not asked for again.
const JUST_NOW: Duration = Duration::from_secs(1);
