//! What the leader tells: what one look at the change log found, and from where to where it reaches.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::evidence::Epoch;
use crate::change::Change;
use crate::keyring::{KeyError, KeyId, KeyRing, LONGEST_MESSAGE};
use crate::number::{Caller, ConfigId, E164, TenantId};
use crate::store::{NodeCensus, Position};

/// What one look found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) epoch: Epoch,
    /// Counts the messages of an epoch, from one on.
    pub(super) number: u64,
    /// Where the look before ended, and this one.
    pub(super) before: Position,
    pub(super) after: Position,
    /// What changed between the two. Not `is_whole`: and maybe more, so that everything is in doubt.
    pub(super) changes: Vec<Change>,
    pub(super) is_whole: bool,
    /// How long ago each was written when the leader looked, and when that was by its wall clock.
    pub(super) ages: Vec<Duration>,
    pub(super) looked_at: Duration,
    /// Who keeps on reading the change log, to lead next; in that order.
    pub(super) standbys: Vec<Uuid>,
    /// How the nodes stand, as the leader counted them last.
    pub(super) census: Option<NodeCensus>,
}

/// A message that is sealed, as it stands in the stream.
pub(super) struct SealedMessage {
    pub(super) key: KeyId,
    pub(super) text: String,
}

/// A message in JSON. Names are short, since every node reads it several times a second.
#[derive(Serialize, Deserialize)]
struct Written {
    e: u64,
    l: Uuid,
    n: u64,
    b: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    c: Vec<String>,
    w: bool,
    /// In microseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    t: Vec<u64>,
    u: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    s: Vec<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    o: Option<[u64; 5]>,
}

impl Message {
    /// Seals it. What is too long is told as a change of everything.
    pub(super) fn seal(
        mut self,
        ring: &KeyRing,
        about: &[u8],
        unix_seconds: u64,
    ) -> Result<SealedMessage, KeyError> {
        let mut bytes = self.to_bytes();
        if bytes.len() > LONGEST_MESSAGE {
            self.changes = vec![Change::All];
            self.ages.truncate(1);
            bytes = self.to_bytes();
        }
        let (key, text) = ring.seal_message(about, &bytes, unix_seconds)?;
        Ok(SealedMessage { key, text })
    }

    /// Reads what a key of the ring has sealed. `None`: no key of it has, or it is of a version that this
    /// one does not know.
    pub(super) fn open(ring: &KeyRing, about: &[u8], sealed: &SealedMessage) -> Option<Self> {
        let bytes = ring.open_message(about, sealed.key, &sealed.text)?;
        let Written { e, l, n, b, a, c, w, t, u, s, o } = serde_json::from_slice(&bytes).ok()?;
        let before = Position::parse(&b)?;
        let after = a.map_or_else(|| Some(before.clone()), |a| Position::parse(&a))?;
        Some(Self {
            epoch: Epoch { number: e, leader: l.as_u128() },
            number: n,
            before,
            after,
            changes: c.iter().map(|word| change(word)).collect(),
            is_whole: w,
            ages: t.into_iter().map(Duration::from_micros).collect(),
            looked_at: Duration::from_micros(u),
            standbys: s,
            census: o.map(|[live, silent, keys, settings, versions]| NodeCensus {
                live,
                silent,
                keys,
                settings,
                versions,
            }),
        })
    }

    /// How long ago each change was written, now. The way here counts as far as both clocks agree; it is
    /// for a metric, and nothing else rests on it.
    pub(super) fn ages_at(&self, unix_time: Duration) -> Vec<Duration> {
        let way = unix_time.checked_sub(self.looked_at).filter(|way| *way < CREDIBLE);
        self.ages.iter().map(|age| *age + way.unwrap_or_default()).collect()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let micros = |time: &Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let written = Written {
            e: self.epoch.number,
            l: Uuid::from_u128(self.epoch.leader),
            n: self.number,
            b: self.before.to_string(),
            a: (self.after != self.before).then(|| self.after.to_string()),
            c: self.changes.iter().map(word).collect(),
            w: self.is_whole,
            t: self.ages.iter().map(micros).collect(),
            u: micros(&self.looked_at),
            s: self.standbys.clone(),
            o: self.census.map(|of| [of.live, of.silent, of.keys, of.settings, of.versions]),
        };
        serde_json::to_vec(&written).expect("strings and numbers are JSON")
    }
}

fn word(change: &Change) -> String {
    match change {
        Change::Config(id) => format!("config {}", id.0),
        Change::Number(caller) => format!("number {} {}", caller.tenant.0, caller.number.digits()),
        Change::Numbers => "numbers".into(),
        Change::Clients => "clients".into(),
        Change::Rollout => "rollout".into(),
        Change::Keys => "keys".into(),
        Change::All => "all".into(),
    }
}

/// What takes a message longer than that is the difference of two clocks.
const CREDIBLE: Duration = Duration::from_secs(10);

/// A change in words. What this version does not know is a change of everything.
fn change(word: &str) -> Change {
    let known = || {
        Some(match word.split_once(' ') {
            Some(("config", id)) => Change::Config(ConfigId(id.parse().ok()?)),
            Some(("number", caller)) => {
                let (tenant, digits) = caller.split_once(' ')?;
                let number = E164::from_digits(digits).ok()?;
                Change::Number(Caller::new(TenantId(tenant.parse().ok()?), number))
            }
            None if word == "numbers" => Change::Numbers,
            None if word == "clients" => Change::Clients,
            None if word == "rollout" => Change::Rollout,
            None if word == "keys" => Change::Keys,
            _ => return None,
        })
    };
    known().unwrap_or(Change::All)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(changes: Vec<Change>) -> Message {
        let at = |text| Position::parse(text).unwrap();
        Message {
            epoch: Epoch { number: 3, leader: 7 },
            number: 9,
            before: at("1/2\n7\n10:10:"),
            after: at("1/2\n9\n12:12:"),
            ages: vec![Duration::from_micros(1500); changes.len()],
            looked_at: Duration::from_micros(1_700_000_000_000_001),
            changes,
            is_whole: true,
            standbys: vec![Uuid::from_u128(5)],
            census: Some(NodeCensus { live: 3, silent: 1, keys: 1, settings: 2, versions: 1 }),
        }
    }

    fn passed_on(message: &Message) -> Option<Message> {
        let ring = KeyRing::parse(&KeyRing::generate().unwrap()).unwrap();
        Message::open(&ring, b"here", &message.clone().seal(&ring, b"here", 1).unwrap())
    }

    #[test]
    fn what_was_told_is_what_is_heard() {
        let caller =
            Caller::new(TenantId(Uuid::from_u128(1)), E164::from_digits("14155550100").unwrap());
        let every = vec![
            Change::Config(ConfigId(Uuid::from_u128(2))),
            Change::Number(caller),
            Change::Numbers,
            Change::Clients,
            Change::Rollout,
            Change::Keys,
            Change::All,
        ];
        let told = message(every);
        assert_eq!(passed_on(&told), Some(told));
        let still = Message { after: message(vec![]).before, ..message(vec![]) };
        assert_eq!(passed_on(&still), Some(still));
    }

    #[test]
    fn a_word_that_is_not_known_is_a_change_of_everything() {
        for word in ["", "config", "config x", "number 1 2", "tenants", "numbers now"] {
            assert_eq!(change(word), Change::All, "{word:?}");
        }
    }

    #[test]
    fn the_way_here_counts_unless_a_clock_is_wrong() {
        let told = message(vec![Change::All]);
        let ages = |later: Duration| told.ages_at(told.looked_at + later)[0];
        assert_eq!(ages(Duration::from_millis(2)), Duration::from_micros(3500));
        assert_eq!(ages(Duration::from_secs(3600)), Duration::from_micros(1500));
        assert_eq!(told.ages_at(Duration::ZERO)[0], Duration::from_micros(1500));
    }

    #[test]
    fn more_changes_than_fit_are_a_change_of_everything() {
        let many = (0..1000).map(|id| Change::Config(ConfigId(Uuid::from_u128(id)))).collect();
        let heard = passed_on(&message(many)).unwrap();
        assert_eq!((heard.changes, heard.is_whole), (vec![Change::All], true));
    }
}
