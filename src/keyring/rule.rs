//! What the database says of keys: which one seals, and which ones are refused though they are there.
//!
//! **Invariant:** a ring that follows a rule seals under the key that the rule names or not at all.

use std::sync::Arc;

use super::{KeyError, KeyId, KeyRing, fernet};

/// Which key seals, and which ones open nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRule {
    /// How often another key began to seal.
    pub epoch: i64,
    /// The key that seals. `None`: the first one of each ring.
    pub sealing: Option<KeyId>,
    /// Keys that open nothing, to see whether anything still needs them before they are gone.
    pub refused: Vec<KeyId>,
}

impl KeyRing {
    /// The same keys by this rule. `None`: by none, so that the first key seals and each opens.
    #[must_use]
    pub fn ruled(&self, rule: Option<KeyRule>) -> Self {
        let (keys, unopened) = (Arc::clone(&self.keys), Arc::clone(&self.unopened));
        Self { keys, roots: self.roots, unopened, bound_only: self.bound_only, rule }
    }

    /// The rule that it follows.
    #[must_use]
    pub fn rule(&self) -> Option<&KeyRule> {
        self.rule.as_ref()
    }

    /// The key that seals.
    ///
    /// # Errors
    ///
    /// [`KeyError::SealingKeyMissing`] where a rule names one that is not in the ring.
    pub fn sealing_id(&self) -> Result<KeyId, KeyError> {
        self.sealing_key().map(|key| KeyId(key.id()))
    }

    /// Whether a key of the ring is refused.
    #[must_use]
    pub fn refuses(&self, key: KeyId) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.refused.contains(&key))
    }

    /// A key that stands in the ring twice.
    #[must_use]
    pub fn duplicate(&self) -> Option<KeyId> {
        let ids = self.key_ids();
        ids.iter().enumerate().find(|(at, id)| ids[..*at].contains(id)).map(|(_, id)| *id)
    }

    pub(super) fn sealing_key(&self) -> Result<&fernet::Key, KeyError> {
        match self.rule.as_ref().and_then(|rule| rule.sealing) {
            None => self.keys.first().map(|key| &**key).ok_or(KeyError::KeyMissing),
            Some(id) => self
                .keys
                .iter()
                .map(|key| &**key)
                .find(|key| KeyId(key.id()) == id)
                .ok_or(KeyError::SealingKeyMissing { key: id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::ExposeSecret;

    fn two() -> (KeyRing, [KeyId; 2]) {
        let keys = [(); 2].map(|()| KeyRing::generate().unwrap().to_string());
        let ring = KeyRing::parse(&keys.join(",")).unwrap();
        let ids = ring.key_ids();
        (ring, [ids[0], ids[1]])
    }

    #[test]
    fn the_key_that_the_rule_names_seals_wherever_it_stands() {
        let (ring, [old, new]) = two();
        let rule = KeyRule { epoch: 3, sealing: Some(new), refused: Vec::new() };
        let ruled = ring.ruled(Some(rule));
        let sealed = ruled.seal("s3cret", 1).unwrap();
        assert_eq!((ruled.key_of(sealed.as_str()), sealed.epoch()), (Ok(new), Some(3)));
        assert_eq!(ring.key_of(ring.seal("s3cret", 1).unwrap().as_str()), Ok(old));
        assert!(ruled.opens_like(&ring), "which one seals changes nothing of what opens");
        let other = KeyRing::parse(&KeyRing::generate().unwrap()).unwrap();
        let ruled = other.ruled(ruled.rule().cloned());
        let missing = KeyError::SealingKeyMissing { key: new };
        assert_eq!(ruled.seal("s3cret", 1).unwrap_err(), missing);
    }

    #[test]
    fn a_refused_key_opens_nothing_until_it_is_accepted_again() {
        let (ring, [old, new]) = two();
        let sealed = ring.seal("s3cret", 1).unwrap();
        let rule = KeyRule { epoch: 1, sealing: Some(new), refused: vec![old] };
        let ruled = ring.ruled(Some(rule));
        assert_eq!(ruled.open(sealed.as_str()).unwrap_err(), KeyError::KeyRefused { key: old });
        assert!(!ruled.opens_like(&ring));
        let again = ruled.ruled(None);
        assert_eq!(again.open(sealed.as_str()).unwrap().secret.expose_secret(), "s3cret");
    }

    #[test]
    fn an_id_is_read_as_it_is_shown_and_a_double_is_found() {
        let (ring, [old, _]) = two();
        assert_eq!(old.to_string().parse(), Ok(old));
        for wrong in ["", "+1234567", "0123456", "g1234567", "012345678"] {
            assert_eq!(wrong.parse::<KeyId>(), Err(KeyError::KeyIdMalformed), "{wrong}");
        }
        assert_eq!(ring.duplicate(), None);
        let key = KeyRing::generate().unwrap();
        let twice = KeyRing::parse(&format!("{},{}", *key, *key)).unwrap();
        assert_eq!(twice.duplicate(), Some(twice.key_ids()[0]));
    }
}
