//! What people may do. A role is a fixed set of permissions, so a person asks as a client does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::permissions::{Permissions, Scope, TokenLimits};

/// What somebody is to this installation.
///
/// ```
/// use trunkline::access::{Role, Scope};
///
/// assert!(Role::Operator.permissions().may(Scope::Calls));
/// assert!(!Role::Operator.permissions().may(Scope::EditConfigs));
/// assert!(!Role::Admin.permissions().may(Scope::Secret));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Reads everything but users, clients and secrets.
    Viewer,
    /// Edits configs and numbers, too.
    Editor,
    /// Reads as a viewer does, and places calls.
    Operator,
    /// Does everything, users and clients included. Never gets a secret.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Editor, Self::Operator, Self::Admin];

    /// Its name in rows, on the command line and in errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// What it may ask, for all tenants and numbers. Its tokens join rooms and do nothing else there.
    #[must_use]
    pub fn permissions(self) -> Permissions {
        let more: &[Scope] = match self {
            Self::Viewer => &[],
            Self::Editor => &[Scope::EditConfigs, Scope::EditNumbers],
            Self::Operator => &[Scope::Calls],
            Self::Admin => &[
                Scope::EditConfigs,
                Scope::EditNumbers,
                Scope::Calls,
                Scope::Tokens,
                Scope::Verify,
                Scope::Users,
                Scope::Rollout,
                Scope::Keys,
            ],
        };
        Permissions {
            scopes: [VIEWER, more].concat(),
            tenants: None,
            numbers: Vec::new(),
            tokens: TokenLimits {
                room: "*".parse().ok().filter(|_| self == Self::Admin),
                sip_call: false,
                agent: false,
                admin: false,
                longest: Duration::from_secs(3600),
            },
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be viewer, editor, operator or admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or(UnknownRole)
    }
}

/// What stands before the name of a person who asks. No client has such a name.
pub const USER_PREFIX: &str = "user:";

/// What everybody may ask who may sign in.
const VIEWER: &[Scope] = &[
    Scope::Configs,
    Scope::Numbers,
    Scope::Fleet,
    Scope::Changes,
    Scope::Audit,
    Scope::Route,
    Scope::Resolve,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_its_table_says() {
        use Scope::{Audit, Changes, Configs, Fleet, Numbers, Resolve, Route};
        let reads = [Configs, Numbers, Fleet, Changes, Audit, Route, Resolve];
        let table: [(Role, &[Scope]); 4] = [
            (Role::Viewer, &[]),
            (Role::Editor, &[Scope::EditConfigs, Scope::EditNumbers]),
            (Role::Operator, &[Scope::Calls]),
            (
                Role::Admin,
                &[
                    Scope::EditConfigs,
                    Scope::EditNumbers,
                    Scope::Calls,
                    Scope::Tokens,
                    Scope::Verify,
                    Scope::Users,
                    Scope::Rollout,
                    Scope::Keys,
                ],
            ),
        ];
        for (role, more) in table {
            let permissions = role.permissions();
            for scope in Scope::ALL {
                let may = reads.contains(&scope) || more.contains(&scope);
                assert_eq!(permissions.may(scope), may, "{role} {scope}");
            }
            assert!(!permissions.is_limited());
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
    }
}
