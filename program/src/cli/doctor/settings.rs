//! The settings by themselves: what is odd about them, the rights of their files, the flag, the ring.

use trunkline::{KeyError, Settings};

use super::{DoctorFinding, State, failed, good, warning};

/// That they are valid, and what is odd about them.
pub(super) fn look(settings: &Settings) -> Vec<DoctorFinding> {
    let odd = settings.warnings.iter().map(|found| {
        let state = if found.unsafe_so { State::Bad } else { State::Warning };
        DoctorFinding { state, ..warning("settings", found.to_string(), None) }
    });
    [good("settings", "valid")].into_iter().chain(odd).collect()
}

pub(super) fn flag(settings: &Settings) -> DoctorFinding {
    if settings.database_off {
        let found = "DATABASE_OFF is set: only the environment answers, and NO RULES HOLD";
        let hint = "take it out once the database is well; until then every country may be called";
        warning("flag", found, Some(hint))
    } else if settings.enabled {
        good("flag", "on: the database is asked first")
    } else {
        let found = "USE_SELFHOST_ROUTING_TABLE is off: the environment answers, by the rules of each \
                     number";
        warning("flag", found, None)
    }
}

pub(super) fn ring(settings: &Settings) -> DoctorFinding {
    match &settings.ring {
        Some(ring) => {
            let ids: Vec<_> = ring.key_ids().iter().map(ToString::to_string).collect();
            good("key ring", format!("keys {}; the first seals", ids.join(", ")))
        }
        None => failed("key ring", KeyError::KeyMissing),
    }
}
