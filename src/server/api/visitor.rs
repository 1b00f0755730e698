//! People at the door: the cookie that says who they are, and what signs them in and out.
//!
//! A cookie is sent by a browser whatever page made it ask. So every request that may change something,
//! and is asked with a cookie, must come from a page of this server.
//!
//! **Invariant:** a session has a token of its own, made when somebody signs in. None that came with a
//! request is ever taken over.

use std::sync::Arc;

use axum::http::header::{COOKIE, HOST, ORIGIN, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::attempts::Attempts;
use super::metrics::ApiMetrics;
use super::place::At;
use super::problem::Problem;
use crate::access::{SessionToken, TokenHash};
use crate::resolver::{Person, Resolver, SignInError, Visit};
use crate::server::connections::Peer;
use crate::settings::UserHeader;
use crate::store::{Behalf, UserEdit};

/// Somebody who asks with a browser, known or not.
pub(in crate::server) struct Visitor<'v> {
    pub(super) resolver: &'v Resolver,
    pub(super) attempts: &'v Attempts,
    pub(super) metrics: &'v ApiMetrics,
    pub(super) at: &'v At,
    pub(in crate::server) peer: Peer,
    /// Who a proxy says that he is.
    pub(super) vouched: Option<&'v str>,
    pub(super) method: &'v Method,
    pub(super) headers: &'v HeaderMap,
}

impl Visitor<'_> {
    /// Who he is by his cookie. `None`: he shows none, or one of no session.
    pub(in crate::server) async fn person(&self) -> Result<Option<Arc<Person>>, Problem> {
        if let Some(name) = self.vouched {
            refuse_cross_site(self.at, self.method, self.headers)?;
            let person = self.resolver.person_named(name).await.map_err(Problem::users_unknown)?;
            return person.map(Some).ok_or_else(|| {
                let message = "the user that the proxy names does not exist, or is disabled";
                Problem::forbidden("user_unknown", message)
                    .hint("`trunkline user add NAME --link-only` adds one")
            });
        }
        let Some(session) = cookie(self.at, self.headers) else { return Ok(None) };
        refuse_cross_site(self.at, self.method, self.headers)?;
        self.resolver.person_with(&session).await.map_err(Problem::users_unknown)
    }

    /// Whether he shows a cookie of ours, good or not, or a proxy names him.
    pub(in crate::server) fn shows_session(&self) -> bool {
        self.vouched.is_some() || cookie(self.at, self.headers).is_some()
    }

    /// Signs him in by his password. The header sets his cookie.
    pub(in crate::server) async fn sign_in(
        &self,
        name: &str,
        password: &str,
    ) -> Result<(HeaderValue, Arc<Person>), Problem> {
        self.tried(name, self.resolver.sign_in(name, password, &self.visit())).await
    }

    /// The same by a link that signs in once.
    pub(in crate::server) async fn sign_in_by_link(
        &self,
        link: &str,
    ) -> Result<(HeaderValue, Arc<Person>), Problem> {
        self.tried("", self.resolver.sign_in_by_link(link, &self.visit())).await
    }

    async fn tried(
        &self,
        name: &str,
        signing_in: impl Future<Output = Result<(SessionToken, Arc<Person>), SignInError>>,
    ) -> Result<(HeaderValue, Arc<Person>), Problem> {
        refuse_other_page(self.at, self.headers)?;
        if self.at.is_socket() {
            let message = "people sign in at the address; on the socket the local user asks";
            return Err(Problem::forbidden("session_not_here", message));
        }
        let (token, person) = self.counted(name, signing_in).await?;
        tracing::info!(user = person.name, from = %self.peer, "signed in");
        Ok((set_cookie(self.at, &token), person))
    }

    /// Takes his password again.
    pub(in crate::server) async fn confirm(
        &self,
        person: &Person,
        password: &str,
    ) -> Result<(), Problem> {
        self.counted(&person.name, self.resolver.confirm(person, password)).await
    }

    /// Gives him another password.
    pub(in crate::server) async fn change_password(
        &self,
        behalf: &Behalf,
        person: &Person,
        passwords: [&str; 2],
    ) -> Result<(), Problem> {
        let changing = self.resolver.change_password(behalf, person, passwords);
        self.counted(&person.name, changing).await
    }

    /// Ends his session, or all that he has. The header takes his cookie away.
    pub(in crate::server) async fn sign_out(
        &self,
        behalf: &Behalf,
        person: &Person,
        everywhere: bool,
    ) -> Result<HeaderValue, Problem> {
        if everywhere {
            let rows = self.resolver.people()?;
            rows.change_user(behalf, person.id, &[UserEdit::SignOut]).await?;
            self.resolver.people_changed();
        } else if let Some(session) = &person.session {
            self.resolver.sign_out(session).await?;
        }
        Ok(clear_cookie(self.at))
    }

    /// Tries a password, unless that was done too often of late, and counts what came of it.
    async fn counted<T>(
        &self,
        name: &str,
        trying: impl Future<Output = Result<T, SignInError>>,
    ) -> Result<T, Problem> {
        if let Err(wait) = self.attempts.count(self.peer, name) {
            self.metrics.sign_in("throttled");
            return Err(Problem::too_many_logins(wait));
        }
        match trying.await {
            Ok(done) => {
                self.attempts.forgive(self.peer, name);
                self.metrics.sign_in("accepted");
                Ok(done)
            }
            Err(error) => {
                let outcome =
                    if let SignInError::Refused = error { "refused" } else { "unavailable" };
                self.metrics.sign_in(outcome);
                tracing::info!(user = masked(name), from = %self.peer, outcome, "a login failed");
                Err(error.into())
            }
        }
    }

    fn visit(&self) -> Visit {
        let agent = self.headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        Visit {
            address: self.peer.to_string(),
            agent: String::from_utf8_lossy(agent).into_owned(),
            instead_of: cookie(self.at, self.headers),
        }
    }
}

/// Whom a proxy says that a request is of. From elsewhere the header is refused, so that nobody is
/// whoever he says.
pub(in crate::server) fn vouched<'h>(
    header: Option<&UserHeader>,
    connected: Peer,
    headers: &'h HeaderMap,
) -> Result<Option<&'h str>, Problem> {
    let Some(UserHeader { name, from, .. }) = header else { return Ok(None) };
    let mut given = headers.get_all(name.as_str()).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let is_from_there = match connected {
        Peer::Network(address) => from.iter().any(|network| network.has(address)),
        Peer::User(_) => false,
    };
    match first.to_str().ok().filter(|name| !name.trim().is_empty()) {
        Some(name) if is_from_there && given.next().is_none() => Ok(Some(name)),
        _ => {
            let message = "a header says who asks, and does not come from the proxy, or not once";
            Err(Problem::forbidden("user_header_refused", message)
                .hint("HTTP_USER_HEADER_FROM says from where it is believed"))
        }
    }
}

/// The session that a request shows, where a cookie is taken. Two of them are none: somebody else may have
/// set one.
pub(in crate::server) fn cookie(at: &At, headers: &HeaderMap) -> Option<TokenHash> {
    let name = at.cookie()?;
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(given, _)| given.trim() == name).map(|(_, value)| value.trim());
    let first = named.next()?;
    if named.next().is_some() { None } else { TokenHash::of_session(first) }
}

/// The header that sets the cookie of a session.
pub(in crate::server) fn set_cookie(at: &At, token: &SessionToken) -> HeaderValue {
    told(at, token.as_str(), LIFETIME)
}

/// The header that takes it away.
pub(in crate::server) fn clear_cookie(at: &At) -> HeaderValue {
    told(at, "", 0)
}

fn told(at: &At, value: &str, lifetime: u32) -> HeaderValue {
    let name = at.cookie().unwrap_or(PLAIN);
    let secure = if name == PLAIN { "" } else { "; Secure" };
    let text =
        format!("{name}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Strict{secure}");
    let mut header = HeaderValue::from_str(&text).expect("letters and digits are a header");
    header.set_sensitive(true);
    header
}

/// Refuses what a page of another site may have made a browser ask. Who asks with a cookie must say where
/// from: every browser does.
pub(in crate::server) fn refuse_cross_site(
    at: &At,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    match is_of_own_page(at, headers) {
        Some(true) => Ok(()),
        Some(false) => Err(other_page()),
        None => {
            let message = "a request with a cookie must say which page it comes from";
            Err(Problem::forbidden("cross_site", message)
                .hint("send Origin, or ask with the token of a client"))
        }
    }
}

/// Refuses a login that a page of another site sent. Who says nothing is no browser.
fn refuse_other_page(at: &At, headers: &HeaderMap) -> Result<(), Problem> {
    if is_of_own_page(at, headers) == Some(false) { Err(other_page()) } else { Ok(()) }
}

fn other_page() -> Problem {
    Problem::forbidden("cross_site", "this request was sent by a page of another site")
        .hint("a proxy must pass on Host as the browser sent it")
}

/// Whether a page of this server asks, or nobody's page. `None`: the request does not say.
fn is_of_own_page(at: &At, headers: &HeaderMap) -> Option<bool> {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return Some(matches!(site.as_bytes(), b"same-origin" | b"none"));
    }
    let origin = headers.get(ORIGIN)?.to_str().ok()?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = if at.cookie() == Some(SECURE) { "https://" } else { "http://" };
    let own = origin.strip_prefix(scheme).is_some_and(|of| of.eq_ignore_ascii_case(host));
    Some(own && !host.is_empty())
}

/// A name as logs have it: whoever errs may have typed a password there.
fn masked(name: &str) -> String {
    let first = name.chars().next().filter(|first| first.is_alphanumeric());
    first.map_or_else(|| "…".to_owned(), |first| format!("{first}…"))
}

impl At {
    /// Which cookie is taken here. `None`: none is.
    pub(in crate::server) fn cookie(&self) -> Option<&'static str> {
        match self {
            Self::Socket => None,
            Self::Address { has_tls: false, .. } => Some(PLAIN),
            Self::Address { has_tls: true, .. } | Self::Proxy { .. } => Some(SECURE),
        }
    }

    fn is_socket(&self) -> bool {
        matches!(self, Self::Socket)
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Refused => {
                let message =
                    "this is not accepted: it does not fit, or may not be used at present";
                Self::unauthorized("login_refused", message).hint(
                    "after 10 failures in a row a user is locked for a while; \
                     `trunkline user unlock` ends that",
                )
            }
            SignInError::Busy => {
                Self::unavailable("logins_waiting", "too many passwords are being compared")
            }
            SignInError::NoDatabase => Self::no_database(),
            SignInError::Store(error) => error.into(),
            SignInError::Unknown(reason) => Self::users_unknown(reason),
            SignInError::Key(error) => error.into(),
        }
    }
}

impl Problem {
    /// The people are not known at present.
    pub(in crate::server) fn users_unknown(reason: crate::reason::Reason) -> Self {
        let message = format!("it is not known at present who is signed in: {reason}");
        Self::unavailable("users_unknown", message).hint("`trunkline doctor` says what is wrong")
    }

    fn too_many_logins(wait: std::time::Duration) -> Self {
        let message = "too many passwords were tried of late";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_logins", message);
        problem.after(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// A cookie of no session.
    pub(in crate::server) fn session_ended() -> Self {
        Self::unauthorized(SESSION_ENDED, "you are not signed in, or not any more")
            .hint("POST /v1/session signs in")
    }
}

/// With this prefix a browser takes it over TLS alone, and from this host alone.
const SECURE: &str = "__Host-trunkline";
/// Over HTTP on this machine, where a browser would refuse the other one.
const PLAIN: &str = "trunkline";
/// In seconds; the session itself ends then.
const LIFETIME: u32 = 12 * 3600;
const SEC_FETCH_SITE: &str = "sec-fetch-site";
pub(in crate::server) const SESSION_ENDED: &str = "session_ended";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::hosts::Hosts;

    fn at(has_tls: bool) -> At {
        At::Address { hosts: Hosts::at(([127, 0, 0, 1], 9465).into(), &[]), has_tls }
    }

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn what_changes_something_comes_from_a_page_of_this_server() {
        let host = ("host", "127.0.0.1:9465");
        for (given, passes) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:9465"), host], false),
            (&[("origin", "http://127.0.0.1:9465"), host], true),
            (&[("origin", "https://127.0.0.1:9465"), host], false),
            (&[("origin", "http://127.0.0.1:9466"), host], false),
            (&[("origin", "http://evil.example"), host], false),
            (&[("origin", "null"), host], false),
            (&[("origin", "http://"), ("host", "")], false),
            (&[host], false),
        ] {
            let given = headers(given);
            for method in [Method::POST, Method::PATCH, Method::DELETE, Method::PUT] {
                let outcome = refuse_cross_site(&at(false), &method, &given);
                assert_eq!(outcome.is_ok(), passes, "{method} {given:?}");
            }
            assert!(refuse_cross_site(&at(false), &Method::GET, &given).is_ok());
        }
        let secure =
            headers(&[("origin", "https://trunkline.example"), ("host", "trunkline.example")]);
        assert!(refuse_cross_site(&at(true), &Method::POST, &secure).is_ok());
        assert!(refuse_cross_site(&at(false), &Method::POST, &secure).is_err());
    }

    #[test]
    fn a_cookie_is_of_one_place_and_says_so() {
        let token = SessionToken::generate().unwrap();
        let text = token.as_str();
        let of = |value: &str| headers(&[("cookie", value)]);
        assert_eq!(cookie(&at(false), &of(&format!("a=b; trunkline={text}"))), Some(token.hash()));
        assert_eq!(cookie(&at(true), &of(&format!("__Host-trunkline={text}"))), Some(token.hash()));
        assert_eq!(cookie(&at(true), &of(&format!("trunkline={text}"))), None, "not set over TLS");
        assert_eq!(cookie(&at(false), &of(&format!("xtrunkline={text}"))), None);
        assert_eq!(cookie(&at(false), &of(&format!("trunkline={text}; trunkline={text}"))), None);
        assert_eq!(cookie(&At::Socket, &of(&format!("trunkline={text}"))), None);
        let secure = set_cookie(&at(true), &token);
        assert_eq!(
            secure.to_str().unwrap(),
            format!(
                "__Host-trunkline={text}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure"
            )
        );
        assert!(!format!("{secure:?}").contains(text), "it is in no log");
        let plain = clear_cookie(&at(false));
        let cleared = "trunkline=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict";
        assert_eq!(plain.to_str().unwrap(), cleared);
    }

    #[test]
    fn of_a_name_that_fails_the_first_letter_is_told() {
        assert_eq!((masked("alice").as_str(), masked("").as_str()), ("a…", "…"));
    }
}
