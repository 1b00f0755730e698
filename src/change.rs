//! A change: one committed edit, reduced to what the cache must know.

use uuid::Uuid;

use crate::number::{Caller, ConfigId, E164, TenantId};

/// One committed edit, as far as the cache must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A config was made, changed or removed.
    Config(ConfigId),
    /// A number was made, changed, moved or removed.
    Number(Caller),
    /// Many numbers at once.
    Numbers,
    /// A client, a user or a session was added, changed or removed. No answer depends on it.
    Clients,
    /// The rollout: every answer depends on it.
    Rollout,
    /// What the database says of encryption keys. No answer depends on it.
    Keys,
    /// Many configs at once, or something that cannot be told apart: everything.
    All,
}

/// What a row of the change log says, read without trust: a newer version may have written it. What
/// this version does not know is a change of everything.
pub(crate) fn change(
    entity: &str,
    fields: &str,
    config: Option<Uuid>,
    tenant: Option<Uuid>,
    digits: Option<&str>,
) -> Change {
    let number = digits.and_then(|digits| E164::from_digits(digits).ok());
    match (entity, config, tenant, number) {
        ("config", Some(id), ..) => Change::Config(ConfigId(id)),
        ("number", _, Some(tenant), Some(number)) => {
            Change::Number(Caller::new(TenantId(tenant), number))
        }
        // No caller can name a number that is unreadable, and none is answered by it.
        ("number", ..) => Change::Numbers,
        // A statement that touched many rows names its table where others name columns.
        ("all", ..) if fields == "voice_agent_numbers" => Change::Numbers,
        // Each edit of a client, user or session is one of these: versions that know no clients read it as everything.
        ("all", ..) if fields == "trunkline_clients" => Change::Clients,
        ("all", ..) if fields == "trunkline_rollout" => Change::Rollout,
        // The same of the keys.
        ("all", ..) if fields == "trunkline_key_state" => Change::Keys,
        _ => Change::All,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_a_row_that_says_so_is_less_than_everything(
            entity in "[a-z]{0,8}|config|number|all",
            fields in ".*|voice_agent_numbers|trunkline_clients|trunkline_rollout|trunkline_key_state",
            ids in (any::<Option<u128>>(), any::<Option<u128>>()),
            digits in proptest::option::of(".*|[1-9][0-9]{6,14}"),
        ) {
            let (config, tenant) = (ids.0.map(Uuid::from_u128), ids.1.map(Uuid::from_u128));
            let known = digits.as_deref().and_then(|digits| E164::from_digits(digits).ok());
            match change(&entity, &fields, config, tenant, digits.as_deref()) {
                Change::Config(id) => {
                    prop_assert!(entity == "config" && Some(id.0) == config);
                }
                Change::Number(caller) => {
                    prop_assert!(entity == "number" && Some(caller.tenant.0) == tenant);
                    prop_assert_eq!(Some(caller.number), known);
                }
                Change::Numbers => {
                    let table = entity == "all" && fields == "voice_agent_numbers";
                    let unreadable = tenant.is_none() || known.is_none();
                    prop_assert!(table || (entity == "number" && unreadable));
                }
                Change::Clients => {
                    prop_assert!(entity == "all" && fields == "trunkline_clients");
                }
                Change::Rollout => {
                    prop_assert!(entity == "all" && fields == "trunkline_rollout");
                }
                Change::Keys => {
                    prop_assert!(entity == "all" && fields == "trunkline_key_state");
                }
                Change::All => {
                    let a_number = entity == "number";
                    prop_assert!(!a_number && (entity != "config" || config.is_none()));
                }
            }
        }
    }
}
