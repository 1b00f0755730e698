//! How the program is told to end.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when Ctrl-C or a service manager says so. A terminal that closes is left to what the program
/// was started with: `nohup` has it go on.
pub(super) async fn stop_requested() {
    tokio::select! {
        () = wait_for(SignalKind::interrupt()) => {}
        () = wait_for(SignalKind::terminate()) => {}
    }
}

/// Ends when the terminal closes.
pub(super) async fn hung_up() {
    wait_for(SignalKind::hangup()).await;
}

async fn wait_for(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => std::future::pending().await,
    }
}
