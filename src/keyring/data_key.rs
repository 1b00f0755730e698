//! Data keys: keys of a ring that rest in the database, each sealed by a root key. The root keys are those of the
//! settings.
//!
//! A data key is sealed under a key derived from its root, in a form of its own: so nobody gets one opened by
//! putting it where a secret stands, and whoever puts a secret, or another data key, in its place is found.
//!
//! **Invariant:** a data key is in the clear only inside of a ring, and nothing here shows one.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::fernet::{self, Form, Token};
use super::{KeyError, KeyId, KeyRing};

/// A data key as it rests: sealed by a root key.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Its id.
    pub id: KeyId,
    /// The root key that seals it.
    pub root: KeyId,
    pub(crate) sealed: String,
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "WrappedKey({} under {})", self.id, self.root)
    }
}

/// A data key of the database that is not in a ring, since it does not open there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct UnopenedKey {
    /// Which one.
    pub id: KeyId,
    /// The root key that is to open it.
    pub root: KeyId,
    /// Whether that key is in the ring: then what rests in the database is damaged.
    pub is_damaged: bool,
}

impl fmt::Display for UnopenedKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, root, is_damaged } = self;
        if *is_damaged {
            write!(out, "data key {id} does not open: its row in trunkline_keys is damaged")
        } else {
            write!(out, "data key {id} does not open: its root key {root} is not in the ring")
        }
    }
}

impl KeyRing {
    /// The same keys of the settings, with those of these data keys that they open. A data key that was in the
    /// ring before stays as it is, by whatever root key it rests now.
    #[must_use]
    pub fn with_data_keys(&self, wrapped: &[WrappedKey]) -> Self {
        let roots = &self.keys[..self.roots];
        let (mut keys, mut unopened) = (roots.to_vec(), Vec::new());
        for wrapped in wrapped {
            let id = wrapped.id;
            if keys.iter().any(|key| KeyId(key.id()) == id) {
                continue;
            }
            let known = self.keys[self.roots..].iter().find(|key| KeyId(key.id()) == id);
            let opened = known.map(Arc::clone).or_else(|| open(roots, wrapped).map(Arc::new));
            match opened {
                Some(key) => keys.push(key),
                None => unopened.push(UnopenedKey {
                    id,
                    root: wrapped.root,
                    is_damaged: self.root(wrapped.root).is_some(),
                }),
            }
        }
        let Self { roots, bound_only, .. } = *self;
        let rule = self.rule.clone();
        Self { keys: keys.into(), roots, unopened: unopened.into(), bound_only, rule }
    }

    /// The ids of its keys that are of the settings, in order.
    #[must_use]
    pub fn root_ids(&self) -> Vec<KeyId> {
        self.keys[..self.roots].iter().map(|key| KeyId(key.id())).collect()
    }

    /// Data keys of the database that are not in the ring, since they do not open.
    #[must_use]
    pub fn unopened(&self) -> &[UnopenedKey] {
        &self.unopened
    }

    /// Makes a data key, sealed by this key of the settings.
    pub(crate) fn new_data_key(
        &self,
        root: KeyId,
        unix_seconds: u64,
    ) -> Result<WrappedKey, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| KeyError::NoRandomness)?;
        self.wrap(&bytes, root, unix_seconds)
    }

    /// The same data key, sealed by this key of the settings.
    pub(crate) fn rewrap(
        &self,
        wrapped: &WrappedKey,
        root: KeyId,
        unix_seconds: u64,
    ) -> Result<WrappedKey, KeyError> {
        let bytes = opened(&self.keys[..self.roots], wrapped)
            .ok_or_else(|| self.unopened_error(&[wrapped.id]))?;
        let again = self.wrap(&bytes, root, unix_seconds)?;
        // Nothing is written that would not be the same key.
        let is_same = open(&self.keys[..self.roots], &again).is_some() && again.id == wrapped.id;
        is_same.then_some(again).ok_or(KeyError::TokenMalformed { why: "it is another data key" })
    }

    fn wrap(
        &self,
        bytes: &Zeroizing<[u8; 32]>,
        root: KeyId,
        unix_seconds: u64,
    ) -> Result<WrappedKey, KeyError> {
        let mut iv = [0; 16];
        getrandom::fill(&mut iv).map_err(|_| KeyError::NoRandomness)?;
        let key = self.root(root).ok_or(KeyError::RootKeyMissing { key: root })?;
        let id = KeyId(fernet::Key::from_bytes(bytes.as_slice()).id());
        let sealed = key.derived(PURPOSE).seal(Form::DataKey, bytes.as_slice(), unix_seconds, iv);
        Ok(WrappedKey { id, root, sealed })
    }

    fn root(&self, id: KeyId) -> Option<&fernet::Key> {
        self.keys[..self.roots].iter().map(|key| &**key).find(|key| KeyId(key.id()) == id)
    }

    pub(super) fn unopened_error(&self, data_keys: &[KeyId]) -> KeyError {
        KeyError::DataKeyUnopened { ring: self.key_ids(), data_keys: data_keys.to_vec() }
    }
}

/// The data key, if its root is among these and it is that key.
fn open(roots: &[Arc<fernet::Key>], wrapped: &WrappedKey) -> Option<fernet::Key> {
    let bytes = opened(roots, wrapped)?;
    Some(fernet::Key::from_bytes(&bytes[..]))
}

fn opened(roots: &[Arc<fernet::Key>], wrapped: &WrappedKey) -> Option<Zeroizing<[u8; 32]>> {
    let token = Token::parse(&wrapped.sealed, &[Form::DataKey]).ok()?;
    let root = roots.iter().find(|key| KeyId(key.id()) == wrapped.root)?.derived(PURPOSE);
    let inside = root.signed(&token).then(|| root.open(&token))??;
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.copy_from_slice(inside.get(..32).filter(|_| inside.len() == 32)?);
    // One that was put in the place of another is not that one.
    (fernet::Key::from_bytes(bytes.as_slice()).id() == wrapped.id.0).then_some(bytes)
}

/// Begins as no token does, which a key of the ring might have signed.
const PURPOSE: &[u8] = b"trunkline data keys 1\0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{ExposeSecret, KeyRule, PREFIX};

    fn ring(many: usize) -> KeyRing {
        let keys: Vec<_> = (0..many).map(|_| KeyRing::generate().unwrap().to_string()).collect();
        KeyRing::parse(&keys.join(",")).unwrap()
    }

    #[test]
    fn a_data_key_opens_and_seals_with_its_root_and_nowhere_else() {
        let root = ring(1);
        let wrapped = root.new_data_key(root.key_ids()[0], 1).unwrap();
        let with = root.with_data_keys(std::slice::from_ref(&wrapped));
        assert_eq!(with.key_ids(), [root.key_ids()[0], wrapped.id]);
        assert_eq!((with.root_ids(), with.unopened().len()), (root.key_ids(), 0));
        let rule = KeyRule { epoch: 1, sealing: Some(wrapped.id), refused: Vec::new() };
        let sealed = with.ruled(Some(rule)).seal("s3cret", 1).unwrap();
        assert_eq!(with.key_of(sealed.as_str()), Ok(wrapped.id));
        assert_eq!(with.open(sealed.as_str()).unwrap().secret.expose_secret(), "s3cret");
        assert!(!with.opens_like(&root));
        let error = root.open(sealed.as_str()).unwrap_err();
        assert_eq!(error.code(), "no_key_fits", "it was never told of it");
        // Another ring is told of it, and has no such root.
        let other = ring(1).with_data_keys(std::slice::from_ref(&wrapped));
        let root = root.key_ids()[0];
        let unopened = UnopenedKey { id: wrapped.id, root, is_damaged: false };
        assert_eq!(other.unopened(), [unopened]);
        let error = other.open(sealed.as_str()).unwrap_err();
        assert_eq!(error.code(), "data_key_unopened");
        assert!(error.to_string().contains(&wrapped.id.to_string()), "{error}");
    }

    #[test]
    fn what_was_damaged_or_swapped_is_no_key_and_no_secret() {
        let root = ring(1);
        let id = root.key_ids()[0];
        let [one, two] = [1, 2].map(|at| root.new_data_key(id, at).unwrap());
        let swapped = WrappedKey { sealed: two.sealed.clone(), ..one.clone() };
        let damaged = |at: usize| {
            let mut text = one.sealed.clone().into_bytes();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            WrappedKey { sealed: String::from_utf8(text).unwrap(), ..one.clone() }
        };
        // When it was made, what is inside, and the tag; the first and the last say nothing of the key.
        let [dated, damaged, untagged] = [3, 70, one.sealed.len() - 8].map(damaged);
        let empty = WrappedKey { sealed: String::new(), ..one.clone() };
        let secret = root.seal("not a key", 1).unwrap();
        let secret = WrappedKey { sealed: secret.as_str()[PREFIX.len()..].into(), ..one.clone() };
        for wrong in [swapped, dated, damaged, untagged, empty, secret] {
            let with = root.with_data_keys(&[wrong]);
            assert_eq!(with.unopened(), [UnopenedKey { id: one.id, root: id, is_damaged: true }]);
            assert_eq!(with.key_ids(), [id]);
        }
        // Put where a secret stands it does not open either.
        let error = root.open(&format!("{PREFIX}{}", one.sealed)).unwrap_err();
        assert_eq!(error.code(), "token_malformed");
    }

    #[test]
    fn another_root_seals_the_same_data_key() {
        let roots = ring(2);
        let [old, new] = [roots.key_ids()[0], roots.key_ids()[1]];
        let wrapped = roots.new_data_key(old, 1).unwrap();
        let again = roots.rewrap(&wrapped, new, 2).unwrap();
        assert_eq!((again.id, again.root), (wrapped.id, new));
        assert_eq!(roots.with_data_keys(&[again]).key_ids(), [old, new, wrapped.id]);
        let stranger = ring(1);
        let error = stranger.rewrap(&wrapped, stranger.key_ids()[0], 2).unwrap_err();
        assert_eq!(error.code(), "data_key_unopened");
        let error = roots.new_data_key(wrapped.id, 2).unwrap_err();
        assert_eq!(error, KeyError::RootKeyMissing { key: wrapped.id });
    }

    #[test]
    fn a_key_that_was_there_stays_and_one_that_is_gone_goes() {
        let root = ring(1);
        let wrapped = root.new_data_key(root.key_ids()[0], 1).unwrap();
        let with = root.with_data_keys(std::slice::from_ref(&wrapped));
        let elsewhere = WrappedKey { root: ring(1).key_ids()[0], ..wrapped.clone() };
        assert_eq!(with.with_data_keys(&[elsewhere]).key_ids(), with.key_ids());
        assert_eq!(with.with_data_keys(&[]).key_ids(), root.key_ids());
        let stranger = ring(1).with_data_keys(std::slice::from_ref(&wrapped));
        let error = stranger.open(root.seal("s3cret", 1).unwrap().as_str()).unwrap_err();
        let unopened = stranger.unopened();
        let shown = format!("{wrapped:?} {with:?} {unopened:?} {} {error} {error:?}", unopened[0]);
        let bytes = opened(&root.keys, &wrapped).unwrap();
        let raw = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE, bytes.as_slice());
        let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        for secret in [wrapped.sealed.as_str(), raw.trim_end_matches('='), &hex] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
