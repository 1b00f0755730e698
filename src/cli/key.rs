//! `trunkline key`: encryption keys.

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
    /// Keep it where only the program can read it, in a file of mode 0600 that
    /// `LIVEKIT_SECRET_ENCRYPTION_KEY_FILE` names. Without it no sealed secret can be opened.
    Generate,
}

impl Key {
    pub(crate) fn run(self, context: &Context) -> Done {
        let Self::Generate = self;
        let key = KeyRing::generate()?;
        if context.json {
            let id = KeyRing::parse(&key)?.key_ids().first().map(ToString::to_string);
            json_line(&json!({"key": *key, "id": id}))
        } else {
            raw(key.as_str())
        }
    }
}
