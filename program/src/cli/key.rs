//! `trunkline key`: encryption keys, and what is sealed with them.

mod bind;

use clap::Subcommand;
use serde_json::json;
use trunkline::KeyRing;

use super::Context;
use super::failure::Done;
use super::output::{json_line, raw};

#[derive(Subcommand)]
pub(crate) enum Key {
    /// Make a Fernet key and print it
    ///
    /// Store it in a file of mode 0600, and set `LIVEKIT_SECRET_ENCRYPTION_KEY_FILE` to that file. Without it no sealed secret can be opened.
    Generate,
    /// Bind secrets to their configs: if somebody without the key edits or swaps a row, its secret
    /// does not open
    ///
    /// Seals each secret again, with the first key, together with the id, the URL and the API key of
    /// its config. Older readers refuse this form: the Python service, and trunkline before this
    /// version. Update all of them first; `key unbind` undoes it.
    Bind(bind::Bind),
    /// Seal secrets as plain Fernet tokens again, which every reader opens
    Unbind(bind::Bind),
}

impl Key {
    pub(crate) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Generate => generate(context),
            Self::Bind(bind) => bind.run(context, true).await,
            Self::Unbind(bind) => bind.run(context, false).await,
        }
    }
}

fn generate(context: &Context) -> Done {
    let key = KeyRing::generate()?;
    if context.json {
        let id = KeyRing::parse(&key)?.key_ids().first().map(ToString::to_string);
        json_line(&json!({"key": *key, "id": id}))
    } else {
        raw(key.as_str())
    }
}
