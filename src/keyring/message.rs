//! What messages between nodes are sealed under: keys of their own, derived from those of the ring and
//! from what the messages are about. So none is taken for a secret, nor for one of another database.

use zeroize::Zeroizing;

use super::fernet::{Form, MAX_PLAINTEXT, Token};
use super::{KeyError, KeyId, KeyRing};

impl KeyRing {
    /// Seals a message about something, under a key derived from the one that seals, and tells which that
    /// is. At most [`LONGEST_MESSAGE`] bytes.
    pub(crate) fn seal_message(
        &self,
        about: &[u8],
        inside: &[u8],
        unix_seconds: u64,
    ) -> Result<(KeyId, String), KeyError> {
        if inside.len() > LONGEST_MESSAGE {
            return Err(KeyError::PlaintextTooLong { longest: LONGEST_MESSAGE });
        }
        let mut iv = [0; 16];
        getrandom::fill(&mut iv).map_err(|_| KeyError::NoRandomness)?;
        let key = self.sealing_key()?;
        let sealed = key.derived(&purpose(about)).seal(Form::Message, inside, unix_seconds, iv);
        Ok((KeyId(key.id()), sealed))
    }

    /// What a message says that the key with that id has sealed. `None`: the ring has no such key, or it
    /// sealed no such message.
    pub(crate) fn open_message(
        &self,
        about: &[u8],
        key: KeyId,
        sealed: &str,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let token = Token::parse(sealed, &[Form::Message]).ok()?;
        let key = self.keys.iter().find(|known| known.id() == key.0)?.derived(&purpose(about));
        key.signed(&token).then(|| key.open(&token))?
    }
}

fn purpose(about: &[u8]) -> Vec<u8> {
    [PURPOSE, about].concat()
}

/// How long a message may be, in bytes.
pub(crate) const LONGEST_MESSAGE: usize = MAX_PLAINTEXT;
/// Begins as no token does, which a key of the ring might have signed.
const PURPOSE: &[u8] = b"trunkline messages 1\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_opens_with_its_key_for_what_it_is_about_and_nowhere_else() {
        let keys = [KeyRing::generate().unwrap(), KeyRing::generate().unwrap()];
        let ring = |keys: &[&str]| KeyRing::parse(&keys.join(",")).unwrap();
        let (old, both) = (ring(&[&keys[0]]), ring(&[&keys[1], &keys[0]]));
        let (id, sealed) = old.seal_message(b"here", b"news", 1).unwrap();
        assert_eq!(both.open_message(b"here", id, &sealed).as_deref(), Some(&b"news".to_vec()));
        assert!(both.open_message(b"there", id, &sealed).is_none());
        assert!(ring(&[&keys[1]]).open_message(b"here", id, &sealed).is_none(), "no such key");
        assert!(both.open_message(b"here", both.key_ids()[0], &sealed).is_none(), "another key");
        assert!(both.open(&format!("dev-s-t-{sealed}")).is_err(), "it is no secret");
        let mut forged = sealed.into_bytes();
        forged[40] ^= 1;
        let forged = String::from_utf8(forged).unwrap();
        assert!(both.open_message(b"here", id, &forged).is_none());
    }
}
