//! Which client asks: by the token of the request, or a ticket that it made, else by the local user at
//! the other end of a socket.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::ApiError;
use super::problem::Problem;
use crate::access::{TICKET_PREFIX, Ticket, TicketError, TokenHash};
use crate::resolver::Resolver;
use crate::server::connections::Peer;
use crate::settings::SocketUser;
use crate::store::Client;

/// Which client each local user is.
pub(in crate::server) struct Users(HashMap<u32, String>);

impl Users {
    /// Looks names up in `/etc/passwd`.
    pub(in crate::server) fn read(named: &[(SocketUser, String)]) -> Result<Self, ApiError> {
        let by_name = named.iter().any(|(user, _)| matches!(user, SocketUser::Name(_)));
        let passwd = if by_name {
            std::fs::read_to_string(PASSWD).unwrap_or_default()
        } else {
            String::new()
        };
        let number = |user: &SocketUser| match user {
            SocketUser::Id(id) => Ok(*id),
            SocketUser::Name(name) => {
                number_of(&passwd, name).ok_or_else(|| ApiError::UnknownUser { name: name.clone() })
            }
        };
        let users = named.iter().map(|(user, client)| Ok((number(user)?, client.clone())));
        Ok(Self(users.collect::<Result<_, ApiError>>()?))
    }
}

/// The client that asks, if it still may.
pub(in crate::server) async fn client(
    resolver: &Resolver,
    users: &Users,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Arc<Client>, Problem> {
    let client = match (token(headers)?, peer) {
        (Some(token), _) => {
            let hash = TokenHash::of(token).ok_or_else(invalid)?;
            let client = resolver.client_with(&hash).await.map_err(Problem::clients_unknown)?;
            client.ok_or_else(invalid)?
        }
        (None, Peer::User(user)) => match users.0.get(&user) {
            Some(name) => {
                let client = resolver.client_named(name).await.map_err(Problem::clients_unknown)?;
                client.ok_or_else(no_such_client)?
            }
            None if users.0.is_empty() => return Err(missing()),
            None => return Err(not_mapped()),
        },
        (None, Peer::Network(_)) => return Err(missing()),
    };
    still(resolver, client)
}

/// The client that made the ticket which a request shows, if it still may. `None`: it shows none.
pub(in crate::server) async fn ticket(
    resolver: &Resolver,
    headers: &HeaderMap,
) -> Result<Option<(Arc<Client>, Ticket)>, Problem> {
    let Some(text) = token(headers)?.filter(|text| text.starts_with(TICKET_PREFIX)) else {
        return Ok(None);
    };
    let ticket = resolver.open_ticket(text).map_err(|error| match error {
        TicketError::Invalid => {
            Problem::unauthorized("ticket_invalid", "this is no ticket of ours")
        }
        TicketError::Expired => Problem::unauthorized("ticket_expired", "the ticket has expired")
            .hint("the client that made it makes another one"),
    })?;
    let client = resolver.client_of(ticket.client).await.map_err(Problem::clients_unknown)?;
    // One that was removed made none that is good.
    let client = client.ok_or_else(|| {
        Problem::unauthorized("ticket_invalid", "the client that made this ticket is no more")
    })?;
    Ok(Some((still(resolver, client)?, ticket)))
}

fn still(resolver: &Resolver, client: Arc<Client>) -> Result<Arc<Client>, Problem> {
    if client.revoked_at.is_some() {
        return Err(Problem::unauthorized("client_revoked", "this client was revoked"));
    }
    if client.has_expired(resolver.unix_time()) {
        return Err(Problem::unauthorized("client_expired", "this client has expired"));
    }
    Ok(client)
}

/// The token of a request that has one.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(invalid());
    }
    let text = first.to_str().map_err(|_| invalid())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(invalid)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(invalid()) }
}

fn missing() -> Problem {
    Problem::unauthorized("credential_missing", "no token: send Authorization: Bearer tlc_…")
        .hint("`trunkline client add` makes a client and prints its token")
}

fn invalid() -> Problem {
    Problem::unauthorized("token_invalid", "the token is of no client")
        .hint("`trunkline client rotate` gives a client another token")
}

fn not_mapped() -> Problem {
    Problem::forbidden("peer_not_mapped", "this user of the machine is no client")
        .hint("HTTP_SOCKET_USERS says which users are; a token works, too")
}

fn no_such_client() -> Problem {
    Problem::forbidden("client_unknown", "the client that this user is does not exist")
        .hint("`trunkline client list` shows the names")
}

/// The number of a user in the text of `/etc/passwd`.
fn number_of(passwd: &str, name: &str) -> Option<u32> {
    let mut users = passwd.lines().map(|line| line.split(':'));
    let mut user = users.find_map(|mut user| (user.next() == Some(name)).then_some(user))?;
    user.nth(1)?.parse().ok()
}

const PASSWD: &str = "/etc/passwd";

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_user_is_found_by_his_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ndial:x:1001:1001::/:/bin/false\nbroken\n";
        assert_eq!(number_of(passwd, "root"), Some(0));
        assert_eq!(number_of(passwd, "dial"), Some(1001));
        for name in ["dia", "dialler", "x", "broken", ""] {
            assert_eq!(number_of(passwd, name), None, "{name}");
        }
    }

    #[test]
    fn one_bearer_token_is_a_credential_and_nothing_else_is() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            headers
        };
        assert!(matches!(token(&headers(&[])), Ok(None)));
        assert!(matches!(token(&headers(&["bearer tlc_x"])), Ok(Some("tlc_x"))));
        for values in [&["Basic dXNlcg=="][..], &["tlc_x"], &["Bearer a", "Bearer b"]] {
            assert_eq!(token(&headers(values)).unwrap_err().code, "token_invalid");
        }
    }
}
