//! Name, address, encryption, and what answers there.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Findings, LONGEST_OF_OTHERS, NO_SERVER, Reach, Stop};
use crate::dispatch::livekit::{LiveKit, LiveKitError, OFF_LIMITS, Timeouts};
use crate::server_url::{ServerUrl, is_off_limits, is_public};

/// Looks at each layer of the network.
///
/// Returns a client that goes to the addresses which were found, and to no other.
pub(super) async fn look(
    timeouts: Timeouts,
    url: &ServerUrl,
    reach: Reach<'_>,
    findings: &mut Findings<'_>,
) -> Result<LiveKit, Stop> {
    let (host, port) = url.address();
    let addresses = name(&host, port, reach, findings).await?;
    connection(&host, port, &addresses, findings).await?;
    let livekit = LiveKit::pinned(timeouts, addresses);
    let livekit = match reach {
        Reach::Anywhere => livekit,
        Reach::OnlyTo(_) => livekit.taking(LONGEST_OF_OTHERS),
    };
    greeting(&livekit, url, findings).await?;
    Ok(livekit)
}

/// Whether the name is found.
async fn name(
    host: &str,
    port: u16,
    reach: Reach<'_>,
    findings: &mut Findings<'_>,
) -> Result<Vec<SocketAddr>, Stop> {
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.iter().any(|found| is_off_limits(found.ip())) {
                return Err(off_limits(host, findings));
            }
            let is_private = |found: &SocketAddr| !is_public(found.ip());
            if let Reach::OnlyTo(hosts) = reach
                && hosts.are_all()
                && addresses.iter().any(is_private)
            {
                let message = format!("{host} leads into a private network");
                let hint =
                    "LIVEKIT_HOSTS must name the host, so that what comes over the API goes there";
                return Err(findings.fail("dns", "address_private", message, hint));
            }
            let many = if addresses.len() == 1 { "address" } else { "addresses" };
            findings.ok("dns", format!("{host} has {} {many}", addresses.len()));
            Ok(addresses)
        }
        Ok(Err(error)) => {
            let message = format!("{host} is not found: {error}");
            let hint = "is the host right, and does this machine's DNS know it?";
            Err(findings.fail("dns", "host_unknown", message, hint))
        }
        Err(_) => {
            let message = format!("{host}: no answer of the DNS in time");
            Err(findings.fail("dns", "dns_timeout", message, "look at this machine's DNS"))
        }
    }
}

fn off_limits(host: &str, findings: &mut Findings<'_>) -> Stop {
    let message = format!("{host} leads to {OFF_LIMITS}");
    findings.fail("dns", "off_limits", message, NO_SERVER)
}

/// Whether the port is open.
async fn connection(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    let connect = tokio::net::TcpStream::connect(addresses);
    match tokio::time::timeout(PATIENCE, connect).await {
        Ok(Ok(_)) => {
            findings.ok("tcp", format!("port {port} is open"));
            Ok(())
        }
        Ok(Err(error)) => {
            let message = format!("port {port} of {host}: {error}");
            let hint = "does the server run, and do firewalls let this machine through?";
            Err(findings.fail("tcp", "not_connected", message, hint))
        }
        Err(_) => {
            let message = format!("port {port} of {host}: no answer in time");
            let hint = "a firewall drops the packets, or the address is wrong";
            Err(findings.fail("tcp", "connect_timeout", message, hint))
        }
    }
}

/// Whether TLS and HTTP are spoken there.
async fn greeting(
    livekit: &LiveKit,
    url: &ServerUrl,
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    match livekit.greet(url).await {
        Ok(greeting) if greeting.contains("HTTP request to an HTTPS server") => {
            let message = "the port wants TLS, and the URL says none";
            Err(findings.fail("tls", "tls_wanted", message, "use wss:// in the URL"))
        }
        Ok(_) => {
            if url.is_secure() {
                findings.ok("tls", "the certificate is trusted");
            }
            Ok(())
        }
        Err(LiveKitError::NotConnected { why }) if url.is_secure() => Err(no_tls(&why, findings)),
        Err(error) => {
            let hint = "something listens there that does not speak HTTP, or not in time";
            Err(findings.fail("http", "no_http", error.to_string(), hint))
        }
    }
}

fn no_tls(why: &str, findings: &mut Findings<'_>) -> Stop {
    let hint = if why.contains("InvalidContentType") || why.contains("corrupt message") {
        "the port speaks plain HTTP: use ws://, or the port that has TLS"
    } else {
        "the certificate is not one that this machine trusts for this host and this day"
    };
    findings.fail("tls", "tls_failed", format!("no TLS: {why}"), hint)
}

/// How long each layer of the network may take.
const PATIENCE: Duration = Duration::from_secs(3);
