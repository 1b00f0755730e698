//! What is read: secrets from stdin, a file or a hidden prompt, never from an argument.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::failure::{Exit, Failure};

/// Reads a secret from a file, or from stdin, or asks for it where stdin is a terminal. Exactly one
/// trailing newline is dropped.
pub(crate) fn secret(file: Option<&Path>, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let text = match file {
        Some(path) => text(path)?,
        None if io::stdin().is_terminal() => Zeroizing::new(
            rpassword::prompt_password(format!("{prompt}: "))
                .map_err(|error| failed("the terminal", &error))?,
        ),
        None => read(io::stdin().lock(), "stdin")?,
    };
    let trimmed = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Zeroizing::new(trimmed.to_owned()))
}

/// Reads a text file; `-` is stdin.
pub(crate) fn text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    if path == Path::new("-") {
        return read(io::stdin().lock(), "stdin");
    }
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| failed(&name, &error))?;
    read(file, &name)
}

fn read(source: impl Read, name: &str) -> Result<Zeroizing<String>, Failure> {
    // Room for the whole of anything sensible, so that growing leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
    source.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| failed(name, &error))?;
    if bytes.len() as u64 > LARGEST {
        let message = format!("{name} is larger than {} MiB", LARGEST >> 20);
        return Err(Failure::new("input_too_large", message, Exit::Failed));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        Failure::new("input_not_text", format!("{name} is not UTF-8 text"), Exit::Failed)
    })?;
    if text.contains('\0') {
        let message = format!("{name} holds a NUL byte; secrets and numbers are plain text");
        return Err(Failure::new("input_not_text", message, Exit::Failed));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn failed(name: &str, error: &io::Error) -> Failure {
    Failure::new("input_unreadable", format!("{name}: {error}"), Exit::Failed)
}

/// 256 MiB: a file of millions of numbers.
const LARGEST: u64 = 256 << 20;
