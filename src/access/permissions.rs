//! What a client may ask for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::limits::{NumberPrefix, RoomPattern};
use crate::number::{E164, TenantId};

/// One thing that a client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// LiveKit access tokens.
    Tokens,
    /// Which server, trunk and agent place a call.
    Resolve,
    /// Whether a number may call another one.
    Route,
    /// The API secret, with what it resolves.
    Secret,
    /// Tokens that join a room, by LiveKit's own token endpoint, and tickets for them.
    Join,
    /// Whether a token is of one of the LiveKit configs, and of which.
    Verify,
    /// Reading LiveKit configs, never their secrets.
    Configs,
    /// Editing them.
    EditConfigs,
    /// Reading the caller numbers.
    Numbers,
    /// Editing them, and assigning configs to them.
    EditNumbers,
    /// Reading of the fleet: nodes, keys, settings, changes.
    Fleet,
    /// Reading the audit: who changed what.
    Audit,
    /// Placing calls, and what became of those that it placed.
    Calls,
    /// Hearing of changes of what it may see.
    Changes,
    /// Managing people and clients. Whoever may do that may do everything.
    Users,
    /// Taking the steps of the rollout.
    Rollout,
    /// Turning the encryption keys. Never learns one.
    Keys,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 17] = [
        Self::Tokens,
        Self::Resolve,
        Self::Route,
        Self::Secret,
        Self::Join,
        Self::Verify,
        Self::Configs,
        Self::EditConfigs,
        Self::Numbers,
        Self::EditNumbers,
        Self::Fleet,
        Self::Audit,
        Self::Calls,
        Self::Changes,
        Self::Users,
        Self::Rollout,
        Self::Keys,
    ];

    /// Its name in rows, on the command line and in errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Resolve => "resolve",
            Self::Route => "route",
            Self::Secret => "secret",
            Self::Join => "join",
            Self::Verify => "verify",
            Self::Configs => "configs",
            Self::EditConfigs => "edit_configs",
            Self::Numbers => "numbers",
            Self::EditNumbers => "edit_numbers",
            Self::Fleet => "fleet",
            Self::Audit => "audit",
            Self::Calls => "calls",
            Self::Changes => "changes",
            Self::Users => "users",
            Self::Rollout => "rollout",
            Self::Keys => "keys",
        }
    }

    /// The scope that it is nothing without: what is edited is answered, too, and a secret comes with
    /// what is resolved.
    #[must_use]
    pub const fn needs(self) -> Option<Self> {
        match self {
            Self::Secret => Some(Self::Resolve),
            Self::EditConfigs => Some(Self::Configs),
            Self::Rollout | Self::Keys => Some(Self::Fleet),
            Self::EditNumbers => Some(Self::Numbers),
            _ => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A word that is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one or more of tokens, resolve, route, secret, join, verify, configs, edit_configs, numbers, \
     edit_numbers, fleet, audit, calls, changes, users, rollout and keys, separated by commas"
)]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(word: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word).ok_or(UnknownScope)
    }
}

/// What the tokens of a client may grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLimits {
    /// Which rooms. `None`: no right on any room.
    pub room: Option<RoomPattern>,
    /// Placing SIP calls. LiveKit limits that right to no room.
    pub sip_call: bool,
    /// Administering a room that `room` matches, which is what sending an agent into it takes.
    pub agent: bool,
    /// Creating, deleting and listing rooms. LiveKit limits that right to no room.
    pub admin: bool,
    /// The longest life.
    pub longest: Duration,
}

/// What a client may ask for, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// What it may ask.
    pub scopes: Vec<Scope>,
    /// For which tenants. `None`: for all of them.
    pub tenants: Option<Vec<TenantId>>,
    /// For which caller numbers. None: for any.
    pub numbers: Vec<NumberPrefix>,
    /// What its tokens may grant.
    pub tokens: TokenLimits,
}

/// The column `grants`. What this version does not know may be a limit, so it is refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grants {
    /// Null for all. Must be there, or a row that lost it would be for all.
    #[serde(deserialize_with = "Option::deserialize")]
    tenants: Option<Vec<Uuid>>,
    numbers: Vec<NumberPrefix>,
    room: Option<RoomPattern>,
    sip_call: bool,
    agent: bool,
    admin: bool,
    /// In seconds.
    longest: u64,
}

impl Permissions {
    /// Reads the columns of a row. `None`: they are not understood, and allow nothing.
    #[must_use]
    pub fn read(scopes: &str, grants: &str) -> Option<Self> {
        let scopes = serde_json::from_str(scopes).ok()?;
        let Grants { tenants, numbers, room, sip_call, agent, admin, longest } =
            serde_json::from_str(grants).ok()?;
        let tenants = tenants.map(|ids| ids.into_iter().map(TenantId).collect());
        let longest = Duration::from_secs(longest);
        let tokens = TokenLimits { room, sip_call, agent, admin, longest };
        Some(Self { scopes, tenants, numbers, tokens })
    }

    /// The columns `scopes` and `grants` of its row.
    #[must_use]
    pub fn columns(&self) -> [Value; 2] {
        let TokenLimits { room, sip_call, agent, admin, longest } = &self.tokens;
        let grants = Grants {
            tenants: self.tenants.as_ref().map(|ids| ids.iter().map(|id| id.0).collect()),
            numbers: self.numbers.clone(),
            room: room.clone(),
            sip_call: *sip_call,
            agent: *agent,
            admin: *admin,
            longest: longest.as_secs(),
        };
        [serde_json::json!(self.scopes), serde_json::json!(grants)]
    }

    /// Whether it may ask this.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it may ask for this tenant.
    #[must_use]
    pub fn may_ask_for(&self, tenant: TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(&tenant))
    }

    /// Whether it may ask for some tenants or numbers alone.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.tenants.is_some() || !self.numbers.is_empty()
    }

    /// Whether it may ask for this caller number.
    #[must_use]
    pub fn may_call_from(&self, number: E164) -> bool {
        self.numbers.is_empty() || self.numbers.iter().any(|prefix| prefix.matches(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions() -> Permissions {
        Permissions {
            scopes: vec![Scope::Tokens, Scope::Route],
            tenants: Some(vec![TenantId(Uuid::from_u128(7))]),
            numbers: vec!["+97150".parse().unwrap()],
            tokens: TokenLimits {
                room: Some("call-*".parse().unwrap()),
                sip_call: true,
                agent: false,
                admin: false,
                longest: Duration::from_secs(600),
            },
        }
    }

    #[test]
    fn what_was_written_reads_back() {
        let all = Permissions { tenants: None, numbers: Vec::new(), ..permissions() };
        for permissions in [permissions(), all] {
            let [scopes, grants] = permissions.columns();
            let read = Permissions::read(&scopes.to_string(), &grants.to_string());
            assert_eq!(read, Some(permissions));
        }
    }

    #[test]
    fn a_row_with_anything_that_is_not_understood_allows_nothing() {
        let [scopes, grants] = permissions().columns();
        let read = |scopes: &Value, grants: &Value| {
            Permissions::read(&scopes.to_string(), &grants.to_string())
        };
        assert!(read(&scopes, &grants).is_some());
        assert_eq!(read(&serde_json::json!(["tokens", "fly"]), &grants), None);
        let mut more = grants.clone();
        more["hours"] = serde_json::json!("9-17");
        assert_eq!(read(&scopes, &more), None, "a limit of a later version");
        for missing in ["tenants", "numbers", "longest", "admin"] {
            let mut less = grants.clone();
            less.as_object_mut().unwrap().remove(missing);
            assert_eq!(read(&scopes, &less), None, "without {missing}");
        }
        assert_eq!(Permissions::read("", ""), None);
    }

    #[test]
    fn tenants_and_numbers_are_limited_to_what_is_named() {
        let permissions = permissions();
        assert!(permissions.may(Scope::Tokens) && !permissions.may(Scope::Secret));
        assert!(permissions.may_ask_for(TenantId(Uuid::from_u128(7))));
        assert!(!permissions.may_ask_for(TenantId(Uuid::from_u128(8))));
        assert!(permissions.may_call_from("+971501234567".parse().unwrap()));
        assert!(!permissions.may_call_from("+971521234567".parse().unwrap()));
    }
}
