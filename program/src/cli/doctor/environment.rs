//! The environment's own credentials, held against their server as `livekit check` does: they answer
//! when the database does not, which is a bad moment to learn that they are of no use.

use trunkline::Settings;
use trunkline::clock::SystemClock;
use trunkline::dispatch::check::{self, Subject, Verdict, check};
use trunkline::dispatch::livekit::LiveKit;

use super::{DoctorFinding, State, good, warning};

pub(super) async fn look(settings: &Settings) -> Vec<DoctorFinding> {
    let environment = &settings.environment;
    let (Some(url), Some(api_key), Some(secret)) =
        (&environment.url, &environment.api_key, &environment.api_secret)
    else {
        let missing = environment.missing().join(", ");
        let found = format!("lacks {missing}: there is nothing to fall back to");
        let hint = "set all three, or leave it so if no call may fall back";
        return vec![warning("environment", found, Some(hint))];
    };
    let trunks: Vec<_> = environment.trunk.iter().map(|id| (id.as_str(), Vec::new())).collect();
    let subject = Subject { url: url.as_str(), api_key, api_secret: secret, trunks: &trunks };
    let livekit = LiveKit::new((&settings.tuning).into());
    let found = check(&livekit, &SystemClock::default(), &subject).await;
    let odd: Vec<_> = found.into_iter().filter(is_odd).map(finding).collect();
    if odd.is_empty() {
        let found = format!("complete, and its server takes it: {}", url.as_str());
        return vec![good("environment", found)];
    }
    odd
}

/// A trunk need not be named: the rules of numbers may do so.
fn is_odd(found: &check::Finding) -> bool {
    found.verdict != Verdict::Ok && found.code != "no_trunk"
}

fn finding(found: check::Finding) -> DoctorFinding {
    let state = if found.verdict == Verdict::Failed { State::Bad } else { State::Warning };
    DoctorFinding { state, ..warning("environment", found.message, found.hint) }
}
