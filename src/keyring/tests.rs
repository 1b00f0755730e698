//! Sealing and opening, both forms, beside the `fernet` crate.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const NOW: u64 = 1_763_900_000;

fn ring() -> KeyRing {
    KeyRing::parse(&KeyRing::generate().unwrap()).unwrap()
}

fn open(ring: &KeyRing, sealed: &str) -> String {
    ring.open(sealed).unwrap().secret.expose_secret().clone()
}

#[test]
fn a_sealed_value_carries_the_prefix_and_opens_to_what_it_was() {
    let ring = ring();
    let sealed = ring.seal("s3cret", NOW).unwrap();
    assert!(sealed.as_str().starts_with("dev-s-t-gAAAAA"), "version and a time of this age");
    assert_eq!(open(&ring, sealed.as_str()), "s3cret");
    assert_eq!(open(&ring, &format!("{}\n", sealed.as_str())), "s3cret");
}

#[test]
fn the_first_key_seals_all_open_and_the_opening_key_is_known() {
    let (old, new) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
    let before = KeyRing::parse(&old).unwrap();
    let both = KeyRing::parse(&format!(" {} , {}\n", *new, *old)).unwrap();
    let resting = before.seal("kept", NOW).unwrap();

    let opened = both.open(resting.as_str()).unwrap();
    assert_eq!(opened.secret.expose_secret(), "kept");
    assert_eq!(opened.key, before.key_ids()[0]);
    assert_eq!(opened.key, both.key_ids()[1]);

    let fresh = both.seal("kept", NOW).unwrap();
    assert_eq!(both.open(fresh.as_str()).unwrap().key, both.key_ids()[0]);
    let refused = before.open(fresh.as_str()).unwrap_err();
    assert_eq!(refused, KeyError::NoKeyFits { ring: before.key_ids() });
}

#[test]
fn a_key_id_is_stable_and_shows_nothing_of_the_key() {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let ring = KeyRing::parse(key).unwrap();
    assert_eq!(format!("{ring:?}"), "KeyRing([cda1117e])");
    assert_eq!(KeyRing::parse(key).unwrap().key_ids(), ring.key_ids());
}

#[test]
fn opening_does_not_depend_on_the_clock() {
    let ring = ring();
    for stamp in [0, NOW + 61, NOW + 315_360_000, u64::MAX] {
        let sealed = ring.seal("any time", stamp).unwrap();
        assert_eq!(open(&ring, sealed.as_str()), "any time");
    }
}

#[test]
fn each_way_to_fail_has_its_own_error() {
    let ring = ring();
    let error = |text: &str| ring.open(text).unwrap_err();
    let sealed = ring.seal("s3cret", NOW).unwrap();
    let token = sealed.as_str();

    assert_eq!(KeyRing::parse(" \n").unwrap_err(), KeyError::KeyMissing);
    for keys in ["short", "A===", &"A".repeat(45), &format!("{}x", "A".repeat(43))] {
        assert_eq!(KeyRing::parse(keys).unwrap_err(), KeyError::KeyMalformed { place: 1 });
    }
    let good = KeyRing::generate().unwrap();
    let second = KeyRing::parse(&format!("{},nonsense", *good)).unwrap_err();
    assert_eq!(second, KeyError::KeyMalformed { place: 2 });

    assert_eq!(error("s3cret"), KeyError::PrefixMissing);
    assert_eq!(error(""), KeyError::EmptyInput);
    assert_eq!(error("\0"), KeyError::PrefixMissing);
    for broken in [
        PREFIX,
        "dev-s-t-!!",
        "dev-s-t-\0",
        "dev-s-t-gAAA",
        "dev-s-t-AAAA",
        &token[..token.len() - 8],
        &format!("{PREFIX}{}", "A".repeat(17 * 1024)),
    ] {
        assert!(matches!(error(broken), KeyError::TokenMalformed { .. }), "{broken:.40}");
    }
    assert_eq!(ring.seal(token, NOW).unwrap_err(), KeyError::AlreadySealed);
    assert_eq!(ring.seal(" \t\n", NOW).unwrap_err(), KeyError::EmptyInput);
    let long = "x".repeat(fernet::MAX_PLAINTEXT + 1);
    assert!(matches!(ring.seal(&long, NOW), Err(KeyError::PlaintextTooLong { .. })));
    assert_eq!(open(&ring, ring.seal(&long[1..], NOW).unwrap().as_str()).len(), long.len() - 1);
}

#[test]
fn a_token_of_fifty_megabytes_is_refused_before_any_work() {
    let huge = format!("{PREFIX}{}", "A".repeat(50 << 20));
    let error = ring().open(&huge).unwrap_err();
    assert_eq!(error, KeyError::TokenMalformed { why: "longer than 16 KiB" });
}

#[test]
fn an_altered_token_never_opens() {
    let ring = ring();
    let sealed = ring.seal("s3cret", NOW).unwrap();
    let text = sealed.as_str();
    for at in PREFIX.len()..text.trim_end_matches('=').len() - 1 {
        let swap = if &text[at..=at] == "A" { "B" } else { "A" };
        let altered = format!("{}{swap}{}", &text[..at], &text[at + 1..]);
        assert!(ring.open(&altered).is_err(), "altered at {at}");
    }
}

#[test]
fn convert_lets_the_prefix_decide() {
    let ring = ring();
    let Converted::Sealed(sealed) = ring.convert("plain", NOW).unwrap() else {
        panic!("plaintext is sealed")
    };
    let Converted::Opened(opened) = ring.convert(sealed.as_str(), NOW).unwrap() else {
        panic!("a sealed secret is opened")
    };
    assert_eq!(opened.secret.expose_secret(), "plain");
}

#[test]
fn nothing_of_a_secret_is_in_any_debug_text() {
    let (key, canary) = (KeyRing::generate().unwrap(), "canary-4cR7");
    let ring = KeyRing::parse(&key).unwrap();
    let sealed = ring.seal(canary, NOW).unwrap();
    let opened = ring.open(sealed.as_str()).unwrap();
    let shown = format!("{ring:?} {sealed:?} {opened:?} {:?}", ring.open(canary));
    assert!(!shown.contains(canary) && !shown.contains(&key[..8]), "{shown}");
    assert!(!shown.contains(&sealed.as_str()[20..40]), "{shown}");
}

const CONFIG: Binding<'static> =
    Binding { config: Uuid::from_u128(7), url: "wss://eu.example", api_key: "APIeu" };

/// `CONFIG` with one thing of another one, each in turn.
const OTHERS: [(Binding<'static>, &str); 3] = [
    (Binding { config: Uuid::from_u128(8), ..CONFIG }, "config"),
    (Binding { url: "wss://eu.example.org", ..CONFIG }, "URL"),
    (Binding { api_key: "APIe", ..CONFIG }, "API key"),
];

#[test]
fn a_bound_secret_opens_as_its_own_configs_alone() {
    let ring = ring();
    let sealed = ring.seal_for("s3cret", &CONFIG, NOW).unwrap();
    assert!(sealed.is_bound() && Sealed::parse(sealed.as_str()).is_ok());
    let opened = ring.open_for(sealed.as_str(), &CONFIG).unwrap();
    assert_eq!((opened.secret.expose_secret().as_str(), opened.key), ("s3cret", ring.key_ids()[0]));
    for (other, what) in OTHERS {
        let refused = ring.open_for(sealed.as_str(), &other).unwrap_err();
        assert_eq!(refused, KeyError::BoundElsewhere { what });
    }
    assert_eq!(ring.open(sealed.as_str()).unwrap_err(), KeyError::Bound);
    assert_eq!(ring.key_of(sealed.as_str()), Ok(ring.key_ids()[0]));
}

/// The two texts have a length, so that no other pair of them reads the same.
#[test]
fn what_ends_one_text_does_not_begin_the_next_one() {
    let ring = ring();
    let sealed = ring.seal_for("s3cret", &Binding { url: "ab", api_key: "c", ..CONFIG }, NOW);
    let moved = Binding { url: "a", api_key: "bc", ..CONFIG };
    assert!(ring.open_for(sealed.unwrap().as_str(), &moved).is_err());
}

#[test]
fn a_plain_secret_opens_for_any_config_unless_only_bound_ones_may() {
    let key = KeyRing::generate().unwrap();
    let ring = KeyRing::parse(&key).unwrap();
    let sealed = ring.seal("s3cret", NOW).unwrap();
    assert!(!sealed.is_bound() && ring.open_for(sealed.as_str(), &CONFIG).is_ok());
    let strict = KeyRing::parse(&key).unwrap().bound_only(true);
    assert!(!strict.opens_like(&ring));
    assert_eq!(strict.open_for(sealed.as_str(), &CONFIG).unwrap_err(), KeyError::NotBound);
    let bound = strict.seal_for("s3cret", &CONFIG, NOW).unwrap();
    assert!(strict.open_for(bound.as_str(), &CONFIG).is_ok());
}

/// Nobody without the key makes one form of the other: the byte that tells them apart is signed.
#[test]
fn a_bound_secret_is_no_fernet_token_and_cannot_be_made_one() {
    let key = KeyRing::generate().unwrap();
    let (ring, theirs) = (KeyRing::parse(&key).unwrap(), ::fernet::Fernet::new(&key).unwrap());
    let sealed = ring.seal_for("s3cret", &CONFIG, NOW).unwrap();
    let token = sealed.as_str().strip_prefix(PREFIX).unwrap();
    assert!(theirs.decrypt(token).is_err(), "an older reader fails closed");
    let posing = format!("{PREFIX}gA{}", &token[2..]);
    assert_eq!(ring.open(&posing).unwrap_err(), KeyError::NoKeyFits { ring: ring.key_ids() });
    let plain = ring.seal("s3cret", NOW).unwrap();
    let posing = format!("{PREFIX}gQ{}", &plain.as_str()[PREFIX.len() + 2..]);
    assert!(Sealed::parse(&posing).unwrap().is_bound());
    let refused = ring.open_for(&posing, &CONFIG).unwrap_err();
    assert_eq!(refused, KeyError::NoKeyFits { ring: ring.key_ids() });
}

proptest! {
    #[test]
    fn what_it_is_bound_to_is_read_back(url in "\\PC{0,80}", api_key in "\\PC{0,80}", secret in "\\PC{1,200}") {
        prop_assume!(!secret.trim().is_empty() && !secret.starts_with(PREFIX));
        let ring = ring();
        let owner = Binding { config: Uuid::from_u128(7), url: &url, api_key: &api_key };
        let sealed = ring.seal_for(&secret, &owner, NOW).unwrap();
        let opened = ring.open_for(sealed.as_str(), &owner).unwrap();
        prop_assert_eq!(opened.secret.expose_secret(), &secret);
    }

    #[test]
    fn the_fernet_crate_opens_ours_and_we_open_its(text in "\\PC{1,200}") {
        prop_assume!(!text.trim().is_empty() && !text.starts_with(PREFIX));
        let key = KeyRing::generate().unwrap();
        let (ours, theirs) = (KeyRing::parse(&key).unwrap(), ::fernet::Fernet::new(&key).unwrap());

        let sealed = ours.seal(&text, NOW).unwrap();
        let token = sealed.as_str().strip_prefix(PREFIX).unwrap();
        prop_assert_eq!(theirs.decrypt(token).unwrap(), text.as_bytes());

        let token = format!("{PREFIX}{}", theirs.encrypt(text.as_bytes()));
        prop_assert_eq!(open(&ours, &token), text);
    }

    #[test]
    fn no_text_panics_the_ring(text in any::<String>()) {
        let ring = ring();
        let _ = ring.open(&text);
        let _ = ring.open(&format!("{PREFIX}{text}"));
        let _ = KeyRing::parse(&text);
    }
}
