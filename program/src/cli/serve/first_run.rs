//! Where a daemon lives that no settings give a database: the user's own data folder.
//!
//! **Invariant:** a key that is there is never touched, and none is made for a database that lacks
//! its own.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use trunkline::KeyRing;
use trunkline::settings::{SettingsFiles, Values};

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::private::write_private;

/// Without a database in the settings: one in the user's own data folder, with a key that is made at
/// the first start. Says so, in a line for each.
pub(super) fn with_default_files(context: &Context) -> Result<SettingsFiles, Failure> {
    let mut files = context.files.clone();
    let values = &context.values;
    // With `--json`, stderr is for an error and nothing else.
    let say = |text: String| {
        if !context.json {
            eprintln!("{text}");
        }
    };
    // Nothing is made before all of them are known to be good.
    let settings = context.settings()?;
    if settings.database.is_some() || !settings.enabled {
        return Ok(files);
    }
    let folder = data_folder(values)?;
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(&folder).map_err(|error| folder_failed(&folder, &error))?;
    let (database, key) = (folder.join("trunkline.db"), folder.join("key"));
    say(format!("no DATABASE_URL: the database is {}", database.display()));
    files.defaults.push(("DATABASE_URL".into(), format!("sqlite:{}", database.display())));
    if settings.ring.is_none() {
        let made = keep_key(&key, &database)?;
        let note = if made { ", made now; whoever loses it loses the secrets" } else { "" };
        say(format!("no LIVEKIT_SECRET_ENCRYPTION_KEY: the key is in {}{note}", key.display()));
        let name = "LIVEKIT_SECRET_ENCRYPTION_KEY_FILE";
        files.defaults.push((name.into(), key.display().to_string()));
    }
    Ok(files)
}

/// Where programs keep what is the user's, by the XDG base directory specification.
fn data_folder(values: &Values) -> Result<PathBuf, Failure> {
    let of = |name: &str| values.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = of("XDG_DATA_HOME").or_else(|| Some(of("HOME")?.join(".local/share")));
    base.map(|base| base.join("trunkline")).ok_or_else(|| {
        Failure::new("no_home", "neither DATABASE_URL nor HOME is set", Exit::Settings)
            .hint("set DATABASE_URL to postgres://… or sqlite:trunkline.db")
    })
}

/// Makes a key file if there is none. `true`: it did. One that is there is never touched, and none is
/// made for a database that has one somewhere else.
fn keep_key(path: &Path, database: &Path) -> Result<bool, Failure> {
    if path.exists() {
        return Ok(false);
    }
    if database.exists() {
        let message =
            format!("{} is there, and its key {} is not", database.display(), path.display());
        return Err(Failure::new("key_missing", message, Exit::Key)
            .hint("put the key back, or set LIVEKIT_SECRET_ENCRYPTION_KEY_FILE to where it is"));
    }
    write_private(path, &KeyRing::generate()?).map_err(|error| folder_failed(path, &error))?;
    Ok(true)
}

fn folder_failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("folder_failed", format!("{}: {error}", path.display()), Exit::Failed)
}
