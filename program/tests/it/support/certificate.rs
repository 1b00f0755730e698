//! Certificates of a test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A certificate that vouches for itself, and its key.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    pub fn make(folder: &Path, name: &str) -> Self {
        let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-days", "2", "-subj", &format!("/CN={name}")])
            // Some clients take none for a server's that may sign others.
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-out"])
            .arg(&cert)
            .arg("-keyout")
            .arg(&key)
            .stderr(Stdio::null())
            .status()
            .expect("openssl, which `scripts/test it` installs");
        assert!(made.success());
        Self { cert, key }
    }

    /// Puts both in the place of another one's.
    pub fn replace(&self, other: &Self) {
        for (from, to) in [(&self.key, &other.key), (&self.cert, &other.cert)] {
            let draft = to.with_extension("new");
            std::fs::copy(from, &draft).unwrap();
            std::fs::rename(draft, to).unwrap();
        }
    }
}
