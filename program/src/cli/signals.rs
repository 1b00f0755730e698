//! How the program is told to end.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when Ctrl-C or a service manager says so. A terminal that closes is left to what the program
/// was started with: `nohup` has it go on.
pub(super) async fn told_to_end() {
    tokio::select! {
        () = told(SignalKind::interrupt()) => {}
        () = told(SignalKind::terminate()) => {}
    }
}

/// Ends when the terminal closes.
pub(super) async fn hung_up() {
    told(SignalKind::hangup()).await;
}

async fn told(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => std::future::pending().await,
    }
}
