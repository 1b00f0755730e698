//! The keys, and secrets that are sealed again. How a row is held, and how a batch is written, differs.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde_json::{Value as Json, json};
use sqlx::Error;
use uuid::Uuid;

use super::admin::how_many;
use super::read::read_config;
use super::{Dialect, SqlStore};
use crate::keyring::{KeyId, Sealed, WrappedKey};
use crate::number::ConfigId;
use crate::store::keys::{
    DataKey, DataKeyPlace, DecideKeys, KeyBook, KeyMoves, KeyPhase, KeyRows, KnownKey, Resealed,
};
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates};
use crate::store::transaction::Transaction;
use crate::store::{Config, StoreError};

/// The statements.
pub(super) struct Keys {
    pub(super) knows: Statement,
    state: Statement,
    lock: Statement,
    hold: Statement,
    known: Statement,
    resting: Statement,
    wrap: Statement,
    drop: Statement,
    say: Statement,
    unsay: Option<Statement>,
    enter: Statement,
    change: Statement,
    compromise: Statement,
    note: Statement,
    configs: Statement,
    reseal: Statement,
    begin_resealing: Option<Statement>,
    end_resealing: Option<Statement>,
}

impl Keys {
    pub(super) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        let statement = |name, text| templates.statement(name, text);
        let marks = dialect.marks_resealing;
        let locked = format!("{STATE} {{to_write_keys}}");
        Self {
            knows: statement("knows_keys", dialect.knows_keys).in_passing(),
            state: statement("key_state", STATE).in_passing(),
            lock: statement("lock_keys", &locked),
            hold: statement("hold_keys", dialect.hold_keys),
            known: statement("known_keys", KNOWN).in_passing(),
            resting: statement("data_keys", DATA_KEYS).in_passing(),
            wrap: statement("wrap_key", WRAP),
            drop: statement("drop_key", DROP),
            say: statement("say_behalf", dialect.say_behalf),
            unsay: dialect.unsay_behalf.map(|unsay| statement("unsay_behalf", unsay)),
            enter: statement("enter_key", ENTER),
            change: statement("change_keys", CHANGE),
            compromise: statement("compromise_key", COMPROMISE),
            note: statement("note_pass", NOTE),
            configs: statement("configs_after", CONFIGS_AFTER),
            reseal: statement("reseal_all", dialect.reseal_all),
            begin_resealing: marks.then(|| statement("mark_resealing", MARK)),
            end_resealing: marks.then(|| statement("mark_resealing", UNMARK)),
        }
    }
}

/// Checks what secrets were sealed by, in the transaction that writes them.
pub(super) trait HoldKeys: SqlStore {
    /// Holds the state of the keys until the end of the transaction, if this was sealed by one.
    async fn hold_keys(
        &self,
        transaction: &mut Transaction<Self::Session>,
        sealed: Option<&Sealed>,
    ) -> Result<(), StoreError> {
        let Some(epoch) = sealed.and_then(Sealed::epoch) else { return Ok(()) };
        let read = |row: &_| Record::own_int(row, "epoch");
        let held = transaction.read_one(&self.statements().keys.hold, &[], read).await?;
        if held == Some(epoch) { Ok(()) } else { Err(StoreError::KeysMoved) }
    }

    /// Writes a row whose secret was sealed by a state of the keys, while that holds.
    async fn write_sealed<T: Send + Unpin>(
        &self,
        statement: &Statement,
        values: &[crate::store::statement::Value<'_>],
        sealed: &Sealed,
        read: impl FnMut(&<Self::Session as crate::store::session::Session>::Row) -> Result<T, Error>
        + Send,
    ) -> Result<Option<T>, StoreError> {
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.pool().begin(statement.name).await?;
                self.hold_keys(&mut transaction, Some(sealed)).await?;
                let written = transaction.read_one(statement, values, read).await?;
                transaction.commit().await?;
                Ok(written)
            })
            .await
    }

    /// The same of one that returns nothing, and how many rows it wrote.
    async fn execute_sealed(
        &self,
        statement: &Statement,
        values: &[crate::store::statement::Value<'_>],
        sealed: &Sealed,
    ) -> Result<u64, StoreError> {
        self.pool()
            .asking(statement.name, async {
                let mut transaction = self.pool().begin(statement.name).await?;
                self.hold_keys(&mut transaction, Some(sealed)).await?;
                let rows = transaction.write(statement, values).await?;
                transaction.commit().await?;
                Ok(rows)
            })
            .await
    }
}

impl<S: SqlStore> HoldKeys for S {}

#[async_trait]
impl<S: SqlStore> KeyRows for S {
    async fn key_book(&self) -> Result<Option<KeyBook>, StoreError> {
        let keys = &self.statements().keys;
        // Asked first: a statement that fails would be one of the errors that people are told of.
        let Some(place) = place_of(self.pool().read_one(&keys.knows, &[], how_many).await?) else {
            return Ok(None);
        };
        let state = self.pool().read_one(&keys.state, &[], read_state).await?;
        let known = self.pool().read(&keys.known, &[], read_known).await?;
        let data_keys = match place {
            DataKeyPlace::Open => self.pool().read(&keys.resting, &[], read_data_key).await?,
            _ => Vec::new(),
        };
        // Without its row nobody knows what seals.
        let book = state.ok_or(StoreError::Row { statement: keys.state.name })?;
        Ok(Some(KeyBook { keys: known, data_keys, data_key_place: place, ..book }))
    }

    async fn move_keys(
        &self,
        claimed: Option<&Json>,
        decide: DecideKeys<'_>,
    ) -> Result<bool, StoreError> {
        let keys = &self.statements().keys;
        self.pool()
            .asking(keys.change.name, async {
                let mut transaction = self.pool().begin(keys.change.name).await?;
                let place = transaction.read_one(&keys.knows, &[], how_many).await?;
                let place = place_of(place).unwrap_or_default();
                let book = transaction.read_one(&keys.lock, &[], read_state).await?;
                let book = book.ok_or(StoreError::Row { statement: keys.lock.name })?;
                let known = transaction.read(&keys.known, &[], read_known).await?;
                let data_keys = match place {
                    DataKeyPlace::Open => {
                        transaction.read(&keys.resting, &[], read_data_key).await?
                    }
                    _ => Vec::new(),
                };
                let book = KeyBook { keys: known, data_keys, data_key_place: place, ..book };
                let Some(moves) = decide(&book) else {
                    transaction.roll_back().await;
                    return Ok(false);
                };
                // A database before the audit has no place for it.
                let claimed = claimed.filter(|_| place != DataKeyPlace::None);
                if let Some(claimed) = claimed {
                    transaction.write(&keys.say, &[claimed.to_string().into()]).await?;
                }
                self.write_moves(&mut transaction, &moves).await?;
                if let Some(unsay) = keys.unsay.as_ref().filter(|_| claimed.is_some()) {
                    transaction.write(unsay, &[]).await?;
                }
                transaction.commit().await?;
                Ok(true)
            })
            .await
    }

    async fn note_pass(&self, found: &[(KeyId, bool)]) -> Result<(), StoreError> {
        for (key, was_found) in found {
            let values = [key.to_string().into(), (*was_found).into()];
            self.pool().write(&self.statements().keys.note, &values).await?;
        }
        Ok(())
    }

    async fn configs_after(
        &self,
        after: Option<ConfigId>,
        most: usize,
    ) -> Result<Vec<Config>, StoreError> {
        let values = [after.map_or(Uuid::nil(), |after| after.0).into(), most.into()];
        self.pool().read(&self.statements().keys.configs, &values, read_config).await
    }

    async fn reseal_all(&self, batch: &[Resealed<'_>]) -> Result<Vec<ConfigId>, StoreError> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let keys = &self.statements().keys;
        let rows = batch.iter().map(|Resealed { read, sealed }| {
            json!({
                "id": read.id.0.simple().to_string(),
                "was": read.api_secret.expose_secret(),
                "url": read.url,
                "key": read.api_key,
                "sealed": sealed.as_str(),
            })
        });
        let rows = json!(rows.collect::<Vec<_>>()).to_string();
        let id = |row: &_| Ok(ConfigId(Record::own_id(row, "id")?));
        self.pool()
            .asking(keys.reseal.name, async {
                let mut transaction = self.pool().begin(keys.reseal.name).await?;
                if let Some(mark) = &keys.begin_resealing {
                    transaction.write(mark, &[]).await?;
                }
                let values = [rows.into(), first.sealed.epoch().unwrap_or(-1).into()];
                let done = transaction.read(&keys.reseal, &values, id).await?;
                if let Some(unmark) = &keys.end_resealing {
                    transaction.write(unmark, &[]).await?;
                }
                transaction.commit().await?;
                Ok(done)
            })
            .await
    }
}

/// The steps that a change of the keys is made of.
trait Moves: SqlStore {
    async fn write_moves(
        &self,
        transaction: &mut Transaction<Self::Session>,
        moves: &KeyMoves,
    ) -> Result<(), StoreError> {
        let keys = &self.statements().keys;
        for (key, phase) in &moves.phases {
            let values = [key.to_string().into(), phase.as_str().into()];
            transaction.write(&keys.enter, &values).await?;
        }
        for key in &moves.compromised {
            transaction.write(&keys.compromise, &[key.to_string().into()]).await?;
        }
        for WrappedKey { id, root, sealed } in &moves.wrapped {
            let (id, root) = (id.to_string(), root.to_string());
            transaction
                .write(&keys.wrap, &[id.into(), root.into(), sealed.as_str().into()])
                .await?;
        }
        for key in &moves.dropped {
            transaction.write(&keys.drop, &[key.to_string().into()]).await?;
        }
        let sealing = moves.sealing.map(|key| key.to_string());
        let values = [
            sealing.as_deref().into(),
            i64::from(moves.is_promotion).into(),
            moves.readers_confirmed.is_some().into(),
            moves.readers_confirmed.unwrap_or_default().into(),
        ];
        transaction.write(&keys.change, &values).await.map(drop)
    }
}

impl<S: SqlStore> Moves for S {}

fn read_state(row: &impl Record) -> Result<KeyBook, Error> {
    let clock = row.real("clock")?.unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "a clock of milliseconds")]
    let now = DateTime::<Utc>::from_timestamp_millis((clock * 1e3) as i64).unwrap_or_default();
    Ok(KeyBook {
        epoch: row.own_int("epoch")?,
        sealing: row.text("sealing")?.map(|id| key_id(&id)).transpose()?,
        readers_confirmed_at: row.time("readers_confirmed_at")?,
        now,
        ..KeyBook::default()
    })
}

/// What the database has, by how it was counted. `None`: it knows of no keys.
fn place_of(known: Option<u64>) -> Option<DataKeyPlace> {
    match known {
        None | Some(0) => None,
        Some(1) => Some(DataKeyPlace::None),
        Some(2) => Some(DataKeyPlace::Hidden),
        Some(_) => Some(DataKeyPlace::Open),
    }
}

fn read_data_key(row: &impl Record) -> Result<DataKey, Error> {
    let (id, root) = (key_id(&row.own_text("key_id")?)?, key_id(&row.own_text("root_id")?)?);
    Ok(DataKey {
        wrapped: WrappedKey { id, root, sealed: row.own_text("sealed")? },
        added_at: row.time("added_at")?,
        wrapped_at: row.time("wrapped_at")?,
    })
}

fn read_known(row: &impl Record) -> Result<KnownKey, Error> {
    let phase = KeyPhase::of(&row.own_text("state")?);
    Ok(KnownKey {
        id: key_id(&row.own_text("key_id")?)?,
        phase: phase.ok_or_else(|| unfit("state"))?,
        added_at: row.time("added_at")?,
        since: row.time("since")?,
        clean_since: row.time("clean_since")?,
        compromised_at: row.time("compromised_at")?,
    })
}

fn key_id(text: &str) -> Result<KeyId, Error> {
    text.parse().map_err(|_| unfit("key_id"))
}

fn unfit(column: &str) -> Error {
    Error::ColumnDecode { index: column.into(), source: "this version does not know it".into() }
}

const STATE: &str = "
    select epoch, sealing, readers_confirmed_at, {clock} as clock
    from {schema}.trunkline_key_state";

const KNOWN: &str = "
    select key_id, state, added_at, since, clean_since, compromised_at
    from {schema}.trunkline_known_keys
    order by added_at desc, key_id limit 1000";

const DATA_KEYS: &str = "
    select key_id, root_id, substr(sealed, 1, 1024) as sealed, added_at, wrapped_at
    from {schema}.trunkline_keys
    order by added_at, key_id limit 1000";

const WRAP: &str = "
    insert into {schema}.trunkline_keys (key_id, root_id, sealed) values ($1, $2, $3)
    on conflict (key_id) do update set root_id = excluded.root_id, sealed = excluded.sealed,
        wrapped_at = {now}";

const DROP: &str = "delete from {schema}.trunkline_keys where key_id = $1";

const ENTER: &str = "
    insert into {schema}.trunkline_known_keys (key_id, state) values ($1, $2)
    on conflict (key_id) do update set state = excluded.state, since = {now},
        clean_since = case when excluded.state in ('old', 'refused', 'retired')
            then trunkline_known_keys.clean_since end";

const CHANGE: &str = "
    update {schema}.trunkline_key_state set
        sealing = coalesce($1, sealing), epoch = epoch + $2, changed_at = {now},
        readers_confirmed_at = case when not $3 then readers_confirmed_at when $4 then {now} end";

const COMPROMISE: &str = "
    update {schema}.trunkline_known_keys set compromised_at = coalesce(compromised_at, {now})
    where key_id = $1";

const NOTE: &str = "
    update {schema}.trunkline_known_keys
    set clean_since = case when not $2 then coalesce(clean_since, {now}) end
    where key_id = $1 and (clean_since is null) <> $2";

const CONFIGS_AFTER: &str = "
    select {config_columns}
    from {schema}.voice_agent_livekit as c
    where c.id > $1
    order by c.id limit $2";

const MARK: &str = "update {schema}.trunkline_key_state set resealing = 1";
const UNMARK: &str = "update {schema}.trunkline_key_state set resealing = 0";
