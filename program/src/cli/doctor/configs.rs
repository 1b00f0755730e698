//! Where configs send calls.

use trunkline::store::Config;
use trunkline::{ServerUrl, Settings};

use super::{DoctorFinding, bad, warning};

/// What is wrong with the URLs of configs.
pub(super) fn look(configs: &[Config], settings: &Settings) -> Vec<DoctorFinding> {
    configs.iter().filter_map(|config| of(config, settings)).collect()
}

fn of(config: &Config, settings: &Settings) -> Option<DoctorFinding> {
    let name = &config.name;
    let Ok(url) = config.url.parse::<ServerUrl>() else {
        let hint = "correct it with `trunkline livekit edit --url`";
        return Some(bad("configs", format!("\"{name}\" has a malformed URL"), hint));
    };
    if !settings.environment.hosts.allow(&url) {
        let found = format!("\"{name}\" is at a host that is not in LIVEKIT_HOSTS");
        let hint = "add the host there, or correct the URL with `trunkline livekit edit --url`";
        return Some(bad("configs", found, hint));
    }
    url.is_off_limits().then(|| {
        let found = format!("\"{name}\" is at a link-local or metadata address");
        let hint =
            "correct it with `trunkline livekit edit --url`; the next major version will refuse it";
        warning("configs", found, Some(hint))
    })
}
