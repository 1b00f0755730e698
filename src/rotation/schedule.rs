//! What a rotation by schedule does next, by what the database says of keys and by its clock. Nothing here waits.
//!
//! It turns data keys alone: a key of the settings reaches a node by somebody's hand. So it begins once somebody
//! has made the first data key and had it seal, and has said for that one that no reader is left which knows the
//! settings only.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::retire::QUIET;
use crate::keyring::KeyId;
use crate::store::{DataKeyPlace, KeyBook, KeyPhase, KnownKey};

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing before that.
    Nothing { until: DateTime<Utc> },
    /// A data key is to be made and staged.
    Stage,
    /// This one is staged, and is to seal.
    Promote(KeyId),
    /// Old keys are to be taken further: what is under them is sealed again, and they are refused and retired.
    Pass,
    /// Nothing: somebody has to see to it.
    Blocked(NotScheduled),
}

/// Why nothing is turned by schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotScheduled {
    /// The database is of an older step.
    #[error("the database has no place for data keys; run `trunkline db migrate`")]
    NoPlace,
    /// This role may not read them.
    #[error(
        "this role may not read trunkline_keys; run `trunkline db grants --keys --apply` as the owner"
    )]
    Hidden,
    /// The key that seals is one of the settings.
    #[error(
        "the key that seals is one of the settings: make the first data key with `trunkline key stage \
         --wrapped`, and have it seal with `trunkline key promote`"
    )]
    NoDataKeySeals,
    /// Nobody has said that readers know data keys.
    #[error(
        "nobody has said that no reader is left which knows the settings only: `trunkline key stage --wrapped \
         --unseen-readers none`"
    )]
    ReadersUnconfirmed,
    /// Somebody has staged a key of the settings.
    #[error(
        "key {key} of the settings is staged: promote it, or drop it with `trunkline key retire {key}`"
    )]
    StagedByHand {
        /// Which one.
        key: KeyId,
    },
}

/// What is to be done next, where another data key is to seal once in a `period`, and answers in memory may hold
/// what was read before for as long as `longest`.
pub(super) fn due(book: &KeyBook, period: Duration, longest: Duration) -> Due {
    match book.data_key_place {
        DataKeyPlace::Open => {}
        DataKeyPlace::Hidden => return Due::Blocked(NotScheduled::Hidden),
        DataKeyPlace::None => return Due::Blocked(NotScheduled::NoPlace),
    }
    let sealing = book.sealing.filter(|sealing| book.data_key(*sealing).is_some());
    let Some(sealing) = sealing.and_then(|sealing| book.key(sealing)) else {
        return Due::Blocked(NotScheduled::NoDataKeySeals);
    };
    if let Some(staged) = book.keys.iter().find(|key| key.phase == KeyPhase::Staged) {
        return match book.data_key(staged.id) {
            Some(_) => Due::Promote(staged.id),
            None => Due::Blocked(NotScheduled::StagedByHand { key: staged.id }),
        };
    }
    let passing = book.keys.iter().filter_map(|key| passes_at(key, longest, book.now));
    if let Some(until) = passing.min() {
        return if until <= book.now { Due::Pass } else { Due::Nothing { until } };
    }
    let until = after(sealing.since.unwrap_or(book.now), period);
    if until > book.now {
        return Due::Nothing { until };
    }
    if book.readers_confirmed_at.is_none() {
        return Due::Blocked(NotScheduled::ReadersUnconfirmed);
    }
    Due::Stage
}

/// When an old key can be taken further, at the earliest: at once, where nobody has looked whether a secret is
/// under it. `None`: it is no old key.
fn passes_at(key: &KnownKey, longest: Duration, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let clean = key.clean_since;
    match key.phase {
        KeyPhase::Old => Some(clean.map_or(now, |since| after(since, QUIET))),
        KeyPhase::Refused => {
            let since = |clean| after(key.since.unwrap_or(clean).max(clean), longest);
            Some(clean.map_or(now, since))
        }
        _ => None,
    }
}

fn after(at: DateTime<Utc>, time: Duration) -> DateTime<Utc> {
    let time = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(time).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{KeyRing, WrappedKey};
    use crate::store::DataKey;

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: Duration = Duration::from_secs(3600);

    fn key(id: KeyId, phase: KeyPhase, now: DateTime<Utc>) -> KnownKey {
        let at = Some(now);
        KnownKey { id, phase, added_at: at, since: at, clean_since: None, compromised_at: None }
    }

    /// The keys of a database, and what each step makes of them.
    struct Model {
        book: KeyBook,
        ring: KeyRing,
    }

    impl Model {
        fn begin() -> Self {
            let ring = KeyRing::parse(&KeyRing::generate().unwrap()).unwrap();
            let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
            let book = KeyBook {
                data_key_place: DataKeyPlace::Open,
                readers_confirmed_at: Some(now),
                now,
                ..KeyBook::default()
            };
            let mut model = Self { book, ring };
            let first = model.make(KeyPhase::Sealing);
            model.book.sealing = Some(first);
            model
        }

        fn make(&mut self, phase: KeyPhase) -> KeyId {
            let wrapped = self.ring.new_data_key(self.ring.key_ids()[0], 1).unwrap();
            let WrappedKey { id, .. } = wrapped;
            self.book.keys.push(key(id, phase, self.book.now));
            let at = Some(self.book.now);
            self.book.data_keys.push(DataKey { wrapped, added_at: at, wrapped_at: at });
            id
        }

        fn enter(&mut self, id: KeyId, phase: KeyPhase) {
            let known = self.book.keys.iter_mut().find(|key| key.id == id).unwrap();
            (known.phase, known.since) = (phase, Some(self.book.now));
        }

        /// Does what is due, as the steps do it.
        fn step(&mut self, due: &Due) {
            match due {
                Due::Stage => drop(self.make(KeyPhase::Staged)),
                Due::Promote(new) => {
                    let old = self.book.sealing.replace(*new).unwrap();
                    self.enter(old, KeyPhase::Old);
                    self.enter(*new, KeyPhase::Sealing);
                }
                Due::Pass => {
                    let old: Vec<_> = self.book.keys.clone();
                    for known in old {
                        match (known.phase, known.clean_since) {
                            (KeyPhase::Old, None) => {
                                let key = self.book.keys.iter_mut().find(|key| key.id == known.id);
                                key.unwrap().clean_since = Some(self.book.now);
                            }
                            (KeyPhase::Old, Some(_)) => self.enter(known.id, KeyPhase::Refused),
                            (KeyPhase::Refused, _) => {
                                self.enter(known.id, KeyPhase::Retired);
                                self.book.data_keys.retain(|key| key.wrapped.id != known.id);
                            }
                            _ => {}
                        }
                    }
                }
                Due::Nothing { .. } | Due::Blocked(_) => panic!("{due:?} is no step"),
            }
        }
    }

    #[test]
    fn in_a_year_four_keys_seal_and_each_goes_after_its_time() {
        let mut model = Model::begin();
        let (end, mut steps) = (model.book.now + TimeDelta::days(365), Vec::new());
        while model.book.now < end {
            match due(&model.book, 90 * DAY, HOUR) {
                Due::Nothing { until } => {
                    assert!(until > model.book.now, "time goes on");
                    model.book.now = until.min(end);
                }
                step => {
                    model.step(&step);
                    steps.push((step, model.book.now));
                }
            }
            assert!(model.book.data_keys.len() <= 2, "{:?}", model.book.keys);
        }
        let many = |is: fn(&Due) -> bool| steps.iter().filter(|(step, _)| is(step)).count();
        assert_eq!(many(|step| *step == Due::Stage), 4, "{steps:?}");
        assert_eq!(many(|step| matches!(step, Due::Promote(_))), 4, "{steps:?}");
        let retired = model.book.keys.iter().filter(|key| key.phase == KeyPhase::Retired);
        assert_eq!((retired.count(), model.book.data_keys.len()), (4, 1));
        // Each is staged a period after the one before began to seal.
        let staged: Vec<_> = steps.iter().filter(|(step, _)| *step == Due::Stage).collect();
        for two in staged.windows(2) {
            assert_eq!(two[1].1 - two[0].1, TimeDelta::days(90));
        }
    }

    #[test]
    fn an_old_key_waits_for_its_day_and_is_looked_at_at_once_if_nobody_has() {
        let mut model = Model::begin();
        let old = model.book.sealing.unwrap();
        let new = model.make(KeyPhase::Staged);
        model.step(&Due::Promote(new));
        assert_eq!(due(&model.book, 90 * DAY, HOUR), Due::Pass, "nobody has looked yet");
        model.step(&Due::Pass);
        let quiet = model.book.now + TimeDelta::days(1);
        assert_eq!(due(&model.book, 90 * DAY, HOUR), Due::Nothing { until: quiet });
        model.book.now = quiet;
        assert_eq!(due(&model.book, 90 * DAY, HOUR), Due::Pass);
        model.step(&Due::Pass);
        assert_eq!(model.book.key(old).unwrap().phase, KeyPhase::Refused);
        let until = quiet + TimeDelta::hours(1);
        assert_eq!(due(&model.book, 90 * DAY, HOUR), Due::Nothing { until });
    }

    #[test]
    fn what_somebody_has_to_see_to_blocks_and_says_what() {
        let blocked = |book: &KeyBook| match due(book, 90 * DAY, HOUR) {
            Due::Blocked(why) => Some(why),
            _ => None,
        };
        let mut model = Model::begin();
        assert_eq!(blocked(&model.book), None);
        for (place, why) in [
            (DataKeyPlace::None, NotScheduled::NoPlace),
            (DataKeyPlace::Hidden, NotScheduled::Hidden),
        ] {
            assert_eq!(
                blocked(&KeyBook { data_key_place: place, ..model.book.clone() }),
                Some(why)
            );
        }
        let by_settings = KeyBook { data_keys: Vec::new(), ..model.book.clone() };
        assert_eq!(blocked(&by_settings), Some(NotScheduled::NoDataKeySeals));
        let unknown = KeyBook { sealing: None, ..model.book.clone() };
        assert_eq!(blocked(&unknown), Some(NotScheduled::NoDataKeySeals));
        model.book.now += TimeDelta::days(91);
        assert_eq!(due(&model.book, 90 * DAY, HOUR), Due::Stage);
        let unsaid = KeyBook { readers_confirmed_at: None, ..model.book.clone() };
        assert_eq!(blocked(&unsaid), Some(NotScheduled::ReadersUnconfirmed));
        let by_hand = KeyRing::parse(&KeyRing::generate().unwrap()).unwrap().key_ids()[0];
        model.book.keys.push(key(by_hand, KeyPhase::Staged, model.book.now));
        assert_eq!(blocked(&model.book), Some(NotScheduled::StagedByHand { key: by_hand }));
    }

    #[test]
    fn a_clock_that_is_years_off_turns_nothing() {
        let mut model = Model::begin();
        model.book.now -= TimeDelta::days(3650);
        let Due::Nothing { until } = due(&model.book, 90 * DAY, HOUR) else { panic!() };
        assert!(until > model.book.now);
        let longest = Duration::MAX;
        assert_eq!(
            due(&model.book, longest, HOUR),
            Due::Nothing { until: DateTime::<Utc>::MAX_UTC }
        );
    }
}
