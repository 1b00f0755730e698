//! What a follower can prove by the stream alone, without trusting any clock but its own.
//!
//! The leader begins a look only after its message before was acknowledged. So if message n-1 was put
//! into the stream after some moment, look n began after it, and message n tells of all that was
//! committed by that moment. That n-1 was not yet there at a moment is shown by a *whole* reply, one with
//! fewer messages than were asked for, to a read that was sent at that moment, and that ends before n-1.
//! Reads may block: what counts is when they were sent.
//!
//! **Invariant:** message n of an epoch proves the moment at which a read was sent whose whole reply
//! ended before message n-1 of the same epoch. Nothing else proves anything.

use crate::clock::Moment;

/// What has been seen of the stream over one connection.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The last message, and a moment after which it was put into the stream, if one is known.
    last: Option<(Epoch, u64, Option<Moment>)>,
    /// When the read was sent whose whole reply ended with it. The next message came after that.
    whole_at: Option<Moment>,
}

/// A leader's time: from when it begins to lead until anything goes wrong for it. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) leader: u128,
}

impl Evidence {
    /// A message was received. The moment at which everything committed before is in it or in one before.
    pub(super) fn message(&mut self, epoch: Epoch, number: u64) -> Option<Moment> {
        let put_after = self.whole_at.take();
        let before = self.last.replace((epoch, number, put_after));
        before
            .filter(|(last, at, _)| *last == epoch && at.checked_add(1) == Some(number))
            .and_then(|(.., put_after)| put_after)
    }

    /// A reply has ended with the last message that was received, and was whole; this is when its read
    /// was sent.
    pub(super) fn whole(&mut self, sent_at: Moment) {
        self.whole_at = Some(sent_at);
    }

    /// What comes next may have nothing to do with what came before.
    pub(super) fn lost(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Epoch = Epoch { number: 1, leader: 7 };
    const SECOND: Epoch = Epoch { number: 2, leader: 8 };

    #[test]
    fn a_message_proves_when_the_read_was_sent_that_ended_before_the_message_before_it() {
        let mut evidence = Evidence::default();
        assert_eq!(evidence.message(FIRST, 1), None);
        evidence.whole(Moment(10));
        assert_eq!(evidence.message(FIRST, 2), None, "1 may have been there for long");
        evidence.whole(Moment(20));
        assert_eq!(evidence.message(FIRST, 3), Some(Moment(10)));
        evidence.whole(Moment(30));
        assert_eq!(evidence.message(FIRST, 4), Some(Moment(20)));
    }

    #[test]
    fn messages_of_one_reply_prove_what_the_reply_before_did() {
        let mut evidence = Evidence::default();
        evidence.whole(Moment(10));
        assert_eq!(evidence.message(FIRST, 1), None);
        assert_eq!(evidence.message(FIRST, 2), Some(Moment(10)), "a leader begins with two");
        assert_eq!(evidence.message(FIRST, 3), None, "2 may have been there as early as 1");
    }

    #[test]
    fn a_message_that_is_missing_or_of_another_epoch_proves_nothing() {
        let mut evidence = Evidence::default();
        for (epoch, number) in [(FIRST, 1), (FIRST, 3), (SECOND, 4), (FIRST, 5), (FIRST, 5)] {
            evidence.whole(Moment(10));
            assert_eq!(evidence.message(epoch, number), None, "{epoch:?} {number}");
        }
        evidence.whole(Moment(20));
        assert_eq!(evidence.message(FIRST, 6), Some(Moment(10)));
    }

    #[test]
    fn nothing_that_was_seen_over_another_connection_counts() {
        let mut evidence = Evidence::default();
        evidence.whole(Moment(10));
        evidence.message(FIRST, 1);
        evidence.lost();
        assert_eq!(evidence.message(FIRST, 2), None);
    }

    #[test]
    fn a_reply_that_was_not_whole_shows_nothing_of_what_comes_after_it() {
        let mut evidence = Evidence::default();
        evidence.whole(Moment(10));
        evidence.message(FIRST, 1);
        // More were there than were asked for.
        assert_eq!(evidence.message(FIRST, 2), Some(Moment(10)));
        assert_eq!(evidence.message(FIRST, 3), None);
    }
}
