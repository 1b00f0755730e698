//! Name, address, encryption, and what answers there.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Findings, NO_SERVER, Stop};
use crate::dispatch::livekit::{LiveKit, LiveKitError, OFF_LIMITS};
use crate::server_url::{ServerUrl, is_off_limits};

/// Looks at each layer of the network.
pub(super) async fn look(
    livekit: &LiveKit,
    url: &ServerUrl,
    findings: &mut Findings,
) -> Result<(), Stop> {
    let (host, port) = url.address();
    let addresses = name(&host, port, findings).await?;
    connection(&host, port, &addresses, findings).await?;
    greeting(livekit, url, findings).await
}

/// Whether the name is found.
async fn name(host: &str, port: u16, findings: &mut Findings) -> Result<Vec<SocketAddr>, Stop> {
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.iter().any(|found| is_off_limits(found.ip())) {
                return Err(off_limits(host, findings));
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

fn off_limits(host: &str, findings: &mut Findings) -> Stop {
    let message = format!("{host} leads to {OFF_LIMITS}");
    findings.fail("dns", "off_limits", message, NO_SERVER)
}

/// Whether the port is open.
async fn connection(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    findings: &mut Findings,
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
async fn greeting(livekit: &LiveKit, url: &ServerUrl, findings: &mut Findings) -> Result<(), Stop> {
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
        // It was looked up once more.
        Err(LiveKitError::NotConnected { why }) if why == OFF_LIMITS => {
            Err(off_limits(&url.address().0, findings))
        }
        Err(LiveKitError::NotConnected { why }) if url.is_secure() => Err(no_tls(&why, findings)),
        Err(error) => {
            let hint = "something listens there that does not speak HTTP, or not in time";
            Err(findings.fail("http", "no_http", error.to_string(), hint))
        }
    }
}

fn no_tls(why: &str, findings: &mut Findings) -> Stop {
    let hint = if why.contains("InvalidContentType") || why.contains("corrupt message") {
        "the port speaks plain HTTP: use ws://, or the port that has TLS"
    } else {
        "the certificate is not one that this machine trusts for this host and this day"
    };
    findings.fail("tls", "tls_failed", format!("no TLS: {why}"), hint)
}

/// How long each layer of the network may take.
const PATIENCE: Duration = Duration::from_secs(3);
