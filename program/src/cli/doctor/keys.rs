//! Turning the keys by schedule: whether this role may, whether it has begun, and what keeps it.

use trunkline::Settings;
use trunkline::rotation::{KeyHome, Rotation};
use trunkline::store::{Access, Inspection, MissingGrant, OpenStore};

use super::{DoctorFinding, bad, failed, good, warning};

pub(super) async fn look(
    database: &OpenStore,
    inspection: Option<&Inspection>,
    settings: &Settings,
) -> Option<DoctorFinding> {
    settings.tuning.key_rotation?;
    let Some(ring) = &settings.ring else {
        let found = "KEY_ROTATION is set, and no encryption key is: nothing is turned";
        return Some(warning("keys", found, Some("set LIVEKIT_SECRET_ENCRYPTION_KEY")));
    };
    let lacks = inspection.map(|inspection| inspection.lacks(Access::KeyKeeper));
    let lacks = lacks.unwrap_or_default();
    if let Some(first) = lacks.first() {
        let found = format!("KEY_ROTATION is set, and {} may not turn keys", first.role);
        let grants: Vec<_> = lacks.iter().map(MissingGrant::grant).collect();
        return Some(bad("keys", found, grants.join("; ")));
    }
    let status = match Rotation::new(database, ring, &settings.tuning).status().await {
        Ok(status) => status,
        Err(error) => return Some(failed("keys", error)),
    };
    if let Some(why) = status.turns.and_then(|turns| turns.blocked_by) {
        let hint = "see to it; nothing is forced, and it goes on by itself then";
        return Some(warning("keys", format!("KEY_ROTATION waits: {why}"), Some(hint)));
    }
    let sealing = status.keys.iter().find(|key| key.id == status.sealing);
    if sealing.and_then(|key| key.home) != Some(KeyHome::Database) {
        let found = "KEY_ROTATION is set, and has nothing to turn: the key that seals is one of the settings";
        let hint = "make the first data key with `trunkline key stage --wrapped`, and have it seal";
        return Some(warning("keys", found, Some(hint)));
    }
    Some(good("keys", "turned by schedule, as KEY_ROTATION says"))
}
