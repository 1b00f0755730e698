//! `trunkline healthcheck`: asks a daemon on this machine how it is, for containers without `curl`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::output::line;

#[derive(Args)]
pub(crate) struct Healthcheck {
    /// The address of the daemon, instead of `HTTP_LISTEN`
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Healthcheck {
    pub(crate) async fn run(self, context: &Context) -> Done {
        // Of the settings only this one, since a probe is not to fail for another one's sake.
        let named = context.values.get("HTTP_LISTEN").and_then(|text| text.trim().parse().ok());
        let address = self.listen.or(named).ok_or_else(|| {
            Failure::usage("listen_malformed", "HTTP_LISTEN is no address with its port")
        })?;
        let unwell = |message: String| {
            Failure::new("unhealthy", message, Exit::Failed)
                .hint("`trunkline serve` logs what is wrong")
        };
        let (code, body) = get(address, "/readyz").await.map_err(unwell)?;
        if code == 200 {
            return line(body.trim_end());
        }
        Err(unwell(format!("{address} is not ready: {}", body.trim_end())))
    }
}

/// What a daemon that listens there answers: the code of HTTP, and the text; or why there is no answer.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let answer = tokio::time::timeout(PATIENCE, ask(to_reach(address), path)).await;
    let answer = answer.map_err(|_| format!("{address} did not answer within {PATIENCE:?}"))?;
    let answer = answer.map_err(|error| format!("{address}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| format!("{address} does not speak HTTP"))?;
    Ok((code, body.to_owned()))
}

/// Where a daemon is reached that listens on every address.
fn to_reach(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

const PATIENCE: Duration = Duration::from_secs(3);
/// Of an answer; metrics are the largest.
const MOST_BYTES: u64 = 4 << 20;
