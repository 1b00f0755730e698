//! A key that was replaced is gone from the memory of the process: looked for in all of it, in a
//! process of its own.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use trunkline::settings::Values;
use trunkline::{KeyRing, Resolver, Settings};
use zeroize::{Zeroize, Zeroizing};

/// The encryption half of a key, so that looking for it does not make another copy.
struct Disguised([u8; 16]);

impl Disguised {
    fn of(key: &str) -> Self {
        let bytes = Zeroizing::new(URL_SAFE.decode(key).unwrap());
        Self(std::array::from_fn(|at| bytes[16 + at] ^ MASK))
    }

    fn stands_in(&self, window: &[u8]) -> bool {
        window.iter().zip(&self.0).all(|(byte, masked)| byte ^ MASK == *masked)
    }

    /// How often it stands in what this process may write to.
    fn copies(&self) -> usize {
        let maps = BufReader::new(File::open("/proc/self/maps").unwrap());
        let memory = File::open("/proc/self/mem").unwrap();
        let mut piece = Zeroizing::new(vec![0; 1 << 20]);
        let mut copies = 0;
        for line in maps.lines().map(Result::unwrap) {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next().unwrap(), words.next().unwrap());
            if !rights.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            let own = piece.as_ptr() as u64..piece.as_ptr() as u64 + piece.len() as u64;
            let (mut at, to) = (address(from), address(to));
            while at < to {
                let length = usize::try_from(to - at).unwrap().min(piece.len());
                let Ok(read) = memory.read_at(&mut piece[..length], at) else { break };
                let found = piece[..read].windows(16).enumerate().filter(|(offset, window)| {
                    // What was read just now is no copy of the program's.
                    !own.contains(&(at + *offset as u64)) && self.stands_in(window)
                });
                copies += found.count();
                if read < length || length < piece.len() {
                    break;
                }
                at += (length - 16) as u64;
            }
            piece.zeroize();
            piece.resize(1 << 20, 0);
        }
        copies
    }
}

fn settings(key: &str) -> Settings {
    let pairs = [("LIVEKIT_SECRET_ENCRYPTION_KEY".to_owned(), key.to_owned())];
    Settings::read(&Values::of(pairs, None)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_encryption_half_of_a_replaced_key_leaves_no_copy() {
    let mut looked_for = Vec::new();
    let resolver = Resolver::builder(settings(&KeyRing::generate().unwrap())).start();
    for _ in 0..5 {
        let key = KeyRing::generate().unwrap();
        looked_for.push(Disguised::of(&key));
        let settings = settings(&key);
        let ring = Arc::clone(settings.ring.as_ref().unwrap());
        resolver.reload(settings).unwrap();
        let sealed = ring.seal("a secret", 0).unwrap();
        for text in [sealed.as_str(), "dev-s-t-gAAAAA"] {
            let _ = ring.open(text);
        }
        let elsewhere = Arc::clone(&ring);
        std::thread::spawn(move || elsewhere.open(sealed.as_str()).map(drop))
            .join()
            .unwrap()
            .unwrap();
        assert!(looked_for.last().unwrap().copies() >= 1, "the one in use is seen");
    }
    resolver.reload(settings(&KeyRing::generate().unwrap())).unwrap();
    let copies: Vec<_> = looked_for.iter().map(Disguised::copies).collect();
    assert_eq!(copies, [0; 5]);
}

const MASK: u8 = 0x5a;
