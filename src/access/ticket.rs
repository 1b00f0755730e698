//! Tickets: what a browser shows in place of a client's token, to join one room under one identity.
//!
//! A ticket is stored nowhere. It is sealed under a key that is derived from the key ring, so every node
//! with the ring takes it, and nobody else reads it or makes one.
//!
//! **Invariant:** a ticket says who joins, and no more: whether its client still may is looked up each
//! time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::keyring::{KeyError, KeyRing};
use crate::number::{E164, TenantId};

/// Who may join which room, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The client that made it.
    pub(crate) client: Uuid,
    pub(crate) tenant: TenantId,
    pub(crate) from: E164,
    pub(crate) room: String,
    pub(crate) identity: String,
    /// In seconds since 1970.
    pub(crate) expires_at: u64,
}

/// Why a text is no ticket that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TicketError {
    Invalid,
    Expired,
}

/// What is sealed. What this version does not know may be a limit, so it is refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inside {
    client: Uuid,
    tenant: Uuid,
    from: String,
    room: String,
    identity: String,
    until: u64,
}

impl Ticket {
    /// Its text, for an `Authorization: Bearer` header.
    pub(crate) fn seal(&self, ring: &KeyRing, now: Duration) -> Result<String, KeyError> {
        let inside = Inside {
            client: self.client,
            tenant: self.tenant.0,
            from: self.from.digits(),
            room: self.room.clone(),
            identity: self.identity.clone(),
            until: self.expires_at,
        };
        let inside = Zeroizing::new(serde_json::to_vec(&inside).expect("text is JSON"));
        Ok(format!("{TICKET_PREFIX}{}", ring.seal_ticket(&inside, now.as_secs())?))
    }

    /// Reads one that is good at this time since 1970.
    pub(crate) fn open(text: &str, ring: &KeyRing, now: Duration) -> Result<Self, TicketError> {
        let sealed = text.strip_prefix(TICKET_PREFIX).ok_or(TicketError::Invalid)?;
        let inside = ring.open_ticket(sealed).ok_or(TicketError::Invalid)?;
        let Inside { client, tenant, from, room, identity, until } =
            serde_json::from_slice(&inside).map_err(|_| TicketError::Invalid)?;
        if now.as_secs() >= until {
            return Err(TicketError::Expired);
        }
        let from = E164::from_digits(&from).map_err(|_| TicketError::Invalid)?;
        let tenant = TenantId(tenant);
        Ok(Self { client, tenant, from, room, identity, expires_at: until })
    }
}

/// What every ticket begins with.
pub(crate) const TICKET_PREFIX: &str = "tlt_";

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_763_900_000);

    fn key() -> String {
        KeyRing::generate().unwrap().to_string()
    }

    fn ring(keys: &[&str]) -> KeyRing {
        KeyRing::parse(&keys.join(",")).unwrap()
    }

    fn ticket() -> Ticket {
        Ticket {
            client: Uuid::from_u128(1),
            tenant: TenantId(Uuid::from_u128(2)),
            from: "+971501234567".parse().unwrap(),
            room: "call-7".into(),
            identity: "école \"7\"".into(),
            expires_at: NOW.as_secs() + 60,
        }
    }

    #[test]
    fn whoever_has_the_ring_reads_it_as_it_was_until_it_ends() {
        let (old, new) = (key(), key());
        let sealed = ticket().seal(&ring(&[&old]), NOW).unwrap();
        let rotated = ring(&[&new, &old]);
        assert_eq!(Ticket::open(&sealed, &rotated, NOW), Ok(ticket()));
        let last = NOW + Duration::from_secs(59);
        assert_eq!(Ticket::open(&sealed, &rotated, last), Ok(ticket()));
        let end = NOW + Duration::from_secs(60);
        assert_eq!(Ticket::open(&sealed, &rotated, end), Err(TicketError::Expired));
        assert_eq!(Ticket::open(&sealed, &ring(&[&new]), NOW), Err(TicketError::Invalid));
    }

    #[test]
    fn it_says_nothing_to_who_has_no_key() {
        let ring = ring(&[&key()]);
        let (one, other) = (ticket().seal(&ring, NOW).unwrap(), ticket().seal(&ring, NOW).unwrap());
        assert_ne!(one, other);
        let bytes = base64::engine::general_purpose::URL_SAFE.decode(&one[4..]).unwrap();
        for inside in ["call-7", "971501234567", "client", "room"] {
            assert!(!bytes.windows(inside.len()).any(|part| part == inside.as_bytes()), "{inside}");
        }
    }

    #[test]
    fn neither_is_taken_for_the_other_by_the_key_that_sealed_both() {
        let ring = ring(&[&key()]);
        let secret = ring.seal("a secret", NOW.as_secs()).unwrap();
        let as_ticket = secret.as_str().replace(crate::keyring::PREFIX, TICKET_PREFIX);
        assert_eq!(Ticket::open(&as_ticket, &ring, NOW), Err(TicketError::Invalid));
        let sealed = ticket().seal(&ring, NOW).unwrap();
        let as_secret = sealed.replace(TICKET_PREFIX, crate::keyring::PREFIX);
        assert!(ring.open(&as_secret).is_err());
    }

    #[test]
    fn one_that_was_altered_is_none() {
        let ring = ring(&[&key()]);
        let sealed = ticket().seal(&ring, NOW).unwrap();
        for at in (TICKET_PREFIX.len()..sealed.len() - 4).step_by(7) {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert_eq!(Ticket::open(&altered, &ring, NOW), Err(TicketError::Invalid), "{at}");
        }
        for text in ["", "tlt_", "tlt_x", &sealed[4..], "tlc_x"] {
            assert_eq!(Ticket::open(text, &ring, NOW), Err(TicketError::Invalid), "{text}");
        }
    }
}
