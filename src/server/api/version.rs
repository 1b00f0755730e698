//! The version of a row: what people set in it, and nothing that resealing a secret under another key
//! changes.
//!
//! The version of a config depends on its secret, which a reseal leaves as it is. It is keyed with that
//! secret, as every access token is, so it tells no more of it than a token does.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use sha2::Sha256;

use crate::access::hex;
use crate::keyring::KeyRing;
use crate::store::{Config, Number};

/// The version of a config. Where its secret does not open, the sealed text stands for it.
pub(in crate::server) fn of_config(config: &Config, ring: Option<&KeyRing>) -> String {
    let opened = ring.and_then(|ring| {
        let open = |secret: &str| ring.open_whose(secret, |_| Ok(())).ok();
        open(config.api_secret.expose_secret())
    });
    let secret = opened.as_ref().map_or_else(
        || config.api_secret.expose_secret(),
        |opened| opened.secret.expose_secret().as_str(),
    );
    let text = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
    let mut parts = vec![
        Some(b"config".to_vec()),
        Some(config.id.0.as_bytes().to_vec()),
        Some(config.name.as_bytes().to_vec()),
        text(&config.description),
        Some(config.url.as_bytes().to_vec()),
        Some(config.api_key.as_bytes().to_vec()),
        text(&config.trunk_id),
        text(&config.agent),
    ];
    // An enabled one has the version that it had before configs could be disabled.
    parts.extend(config.disabled_at.map(|_| Some(b"disabled".to_vec())));
    version(secret.as_bytes(), &parts)
}

/// The version of a number.
pub(in crate::server) fn of_number(number: &Number) -> String {
    version(
        b"",
        &[
            Some(b"number".to_vec()),
            Some(number.id.as_bytes().to_vec()),
            Some(number.tenant.0.as_bytes().to_vec()),
            Some(number.digits.as_bytes().to_vec()),
            number.provider.as_ref().map(|text| text.as_bytes().to_vec()),
            Some(number.rules.to_string().into_bytes()),
        ],
    )
}

fn version(key: &[u8], parts: &[Option<Vec<u8>>]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(b"trunkline version 1");
    for part in parts {
        // What is absent is another thing than what is empty.
        let length = part.as_ref().map_or(u64::MAX, |part| part.len() as u64);
        mac.update(&length.to_be_bytes());
        mac.update(part.as_deref().unwrap_or_default());
    }
    let hash = mac.finalize().into_bytes();
    hex(&hash[..BYTES])
}

const BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::Sealed;
    use crate::number::ConfigId;

    fn config(sealed: &Sealed) -> Config {
        Config {
            id: ConfigId(uuid::Uuid::from_u128(1)),
            name: "eu".into(),
            description: None,
            url: "wss://eu.example".into(),
            api_key: "APIeu".into(),
            api_secret: sealed.as_str().into(),
            trunk_id: None,
            agent: None,
            created_at: None,
            updated_at: None,
            disabled_at: None,
        }
    }

    #[test]
    fn a_reseal_keeps_the_version_and_every_edit_moves_it() {
        let (old, new) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
        let ring = KeyRing::parse(&format!("{}, {}", *old, *new)).unwrap();
        let newer = KeyRing::parse(&new).unwrap();
        let first = config(&ring.seal("s3cret", 0).unwrap());
        let version = of_config(&first, Some(&ring));
        let resealed = config(&newer.seal("s3cret", 1).unwrap());
        assert_eq!(of_config(&resealed, Some(&newer)), version);
        let bound = config(&ring.seal_for("s3cret", &first.binding(), 0).unwrap());
        assert_eq!(of_config(&bound, Some(&ring)), version, "bound to its config");
        let edits = [
            config(&ring.seal("another", 0).unwrap()),
            Config { name: "us".into(), ..first.clone() },
            Config { description: Some(String::new()), ..first.clone() },
            Config { url: "wss://us.example".into(), ..first.clone() },
            Config { api_key: "APIus".into(), ..first.clone() },
            Config { trunk_id: Some("ST".into()), ..first.clone() },
            Config { agent: Some("ST".into()), ..first.clone() },
            Config { disabled_at: Some(chrono::DateTime::UNIX_EPOCH), ..first.clone() },
        ];
        let mut versions: Vec<_> = edits.iter().map(|edit| of_config(edit, Some(&ring))).collect();
        versions.push(version);
        versions.sort_unstable();
        versions.dedup();
        assert_eq!(versions.len(), 9);
    }

    #[test]
    fn a_secret_that_does_not_open_has_a_version_too() {
        let ring = KeyRing::parse(&KeyRing::generate().unwrap()).unwrap();
        let row = config(&ring.seal("s3cret", 0).unwrap());
        assert_ne!(of_config(&row, None), of_config(&row, Some(&ring)));
    }
}
