//! `trunkline secret`: sealing and opening, from stdin to stdout.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;
use trunkline::clock::{Clock, SystemClock};
use trunkline::{Binding, Converted, ExposeSecret, KeyError, KeyRing, Opened, Sealed};

use super::Context;
use super::failure::{Done, Failure};
use super::input;
use super::output::{json_line, raw};
use super::plain::plain;

/// Secrets come from stdin, or from a hidden prompt where that is a terminal. Exactly one trailing
/// newline is dropped.
#[derive(Subcommand)]
pub(crate) enum Secret {
    /// Seal a plaintext secret with the first key
    Seal,
    /// Open a sealed secret with the key that fits
    Open {
        /// Print the secret even to a terminal
        #[arg(long)]
        reveal: bool,
    },
    /// Open what begins with dev-s-t- and seal the rest, like `encrypt_decrypt` of the Python tool
    Convert {
        /// Print an opened secret even to a terminal
        #[arg(long)]
        reveal: bool,
    },
}

impl Secret {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let ring = context.ring()?;
        let now = SystemClock::default().unix_seconds();
        match self {
            Self::Seal => {
                let plaintext = input::secret(None, "secret to seal")?;
                show_sealed(context, &ring, &ring.seal(&plaintext, now)?)
            }
            Self::Open { reveal } => {
                guard(reveal)?;
                let sealed = input::secret(None, "sealed secret")?;
                let ring = with_key_of(context, ring, &sealed).await;
                let opened = ring.open_whose(&sealed, |owner| {
                    if let Some(Binding { config, url, api_key }) = owner {
                        let (url, key) = (plain(url), plain(api_key));
                        eprintln!("bound to config {config}, {url} and API key {key}");
                    }
                    Ok(())
                })?;
                show_opened(context, &opened)
            }
            Self::Convert { reveal } => {
                let text = input::secret(None, "secret")?;
                let ring = with_key_of(context, ring, &text).await;
                match ring.convert(&text, now)? {
                    Converted::Sealed(sealed) => show_sealed(context, &ring, &sealed),
                    Converted::Opened(opened) => {
                        guard(reveal)?;
                        show_opened(context, &opened)
                    }
                }
            }
        }
    }
}

/// The ring, with the data keys of the database where no key of the settings has sealed this: then it is asked.
async fn with_key_of(context: &Context, ring: Arc<KeyRing>, sealed: &str) -> Arc<KeyRing> {
    match ring.key_of(sealed) {
        // Without the database what is told is that no key fits.
        Err(KeyError::NoKeyFits { .. }) => context.whole_ring().await.map_or(ring, Arc::new),
        _ => ring,
    }
}

fn guard(reveal: bool) -> Done {
    if reveal || !std::io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage("terminal_refused", "a secret is not printed to a terminal")
        .hint("pipe it to where it is needed, or say --reveal"))
}

fn show_sealed(context: &Context, ring: &KeyRing, sealed: &Sealed) -> Done {
    if context.json {
        let key = ring.key_ids().first().map(ToString::to_string);
        json_line(&json!({"sealed": sealed.as_str(), "key": key}))
    } else {
        raw(sealed.as_str())
    }
}

fn show_opened(context: &Context, opened: &Opened) -> Done {
    let secret = opened.secret.expose_secret();
    if context.json {
        json_line(&json!({"secret": secret, "key": opened.key.to_string()}))
    } else {
        raw(secret)
    }
}
