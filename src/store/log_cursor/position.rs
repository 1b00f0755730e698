//! Where in the change log somebody has read to, as nodes tell each other.
//!
//! The order of places in the log is not the order of commits, so a position is a snapshot: which
//! transactions had committed. Transaction ids mean nothing in another log or another run of the
//! server, so both are identified beside it; and a server that recovered from a crash may give ids out
//! again, but no places, so the newest place counts, too.

use std::fmt;

/// Up to where the change log has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// Tells this server's run and this very log from any other.
    pub(super) incarnation: String,
    /// The newest place in the log.
    pub(super) newest: i64,
    /// As `pg_current_snapshot()` writes it.
    pub(super) snapshot: String,
}

impl Position {
    /// Reads what [`Display`](fmt::Display) wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('\n');
        let (Some(incarnation), Some(newest), Some(snapshot), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let newest = newest.parse().ok()?;
        Some(Self { incarnation: incarnation.to_owned(), newest, snapshot: snapshot.to_owned() })
    }

    /// As `pg_current_snapshot()` writes it.
    #[cfg(feature = "relay")]
    pub(crate) fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// The newest place in the log that is known.
    #[cfg(feature = "relay")]
    pub(crate) fn newest(&self) -> i64 {
        self.newest
    }

    /// Whether both are of one log, and of one run of its server.
    #[cfg(feature = "relay")]
    pub(crate) fn is_of_the_log_of(&self, other: &Self) -> bool {
        self.incarnation == other.incarnation
    }

    /// Whether whoever is here has read all that is read at another position. One that cannot be
    /// compared is not reached.
    #[cfg(feature = "relay")]
    pub(crate) fn reaches(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        let sees_more = || {
            let (mine, other) = (Sight::of(&self.snapshot)?, Sight::of(&other.snapshot)?);
            Some(mine.sees_all_of(&other))
        };
        self.is_of_the_log_of(other) && self.newest >= other.newest && sees_more().unwrap_or(false)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\n{}\n{}", self.incarnation, self.newest, self.snapshot)
    }
}

/// Which transactions a snapshot sees: all before `end`, but for those that were under way.
#[cfg(feature = "relay")]
struct Sight {
    end: u64,
    under_way: Vec<u64>,
}

#[cfg(feature = "relay")]
impl Sight {
    fn of(snapshot: &str) -> Option<Self> {
        let mut parts = snapshot.splitn(3, ':');
        let (_least, end, ids) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        let ids = ids.split(',').filter(|id| !id.is_empty()).map(str::parse);
        Some(Self { end, under_way: ids.collect::<Result<_, _>>().ok()? })
    }

    fn sees_all_of(&self, other: &Self) -> bool {
        let seen_there = |id: &u64| *id < other.end && !other.under_way.contains(id);
        self.end >= other.end && !self.under_way.iter().any(seen_there)
    }
}

#[cfg(all(test, feature = "relay"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(snapshot: &str, newest: i64) -> Position {
        Position { incarnation: "1/2".into(), newest, snapshot: snapshot.into() }
    }

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let position = at("10:20:12,15", 7);
        assert_eq!(Position::parse(&position.to_string()), Some(position));
        for text in ["", "a\nb", "a\nx\nc", "a\n1\nc\nd"] {
            assert_eq!(Position::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn who_has_read_less_or_another_log_has_not_reached_it() {
        let here = at("10:20:12,15", 7);
        assert!(here.reaches(&here) && here.reaches(&at("10:19:12,13,15", 7)));
        assert!(!here.reaches(&at("10:20:12", 7)), "15 was under way");
        assert!(!here.reaches(&at("10:21:12,15", 7)), "20 is yet to come");
        assert!(
            !here.reaches(&at("9:10:", 8)),
            "a place that is not there yet: ids were given out again"
        );
        let elsewhere = Position { incarnation: "3/4".into(), ..at("1:1:", 1) };
        assert!(!here.reaches(&elsewhere) && !elsewhere.reaches(&here));
        assert!(!here.reaches(&at("no snapshot", 1)));
    }

    proptest! {
        /// One snapshot holds another exactly if no transaction is seen there and not here.
        #[test]
        fn positions_are_compared_as_the_transactions_that_they_see(
            here in (0_u64..12, proptest::collection::btree_set(0_u64..12, 0..4)),
            there in (0_u64..12, proptest::collection::btree_set(0_u64..12, 0..4)),
        ) {
            let text = |(end, ids): &(u64, std::collections::BTreeSet<u64>)| {
                let ids: Vec<_> = ids.iter().filter(|id| *id < end).map(u64::to_string).collect();
                format!("0:{end}:{}", ids.join(","))
            };
            let sees = |(end, ids): &(u64, std::collections::BTreeSet<u64>), id: u64| id < *end && !ids.contains(&id);
            let misses = (0..12).any(|id| sees(&there, id) && !sees(&here, id));
            if at(&text(&here), 1).reaches(&at(&text(&there), 1)) {
                prop_assert!(!misses);
            } else {
                // A snapshot that ends later is never said to be reached, even if all that is new in it
                // was under way.
                prop_assert!(misses || here.0 < there.0);
            }
        }
    }
}
