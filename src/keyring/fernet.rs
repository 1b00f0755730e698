//! The Fernet format, version 0x80: `version | time | iv | AES-128-CBC ciphertext | HMAC-SHA256`.
//!
//! Built from RustCrypto's parts instead of the `fernet` crate for four promises that crate cannot
//! keep: opening must not depend on the clock (it refuses a token stamped 61 s ahead), keys must be
//! wiped, plaintext must never stand in a buffer that is dropped as it is, and length is limited
//! before any work. The tests hold it against that crate in both directions.
//!
//! Format: the Fernet specification, version 0x80. What is bound has the same one with a version of
//! our own, which every other reader of Fernet refuses.

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit};
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, decoded_len_estimate};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// One Fernet key: the state that 16 bytes of it made for signing, and the other 16, which encrypt.
///
/// Those stand in one place, which is wiped when the key is dropped. Round keys are made of them for
/// each use, because they would leave a copy wherever they are moved.
pub(super) struct Key {
    signing: Hmac<Sha256>,
    encryption: Box<Zeroizing<[u8; 16]>>,
    id: [u8; 4],
}

impl Key {
    /// Reads 32 bytes of base64, of either alphabet, padded or not.
    pub(super) fn parse(text: &str) -> Option<Self> {
        leaving_nothing(|| Self::read(text))
    }

    fn read(text: &str) -> Option<Self> {
        // The longest text that can be a key.
        let mut url_safe = Zeroizing::new([0; 44]);
        let url_safe = url_safe.get_mut(..text.len())?;
        for (to, from) in url_safe.iter_mut().zip(text.bytes()) {
            *to = of_url(from);
        }
        let mut bytes = Zeroizing::new([0; 36]);
        let length = BASE64.decode_slice(&*url_safe, bytes.as_mut_slice()).ok()?;
        (length == 32).then(|| Self::from_bytes(&bytes[..32]))
    }

    /// 32 bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (signing, rest) = bytes.split_at(16);
        let mut encryption = Box::new(Zeroizing::new([0; 16]));
        encryption.copy_from_slice(rest);
        let digest = Sha256::new().chain_update(ID_DOMAIN).chain_update(bytes).finalize();
        Self {
            signing: KeyInit::new_from_slice(signing).expect("HMAC takes a key of any length"),
            encryption,
            id: std::array::from_fn(|at| digest[at]),
        }
    }

    /// A name for the key that does not reveal it: the first 32 bits of a domain-separated SHA-256.
    pub(super) fn id(&self) -> [u8; 4] {
        self.id
    }

    pub(super) fn seal(
        &self,
        form: Form,
        plaintext: &[u8],
        unix_seconds: u64,
        iv: [u8; 16],
    ) -> String {
        let padded = plaintext.len() / 16 * 16 + 16;
        let mut token = Zeroizing::new(Vec::with_capacity(HEADER + padded + TAG));
        token.push(form as u8);
        token.extend_from_slice(&unix_seconds.to_be_bytes());
        token.extend_from_slice(&iv);
        token.extend_from_slice(plaintext);
        token.resize(HEADER + padded, 0);
        leaving_nothing(|| {
            cbc::Encryptor::inner_iv_init(&self.rounds(), &iv.into())
                .encrypt_padded::<Pkcs7>(&mut token[HEADER..], plaintext.len())
                .map(<[u8]>::len)
        })
        .expect("the buffer has room for the padding");
        let tag = self.signing.clone().chain_update(token.as_slice()).finalize().into_bytes();
        token.extend_from_slice(&tag);
        BASE64.encode(token.as_slice())
    }

    /// A key for another purpose, of which nobody gets back to this one.
    pub(super) fn derived(&self, purpose: &[u8]) -> Self {
        leaving_nothing(|| {
            let mac = self.signing.clone().chain_update(purpose).chain_update(**self.encryption);
            Self::from_bytes(&Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()))[..])
        })
    }

    /// Whether this key signed the token. Takes the same time for every wrong tag.
    pub(super) fn signed(&self, token: &Token) -> bool {
        let (signed, tag) = token.0.split_at(token.0.len() - TAG);
        self.signing.clone().chain_update(signed).verify_slice(tag).is_ok()
    }

    /// Decrypts a token that this key signed. `None`: its padding is broken, which only the holder
    /// of the signing half can have done.
    pub(super) fn open(&self, token: &Token) -> Option<Zeroizing<Vec<u8>>> {
        let iv = token.0[HEADER - 16..HEADER].try_into().expect("a token has a whole header");
        let mut plaintext = Zeroizing::new(token.0[HEADER..token.0.len() - TAG].to_vec());
        let length = leaving_nothing(|| {
            cbc::Decryptor::inner_iv_init(&self.rounds(), iv)
                .decrypt_padded::<Pkcs7>(&mut plaintext)
                .map(<[u8]>::len)
        })
        .ok()?;
        plaintext.truncate(length);
        Some(plaintext)
    }

    /// The round keys, for one use.
    fn rounds(&self) -> Aes128 {
        Aes128::new((&**self.encryption).into())
    }
}

/// Does work on a key, and then overwrites what it left on the stack.
fn leaving_nothing<T>(work: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn below<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    #[inline(never)]
    fn overwrite() {
        let mut waste = [0_u64; STACK / 8];
        waste.zeroize();
        std::hint::black_box(&waste);
    }
    let done = below(work);
    overwrite();
    done
}

/// What a token holds. Its first byte, which is signed like the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    /// A secret: a Fernet token.
    Plain = 0x80,
    /// A secret and what it belongs to: no Fernet token.
    Bound = 0x81,
    /// What a ticket says: no Fernet token, and no secret.
    #[cfg(feature = "server")]
    Ticket = 0x82,
    /// What a node tells others: neither.
    #[cfg(feature = "relay")]
    Message = 0x83,
    /// A data key: neither.
    DataKey = 0x84,
}

/// The forms of secrets.
pub(super) const SECRETS: &[Form] = &[Form::Plain, Form::Bound];

/// The bytes of a token whose shape has been checked and whose signature has not.
pub(super) struct Token(Vec<u8>);

impl Token {
    /// Decodes the text of a token of one of these forms, or says what is wrong with it. As in Python,
    /// it may be of either alphabet and broken into lines.
    pub(super) fn parse(text: &str, forms: &[Form]) -> Result<Self, &'static str> {
        let text: Vec<_> =
            text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(of_url).collect();
        if text.len() > MAX_TEXT {
            return Err("longer than 16 KiB");
        }
        let mut bytes = Vec::with_capacity(decoded_len_estimate(text.len()));
        BASE64.decode_vec(&text, &mut bytes).map_err(|_| "not base64url")?;
        let token = Self(bytes);
        match token.0.first() {
            None => Err("empty"),
            Some(_) if token.form(forms).is_none() => Err("not a Fernet token of version 0x80"),
            Some(_) if token.0.len() < HEADER + 16 + TAG => Err("too short; it was cut off"),
            Some(_) if !(token.0.len() - HEADER - TAG).is_multiple_of(16) => {
                Err("not whole AES blocks; a part is missing")
            }
            Some(_) => Ok(token),
        }
    }

    /// Which of these forms it has.
    pub(super) fn form(&self, forms: &[Form]) -> Option<Form> {
        forms.iter().copied().find(|form| self.0.first() == Some(&(*form as u8)))
    }
}

/// The same character in the alphabet that is safe in URLs.
fn of_url(byte: u8) -> u8 {
    match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => other,
    }
}

/// 32 fresh random bytes as a key's text.
pub(super) fn generate() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(Zeroizing::new(BASE64.encode(bytes.as_slice())))
}

/// How deep the work on a key goes at the most, in bytes, without optimization.
const STACK: usize = 12 << 10;
/// Version, time and iv.
const HEADER: usize = 1 + 8 + 16;
const TAG: usize = 32;
/// The longest text that is looked at. A LiveKit secret of 64 bytes makes 184.
pub(super) const MAX_TEXT: usize = 16 * 1024;
/// The longest plaintext whose token still opens.
pub(super) const MAX_PLAINTEXT: usize = MAX_TEXT / 4 * 3 - HEADER - TAG - 16;
const ID_DOMAIN: &[u8] = b"trunkline key id 1\0";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
