//! How the program is told to end.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when Ctrl-C, a terminal that closes, or a service manager says so.
pub(super) async fn told_to_end() {
    let next = async |kind| match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = next(SignalKind::interrupt()) => {}
        () = next(SignalKind::terminate()) => {}
        () = next(SignalKind::hangup()) => {}
    }
}
