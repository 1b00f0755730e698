//! Whether the server has a trunk, and the trunk the numbers.

use super::{Findings, Stop};
use crate::cache::Resolution;
use crate::dispatch::livekit::{LiveKit, LiveKitError, SipTrunk};
use crate::dispatch::trunks::Listed;
use crate::routing::CallerId;
use crate::rules::CallerCheck;

/// No trunk is named, so none is looked at.
pub(super) fn none(findings: &mut Findings<'_>) {
    let hint = "the rules of a number or OUTBOUND_TRUNK_ID may name one";
    findings.warn(TRUNK, "no_trunk", "no trunk is named", hint);
}

/// Whether the server has a trunk, and the trunk the numbers.
pub(super) async fn look(
    livekit: &LiveKit,
    credentials: &Resolution,
    (id, numbers): (&str, &[CallerId]),
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    let trunk = match livekit.sip_trunk(credentials, id).await {
        Ok(Some(trunk)) => trunk,
        Ok(None) => {
            let message = format!("the server has no outbound trunk {id}");
            let hint = "trunks belong to one server or project; `lk sip outbound list` shows them";
            return Err(findings.fail(TRUNK, "trunk_unknown", message, hint));
        }
        Err(LiveKitError::Answered(answer)) if answer.message.contains("sip not connected") => {
            let message = "the server has no SIP: it runs without Redis";
            let hint = "set redis in its configuration, and run livekit-sip beside it";
            return Err(findings.fail(TRUNK, "no_sip", message, hint));
        }
        Err(error) => {
            let hint = "the trunk could not be looked up";
            return Err(findings.fail(TRUNK, "trunk_unasked", findings.words(&error), hint));
        }
    };
    numbers_of(&trunk, id, numbers, findings)
}

/// Whether the trunk carries the numbers.
fn numbers_of(
    trunk: &SipTrunk,
    id: &str,
    numbers: &[CallerId],
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    let missing = missing(trunk, numbers);
    if missing.is_empty() {
        let message = match numbers.len() {
            0 => format!("the server has {id}"),
            1 => format!("the server has {id}, which carries the number"),
            many => format!("the server has {id}, which carries {many} numbers"),
        };
        findings.ok(TRUNK, message);
        return Ok(());
    }
    let shown: Vec<_> =
        missing.iter().take(3).map(|missing| missing.number.masked().to_string()).collect();
    let message = format!(
        "{id} does not carry {} of {} numbers, such as {}",
        missing.len(),
        numbers.len(),
        shown.join(", ")
    );
    let hint = "add them to the trunk's numbers, or give the numbers another config";
    if missing.iter().all(|missing| missing.check == CallerCheck::Warn) {
        findings.warn(TRUNK, "number_not_on_trunk", message, hint);
        return Ok(());
    }
    Err(findings.fail(TRUNK, "number_not_on_trunk", message, hint))
}

/// The numbers that a trunk does not carry.
fn missing<'a>(trunk: &SipTrunk, numbers: &'a [CallerId]) -> Vec<&'a CallerId> {
    let carried = Listed::of(trunk);
    numbers.iter().filter(|number| !carried.carry(number)).collect()
}

const TRUNK: &str = "trunk";
