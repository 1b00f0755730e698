//! Which numbers a trunk carries. Servers dial any number over any trunk, and the carrier then
//! refuses or, worse, shows another one; so it is looked up here, once in a while for each trunk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::livekit::{LiveKit, LiveKitError, SipTrunk};
use super::{Failed, Outcome};
use crate::credentials::Resolution;
use crate::number::E164;

/// What is known of trunks, by server, API key and trunk.
pub(super) struct Trunks(moka::sync::Cache<Key, Arc<OnceCell<Numbers>>>);

type Key = (Box<str>, Box<str>, Box<str>);

/// The digits of the numbers that a trunk names. `None`: any, or not known.
type Numbers = Option<Arc<[Box<str>]>>;

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
        let cell = self.0.get(&key).unwrap_or_else(|| {
            let cell = Arc::default();
            self.0.insert(key.clone(), Arc::clone(&cell));
            cell
        });
        let asked = cell.get_or_try_init(|| numbers(livekit, answer, trunk)).await;
        // What cannot be asked now is not known, and asked again for the next call.
        let Ok(Some(numbers)) = asked else { return Ok(()) };
        if numbers.contains(&from.digits().into_boxed_str()) {
            return Ok(());
        }
        let message =
            format!("trunk {trunk} does not carry the caller number; its numbers are others");
        Err(Failed::new(Outcome::CallerNotOnTrunk, message))
    }
}

async fn numbers(
    livekit: &LiveKit,
    answer: &Resolution,
    trunk: &str,
) -> Result<Numbers, LiveKitError> {
    match livekit.sip_trunk(answer, trunk).await {
        Ok(found) => Ok(found.and_then(|trunk| named(&trunk))),
        // A server without SIP says so each time. Agents may still dial, in ways of their own.
        Err(LiveKitError::Answered(answer)) if answer.status != 401 => Ok(None),
        Err(error) => Err(error),
    }
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
