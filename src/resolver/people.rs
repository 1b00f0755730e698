//! People who sign in: who they are by their sessions, all of them in memory, and how they sign in.
//!
//! A session is begun, confirmed and ended in the database, and every node hears of it as of any change.
//! The node that does it knows at once, and waits for the others, for `LEASE` at the most.
//!
//! **Invariant:** a login that is refused says nothing about why: an unknown name, a wrong password, a
//! locked and a disabled user cost the same work and the same time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Resolver;
use super::loader::Loader;
use super::whole::{Known, Whole};
use crate::access::{
    LONGEST_PASSWORD, PasswordHash, Permissions, Role, SessionToken, TokenHash, USER_PREFIX,
};
use crate::cache::fence::List;
use crate::change::Change;
use crate::keyring::KeyError;
use crate::lifecycle::apart;
use crate::reason::Reason;
use crate::store::{
    Attempt, Behalf, Client, ClientStore, NewSession, OpenStore, PeopleRows, PersonRow, SessionRow,
    StoreError, UserStore, Written,
};

/// Somebody who is signed in, or for whom a proxy vouches.
pub(crate) struct Person {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    /// `None`: this version does not know his role, and he may do nothing.
    pub(crate) role: Option<Role>,
    /// `None`: a proxy vouches for him.
    pub(crate) session: Option<TokenHash>,
    confirmed_at: Option<DateTime<Utc>>,
    /// When the session ends by itself.
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// He as what asks: `user:` and his name, his id, and the permissions of his role.
    pub(crate) client: Arc<Client>,
}

/// From where somebody signs in, as he is told later.
#[derive(Debug, Clone, Default)]
pub(crate) struct Visit {
    pub(crate) address: String,
    /// What his browser says that it is.
    pub(crate) agent: String,
    /// The session that the same browser showed. It ends.
    pub(crate) instead_of: Option<TokenHash>,
}

/// Why nobody is signed in.
#[derive(Debug)]
pub(crate) enum SignInError {
    /// Name and password, or the link, do not fit, or for now may not be used.
    Refused,
    /// Too many passwords are being compared.
    Busy,
    /// There is no database.
    NoDatabase,
    /// The database did not do it.
    Store(StoreError),
    /// It is done, and cannot be read back at present.
    Unknown(Reason),
    /// No random bits are to be had.
    Key(KeyError),
}

impl From<StoreError> for SignInError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<KeyError> for SignInError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

/// The people, as far as they were asked for.
pub(super) struct People {
    rows: Option<Arc<dyn PeopleRows>>,
    all: Whole<Lookup>,
    /// Each comparison takes 19 MiB.
    comparing: Arc<Semaphore>,
}

/// Everybody who may ask, by what he is looked up by.
struct Lookup {
    sessions: HashMap<u64, Arc<Person>, foldhash::fast::RandomState>,
    names: HashMap<String, Arc<Person>>,
}

impl Resolver {
    /// Whose session this is. An error: the people are not known at present.
    pub(crate) async fn person_with(
        &self,
        session: &TokenHash,
    ) -> Result<Option<Arc<Person>>, Reason> {
        let known = self.engine.people.known().await?;
        let found = known.sessions.get(&session.place());
        let now = self.unix_time();
        let person = found.filter(|person| person.session == Some(*session));
        Ok(person.filter(|person| !person.client.has_expired(now)).cloned())
    }

    /// The user of this name, for whom a proxy vouches. `None`: there is none, or he is disabled.
    pub(crate) async fn person_named(&self, name: &str) -> Result<Option<Arc<Person>>, Reason> {
        let name = name.trim().to_lowercase();
        Ok(self.engine.people.known().await?.names.get(&name).cloned())
    }

    /// Makes the metric of passwords, where people can sign in.
    pub(crate) fn expect_passwords(&self) {
        self.engine.telemetry.expect_passwords();
    }

    /// The users of its database. `None`: none is named, or another store was given.
    pub(crate) fn users(&self) -> Option<Arc<dyn UserStore>> {
        self.engine.database.as_ref().map(OpenStore::users)
    }

    /// The clients of its database. `None`: none is named, or another store was given.
    pub(crate) fn client_store(&self) -> Option<Arc<dyn ClientStore>> {
        self.engine.database.as_ref().map(OpenStore::clients)
    }

    /// Signs somebody in by his password.
    pub(crate) async fn sign_in(
        &self,
        name: &str,
        password: &str,
        visit: &Visit,
    ) -> Result<(SessionToken, Arc<Person>), SignInError> {
        let signed_in = async {
            let (user, hash) = self.verified(name, password).await?;
            self.begin_session(user, Some(&hash), visit).await
        };
        evenly(signed_in).await
    }

    /// Signs somebody in by a link, which is used up by that.
    pub(crate) async fn sign_in_by_link(
        &self,
        link: &str,
        visit: &Visit,
    ) -> Result<(SessionToken, Arc<Person>), SignInError> {
        let signed_in = async {
            let link = TokenHash::of_link(link).ok_or(SignInError::Refused)?;
            let user = self.people()?.take_link(&link).await?.ok_or(SignInError::Refused)?;
            self.begin_session(user, None, visit).await
        };
        evenly(signed_in).await
    }

    /// Ends a session.
    pub(crate) async fn sign_out(&self, session: &TokenHash) -> Result<(), SignInError> {
        let written = self.people()?.end_session(session).await?;
        self.know_at_once(written).await;
        Ok(())
    }

    /// Takes somebody's password again.
    pub(crate) async fn confirm(&self, person: &Person, password: &str) -> Result<(), SignInError> {
        let confirmed = async {
            let (user, hash) = self.verified(&person.name, password).await?;
            let rows = self.people()?;
            if user != person.id || !rows.forgive(user, &hash).await? {
                return Err(SignInError::Refused);
            }
            if let Some(session) = &person.session {
                let written = rows.confirm_session(session).await?;
                self.know_at_once(written).await;
            }
            Ok(())
        };
        evenly(confirmed).await
    }

    /// Whether somebody has given his password a moment ago. A proxy that vouches for him asks for itself.
    pub(crate) fn is_confirmed(&self, person: &Person) -> bool {
        let Some(at) = person.confirmed_at.filter(|_| person.session.is_some()) else {
            return person.session.is_none();
        };
        let at = u64::try_from(at.timestamp()).unwrap_or(0);
        self.unix_time() < Duration::from_secs(at) + CONFIRMED_FOR
    }

    /// Gives somebody another password, if he knows the one that he has. His other sessions end.
    pub(crate) async fn change_password(
        &self,
        behalf: &Behalf,
        person: &Person,
        [old, new]: [&str; 2],
    ) -> Result<(), SignInError> {
        let changed = async {
            let (user, hash) = self.verified(&person.name, old).await?;
            let new = self.password_hash(new).await?;
            let (rows, session) = (self.people()?, person.session.as_ref());
            let changed = rows.change_own_password(behalf, person.id, [&hash, &new], session);
            if user != person.id || !changed.await? {
                return Err(SignInError::Refused);
            }
            self.know_at_once(None).await;
            Ok(())
        };
        evenly(changed).await
    }

    /// The hash of a password, made where nobody waits for the thread.
    pub(crate) async fn password_hash(&self, password: &str) -> Result<PasswordHash, SignInError> {
        let password = Zeroizing::new(password.to_owned());
        let hash = self.compare(move || PasswordHash::of(&password)).await?;
        Ok(hash.unwrap_or(Err(KeyError::NoRandomness))?)
    }

    /// The rows of people and clients. An error: there is no database.
    pub(crate) fn people(&self) -> Result<&Arc<dyn PeopleRows>, SignInError> {
        self.engine.people.rows.as_ref().ok_or(SignInError::NoDatabase)
    }

    /// Whose name and password these are, and what is stored of the password. The attempt is counted
    /// before it is known.
    async fn verified(
        &self,
        name: &str,
        password: &str,
    ) -> Result<(Uuid, PasswordHash), SignInError> {
        let name = name.trim().to_lowercase();
        let attempt = if (1..=LONGEST_NAME).contains(&name.len()) && !name.contains('\0') {
            self.people()?.attempt(&name).await?
        } else {
            None
        };
        let attempt = attempt.filter(|attempt| !attempt.is_disabled);
        let (user, hash) = match attempt {
            Some(Attempt { user, password, .. }) => (Some(user), password),
            None => (None, None),
        };
        let hash = hash.filter(|_| password.len() <= LONGEST_PASSWORD);
        let given: String = password.chars().take(LONGEST_PASSWORD).collect();
        let (given, stored) = (Zeroizing::new(given), hash.clone());
        let begun = Instant::now();
        let fits = self.compare(move || PasswordHash::matches(stored.as_ref(), &given)).await?;
        self.engine.telemetry.compared_password(begun.elapsed());
        match (user.zip(hash), fits) {
            (Some(found), Some(true)) => Ok(found),
            _ => Err(SignInError::Refused),
        }
    }

    /// Does work with a password on a thread of its own, two at once at the most: it takes memory.
    async fn compare<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, SignInError> {
        let turn = Arc::clone(&self.engine.people.comparing).acquire_owned();
        let turn = timeout(PATIENCE, turn).await;
        let Ok(Ok(turn)) = turn else { return Err(SignInError::Busy) };
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        Ok(apart(work).await)
    }

    async fn begin_session(
        &self,
        user: Uuid,
        password: Option<&PasswordHash>,
        visit: &Visit,
    ) -> Result<(SessionToken, Arc<Person>), SignInError> {
        let token = SessionToken::generate()?;
        let session = NewSession {
            user,
            token: token.hash(),
            lifetime: SESSION,
            address: &visit.address,
            agent: &cut(&visit.agent, LONGEST_AGENT),
            instead_of: visit.instead_of,
        };
        let begun = self.people()?.begin_session(&session, password).await?;
        self.know_at_once(begun.ok_or(SignInError::Refused)?).await;
        let person = self.person_with(&token.hash()).await.map_err(SignInError::Unknown)?;
        Ok((token, person.ok_or(SignInError::Refused)?))
    }

    /// What this process wrote of people or clients is known here at once.
    pub(crate) fn people_changed(&self) {
        self.engine.cache.apply(Change::Clients);
    }

    /// What this process wrote is known here at once, and to the others within `LEASE`.
    async fn know_at_once(&self, written: Option<Written>) {
        self.people_changed();
        if written.is_some() {
            self.seen(written).await;
        }
    }
}

impl People {
    pub(super) fn new(rows: Option<Arc<dyn PeopleRows>>, loader: &Arc<Loader>) -> Self {
        let all = Whole::new(List::People, &loader.around());
        Self { rows, all, comparing: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    async fn known(&self) -> Result<Arc<Known<Lookup>>, Reason> {
        let Some(rows) = &self.rows else { return Err(Reason::DatabaseNotConfigured) };
        self.all.known(|| read(Arc::clone(rows))).await
    }
}

async fn read(rows: Arc<dyn PeopleRows>) -> Result<Lookup, StoreError> {
    let rows = rows.people().await?;
    let may = rows.into_iter().filter(|row| !row.is_disabled);
    let (mut sessions, mut names) = (HashMap::default(), HashMap::new());
    for row in may {
        names.entry(row.name.clone()).or_insert_with(|| Arc::new(person(&row, None)));
        if let Some(session) = &row.session {
            sessions.insert(session.token.place(), Arc::new(person(&row, Some(session))));
        }
    }
    Ok(Lookup { sessions, names })
}

fn person(row: &PersonRow, session: Option<&SessionRow>) -> Person {
    let expires_at = session.map(|session| session.expires_at);
    let client = Client {
        id: row.id,
        name: format!("{USER_PREFIX}{}", row.name),
        token_hash: None,
        permissions: row.role.map(Role::permissions),
        created_at: None,
        expires_at,
        revoked_at: None,
    };
    Person {
        id: row.id,
        name: row.name.clone(),
        role: row.role,
        session: session.map(|session| session.token),
        confirmed_at: session.map(|session| session.confirmed_at),
        expires_at,
        client: Arc::new(client),
    }
}

impl Person {
    /// What he may do. `None`: this version does not know.
    pub(crate) fn permissions(&self) -> Option<&Permissions> {
        self.client.permissions.as_ref()
    }
}

/// A refusal takes its time, whatever came before it.
async fn evenly<T>(
    signing_in: impl Future<Output = Result<T, SignInError>>,
) -> Result<T, SignInError> {
    let at = Instant::now() + REFUSED_AFTER;
    let outcome = signing_in.await;
    if let Err(SignInError::Refused) = outcome {
        sleep_until(at).await;
    }
    outcome
}

/// At most so many characters, none of which a terminal would obey.
fn cut(text: &str, most: usize) -> String {
    let shown = |character: char| if character.is_control() { '?' } else { character };
    text.chars().take(most).map(shown).collect()
}

/// How long somebody stays signed in.
const SESSION: Duration = Duration::from_secs(12 * 3600);
/// For how long a password counts as given.
const CONFIRMED_FOR: Duration = Duration::from_secs(300);
/// Longer than all that a refusal may take, unless the machine has too much to do.
const REFUSED_AFTER: Duration = Duration::from_millis(500);
const AT_ONCE: usize = 2;
/// How long somebody waits for his turn.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_NAME: usize = 255;
const LONGEST_AGENT: usize = 200;
