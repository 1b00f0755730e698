//! Who may ask a daemon, and for what: the tokens of clients, the passwords and sessions of people, and
//! the permissions of each.
//!
//! A *client* is a program that asks over HTTP. It proves itself by a token, of which only a hash is
//! stored. What it may ask is in its row, and is read strictly: a row that this version does not
//! understand allows nothing, since what it does not know may be a limit.

mod limits;
mod password;
mod permissions;
mod role;
#[cfg(feature = "server")]
mod ticket;
mod token;

pub use self::limits::{NumberPrefix, NumberPrefixError, RoomPattern, RoomPatternError};
pub use self::password::{LONGEST_PASSWORD, PasswordHash, SHORTEST_PASSWORD, generate_password};
pub use self::permissions::{Permissions, Scope, TokenLimits, UnknownScope};
pub use self::role::{Role, USER_PREFIX, UnknownRole};
#[cfg(feature = "server")]
pub(crate) use self::ticket::{TICKET_PREFIX, Ticket, TicketError};
pub(crate) use self::token::hex;
pub use self::token::{
    CLIENT_TOKEN_PREFIX, ClientToken, LINK_PREFIX, LinkToken, SessionToken, TokenHash,
};
