//! Tokens and webhooks of the servers of all LiveKit configs, and of the environment's: which of them
//! signed it, if any did.
//!
//! The configs are found by the issuer, which is the API key; several may have the same one, and each
//! is tried. A config whose pair is being turned is found by both of its keys. Their rows are in memory as
//! they rest in the database, with sealed secrets. A secret is opened for one signature, by the checks that
//! an answer goes through, and wiped.
//!
//! **Invariant:** nothing of a token is told before a secret has signed it.

mod error;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
#[cfg(feature = "server")]
use uuid::Uuid;

pub use self::error::VerifyError;
use super::Resolver;
use super::decision::{Unusable, choose_disabled_or_not};
#[cfg(feature = "server")]
use super::loaded::Asked;
#[cfg(feature = "server")]
use super::loaded::reason_of;
use super::loader::Loader;
use super::whole::{Known, Whole};
use crate::cache::fence::List;
use crate::number::ConfigId;
use crate::reason::Reason;
#[cfg(feature = "server")]
use crate::store::Whose;
use crate::store::{Config, KeptPair, Store, StoreError};
use crate::token::ReceivedToken;

/// A token that a LiveKit config or the environment signed, and that is good now.
#[non_exhaustive]
pub struct Verified {
    /// Which config. `None`: none did, and the environment's secret.
    pub config_id: Option<ConfigId>,
    /// Its name; `environment` for that.
    pub config_name: String,
    /// Whether the environment's secret signed it, whatever config has the same.
    pub by_environment: bool,
    /// What the token says, in LiveKit's names.
    pub claims: Map<String, Value>,
}

impl fmt::Debug for Verified {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config_id, config_name, by_environment, claims: _ } = self;
        let mut verified = out.debug_struct("Verified");
        verified.field("config_id", config_id).field("config_name", config_name);
        verified.field("by_environment", by_environment);
        verified.finish_non_exhaustive()
    }
}

impl Verified {
    /// Whether the token is that of a webhook with this body, byte for byte.
    #[must_use]
    pub fn is_about(&self, body: &[u8]) -> bool {
        let said = self.claims.get("sha256").and_then(Value::as_str).unwrap_or_default();
        let is = STANDARD.encode(Sha256::digest(body));
        is.as_bytes().ct_eq(said.as_bytes()).into()
    }
}

impl Resolver {
    /// Which LiveKit config signed an access token, and what the token says.
    ///
    /// The config is found by the issuer of the token among all configs, whatever the flag says, and
    /// its secret must have signed it by HS256, whatever its header says. A token needs an end. Clocks
    /// may be a minute apart. Where no config has signed it, the environment's secret is tried.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: it is not taken, or it cannot be told at present.
    ///
    /// ```no_run
    /// # async fn run(resolver: trunkline::Resolver, token: &str) -> Result<(), trunkline::VerifyError> {
    /// let verified = resolver.verify(token).await?;
    /// println!("{} let {} in", verified.config_name, verified.claims["sub"]);
    /// # Ok(()) }
    /// ```
    pub async fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        let issuers = &self.engine.issuers;
        let token = ReceivedToken::read(token)?;
        let by_environment = issuers.has_environment_signed(&token);
        match issuers.known().await {
            Ok(known) => {
                let tried = of_key(&known, &token);
                issuers.judge(token, tried, by_environment)
            }
            // Its server needs no database.
            Err(_) if by_environment => issuers.judge(token, [], true),
            Err(error) => Err(error),
        }
    }

    /// Which LiveKit config sent a webhook: the token in its `Authorization` header, with or without
    /// `Bearer`, must be about this body, byte for byte as it came.
    ///
    /// # Errors
    ///
    /// Those of [`verify`](Self::verify), and [`VerifyError::OtherBody`].
    pub async fn verify_webhook(
        &self,
        authorization: &str,
        body: &[u8],
    ) -> Result<Verified, VerifyError> {
        let token = authorization.strip_prefix("Bearer ").unwrap_or(authorization);
        let verified = self.verify(token.trim()).await?;
        if verified.is_about(body) { Ok(verified) } else { Err(VerifyError::OtherBody) }
    }

    /// The same for a client that may know of the configs that its own numbers use. To it the others
    /// are unknown.
    #[cfg(feature = "server")]
    pub(crate) async fn verify_for(
        &self,
        token: &str,
        client: Uuid,
        whose: &Whose,
    ) -> Result<Verified, VerifyError> {
        let issuers = &self.engine.issuers;
        let token = ReceivedToken::read(token)?;
        let known = issuers.known().await?;
        let mut tried = Vec::new();
        for config in of_key(&known, &token) {
            let sees = self.sees(client, whose, config.id).await;
            if sees.map_err(|reason| VerifyError::Unavailable { reason })? {
                tried.push(config);
            }
        }
        let by_environment = *whose == Whose::ALL && issuers.has_environment_signed(&token);
        issuers.judge(token, tried, by_environment)
    }

    /// Whether a number that the client may ask for uses a config, remembered until anything changes.
    #[cfg(feature = "server")]
    async fn sees(&self, client: Uuid, whose: &Whose, config: ConfigId) -> Result<bool, Reason> {
        if *whose == Whose::ALL {
            return Ok(true);
        }
        let Issuers { loader, seen, .. } = &self.engine.issuers;
        let (fence, tuning) = (&loader.cache.fence, &loader.tuning);
        let question = loader.question_now();
        if let Some((sees, asked)) = seen.get(&(client, config))
            && fence.generation() == asked.born
            && (fence.lease_is_live(question.at) || question.at < asked.at.after(tuning.lease))
        {
            return Ok(sees);
        }
        let rows = self.edits().ok_or(Reason::DatabaseNotConfigured)?;
        let asking = rows.config_seen(whose, config);
        let found = tokio::time::timeout(tuning.resolve_deadline, asking).await;
        let found = found.map_err(|_| Reason::DatabaseTimeout)?;
        let sees = found.map_err(|error| reason_of(&error))?.is_some();
        seen.insert((client, config), (sees, question));
        Ok(sees)
    }
}

/// The configs by their API keys, as far as they were asked for.
pub(super) struct Issuers {
    pairs: Whole<KnownPairs>,
    /// Which configs which clients see.
    #[cfg(feature = "server")]
    seen: moka::sync::Cache<(Uuid, ConfigId), (bool, Asked)>,
    loader: Arc<Loader>,
}

/// The pairs of all configs.
pub(super) struct KnownPairs {
    /// By their API keys: each config with its current pair, and again with another one that it has.
    by_key: HashMap<String, Vec<Config>>,
    /// Those that are not current, by their configs.
    others: HashMap<ConfigId, Vec<KeptPair>>,
}

impl KnownPairs {
    /// The pair of a config that is neither the current one nor has this key.
    #[cfg(feature = "dispatch")]
    pub(super) fn other(&self, id: ConfigId, than: &str) -> Option<&KeptPair> {
        self.others.get(&id)?.iter().find(|pair| pair.config.api_key != than)
    }
}

impl Issuers {
    pub(super) fn new(loader: &Arc<Loader>) -> Self {
        Self {
            pairs: Whole::new(List::Configs, &loader.around()),
            #[cfg(feature = "server")]
            seen: moka::sync::Cache::builder()
                .max_capacity(MOST_SEEN)
                .time_to_live(loader.tuning.ttl)
                .build(),
            loader: Arc::clone(loader),
        }
    }

    async fn known(&self) -> Result<Arc<Known<KnownPairs>>, VerifyError> {
        self.pairs().await.map_err(|reason| VerifyError::Unavailable { reason })
    }

    /// The pairs of all configs, from memory where it is proven that none has changed.
    pub(super) async fn pairs(&self) -> Result<Arc<Known<KnownPairs>>, Reason> {
        let store = self.loader.store.as_ref().ok_or(Reason::DatabaseNotConfigured)?;
        self.pairs.known(|| known_pairs(Arc::clone(store))).await
    }

    /// Which of these configs has signed the token.
    fn judge<'c>(
        &self,
        token: ReceivedToken,
        configs: impl IntoIterator<Item = &'c Config>,
        by_environment: bool,
    ) -> Result<Verified, VerifyError> {
        let mut refused = VerifyError::IssuerUnknown;
        for config in configs {
            match self.is_signed_by(&token, config) {
                Ok(true) => {
                    let (id, name) = (Some(config.id), config.name.clone());
                    return self.verified(token, (id, name), by_environment);
                }
                Ok(false) if refused == VerifyError::IssuerUnknown => {
                    refused = VerifyError::SignatureInvalid;
                }
                Ok(false) => {}
                Err(why) => refused = VerifyError::ConfigUnusable { reason: why.reason() },
            }
        }
        if by_environment {
            return self.verified(token, (None, ENVIRONMENT.to_owned()), true);
        }
        Err(refused)
    }

    /// What is told of a token that was signed, if it is good now.
    fn verified(
        &self,
        token: ReceivedToken,
        (config_id, config_name): (Option<ConfigId>, String),
        by_environment: bool,
    ) -> Result<Verified, VerifyError> {
        token.check_times(self.loader.clock.unix_seconds())?;
        Ok(Verified { config_id, config_name, by_environment, claims: token.into_claims() })
    }

    fn has_environment_signed(&self, token: &ReceivedToken) -> bool {
        let running = self.loader.live.running();
        running.environment.credentials().is_some_and(|environment| environment.have_signed(token))
    }

    fn is_signed_by(&self, token: &ReceivedToken, config: &Config) -> Result<bool, Unusable> {
        let running = self.loader.live.running();
        let (ring, hosts) = (running.ring.as_ref(), running.environment.hosts());
        // Disabled or not: its server goes on telling of the calls that it has.
        let chosen = choose_disabled_or_not(config.clone(), ring, hosts)?;
        let opened = chosen.config.open(&chosen.ring)?;
        Ok(token.is_signed_with(opened.secret.expose_secret()))
    }
}

/// The configs with the API key that a token names as its issuer, as many as are tried.
fn of_key<'k>(
    known: &'k KnownPairs,
    token: &ReceivedToken,
) -> impl Iterator<Item = &'k Config> + use<'k> {
    known.by_key.get(token.issuer()).into_iter().flatten().take(MOST_OF_A_KEY)
}

async fn known_pairs(store: Arc<dyn Store>) -> Result<KnownPairs, StoreError> {
    let mut known = KnownPairs { by_key: HashMap::new(), others: HashMap::new() };
    // The others first: a pair that becomes current meanwhile is known twice, and not missed.
    for pair in store.other_pairs().await? {
        known.others.entry(pair.config.id).or_default().push(pair);
    }
    let others = known.others.values().flatten().map(|pair| pair.config.clone());
    for config in store.configs().await?.into_iter().chain(others.collect::<Vec<_>>()) {
        known.by_key.entry(config.api_key.clone()).or_default().push(config);
    }
    Ok(known)
}

/// What the environment is called where a config has its name.
const ENVIRONMENT: &str = "environment";
/// How many configs with one API key are tried.
const MOST_OF_A_KEY: usize = 64;
#[cfg(feature = "server")]
const MOST_SEEN: u64 = 10_000;
