//! What a step changes: decided by what is locked, and nothing else.

use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::{EnteredPair, PairError};
use crate::draft::ConfigEditDraft;
use crate::keyring::{Binding, KeyError, KeyRing, Sealed, Secret};
use crate::server_url::AllowedHosts;
use crate::store::{Config, KeptPair, NewPair, PairBook, PairMoves, PairPhase, PairSlot};

/// Key and secret of what was entered.
pub(super) fn checked(
    ring: &KeyRing,
    entered: EnteredPair,
    unix_seconds: u64,
) -> Result<(String, Secret), PairError> {
    let draft = ConfigEditDraft {
        api_key: Some(entered.api_key),
        api_secret: Some(entered.api_secret),
        ..ConfigEditDraft::default()
    };
    let edit = draft.check(ring, &AllowedHosts::default(), unix_seconds)?;
    let (Some(key), Some(sealed)) = (edit.api_key, edit.api_secret) else {
        return Err(KeyError::EmptyInput.into());
    };
    Ok((key, ring.open(sealed.as_str())?.secret))
}

/// The pair that is to be pending. `None`: it is.
pub(super) fn staging(
    ring: &KeyRing,
    book: &PairBook,
    key: &str,
    secret: &Secret,
    unix_seconds: u64,
) -> Result<Option<NewPair>, PairError> {
    if book.config.api_key == key {
        return Err(PairError::SameKey { api_key: key.to_owned() });
    }
    if let Some(previous) = &book.previous
        && previous.config.api_key == key
    {
        return Err(PairError::WasPrevious { api_key: key.to_owned() });
    }
    refuse_kept(book)?;
    if let Some(pending) = &book.pending {
        let same = pending.config.api_key == key
            && pending.is_here
            && same_secret(&opened(ring, &pending.config)?, secret);
        if same {
            return Ok(None);
        }
        return Err(PairError::AnotherPending { api_key: pending.config.api_key.clone() });
    }
    let config = Config { api_key: key.to_owned(), ..book.config.clone() };
    Ok(Some(kept(ring, &config, is_bound(ring, &book.config), secret, unix_seconds)?))
}

/// What makes a kept pair the current one, and the current one previous.
pub(super) fn swap(
    ring: &KeyRing,
    book: &PairBook,
    with: &KeptPair,
    is_checked: bool,
    unix_seconds: u64,
) -> Result<PairMoves, PairError> {
    let is_bound = is_bound(ring, &book.config);
    let secret = opened(ring, &with.config)?;
    let current = sealed(ring, &with.config, is_bound, &secret, unix_seconds)?;
    // Both are sealed again: what moves between two tables while somebody counts what an old key opens is
    // counted in neither.
    let secret = opened(ring, &book.config)?;
    let mut previous = kept(ring, &book.config, is_bound, &secret, unix_seconds)?;
    previous.is_checked = is_checked;
    Ok(PairMoves {
        current: Some((with.config.api_key.clone(), current)),
        pending: if with.phase == PairPhase::Pending { PairSlot::Goes } else { PairSlot::Stays },
        previous: PairSlot::Is(Box::new(previous)),
    })
}

fn kept(
    ring: &KeyRing,
    config: &Config,
    is_bound: bool,
    secret: &Secret,
    unix_seconds: u64,
) -> Result<NewPair, PairError> {
    Ok(NewPair {
        url: config.url.clone(),
        api_key: config.api_key.clone(),
        sealed: sealed(ring, config, is_bound, secret, unix_seconds)?,
        is_checked: false,
        is_compromised: false,
    })
}

fn sealed(
    ring: &KeyRing,
    config: &Config,
    is_bound: bool,
    secret: &Secret,
    unix_seconds: u64,
) -> Result<Sealed, KeyError> {
    if is_bound {
        let owner = Binding { config: config.id.0, url: &config.url, api_key: &config.api_key };
        ring.seal_for(secret.expose_secret(), &owner, unix_seconds)
    } else {
        ring.seal(secret.expose_secret(), unix_seconds)
    }
}

pub(super) fn opened(ring: &KeyRing, config: &Config) -> Result<Secret, KeyError> {
    match config.open(ring) {
        // Whether only bound ones may be used is the readers' concern.
        Err(KeyError::NotBound) => ring.open(config.api_secret.expose_secret()),
        opened => opened,
    }
    .map(|opened| opened.secret)
}

fn is_bound(ring: &KeyRing, config: &Config) -> bool {
    config.is_bound() || ring.is_bound_only()
}

/// A previous pair that is of use is not replaced by another one.
pub(super) fn refuse_kept(book: &PairBook) -> Result<(), PairError> {
    let kept = book.previous.as_ref();
    let kept = kept.filter(|previous| previous.is_here && previous.compromised_at.is_none());
    match kept {
        Some(kept) => Err(PairError::PreviousKept { api_key: kept.config.api_key.clone() }),
        None => Ok(()),
    }
}

pub(super) fn usable(pair: &KeptPair) -> Result<(), PairError> {
    let (phase, api_key) = (pair.phase, pair.config.api_key.clone());
    if !pair.is_here {
        return Err(PairError::OtherServer { phase, api_key });
    }
    if pair.compromised_at.is_some() {
        return Err(PairError::Compromised { api_key });
    }
    Ok(())
}

/// Whether two rows hold the same pair, as it was read.
pub(super) fn same_pair(one: &Config, other: &Config) -> bool {
    let secret = |config: &Config| config.api_secret.expose_secret().to_owned();
    one.url == other.url && one.api_key == other.api_key && secret(one) == secret(other)
}

fn same_secret(one: &Secret, other: &Secret) -> bool {
    one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
}

pub(super) fn is_nothing(moves: &PairMoves) -> bool {
    moves.current.is_none()
        && matches!((&moves.pending, &moves.previous), (PairSlot::Stays, PairSlot::Stays))
}
