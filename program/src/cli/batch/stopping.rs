//! How a batch is told to stop: by time, or by Ctrl-C. First nobody else is called and those that ring
//! are waited for; told once more, they are ended.

use std::convert::Infallible;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::signals::stop_requested;

/// Cancels `stop` when the time is up or somebody wants it, then `end` when somebody insists.
pub(super) async fn until_ended(
    stop_after: Option<Duration>,
    stop: &CancellationToken,
    end: &CancellationToken,
    json: bool,
) -> Infallible {
    // Whoever reads JSON reads the outcomes.
    let say = |what: &str| {
        if !json {
            eprintln!("{what}");
        }
    };
    let time_is_up = async {
        match stop_after {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop_requested() => say(&format!("stopping: {WAITING}")),
        () = time_is_up => say(&format!("--stop-after is over: {WAITING}")),
    }
    stop.cancel();
    stop_requested().await;
    say("calls that ring are ended: their outcome is cancelled");
    end.cancel();
    std::future::pending().await
}

const WAITING: &str =
    "nobody else is called, and calls that ring may finish; Ctrl-C ends them as well";
