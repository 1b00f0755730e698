//! Follows what the database says of keys: which one seals, and which ones are refused.
//!
//! It is read when a node begins, soon after it changed, and now and then. While it cannot be read, what was
//! read last holds. Whoever writes a secret reads it again in his own transaction.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::sleep;

use super::Engine;
use super::live::Outdated;
use crate::backoff::dice;

/// Follows it for as long as it is polled.
pub(super) async fn follow_keys(engine: Weak<Engine>) {
    let Some(mut applied) =
        engine.upgrade().and_then(|engine| engine.feed.as_ref().map(|feed| feed.applied().watch()))
    else {
        return;
    };
    loop {
        let Some(read) = read(&engine).await else { return };
        let wait = if read.is_known { EVERY } else { AGAIN };
        let changed = async {
            loop {
                // With its sender gone nothing is new any more.
                if applied.changed().await.is_err() {
                    return std::future::pending().await;
                }
                match engine.upgrade() {
                    Some(engine) if !engine.cache.fence.keys_changed_since(read.born) => {}
                    _ => return,
                }
            }
        };
        tokio::select! {
            () = sleep(wait.mul_f64(1.0 - dice() / 5.0)) => {}
            () = changed => {}
        }
    }
}

/// A look at the state of the keys.
struct Look {
    /// From before it was read.
    born: crate::cache::fence::Generation,
    is_known: bool,
}

async fn read(engine: &Weak<Engine>) -> Option<Look> {
    let engine = engine.upgrade()?;
    let born = engine.cache.fence.generation();
    let book = engine.database.as_ref()?.key_rows().key_book().await;
    let is_known = match book {
        Ok(book) => {
            engine.live.rule_keys(book.map(|book| book.rule()), |outdated| {
                if let Outdated::Dropped(change) = outdated {
                    engine.telemetry.by_reload.increment(1);
                    engine.cache.apply(change);
                }
            });
            true
        }
        Err(error) => {
            tracing::debug!(%error, "what the database says of keys could not be read");
            false
        }
    };
    Some(Look { born, is_known })
}

const EVERY: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_secs(10);
