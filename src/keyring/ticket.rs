//! What tickets are sealed under: keys of their own, derived from those of the ring. So a ticket is
//! never taken for a secret, nor a secret for a ticket.

use zeroize::Zeroizing;

use super::fernet::{Form, MAX_PLAINTEXT, Token};
use super::{KeyError, KeyRing};

impl KeyRing {
    /// Seals what a ticket says, under a key derived from the one that seals.
    pub(crate) fn seal_ticket(&self, inside: &[u8], unix_seconds: u64) -> Result<String, KeyError> {
        if inside.len() > MAX_PLAINTEXT {
            return Err(KeyError::PlaintextTooLong { longest: MAX_PLAINTEXT });
        }
        let mut iv = [0; 16];
        getrandom::fill(&mut iv).map_err(|_| KeyError::NoRandomness)?;
        let key = self.sealing_key()?.derived(PURPOSE);
        Ok(key.seal(Form::Ticket, inside, unix_seconds, iv))
    }

    /// What a ticket says that any key of the ring has sealed.
    pub(crate) fn open_ticket(&self, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let token = Token::parse(sealed, &[Form::Ticket]).ok()?;
        let mut keys = self.keys.iter().map(|key| key.derived(PURPOSE));
        keys.find(|key| key.signed(&token))?.open(&token)
    }
}

/// Begins as no token does, which a key of the ring might have signed.
const PURPOSE: &[u8] = b"trunkline tickets 1\0";
