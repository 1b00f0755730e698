//! Which numbers a trunk carries. Servers dial any number over any trunk, and the carrier then
//! refuses or, worse, shows another one; so it is looked up here, once in a while for each trunk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::livekit::{LiveKit, LiveKitError, SipTrunk};
use super::{Failed, Outcome};
use crate::cache::Resolution;
use crate::number::E164;

/// What is known of trunks, by server, API key and trunk.
pub(super) struct Trunks(moka::sync::Cache<Key, Arc<OnceCell<Known>>>);

type Key = (Box<str>, Box<str>, Box<str>);

/// The digits of the numbers that a trunk names. `None`: any, or not known.
type Numbers = Option<Arc<[Box<str>]>>;

/// What a server said of a trunk, and when.
struct Known {
    numbers: Numbers,
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
        from: E164,
    ) -> Result<(), Failed> {
        let Some(trunk) = answer.trunk_id() else { return Ok(()) };
        let key = (answer.url().as_str().into(), answer.api_key().into(), trunk.into());
        let carries = |known: &Known| match &known.numbers {
            Some(numbers) => numbers.contains(&from.digits().into_boxed_str()),
            None => true,
        };
        let mut cell = self.0.get(&key).unwrap_or_else(|| self.anew(&key));
        if cell.get().is_some_and(|known| known.asked_at.elapsed() > known.lasts) {
            cell = self.anew(&key);
        }
        let asking = || numbers(livekit, answer, trunk);
        if carries(cell.get_or_init(asking).await) {
            return Ok(());
        }
        // Somebody may have added the number a moment ago.
        if cell.get().is_some_and(|known| known.asked_at.elapsed() > JUST_NOW) {
            cell = self.anew(&key);
            if carries(cell.get_or_init(asking).await) {
                return Ok(());
            }
        }
        let message =
            format!("trunk {trunk} does not carry the caller number; its numbers are others");
        Err(Failed::new(Outcome::CallerNotOnTrunk, message))
    }

    /// A place for what is asked now. Who comes meanwhile waits for the same answer.
    fn anew(&self, key: &Key) -> Arc<OnceCell<Known>> {
        let cell = Arc::default();
        self.0.insert(key.clone(), Arc::clone(&cell));
        cell
    }
}

/// What a server says. Where it cannot be asked, that is not known for a while: calls go on.
async fn numbers(livekit: &LiveKit, answer: &Resolution, trunk: &str) -> Known {
    let (numbers, lasts) = match livekit.sip_trunk(answer, trunk).await {
        Ok(found) => (found.and_then(|trunk| named(&trunk)), KNOWN_FOR),
        // A server without SIP says so each time. Agents may still dial, in ways of their own.
        Err(LiveKitError::Answered(answer)) if answer.status != 401 => (None, KNOWN_FOR),
        // Credentials that are refused may be others in a moment.
        Err(LiveKitError::Answered(_) | LiveKitError::Credentials(_)) => (None, Duration::ZERO),
        Err(_) => (None, UNKNOWN_FOR),
    };
    Known { numbers, asked_at: Instant::now(), lasts }
}

/// The digits of the numbers that a trunk names, unless it carries any.
pub(super) fn named(trunk: &SipTrunk) -> Numbers {
    let any = trunk.numbers.iter().any(|number| number.trim() == "*");
    let digits = |number: &String| number.chars().filter(char::is_ascii_digit).collect::<String>();
    (!any && !trunk.numbers.is_empty())
        .then(|| trunk.numbers.iter().map(|number| digits(number).into()).collect())
}

/// How long a trunk's numbers are known for.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// For how long a server is not asked again that did not answer.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// What was asked for so shortly ago is not asked for again.
const JUST_NOW: Duration = Duration::from_secs(1);
