//! The pairs of configs. Whether the table is there and may be read, and how old a row is, differs.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use sqlx::Error;
use uuid::Uuid;

use super::admin::how_many;
#[cfg(feature = "server")]
use super::edits::Steps;
use super::keys::HoldKeys;
use super::read::read_config;
use super::{Dialect, SqlStore};
use crate::keyring::Sealed;
use crate::number::ConfigId;
use crate::store::pairs::{
    CallsUp, DecidePairs, KeptPair, NewPair, OnBehalf, PairAge, PairBook, PairMoves, PairPhase,
    PairRows, PairSlot, PairsChanged, ShownPair,
};
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};
use crate::store::transaction::Transaction;
use crate::store::{Config, StoreError};

/// The statements.
pub(super) struct Pairing {
    pub(super) knows: Statement,
    pub(super) others: Statement,
    of_config: Statement,
    current: Statement,
    lock: Statement,
    shown: Statement,
    ages: Statement,
    after: Statement,
    put: Statement,
    drop: Statement,
    make_current: Statement,
    reseal: Statement,
    knows_calls: Statement,
    calls: Statement,
}

impl Pairing {
    pub(super) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        let statement = |name, text: &str| templates.statement(name, text);
        let kept = |condition: &str| format!("{KEPT} where p.phase <> 'current' and {condition}");
        Self {
            knows: statement("knows_pairs", dialect.knows_pairs).in_passing(),
            others: statement("other_pairs", &kept(USABLE)).in_passing(),
            of_config: statement("pairs_of_config", &kept("p.config_id = $1")),
            current: statement("current_pair", CURRENT),
            lock: statement("lock_pairs", LOCK),
            shown: statement("shown_pairs", SHOWN),
            ages: statement("pair_ages", AGES).in_passing(),
            after: statement("pairs_after", &kept(AFTER)).in_passing(),
            put: statement("put_pair", PUT),
            drop: statement("drop_pair", DROP),
            make_current: statement("make_pair_current", MAKE_CURRENT),
            reseal: statement("reseal_pair", RESEAL),
            knows_calls: statement("knows_calls", dialect.knows_calls),
            calls: statement("calls_up", CALLS),
        }
    }
}

#[async_trait]
impl<S: SqlStore> PairRows for S {
    async fn pair_book(&self, id: ConfigId) -> Result<Option<PairBook>, StoreError> {
        let Pairing { of_config, current, .. } = &self.statements().pairing;
        let (config, key) = (&self.statements().answering.config, [id.0.into()]);
        let Some(config) = self.pool().read_one(config, &key, read_config).await? else {
            return Ok(None);
        };
        let now = self.pool().read_one(current, &key, read_current).await?;
        let kept = self.pool().read(of_config, &key, read_kept).await?;
        book(config, now, kept, current).map(Some)
    }

    async fn shown_pairs(&self, of: Option<ConfigId>) -> Result<Vec<ShownPair>, StoreError> {
        let values = [of.map(|id| id.0).into()];
        self.pool().read(&self.statements().pairing.shown, &values, read_shown).await
    }

    async fn pair_ages(&self) -> Result<Vec<PairAge>, StoreError> {
        if !self.knows_pairs().await? {
            return Ok(Vec::new());
        }
        self.pool().read(&self.statements().pairing.ages, &[], read_age).await
    }

    async fn change_pairs(
        &self,
        on_behalf: Option<&OnBehalf>,
        id: ConfigId,
        decide: DecidePairs<'_>,
    ) -> Result<PairsChanged, StoreError> {
        let name = self.statements().pairing.put.name;
        self.pool()
            .asking(name, async {
                let mut transaction = match on_behalf {
                    None => self.pool().begin(name).await?,
                    #[cfg(feature = "server")]
                    Some(behalf) => Steps::begin(self, name, behalf).await?,
                    #[cfg(not(feature = "server"))]
                    Some(nobody) => match *nobody {},
                };
                let Some(book) = self.locked_pairs(&mut transaction, id).await? else {
                    transaction.roll_back().await;
                    return Ok(PairsChanged::Missing);
                };
                let Some(moves) = decide(&book) else {
                    transaction.roll_back().await;
                    return Ok(PairsChanged::Declined);
                };
                self.move_pairs(&mut transaction, id, &moves).await?;
                #[cfg(feature = "server")]
                if on_behalf.is_some() {
                    self.unsay(&mut transaction).await?;
                }
                transaction.commit().await?;
                Ok(PairsChanged::Done)
            })
            .await
    }

    async fn pairs_after(
        &self,
        after: Option<(ConfigId, PairPhase)>,
        most: usize,
    ) -> Result<Vec<KeptPair>, StoreError> {
        if !self.knows_pairs().await? {
            return Ok(Vec::new());
        }
        let (id, phase) = after.map_or((Uuid::nil(), ""), |(id, phase)| (id.0, phase.as_str()));
        let values = [id.into(), phase.into(), most.into()];
        self.pool().read(&self.statements().pairing.after, &values, read_kept).await
    }

    async fn reseal_pair(&self, read: &KeptPair, sealed: &Sealed) -> Result<bool, StoreError> {
        let values = [
            read.config.id.0.into(),
            read.phase.as_str().into(),
            sealed.as_str().into(),
            read.config.api_secret.expose_secret().into(),
            read.config.url.as_str().into(),
            read.config.api_key.as_str().into(),
        ];
        match self.execute_sealed(&self.statements().pairing.reseal, &values, sealed).await {
            Err(StoreError::KeysMoved) => Ok(false),
            rows => Ok(rows? > 0),
        }
    }

    async fn calls_up(&self, id: ConfigId) -> Result<Option<CallsUp>, StoreError> {
        let Pairing { knows_calls, calls, .. } = &self.statements().pairing;
        if self.pool().read_one(knows_calls, &[], how_many).await? != Some(1) {
            return Ok(None);
        }
        let up = |row: &_| {
            let many = u64::try_from(Record::own_int(row, "many")?).unwrap_or_default();
            Ok(CallsUp { many, youngest: age_of(row, "youngest")?.unwrap_or_default() })
        };
        self.pool().read_one(calls, &[id.0.into()], up).await
    }
}

/// The steps that a change of pairs is made of.
pub(super) trait PairSteps: SqlStore + HoldKeys {
    /// Asked first: a statement that fails would be one of the errors that people are told of.
    async fn knows_pairs(&self) -> Result<bool, StoreError> {
        let knows = &self.statements().pairing.knows;
        Ok(self.pool().read_one(knows, &[], how_many).await? == Some(1))
    }

    async fn locked_pairs(
        &self,
        transaction: &mut Transaction<Self::Session>,
        id: ConfigId,
    ) -> Result<Option<PairBook>, StoreError> {
        let Pairing { of_config, current, lock, .. } = &self.statements().pairing;
        let key = [id.0.into()];
        let locked = |row: &_| Record::own_id(row, "id");
        transaction.read_one(lock, &key, locked).await?;
        // Read after that: what a locking statement joins is from before it waited.
        let config = &self.statements().answering.config;
        let Some(config) = transaction.read_one(config, &key, read_config).await? else {
            return Ok(None);
        };
        let now = transaction.read_one(current, &key, read_current).await?;
        let kept = transaction.read(of_config, &key, read_kept).await?;
        book(config, now, kept, current).map(Some)
    }

    async fn move_pairs(
        &self,
        transaction: &mut Transaction<Self::Session>,
        id: ConfigId,
        moves: &PairMoves,
    ) -> Result<(), StoreError> {
        // The previous one first: since when it was the current one stands where that is now.
        self.move_pair(transaction, id, PairPhase::Previous, &moves.previous).await?;
        if let Some((api_key, sealed)) = &moves.current {
            self.hold_keys(transaction, Some(sealed)).await?;
            let values = [id.0.into(), api_key.as_str().into(), sealed.as_str().into()];
            transaction.write(&self.statements().pairing.make_current, &values).await?;
        }
        self.move_pair(transaction, id, PairPhase::Pending, &moves.pending).await
    }

    async fn move_pair(
        &self,
        transaction: &mut Transaction<Self::Session>,
        id: ConfigId,
        phase: PairPhase,
        slot: &PairSlot,
    ) -> Result<(), StoreError> {
        let Pairing { put, drop, .. } = &self.statements().pairing;
        match slot {
            PairSlot::Stays => Ok(()),
            PairSlot::Goes => {
                let values = [id.0.into(), phase.as_str().into()];
                transaction.write(drop, &values).await.map(|_| ())
            }
            PairSlot::Is(pair) => {
                self.hold_keys(transaction, Some(&pair.sealed)).await?;
                transaction.write(put, &pair_values(id, phase, pair)).await.map(|_| ())
            }
        }
    }
}

impl<S: SqlStore> PairSteps for S {}

fn pair_values(id: ConfigId, phase: PairPhase, pair: &NewPair) -> [Value<'_>; 7] {
    [
        id.0.into(),
        phase.as_str().into(),
        pair.url.as_str().into(),
        pair.api_key.as_str().into(),
        pair.sealed.as_str().into(),
        pair.is_checked.into(),
        pair.is_compromised.into(),
    ]
}

/// What a config's own row and the clock say.
type Current = (Option<DateTime<Utc>>, DateTime<Utc>);

fn book(
    config: Config,
    current: Option<Current>,
    kept: Vec<KeptPair>,
    statement: &Statement,
) -> Result<PairBook, StoreError> {
    let (since, now) = current.ok_or(StoreError::Row { statement: statement.name })?;
    let mut book = PairBook { config, since, pending: None, previous: None, now };
    for pair in kept {
        match pair.phase {
            PairPhase::Pending => book.pending = Some(pair),
            _ => book.previous = Some(pair),
        }
    }
    Ok(book)
}

fn read_current(row: &impl Record) -> Result<Current, Error> {
    let clock = row.real("clock")?.unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "a clock of milliseconds")]
    let now = DateTime::<Utc>::from_timestamp_millis((clock * 1e3) as i64).unwrap_or_default();
    Ok((row.time("since")?, now))
}

pub(super) fn read_kept(row: &impl Record) -> Result<KeptPair, Error> {
    let mut config = super::read::read_credential(row, ConfigId(row.own_id("id")?))?;
    config.description = None;
    Ok(KeptPair {
        phase: phase_of(row)?,
        config,
        is_here: row.own_int("is_here")? != 0,
        added_at: row.time("added_at")?,
        checked_at: row.time("checked_at")?,
        since: row.time("since")?,
        compromised_at: row.time("compromised_at")?,
    })
}

fn read_shown(row: &impl Record) -> Result<ShownPair, Error> {
    Ok(ShownPair {
        config_id: ConfigId(row.own_id("id")?),
        config_name: row.own_text("name")?,
        phase: phase_of(row)?,
        api_key: row.own_text("api_key")?,
        is_here: row.own_int("is_here")? != 0,
        added_at: row.time("added_at")?,
        checked_at: row.time("checked_at")?,
        since: row.time("since")?,
        age: age_of(row, "age")?,
        compromised_at: row.time("compromised_at")?,
    })
}

fn read_age(row: &impl Record) -> Result<PairAge, Error> {
    let many = u64::try_from(row.own_int("many")?).unwrap_or_default();
    let oldest = age_of(row, "oldest")?.unwrap_or_default();
    Ok(PairAge { phase: phase_of(row)?, many, oldest })
}

fn phase_of(row: &impl Record) -> Result<PairPhase, Error> {
    PairPhase::of(&row.own_text("phase")?).ok_or_else(|| Error::ColumnDecode {
        index: "phase".into(),
        source: "this version does not know it".into(),
    })
}

/// A clock that was set back makes nothing younger than now.
fn age_of(row: &impl Record, column: &str) -> Result<Option<Duration>, Error> {
    let age = row.real(column)?;
    Ok(age.map(|age| Duration::try_from_secs_f64(age.max(0.0)).unwrap_or_default()))
}

/// A pair beside its config, which it is told with.
const KEPT: &str = "
    select p.phase, c.id, case when octet_length(c.name) <= 4096 then c.name else '' end as name,
        coalesce(p.livekit_url, '') as url, p.api_key as api_key,
        case when octet_length(p.api_secret) <= 65536 then p.api_secret else '' end as api_secret,
        case when octet_length(c.trunk_id) <= 4096 then c.trunk_id end as trunk_id,
        case when octet_length(c.worker_name) <= 4096 then c.worker_name end as worker_name,
        {disabled_at} as disabled_at, {pair_is_here} as is_here,
        p.added_at, p.checked_at, p.since, p.compromised_at
    from {schema}.trunkline_pairs as p
    join {schema}.voice_agent_livekit as c on c.id = p.config_id";

/// One that others may have signs nothing and verifies nothing.
const USABLE: &str = "p.compromised_at is null and p.livekit_url = c.livekit_url";

const AFTER: &str = "(p.config_id, p.phase) > ($1, $2) order by p.config_id, p.phase limit $3";

const LOCK: &str = "
    select c.id from {schema}.voice_agent_livekit as c where c.id = $1 {to_write_config}";

const CURRENT: &str = "
    select p.since, {clock} as clock
    from {schema}.voice_agent_livekit as c
    left join {schema}.trunkline_pairs as p
        on p.config_id = c.id and p.phase = 'current' and p.api_key = c.livekit_api_key
    where c.id = $1";

/// A config whose row of the current pair is missing has a current pair all the same.
const SHOWN: &str = "
    select c.id, case when octet_length(c.name) <= 4096 then c.name else '' end as name,
        coalesce(p.phase, 'current') as phase, substr(coalesce(p.api_key, c.livekit_api_key), 1, 4096) as api_key,
        {pair_is_here} as is_here, p.added_at, p.checked_at, p.since, {pair_age} as age, p.compromised_at
    from {schema}.voice_agent_livekit as c
    left join {schema}.trunkline_pairs as p on p.config_id = c.id
    where $1 is null or c.id = $1
    order by {config_name}, c.id, 3
    limit 30000";

const AGES: &str = "
    select p.phase, count(*) as many, max({pair_age}) as oldest
    from {schema}.trunkline_pairs as p
    join {schema}.voice_agent_livekit as c on c.id = p.config_id
    group by p.phase";

const PUT: &str = "
    insert into {schema}.trunkline_pairs
        (config_id, phase, livekit_url, api_key, api_secret, added_at, checked_at, compromised_at)
    values ($1, $2, $3, $4, $5,
        coalesce((
            select known.added_at from {schema}.trunkline_pairs as known
            where known.config_id = $1 and known.api_key = $4
            order by known.added_at limit 1
        ), {now}),
        case when $6 then {now} end, case when $7 then {now} end)
    on conflict (config_id, phase) do update set livekit_url = excluded.livekit_url,
        api_key = excluded.api_key, api_secret = excluded.api_secret, added_at = excluded.added_at,
        checked_at = excluded.checked_at, since = excluded.since, compromised_at = excluded.compromised_at";

const DROP: &str = "delete from {schema}.trunkline_pairs where config_id = $1 and phase = $2";

const MAKE_CURRENT: &str = "
    update {schema}.voice_agent_livekit set livekit_api_key = $2, livekit_api_secret = $3 where id = $1";

const RESEAL: &str = "
    update {schema}.trunkline_pairs set api_secret = $3
    where config_id = $1 and phase = $2 and api_secret = $4 and livekit_url = $5 and api_key = $6";

/// Of the last day: no call lasts for longer on LiveKit's SIP service. Nodes may have gone on for a minute
/// with the pair that was the current one.
const CALLS: &str = "
    select count(*) as many, min({call_age}) as youngest
    from {schema}.trunkline_calls as k
    join {schema}.trunkline_pairs as p on p.config_id = k.config_id and p.phase = 'previous'
    where k.config_id = $1 and k.dialled_at is not null and k.left_at is null
        and (k.outcome is null or k.outcome in ('placed', 'in_doubt'))
        and {call_age} < 86400 and {call_age} > {pair_age} - 60";
