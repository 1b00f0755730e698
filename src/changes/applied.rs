//! What of the change log has been applied to the cache, for who tells others.
//!
//! **Invariant:** it is noted after the changes were applied, so whoever reads it is told of nothing
//! that an answer from memory may still contradict.

use tokio::sync::watch;

/// The snapshot of the last look on Postgres, the place in the log of an SQLite file.
#[derive(Clone, Default)]
pub(crate) struct Applied {
    position: watch::Sender<Option<String>>,
    /// Those who are told what it was.
    #[cfg(feature = "server")]
    pub(crate) listeners: super::told::Listeners,
}

impl Applied {
    /// Notes up to where changes have been applied. Who waits is woken only for `news`.
    pub(super) fn note(&self, position: &str, news: bool) {
        self.position.send_if_modified(|applied| {
            if applied.as_deref() != Some(position) {
                *applied = Some(position.to_owned());
            }
            news
        });
    }

    /// It, and when there was news.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.position.subscribe()
    }
}

/// Whether a position has a change in it: its transaction in a snapshot of Postgres, its place in the
/// log of an SQLite file.
#[cfg(feature = "server")]
pub(crate) fn reaches(position: &str, place: i64) -> bool {
    let mut parts = position.split(':');
    let mut next = || parts.next().and_then(|part| part.parse::<i64>().ok());
    match (next(), next()) {
        (Some(at), None) => place <= at,
        (Some(least), Some(end)) => {
            let under_way = position.rsplit(':').next().unwrap_or_default();
            place < least || place < end && under_way.split(',').all(|id| id.parse() != Ok(place))
        }
        (None, _) => false,
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_what_had_ended_when_it_was_taken_and_a_place_what_is_before_it() {
        for (position, has, has_not) in [
            ("10:20:12,15", &[9, 10, 11, 13, 19][..], &[12, 15, 20, 21][..]),
            ("10:10:", &[9], &[10, 11]),
            ("7", &[1, 7], &[8]),
            ("", &[], &[1]),
        ] {
            assert!(has.iter().all(|&place| reaches(position, place)), "{position}");
            assert!(!has_not.iter().any(|&place| reaches(position, place)), "{position}");
        }
    }
}
