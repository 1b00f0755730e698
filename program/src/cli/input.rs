//! What is read: secrets from stdin, a file or a hidden prompt, never from an argument.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::failure::{Exit, Failure};

/// Reads a secret from a file, or from stdin, or asks for it where stdin is a terminal. Exactly one
/// trailing newline is dropped.
pub(crate) fn secret(file: Option<&Path>, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let text = match file {
        Some(path) => open(path, LONGEST_SECRET)?,
        None if io::stdin().is_terminal() => Zeroizing::new(
            rpassword::prompt_password(format!("{prompt}: "))
                .map_err(|error| failed("the terminal", &error))?,
        ),
        None => read(io::stdin().lock(), "stdin", LONGEST_SECRET)?,
    };
    let trimmed = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Zeroizing::new(trimmed.to_owned()))
}

/// Reads a secret that somebody chooses: from stdin, or twice from a terminal.
pub(crate) fn new_secret(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let secret_once = secret(None, prompt)?;
    if io::stdin().is_terminal() && *secret(None, &format!("{prompt} again"))? != *secret_once {
        return Err(Failure::new("input_differs", "the two are not the same", Exit::Failed));
    }
    Ok(secret_once)
}

/// Reads a text file; `-` is stdin.
pub(crate) fn text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = open(path, LARGEST + 1)?;
    if text.len() as u64 > LARGEST {
        let message = format!("{} is larger than {} MiB", path.display(), LARGEST >> 20);
        return Err(Failure::new("input_too_large", message, Exit::Failed));
    }
    Ok(text)
}

fn open(path: &Path, most: u64) -> Result<Zeroizing<String>, Failure> {
    if path == Path::new("-") {
        return read(io::stdin().lock(), "stdin", most);
    }
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| failed(&name, &error))?;
    read(file, &name, most)
}

/// Reads text, `most` bytes of it at the most.
fn read(source: impl Read, name: &str, most: u64) -> Result<Zeroizing<String>, Failure> {
    // Room for any secret, so that growing leaves no copy of one behind.
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(2 * usize::try_from(LONGEST_SECRET).unwrap_or(0)));
    source.take(most).read_to_end(&mut bytes).map_err(|error| failed(name, &error))?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        // Cut off in the middle of a character.
        Err(error) if bytes.len() as u64 == most && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => {
            let message = format!("{name} is not UTF-8 text");
            return Err(Failure::new("input_not_text", message, Exit::Failed));
        }
    };
    if text.contains('\0') {
        let message = format!("{name} holds a NUL byte; secrets and numbers are plain text");
        return Err(Failure::new("input_not_text", message, Exit::Failed));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn failed(name: &str, error: &io::Error) -> Failure {
    Failure::new("input_unreadable", format!("{name}: {error}"), Exit::Failed)
}

/// Four times what the key ring takes: whatever is longer is refused there by its length, and the
/// rest of it need not be read.
const LONGEST_SECRET: u64 = 64 << 10;
/// A file of millions of numbers.
const LARGEST: u64 = 256 << 20;
