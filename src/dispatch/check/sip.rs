//! Whether a SIP service runs beside the server.

use super::{Findings, Stop};
use crate::cache::Resolution;
use crate::dispatch::livekit::{LiveKit, LiveKitError};

/// Asks for a call to a host that cannot exist: a SIP service that runs says so, and nobody is called.
pub(super) async fn look(
    livekit: &LiveKit,
    credentials: &Resolution,
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    let answer = match livekit.probe_sip(credentials).await {
        Err(LiveKitError::Answered(answer)) => answer,
        // A call without a carrier: whatever that was, a SIP service has answered.
        Ok(()) => {
            findings.ok(STEP, RUNS);
            return Ok(());
        }
        Err(error) => {
            untold(&findings.words(&error), findings);
            return Ok(());
        }
    };
    let says = |words| answer.message.contains(words);
    if says("no response from servers") {
        let hint = "run livekit-sip beside the server, with the server's Redis";
        let message = "no SIP service answers: calls would not be dialled";
        return Err(findings.fail(STEP, "no_sip_service", message, hint));
    }
    if says("no servers available") || says("cpu exhausted") {
        let hint = "run another livekit-sip, or one with more CPUs";
        findings.warn(STEP, "sip_busy", "the SIP service takes no more calls at present", hint);
    } else if OF_SERVICES.iter().any(|words| says(words)) {
        findings.ok(STEP, RUNS);
    } else {
        untold(&findings.words(&LiveKitError::Answered(answer)), findings);
    }
    Ok(())
}

fn untold(why: &str, findings: &mut Findings<'_>) {
    let message = format!("this server does not tell whether a SIP service runs: {why}");
    let hint = "only a call tells: `trunkline call --engine-dials` to a phone of your own";
    findings.warn(STEP, "sip_untold", message, hint);
}

/// What only a SIP service says: the host is not found, or nobody answers there.
const OF_SERVICES: [&str; 4] =
    ["no such host", "lookup ", "sip request timed out", "transaction failed"];
const STEP: &str = "sip";
const RUNS: &str = "a SIP service runs";
