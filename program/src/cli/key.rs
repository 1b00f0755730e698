//! `trunkline key`: encryption keys, and what is sealed with them.

mod bind;
mod compromise;
mod promote;
mod retire;
mod rewrap;
mod rotate;
mod shown;
mod stage;
mod status;
mod verify;

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
    /// Show which keys there are, what each is for, how many secrets it opens and which nodes have it
    Status,
    /// Stage a key that every process has: it is the next one that seals
    ///
    /// Put it last into `LIVEKIT_SECRET_ENCRYPTION_KEY` of every process first, after a comma. Readers that
    /// have a single key, such as the Python service, do not survive what follows: they cannot open what the
    /// new key seals. Give them both keys (`MultiFernet`), or stop them.
    ///
    /// With `--wrapped` a key is made that rests in the database, sealed by a key of the settings: no process
    /// takes another setting for it. It is never printed, so readers that know only the settings cannot be given it.
    Stage(stage::Stage),
    /// Have the staged key seal, once every node has it
    Promote(promote::Promote),
    /// Turn the keys as far as it goes: stage, promote, seal again, verify, refuse, retire
    ///
    /// Each step that is done already is passed over, so it may be interrupted anywhere and run again. Where a
    /// step has to wait, it says until when and ends well: run it again then, from a timer for instance.
    Rotate(rotate::Rotate),
    /// Open every secret, and count how many are under each key
    Verify,
    /// Refuse an old key while it is still there; run again later, retire it
    Retire(retire::Retire),
    /// Seal the keys that rest in the database by another key of the settings
    ///
    /// Put the new key last into `LIVEKIT_SECRET_ENCRYPTION_KEY` of every process first. No secret of a config is
    /// sealed again. Then the key before it can be taken out of every process, unless secrets are under it.
    Rewrap(rewrap::Rewrap),
    /// Others may have a key: replace it in the shortest safe order, and say what stays exposed
    ///
    /// Needs another key in the ring of this process, and of as many nodes as can be reached in the time that
    /// there is: nodes without it cannot open what it seals from now on.
    Compromise(compromise::Compromise),
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
            Self::Status => status::run(context).await,
            Self::Stage(stage) => stage.run(context).await,
            Self::Promote(promote) => promote.run(context).await,
            Self::Rotate(rotate) => rotate.run(context).await,
            Self::Verify => verify::run(context).await,
            Self::Retire(retire) => retire.run(context).await,
            Self::Rewrap(rewrap) => rewrap.run(context).await,
            Self::Compromise(compromise) => compromise.run(context).await,
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
