//! Rows of the change log, of any kind: nothing panics, and a row is taken for less than a change of
//! everything only if it says so.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

/// The file of the product.
#[path = "../../src/change.rs"]
mod change;

// What it finds under `crate`.
mod number {
    pub use trunkline::{Caller, ConfigId, E164, TenantId};
}

#[derive(Debug, Arbitrary)]
struct Input {
    entity: String,
    known_entity: Option<u8>,
    fields: String,
    config: Option<u128>,
    tenant: Option<u128>,
    digits: Option<String>,
}

fuzz_target!(|input: Input| {
    // A dictionary, so that the interesting words are met.
    let entity = match input.known_entity.map(|of| of % 3) {
        Some(0) => "config",
        Some(1) => "number",
        Some(_) => "all",
        None => &input.entity,
    };
    let (config, tenant) = (input.config.map(Uuid::from_u128), input.tenant.map(Uuid::from_u128));
    let change = change::change(entity, &input.fields, config, tenant, input.digits.as_deref());
    match change {
        change::Change::Config(id) => assert!(entity == "config" && Some(id.0) == config),
        change::Change::Number(caller) => {
            assert!(entity == "number" && Some(caller.tenant.0) == tenant);
            let digits = input.digits.expect("a number has digits");
            assert_eq!(caller.number.digits().to_string(), digits);
        }
        change::Change::Numbers => assert!(matches!(entity, "number" | "all")),
        change::Change::Rollout => assert!(entity == "all" && input.fields == "trunkline_rollout"),
        change::Change::Clients => assert!(entity == "all" && input.fields == "trunkline_clients"),
        change::Change::Keys => assert!(entity == "all" && input.fields == "trunkline_key_state"),
        change::Change::All => assert_ne!(entity, "number"),
    }
});
