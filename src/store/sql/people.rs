//! People, the same statements on both databases but for times.

mod statements;

use async_trait::async_trait;
use uuid::Uuid;

pub(super) use self::statements::PeopleStatements;
use super::SqlStore;
#[cfg(feature = "server")]
use super::edits::{Steps, read_written};
#[cfg(feature = "server")]
use crate::access::TokenHash;
use crate::access::{PasswordHash, Role};
#[cfg(feature = "server")]
use crate::store::NewClient;
use crate::store::StoreError;
#[cfg(feature = "server")]
use crate::store::edits::{Behalf, Edited, Written};
#[cfg(feature = "server")]
use crate::store::people::{Attempt, ClientEdit, NewSession, PeopleRows, PersonRow, SessionRow};
use crate::store::people::{NewUser, User, UserEdit, UserEdited, UserSession, UserStore};
use crate::store::record::Record;
use crate::store::statement::Value;
use crate::store::transaction::Transaction;

#[async_trait]
impl<S: SqlStore> UserStore for S {
    async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.pool().read(&self.statements().people.users, &[], read_user).await
    }

    async fn create_user(&self, user: &NewUser) -> Result<Uuid, StoreError> {
        let id = Uuid::new_v4();
        let statement = &self.statements().people.create;
        self.pool().write(statement, &user_values(id, user)).await?;
        Ok(id)
    }

    async fn edit_user(
        &self,
        id: Uuid,
        edit: &UserEdit,
        force: bool,
    ) -> Result<UserEdited, StoreError> {
        let name = self.statements().people.lock.name;
        self.pool()
            .asking(name, async {
                let mut transaction = self.pool().begin(name).await?;
                let edited = self.apply(&mut transaction, id, edit, force).await?;
                match edited {
                    UserEdited::Done => transaction.commit().await?,
                    _ => transaction.roll_back().await,
                }
                Ok(edited)
            })
            .await
    }

    async fn sessions(&self, user: Uuid) -> Result<Vec<UserSession>, StoreError> {
        self.pool().read(&self.statements().people.sessions, &[user.into()], read_session).await
    }
}

/// The steps that edits of users are made of, each in the transaction of its edit.
trait UserSteps: SqlStore {
    async fn apply(
        &self,
        transaction: &mut Transaction<Self::Session>,
        id: Uuid,
        edit: &UserEdit,
        force: bool,
    ) -> Result<UserEdited, StoreError> {
        let people = &self.statements().people;
        // Every admin is locked, so that two who take one away each see what the other one does.
        let locked = transaction.read(&people.lock, &[id.into()], read_locked).await?;
        let Some((_, is_admin)) = locked.iter().find(|(locked, _)| *locked == id) else {
            return Ok(UserEdited::Missing);
        };
        let others = locked.iter().filter(|(other, is_admin)| *is_admin && *other != id).count();
        if *is_admin && others == 0 && edit.takes_admin() && !force {
            return Ok(UserEdited::LastAdmin);
        }
        let this = || Value::from(id);
        let ends_sessions = match edit {
            UserEdit::Role(role) => {
                transaction.write(&people.role, &[this(), role.as_str().into()]).await?;
                false
            }
            UserEdit::Password(hash) => {
                transaction.write(&people.password, &[this(), hash.as_phc().into()]).await?;
                true
            }
            UserEdit::Disable | UserEdit::Enable => {
                let is_disabled = matches!(edit, UserEdit::Disable);
                transaction.write(&people.disable, &[this(), is_disabled.into()]).await?;
                is_disabled
            }
            UserEdit::Unlock => {
                transaction.write(&people.unlock, &[this()]).await?;
                false
            }
            UserEdit::SignOut => true,
            UserEdit::Link(hash, seconds) => {
                let lifetime = Value::Real(f64::from(*seconds));
                let values = [this(), hash.to_hex().into(), lifetime];
                transaction.write(&people.link, &values).await?;
                false
            }
            UserEdit::Remove => {
                // A file that some tool opened without foreign keys would keep them.
                transaction.write(&people.end_sessions, &[this()]).await?;
                transaction.write(&people.remove, &[this()]).await?;
                false
            }
        };
        if ends_sessions {
            transaction.write(&people.end_sessions, &[this()]).await?;
        }
        Ok(UserEdited::Done)
    }
}

impl<S: SqlStore> UserSteps for S {}

#[cfg(feature = "server")]
#[async_trait]
impl<S: SqlStore> PeopleRows for S {
    async fn people(&self) -> Result<Vec<PersonRow>, StoreError> {
        self.pool().read(&self.statements().people.people, &[], read_person).await
    }

    async fn attempt(&self, name: &str) -> Result<Option<Attempt>, StoreError> {
        let statement = &self.statements().people.attempt;
        self.pool().write_returning(statement, &[name.into()], read_attempt).await
    }

    async fn forgive(&self, user: Uuid, password: &PasswordHash) -> Result<bool, StoreError> {
        let values = [user.into(), password.as_phc().into()];
        Ok(self.pool().write(&self.statements().people.forgive, &values).await? > 0)
    }

    async fn begin_session(
        &self,
        session: &NewSession<'_>,
        password: Option<&PasswordHash>,
    ) -> Result<Option<Option<Written>>, StoreError> {
        let people = &self.statements().people;
        let user = || Value::from(session.user);
        self.pool()
            .asking(people.begin.name, async {
                let mut transaction = self.pool().begin(people.begin.name).await?;
                let values = [user(), password.map(PasswordHash::as_phc).into()];
                if transaction.write(&people.signed_in, &values).await? == 0 {
                    transaction.roll_back().await;
                    return Ok(None);
                }
                if let Some(old) = session.instead_of {
                    transaction.write(&people.end, &[old.to_hex().into()]).await?;
                }
                let values = [
                    session.token.to_hex().into(),
                    user(),
                    session.address.into(),
                    session.agent.into(),
                    Value::Real(session.lifetime.as_secs_f64()),
                ];
                transaction.write(&people.begin, &values).await?;
                transaction.write(&people.trim, &[user()]).await?;
                self.written(transaction).await.map(Some)
            })
            .await
    }

    async fn take_link(&self, link: &TokenHash) -> Result<Option<Uuid>, StoreError> {
        let statement = &self.statements().people.take_link;
        let read = |row: &_| Record::own_id(row, "id");
        self.pool().write_returning(statement, &[link.to_hex().into()], read).await
    }

    async fn end_session(&self, session: &TokenHash) -> Result<Option<Written>, StoreError> {
        let people = &self.statements().people;
        self.pool()
            .asking(people.end.name, async {
                let mut transaction = self.pool().begin(people.end.name).await?;
                transaction.write(&people.end, &[session.to_hex().into()]).await?;
                self.written(transaction).await
            })
            .await
    }

    async fn confirm_session(&self, session: &TokenHash) -> Result<Option<Written>, StoreError> {
        let people = &self.statements().people;
        self.pool()
            .asking(people.confirm.name, async {
                let mut transaction = self.pool().begin(people.confirm.name).await?;
                transaction.write(&people.confirm, &[session.to_hex().into()]).await?;
                self.written(transaction).await
            })
            .await
    }

    async fn change_own_password(
        &self,
        behalf: &Behalf,
        user: Uuid,
        [old, new]: [&PasswordHash; 2],
        session: Option<&TokenHash>,
    ) -> Result<bool, StoreError> {
        let people = &self.statements().people;
        self.pool()
            .asking(people.own_password.name, async {
                let mut transaction = self.begin(people.own_password.name, behalf).await?;
                let changed = async {
                    let values = [user.into(), new.as_phc().into(), old.as_phc().into()];
                    if transaction.write(&people.own_password, &values).await? == 0 {
                        return Ok(Some(Edited::Declined));
                    }
                    let own = session.map(TokenHash::to_hex).unwrap_or_default();
                    transaction.write(&people.end_others, &[user.into(), own.into()]).await?;
                    Ok(None)
                };
                let changed = changed.await;
                Ok(matches!(self.end(transaction, changed).await?, Edited::Done(_)))
            })
            .await
    }

    async fn prune_sessions(&self) -> Result<u64, StoreError> {
        self.pool().write(&self.statements().people.prune, &[]).await
    }

    async fn insert_user(
        &self,
        behalf: &Behalf,
        id: Uuid,
        user: &NewUser,
    ) -> Result<Edited, StoreError> {
        let statement = &self.statements().people.create;
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.begin(statement.name, behalf).await?;
                let made = transaction.write(statement, &user_values(id, user)).await;
                self.end(transaction, made.map(|_| None)).await
            })
            .await
    }

    async fn change_user(
        &self,
        behalf: &Behalf,
        id: Uuid,
        edits: &[UserEdit],
    ) -> Result<Edited, StoreError> {
        let name = self.statements().people.lock.name;
        self.pool()
            .asking(name, async {
                let mut transaction = self.begin(name, behalf).await?;
                let refused = async {
                    for edit in edits {
                        match self.apply(&mut transaction, id, edit, false).await? {
                            UserEdited::Done => {}
                            UserEdited::Missing => return Ok(Some(Edited::Missing)),
                            UserEdited::LastAdmin => return Ok(Some(Edited::Declined)),
                        }
                    }
                    Ok(None)
                };
                let refused = refused.await;
                self.end(transaction, refused).await
            })
            .await
    }

    async fn insert_client(
        &self,
        behalf: &Behalf,
        id: Uuid,
        client: &NewClient,
        token: &TokenHash,
    ) -> Result<Edited, StoreError> {
        let statement = &self.statements().people.insert_client;
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.begin(statement.name, behalf).await?;
                let [scopes, grants] = client.permissions.columns();
                let values = [
                    client.name.as_str().into(),
                    token.to_hex().into(),
                    Value::Json(&scopes),
                    Value::Json(&grants),
                    Value::Int(client.expires_at.map(|at| at.timestamp())),
                    id.into(),
                ];
                let made = transaction.write(statement, &values).await;
                self.end(transaction, made.map(|_| None)).await
            })
            .await
    }

    async fn change_client(
        &self,
        behalf: &Behalf,
        id: Uuid,
        edit: ClientEdit,
    ) -> Result<Edited, StoreError> {
        let people = &self.statements().people;
        self.pool()
            .asking(people.lock_client.name, async {
                let mut transaction = self.begin(people.lock_client.name, behalf).await?;
                let edited = async {
                    let read = |row: &_| Record::own_id(row, "id");
                    let key = [id.into()];
                    let locked = transaction.read_one(&people.lock_client, &key, read).await?;
                    if locked.is_none() {
                        return Ok(Some(Edited::Missing));
                    }
                    let rows = match edit {
                        ClientEdit::Revoke => {
                            transaction.write(&people.revoke_client, &[id.into()]).await?
                        }
                        ClientEdit::Rotate(token) => {
                            let values = [id.into(), token.to_hex().into()];
                            transaction.write(&people.rotate_client, &values).await?
                        }
                        ClientEdit::Remove => {
                            transaction.write(&people.remove_client, &[id.into()]).await?
                        }
                    };
                    Ok((rows == 0).then_some(Edited::Declined))
                };
                let edited = edited.await;
                self.end(transaction, edited).await
            })
            .await
    }
}

#[cfg(feature = "server")]
trait WrittenSteps: SqlStore {
    /// Commits, and says which change it was.
    async fn written(
        &self,
        mut transaction: Transaction<Self::Session>,
    ) -> Result<Option<Written>, StoreError> {
        let statement = &self.statements().editing.own_written;
        let written = transaction.read_one(statement, &[], read_written).await?;
        transaction.commit().await?;
        Ok(written)
    }
}

#[cfg(feature = "server")]
impl<S: SqlStore> WrittenSteps for S {}

fn user_values(id: Uuid, user: &NewUser) -> [Value<'_>; 4] {
    [
        id.into(),
        user.name.as_str().into(),
        user.role.as_str().into(),
        user.password.as_ref().map(PasswordHash::as_phc).into(),
    ]
}

fn read_user(row: &impl Record) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.own_id("id")?,
        name: row.own_text("name")?,
        role: role(row)?,
        has_password: row.own_int("has_password")? != 0,
        disabled_at: row.time("disabled_at")?,
        failures: row.own_int("failures")?.unsigned_abs(),
        locked_until: row.time("locked_until")?,
        created_at: row.time("created_at")?,
        last_login_at: row.time("last_login_at")?,
        sessions: row.own_int("sessions")?.unsigned_abs(),
    })
}

fn read_session(row: &impl Record) -> Result<UserSession, sqlx::Error> {
    Ok(UserSession {
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        address: row.own_text("address")?,
        agent: row.own_text("agent")?,
    })
}

/// Which user, and whether he is an admin.
fn read_locked(row: &impl Record) -> Result<(Uuid, bool), sqlx::Error> {
    Ok((row.own_id("id")?, row.own_int("is_admin")? != 0))
}

#[cfg(feature = "server")]
fn read_attempt(row: &impl Record) -> Result<Attempt, sqlx::Error> {
    Ok(Attempt {
        user: row.own_id("id")?,
        password: row.text("password_hash")?.map(PasswordHash::from_phc),
        is_disabled: row.own_int("is_disabled")? != 0,
    })
}

fn role(row: &impl Record) -> Result<Option<Role>, sqlx::Error> {
    Ok(row.own_text("role")?.parse().ok())
}

/// A session whose times cannot be read is none.
#[cfg(feature = "server")]
fn read_person(row: &impl Record) -> Result<PersonRow, sqlx::Error> {
    let token = TokenHash::from_hex(&row.own_text("token_hash")?);
    let times = row.time("confirmed_at")?.zip(row.time("expires_at")?);
    let session = token.zip(times).map(|(token, (confirmed_at, expires_at))| SessionRow {
        token,
        confirmed_at,
        expires_at,
    });
    Ok(PersonRow {
        id: row.own_id("id")?,
        name: row.own_text("name")?,
        role: role(row)?,
        is_disabled: row.own_int("is_disabled")? != 0,
        session,
    })
}
