//! People in a database: users, their sessions, and how they sign in.
//!
//! **Invariant:** no failed login is a change: only what gives or takes a right is logged.

#[cfg(feature = "server")]
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::StoreError;
#[cfg(feature = "server")]
use super::edits::{Behalf, Edited, Written};
use crate::access::{PasswordHash, Role, TokenHash};

/// A row of `trunkline_users`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct User {
    /// Its id.
    pub id: Uuid,
    /// Its unique name, in small letters.
    pub name: String,
    /// What he may do. `None`: this version does not know the word, and he may do nothing.
    pub role: Option<Role>,
    /// Whether he can sign in by a password.
    pub has_password: bool,
    /// Since when he may not sign in.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Failed logins since the last one that went well.
    pub failures: u64,
    /// Until when no password is taken, after too many of those.
    pub locked_until: Option<DateTime<Utc>>,
    /// When he was added.
    pub created_at: Option<DateTime<Utc>>,
    /// When he signed in last.
    pub last_login_at: Option<DateTime<Utc>>,
    /// In how many places he is signed in.
    pub sessions: u64,
}

/// A user to be.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// A name that no other user has, in small letters.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// `None`: he signs in by a link, or by a proxy that vouches for him.
    pub password: Option<PasswordHash>,
}

/// An edit of a user.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum UserEdit {
    /// Another role.
    Role(Role),
    /// Another password. Every session ends.
    Password(PasswordHash),
    /// He may not sign in from now on, and every session ends.
    Disable,
    /// He may sign in again.
    Enable,
    /// Forgets failed logins.
    Unlock,
    /// Every session ends.
    SignOut,
    /// A link signs him in, once and for so many seconds. A link from before ends.
    Link(TokenHash, u32),
    /// He is no more, with all of his sessions.
    Remove,
}

impl UserEdit {
    /// Whether an admin that it is made of is none after it.
    pub(super) fn takes_admin(&self) -> bool {
        match self {
            Self::Role(role) => *role != Role::Admin,
            Self::Disable | Self::Remove => true,
            Self::Password(_) | Self::Enable | Self::Unlock | Self::SignOut | Self::Link(..) => {
                false
            }
        }
    }
}

/// What came of an edit of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserEdited {
    /// It is done.
    Done,
    /// There is no such user.
    Missing,
    /// He is the last admin who may sign in, and nothing was done.
    LastAdmin,
}

/// Where somebody is signed in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UserSession {
    /// Since when.
    pub created_at: Option<DateTime<Utc>>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// From where he signed in.
    pub address: String,
    /// With what, as that said of itself.
    pub agent: String,
}

/// The users: people who administer an installation. Each edit is one transaction.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Every user, by name.
    async fn users(&self) -> Result<Vec<User>, StoreError>;

    /// Adds a user and returns his id.
    async fn create_user(&self, user: &NewUser) -> Result<Uuid, StoreError>;

    /// Edits a user. Unless `force`, the last admin stays one.
    async fn edit_user(
        &self,
        id: Uuid,
        edit: &UserEdit,
        force: bool,
    ) -> Result<UserEdited, StoreError>;

    /// Where a user is signed in, the last one first.
    async fn sessions(&self, user: Uuid) -> Result<Vec<UserSession>, StoreError>;
}

/// A user with one of his sessions, or with none: all that it takes to know who asks.
#[cfg(feature = "server")]
#[derive(Debug, Clone)]
pub(crate) struct PersonRow {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) role: Option<Role>,
    pub(crate) is_disabled: bool,
    pub(crate) session: Option<SessionRow>,
}

#[cfg(feature = "server")]
#[derive(Debug, Clone)]
pub(crate) struct SessionRow {
    pub(crate) token: TokenHash,
    pub(crate) confirmed_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
}

/// An attempt to sign in by a password, which counts as failed until it has not.
#[cfg(feature = "server")]
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) user: Uuid,
    pub(crate) password: Option<PasswordHash>,
    pub(crate) is_disabled: bool,
}

/// A session to be.
#[cfg(feature = "server")]
#[derive(Debug)]
pub(crate) struct NewSession<'s> {
    pub(crate) user: Uuid,
    pub(crate) token: TokenHash,
    pub(crate) lifetime: Duration,
    pub(crate) address: &'s str,
    pub(crate) agent: &'s str,
    /// The one that the same browser had.
    pub(crate) instead_of: Option<TokenHash>,
}

/// An edit of a client.
#[cfg(feature = "server")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum ClientEdit {
    Revoke,
    Rotate(TokenHash),
    Remove,
}

/// What signing in reads and writes, and edits of users and clients on somebody's behalf.
#[cfg(feature = "server")]
#[async_trait]
pub(crate) trait PeopleRows: Send + Sync + 'static {
    /// Every user with each of his sessions.
    async fn people(&self) -> Result<Vec<PersonRow>, StoreError>;

    /// Counts an attempt before it is known what comes of it, so that attempts at the same time are all
    /// counted. `None`: there is no such user, or he is locked.
    async fn attempt(&self, name: &str) -> Result<Option<Attempt>, StoreError>;

    /// Forgets failed logins of a user whose password is still this one. `false`: it is not.
    async fn forgive(&self, user: Uuid, password: &PasswordHash) -> Result<bool, StoreError>;

    /// Signs a user in, if his password is still this one (`None`: a link did), and he is not disabled.
    async fn begin_session(
        &self,
        session: &NewSession<'_>,
        password: Option<&PasswordHash>,
    ) -> Result<Option<Option<Written>>, StoreError>;

    /// Uses a link up, and says whose it was.
    async fn take_link(&self, link: &TokenHash) -> Result<Option<Uuid>, StoreError>;

    /// Ends a session.
    async fn end_session(&self, session: &TokenHash) -> Result<Option<Written>, StoreError>;

    /// Notes that whose session it is has given his password again.
    async fn confirm_session(&self, session: &TokenHash) -> Result<Option<Written>, StoreError>;

    /// Gives a user another password in place of this one, and ends his sessions but this one. `false`: the
    /// password was not this one any more.
    async fn change_own_password(
        &self,
        behalf: &Behalf,
        user: Uuid,
        [old, new]: [&PasswordHash; 2],
        session: Option<&TokenHash>,
    ) -> Result<bool, StoreError>;

    /// Forgets the sessions that have ended by themselves, and says how many.
    async fn prune_sessions(&self) -> Result<u64, StoreError>;

    /// Adds a user with this id.
    async fn insert_user(
        &self,
        behalf: &Behalf,
        id: Uuid,
        user: &NewUser,
    ) -> Result<Edited, StoreError>;

    /// Makes some edits of a user, all of them or none. [`Edited::Declined`]: he is the last admin.
    async fn change_user(
        &self,
        behalf: &Behalf,
        id: Uuid,
        edits: &[UserEdit],
    ) -> Result<Edited, StoreError>;

    /// Adds a client with this id.
    async fn insert_client(
        &self,
        behalf: &Behalf,
        id: Uuid,
        client: &super::NewClient,
        token: &TokenHash,
    ) -> Result<Edited, StoreError>;

    /// Edits a client. [`Edited::Declined`]: it is revoked, and gets no other token.
    async fn change_client(
        &self,
        behalf: &Behalf,
        id: Uuid,
        edit: ClientEdit,
    ) -> Result<Edited, StoreError>;
}
