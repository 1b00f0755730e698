//! Passwords of people, as they are stored: argon2id, as a PHC string.
//!
//! The costs are those of OWASP's Password Storage Cheat Sheet (19 MiB, two passes, one lane). A hash
//! says its own, so they can be raised later; one that asks for much more memory is no hash of ours and
//! fits nothing.
//!
//! **Invariant:** comparing takes as long for a user who is not there, or has no password, as for a
//! wrong password.

use std::fmt;

#[cfg(feature = "server")]
use argon2::password_hash::phc;
#[cfg(feature = "server")]
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::keyring::KeyError;

/// What is stored of a password. `Debug` hides it.
///
/// ```
/// use trunkline::access::PasswordHash;
///
/// let hash = PasswordHash::of("a long enough sentence")?;
/// assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
/// assert!(PasswordHash::matches(Some(&hash), "a long enough sentence"));
/// assert!(!PasswordHash::matches(Some(&hash), "another sentence"));
/// # Ok::<(), trunkline::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The hash of a password. Takes some 30 ms and 19 MiB, so never on a thread that others wait for.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`].
    #[cfg(feature = "server")]
    pub fn of(password: &str) -> Result<Self, KeyError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| KeyError::NoRandomness)?;
        let hash: Result<phc::PasswordHash, _> =
            Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
        // A password of any length up to gigabytes is hashed, and the salt has the length that it must.
        hash.map(|hash| Self(hash.to_string())).map_err(|_| KeyError::NoRandomness)
    }

    /// Whether a password has this hash. Without one it takes as long, and is `false`.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn matches(hash: Option<&Self>, password: &str) -> bool {
        let own = hash.and_then(|hash| phc::PasswordHash::new(&hash.0).ok()).filter(is_bearable);
        let nobody = || phc::PasswordHash::new(NOBODY).ok();
        let Some(hash) = own.clone().or_else(nobody) else { return false };
        let fits = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
        fits && own.is_some()
    }

    /// What stands in a row, unread.
    #[must_use]
    pub fn from_phc(text: String) -> Self {
        Self(text)
    }

    /// As it is stored.
    #[must_use]
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PasswordHash(hidden)")
    }
}

/// A password that nobody chose: 144 random bits in 24 characters.
///
/// # Errors
///
/// [`KeyError::NoRandomness`].
pub fn generate_password() -> Result<Zeroizing<String>, KeyError> {
    let mut bits = Zeroizing::new([0; 18]);
    getrandom::fill(&mut *bits).map_err(|_| KeyError::NoRandomness)?;
    let mut text = Zeroizing::new(String::with_capacity(24));
    URL_SAFE_NO_PAD.encode_string(*bits, &mut text);
    Ok(text)
}

/// Whether a row asks for no more memory and time than a daemon can spare.
#[cfg(feature = "server")]
fn is_bearable(hash: &phc::PasswordHash) -> bool {
    let costs = Params::try_from(hash);
    hash.algorithm == argon2::ARGON2ID_IDENT
        && costs.is_ok_and(|costs| {
            costs.m_cost() <= MOST_KIB && costs.t_cost() <= MOST_PASSES && costs.p_cost() <= 4
        })
}

/// How many bytes a password may have.
pub const LONGEST_PASSWORD: usize = 256;
/// How many characters it must have.
pub const SHORTEST_PASSWORD: usize = 12;

#[cfg(feature = "server")]
const MOST_KIB: u32 = 64 << 10;
#[cfg(feature = "server")]
const MOST_PASSES: u32 = 8;
/// A hash of random bits that nobody knows, with the costs of all others.
#[cfg(feature = "server")]
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA\
                      $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_alone_and_two_hashes_of_it_differ() {
        let (one, other) = (PasswordHash::of("so it is").unwrap(), PasswordHash::of("so it is"));
        assert_ne!(one, other.unwrap());
        assert!(PasswordHash::matches(Some(&one), "so it is"));
        for wrong in ["", "so it i", "so it is ", "So it is"] {
            assert!(!PasswordHash::matches(Some(&one), wrong), "{wrong}");
        }
        assert_eq!(format!("{one:?}"), "PasswordHash(hidden)");
    }

    #[test]
    fn nobody_s_hash_can_be_compared_with_and_fits_nothing() {
        let nobody = phc::PasswordHash::new(NOBODY).unwrap();
        assert!(is_bearable(&nobody), "comparing with it costs what it costs with any other");
        assert!(!PasswordHash::matches(None, "") && !PasswordHash::matches(None, "so it is"));
    }

    #[test]
    fn a_row_that_is_no_hash_or_asks_for_too_much_fits_nothing() {
        let hash = PasswordHash::of("so it is").unwrap();
        for text in [
            String::new(),
            "so it is".to_owned(),
            hash.0.replace("m=19456", "m=4194304"),
            hash.0.replace("t=2", "t=4000000"),
            hash.0.replace("argon2id", "argon2d"),
        ] {
            assert!(
                !PasswordHash::matches(Some(&PasswordHash(text.clone())), "so it is"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_generated_one_is_long_enough_and_its_own() {
        let (one, other) = (generate_password().unwrap(), generate_password().unwrap());
        assert!(one.chars().count() >= SHORTEST_PASSWORD && *one != *other);
    }
}
