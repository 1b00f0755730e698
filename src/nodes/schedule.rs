//! When a node writes its row: all nodes at about the same time, and soon after a change.
//!
//! Each write takes a transaction id, which makes the next look of every node at the change log cost
//! more. So nodes write together, and between that leave the server alone. The clock is the database's: those
//! of machines differ.

use std::time::Duration;

/// How long until the next write, by where the database's clock stands (in seconds): in the first
/// quarter of a second of its next full ten. `dice` is a fraction of one.
pub(super) fn until_next(clock: f64, dice: f64) -> Duration {
    let into = clock.rem_euclid(EVERY.as_secs_f64());
    // A clock that is no number must not stop this one.
    let left = Duration::try_from_secs_f64(EVERY.as_secs_f64() - into).unwrap_or(EVERY);
    left + APART.mul_f64(dice)
}

/// How long after a change was applied, so long after the last write. Changes until then are told of
/// together, and steady ones do not make a node write more than twice a second.
pub(super) fn after_change(last: Duration, dice: f64) -> Duration {
    SOON.mul_f64(dice).max(SOON.saturating_sub(last))
}

/// How long after the database could not be reached.
pub(super) fn after_failure(dice: f64) -> Duration {
    EVERY.mul_f64(0.5 + dice / 2.0)
}

/// How long until a node that may not write tries again.
pub(super) fn while_unlisted(dice: f64) -> Duration {
    EVERY.mul_f64(5.5 + dice)
}

const EVERY: Duration = Duration::from_secs(10);
/// How far apart the writes of all nodes are at the most.
const APART: Duration = Duration::from_millis(250);
const SOON: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_node_writes_soon_after_the_next_full_ten_seconds(
            clock in 0.0..4e9_f64,
            dice in 0.0..1.0_f64,
        ) {
            let next = clock + until_next(clock, dice).as_secs_f64();
            let into = next.rem_euclid(10.0);
            // A clock of so many seconds is exact to a microsecond.
            prop_assert!(!(0.250_01..9.999_99).contains(&into), "{next}");
            prop_assert!(next > clock && next - clock < 10.250_01);
        }

        #[test]
        fn a_change_is_told_of_within_half_a_second_and_no_more_than_twice_in_one(
            last in 0..20_000_u64,
            dice in 0.0..1.0_f64,
        ) {
            let last = Duration::from_millis(last);
            let wait = after_change(last, dice);
            prop_assert!(wait <= SOON && last + wait >= SOON, "{wait:?}");
        }
    }

    #[test]
    fn nodes_that_began_at_any_time_meet_and_do_not_come_all_at_once() {
        let nodes = [(3.0, 0.0), (9.99, 0.25), (10.5, 0.5), (19.0, 0.75)];
        let next = nodes.map(|(clock, dice)| clock + until_next(clock, dice).as_secs_f64());
        let expected = [10.0, 10.0625, 20.125, 20.1875];
        let apart = next.iter().zip(expected).map(|(next, expected)| (next - expected).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-6, "{next:?}");
    }

    #[test]
    fn a_clock_that_is_none_delays_nothing() {
        for clock in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(until_next(clock, 0.5), Duration::from_millis(10_125));
        }
        assert_eq!((after_failure(0.0), after_failure(1.0)), (EVERY / 2, EVERY));
        assert_eq!(while_unlisted(0.5), Duration::from_secs(60));
    }
}
