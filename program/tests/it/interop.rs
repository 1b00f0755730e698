//! Python's `cryptography` and trunkline open each other's secrets.
//!
//! The interpreter is `$TRUNKLINE_TEST_PYTHON`, which `scripts/test` sets, or else `python3`.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::{Value, json};
use trunkline::{Binding, ExposeSecret, KeyError, KeyRing, PREFIX};
use uuid::Uuid;

use crate::support::NOW;
use crate::support::program::Program;

/// How many secrets go each way.
const SECRETS: usize = 1000;

/// White space that sealing here refuses as empty, and that Python seals all the same.
const BLANKS: [&str; 5] = ["\n", " ", " \t ", "\r\n", "\u{a0}\u{2003}"];

#[test]
fn a_thousand_secrets_sealed_by_python_open_here() {
    let (key, ring) = key_and_ring();
    let pairs = python(SEAL, &json!({"key": key, "count": SECRETS, "blanks": BLANKS}).to_string());
    assert_eq!(pairs.len(), SECRETS + BLANKS.len());
    assert!(pairs.iter().any(|pair| !pair["secret"].as_str().unwrap().is_ascii()));
    for pair in &pairs {
        let opened = ring.open(pair["sealed"].as_str().unwrap()).unwrap();
        assert_eq!(*opened.secret.expose_secret(), pair["secret"], "{pair}");
    }
}

#[test]
fn a_thousand_secrets_sealed_here_open_in_python() {
    let (key, ring) = key_and_ring();
    // Python makes up what is sealed, so that both directions see the same kinds of text.
    let texts = python(SEAL, &json!({"key": key, "count": SECRETS, "blanks": []}).to_string());
    let mut lines = format!("{}\n", json!({"key": key, "prefix": PREFIX}));
    for text in &texts {
        let sealed = ring.seal(text["secret"].as_str().unwrap(), NOW).unwrap();
        writeln!(lines, "{}", json!(sealed.as_str())).unwrap();
    }
    let opened = python(OPEN, &lines);
    assert_eq!(opened.len(), SECRETS);
    for (opened, text) in opened.iter().zip(&texts) {
        assert_eq!(opened, &text["secret"]);
    }
}

/// A secret that is bound to its config opens nowhere else: a reader that does not know the form
/// takes it for no token.
#[test]
fn python_refuses_a_bound_secret() {
    let (key, ring) = key_and_ring();
    let owner = Binding { config: Uuid::nil(), url: "wss://eu.example", api_key: "APIeu" };
    let sealed = ring.seal_for("a secret", &owner, NOW).unwrap();
    let order = json!({"key": key, "prefix": PREFIX, "sealed": sealed.as_str()});
    assert_eq!(python(REFUSE, &order.to_string()), ["InvalidToken"]);
}

#[test]
fn white_space_that_python_sealed_opens_and_is_not_sealed_here() {
    let (key, ring) = key_and_ring();
    let pairs = python(SEAL, &json!({"key": key, "count": 0, "blanks": BLANKS}).to_string());
    for (blank, pair) in BLANKS.iter().zip(&pairs) {
        let opened = ring.open(pair["sealed"].as_str().unwrap()).unwrap();
        assert_eq!(opened.secret.expose_secret(), blank);
        assert_eq!(ring.seal(blank, NOW).unwrap_err(), KeyError::EmptyInput, "{blank:?}");
    }
}

#[test]
fn the_program_and_python_open_what_the_other_sealed() {
    let (key, _) = key_and_ring();
    let program = Program::new().with("LIVEKIT_SECRET_ENCRYPTION_KEY", &key);
    let pairs = python(SEAL, &json!({"key": key, "count": 5, "blanks": BLANKS}).to_string());
    for pair in &pairs {
        let sealed = format!("{}\n", pair["sealed"].as_str().unwrap());
        let opened = program.run_with(&["secret", "open", "--json"], sealed.as_bytes()).json();
        assert_eq!(opened["secret"], pair["secret"]);
    }
    let secret = "Über 字 🗝";
    let sealed = program.run_with(&["secret", "seal"], secret.as_bytes()).ok();
    let lines =
        format!("{}\n{}\n", json!({"key": key, "prefix": PREFIX}), json!(sealed.trim_end()));
    assert_eq!(python(OPEN, &lines), [json!(secret)]);
    let (code, error) = program.run_with(&["secret", "seal", "--json"], b" \t ").failed();
    assert_eq!((code, &error["error"]), (5, &json!("empty_input")));
}

#[test]
fn a_key_that_python_made_is_a_key_here_and_the_other_way_round() {
    let made = python("print(json.dumps(Fernet.generate_key().decode()))", "");
    assert!(KeyRing::parse(made[0].as_str().unwrap()).is_ok());
    let ours = KeyRing::generate().unwrap();
    let read = "Fernet(json.loads(sys.stdin.read())); print('true')";
    assert_eq!(python(read, &json!(*ours).to_string()), [json!(true)]);
}

#[test]
fn keys_and_tokens_of_either_alphabet_and_in_lines_are_read_as_python_reads_them() {
    let (key, ring) = key_and_ring();
    let other = |text: &str| text.replace('-', "+").replace('_', "/");
    assert_eq!(KeyRing::parse(&other(&key)).unwrap().key_ids(), ring.key_ids());
    let texts = python(SEAL, &json!({"key": key, "count": 50, "blanks": []}).to_string());
    let mut lines = format!("{}\n", json!({"key": other(&key), "prefix": PREFIX}));
    for text in &texts {
        let token = other(&text["sealed"].as_str().unwrap()[PREFIX.len()..]);
        let broken: Vec<_> = token.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        let broken = format!("{PREFIX}{}\n", broken.join("\r\n"));
        assert_eq!(*ring.open(&broken).unwrap().secret.expose_secret(), text["secret"]);
        writeln!(lines, "{}", json!(broken)).unwrap();
    }
    let opened = python(OPEN, &lines);
    assert!(opened.iter().zip(&texts).all(|(opened, text)| *opened == text["secret"]));
}

fn key_and_ring() -> (String, KeyRing) {
    let key = KeyRing::generate().unwrap().to_string();
    let ring = KeyRing::parse(&key).unwrap();
    (key, ring)
}

/// Runs a script that finds these lines on stdin, and returns the JSON values that it prints.
pub fn python(script: &str, lines: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::write(&input, lines).unwrap();
    let output = Command::new(interpreter())
        .args(["-c", &format!("{PREAMBLE}\n{script}")])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(std::fs::File::open(input).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8(output.stdout).unwrap();
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A Python that has `cryptography`.
#[expect(clippy::disallowed_methods, reason = "which Python is the machine's business")]
fn interpreter() -> String {
    let python = std::env::var("TRUNKLINE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import cryptography"]).output();
    assert!(
        import.is_ok_and(|output| output.status.success()),
        "{python} has no `cryptography`; run scripts/test, which makes a venv that has it and sets \
         TRUNKLINE_TEST_PYTHON"
    );
    python
}

const PREAMBLE: &str =
    "import json, random, sys; from cryptography.fernet import Fernet, MultiFernet";

/// One line in: the key, how many secrets to make up, and blanks to seal beside them.
const SEAL: &str = r#"
order = json.loads(sys.stdin.readline())
alphabets = ["abcXYZ019+/=_-", "äßéñ", "字電話", "🗝📞", " \t'\"\\{}", "\n\r"]
def secret():
    text = "".join(random.choice(random.choice(alphabets)) for _ in range(random.randint(1, 80)))
    return text if text.strip() else text + "x"
fernet = Fernet(order["key"])
for text in [secret() for _ in range(order["count"])] + order["blanks"]:
    print(json.dumps({"secret": text, "sealed": "dev-s-t-" + fernet.encrypt(text.encode()).decode()}))
"#;

/// First line in: the key and the prefix. Then a sealed secret a line.
const REFUSE: &str = r#"
order = json.loads(sys.stdin.readline())
try:
    Fernet(order["key"]).decrypt(order["sealed"][len(order["prefix"]):].encode())
except Exception as error:
    print(json.dumps(type(error).__name__))
"#;
const OPEN: &str = r#"
order = json.loads(sys.stdin.readline())
fernet = Fernet(order["key"])
for line in sys.stdin:
    sealed = json.loads(line)
    assert sealed.startswith(order["prefix"])
    print(json.dumps(fernet.decrypt(sealed[len(order["prefix"]):].encode()).decode()))
"#;
