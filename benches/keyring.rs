//! How long a sealed secret of 64 bytes takes to open and to seal: beside the `fernet` crate, and
//! beside the bound, which is what the cryptography alone costs: base64, HMAC and AES with states
//! that were made before, into a buffer on the stack, with nothing checked and nothing wiped.
//!
//! Run: `cargo bench --bench keyring`. The ratios count; the times are those of this machine and minute.

#[path = "lab/estimates.rs"]
mod estimates;
#[path = "lab/report.rs"]
#[expect(dead_code, reason = "each bench reports with what it needs of it")]
mod report;

use std::hint::black_box;
use std::time::Duration;

use aes::Aes128;
use aes::cipher::{Block, BlockModeDecrypt, InnerIvInit, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use criterion::Criterion;
use fernet::{Fernet, MultiFernet};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use trunkline::{ExposeSecret, KeyRing, PREFIX};

use self::report::{Asked, Report};

const OPEN: &str = "open a secret of 64 bytes";
const SEAL: &str = "seal a secret of 64 bytes";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let keys = [(); 3].map(|()| KeyRing::generate().expect("there is randomness").to_string());
    open(&mut criterion, &keys);
    seal(&mut criterion, &keys[0]);
    criterion.final_summary();
    if !report::is_trial() {
        tell();
    }
}

fn open(criterion: &mut Criterion, keys: &[String; 3]) {
    let last = &keys[2];
    let (one, three) = (ring(last), ring(&keys.join(",")));
    let (their_one, their_three) =
        (theirs(last), MultiFernet::new(keys.iter().map(|key| theirs(key)).collect()));
    let bound = Bound::of(last);
    let sealed = one.seal(SECRET, 0).expect("sealed");
    let sealed = sealed.as_str();
    let token = &sealed[PREFIX.len()..];
    assert_eq!(three.open(sealed).expect("opens").secret.expose_secret(), SECRET);
    assert_eq!(bound.open(token).1.as_flattened()[..64], *SECRET.as_bytes());

    let mut group = criterion.benchmark_group(OPEN);
    group.bench_function("bound", |bench| bench.iter(|| bound.open(black_box(token))));
    group.bench_function("one key", |bench| bench.iter(|| one.open(black_box(sealed))));
    group.bench_function("last of three", |bench| bench.iter(|| three.open(black_box(sealed))));
    group.bench_function("fernet, one key", |bench| {
        bench.iter(|| their_one.decrypt(black_box(token)));
    });
    group.bench_function("fernet, last of three", |bench| {
        bench.iter(|| their_three.decrypt(black_box(token)));
    });
    group.finish();
}

fn seal(criterion: &mut Criterion, key: &str) {
    let (ours, theirs) = (ring(key), theirs(key));
    let mut group = criterion.benchmark_group(SEAL);
    group.bench_function("ours", |bench| bench.iter(|| ours.seal(black_box(SECRET), 0)));
    group.bench_function("fernet", |bench| {
        bench.iter(|| theirs.encrypt_at_time(black_box(SECRET.as_bytes()), 0));
    });
    group.finish();
}

fn tell() {
    let open = |function| estimates::median(OPEN, function);
    let seal = |function| estimates::median(SEAL, function);
    let mut report = Report::new("keyring");
    println!("a secret of 64 bytes");
    for (what, ours, rival, most) in [
        ("opening, one key", "one key", "bound", 1.5),
        ("opening, last of three keys", "last of three", "bound", 3.0),
    ] {
        let (ours, rival) = (("ours", open(ours)), (rival, open(rival)));
        report.ratio(7, what, ours, rival, "ns", Asked::AtMost(most));
    }
    for (table, row, column, value) in [
        ("Opening", "bound", "one key", open("bound")),
        ("Opening", "Trunkline", "one key", open("one key")),
        ("Opening", "Trunkline", "last of three", open("last of three")),
        ("Opening", "fernet crate", "one key", open("fernet, one key")),
        ("Opening", "fernet crate", "last of three", open("fernet, last of three")),
        ("Sealing", "Trunkline", "one key", seal("ours")),
        ("Sealing", "fernet crate", "one key", seal("fernet")),
    ] {
        report.figure(&format!("{table} a secret of 64 bytes, ns"), row, column, value);
    }
    report.save();
}

fn ring(keys: &str) -> KeyRing {
    KeyRing::parse(keys).expect("keys")
}

fn theirs(key: &str) -> Fernet {
    Fernet::new(key).expect("a key")
}

/// What cannot be spared, for tokens of 64 bytes.
struct Bound {
    signing: Hmac<Sha256>,
    encryption: Aes128,
}

impl Bound {
    fn of(key: &str) -> Self {
        let key = URL_SAFE.decode(key).expect("base64url");
        Self {
            signing: <Hmac<Sha256> as KeyInit>::new_from_slice(&key[..16]).expect("any length"),
            encryption: Aes128::new_from_slice(&key[16..]).expect("16 bytes"),
        }
    }

    /// The tag that the token should have, and its plaintext with the padding.
    fn open(&self, token: &str) -> ([u8; 32], [[u8; 16]; 5]) {
        let mut bytes = [0; 138];
        URL_SAFE.decode_slice(token, &mut bytes).expect("base64url");
        let tag = self.signing.clone().chain_update(&bytes[..105]).finalize().into_bytes();
        let iv = bytes[9..25].try_into().expect("16 bytes");
        let mut blocks: [Block<Aes128>; 5] =
            std::array::from_fn(|at| bytes[25 + 16 * at..][..16].try_into().expect("16 bytes"));
        cbc::Decryptor::inner_iv_init(&self.encryption, iv).decrypt_blocks(&mut blocks);
        (tag.into(), blocks.map(Into::into))
    }
}
