//! Tokens and webhooks of the servers of all LiveKit configs: which config signed it, if any did.
//!
//! The configs are found by the issuer, which is the API key; several may have the same one, and each
//! is tried. Their rows are in memory as they rest in the database, with sealed secrets. A secret is
//! opened for one signature, by the checks that an answer goes through, and wiped.
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

pub use self::error::VerifyError;
use super::Resolver;
use super::decision::{Unusable, choose};
use super::loaded::Asked;
use super::loader::{Loader, reason_of};
use super::whole::Whole;
use crate::access::{NumberPrefix, Permissions};
use crate::cache::fence::List;
use crate::number::{ConfigId, TenantId};
use crate::reason::Reason;
use crate::store::{Config, Store, StoreError};
use crate::token::ReceivedToken;

/// A token that a LiveKit config signed, and that is good now.
#[non_exhaustive]
pub struct Verified {
    /// Which config.
    pub config_id: ConfigId,
    /// Its name.
    pub config_name: String,
    /// What the token says, in LiveKit's names.
    pub claims: Map<String, Value>,
}

impl fmt::Debug for Verified {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config_id, config_name, claims: _ } = self;
        let mut verified = out.debug_struct("Verified");
        verified.field("config_id", config_id).field("config_name", config_name);
        verified.finish_non_exhaustive()
    }
}

impl Resolver {
    /// Which LiveKit config signed an access token, and what the token says.
    ///
    /// The config is found by the issuer of the token among all configs, whatever the flag says, and
    /// its secret must have signed it by HS256, whatever its header says. A token needs an end. Clocks
    /// may be a minute apart. The environment's credentials are not tried.
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
        self.engine.issuers.verify(token, None).await
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
        let said = verified.claims.get("sha256").and_then(Value::as_str).unwrap_or_default();
        let is = STANDARD.encode(Sha256::digest(body));
        if is.as_bytes().ct_eq(said.as_bytes()).into() {
            Ok(verified)
        } else {
            Err(VerifyError::OtherBody)
        }
    }

    /// The same for a client that may know of the configs that its own numbers use. To it the others
    /// are unknown.
    #[cfg(feature = "server")]
    pub(crate) async fn verify_for(
        &self,
        token: &str,
        permissions: &Permissions,
    ) -> Result<Verified, VerifyError> {
        self.engine.issuers.verify(token, Some(permissions)).await
    }
}

/// The configs by their API keys, as far as they were asked for.
pub(super) struct Issuers {
    configs: Whole<HashMap<String, Vec<Config>>>,
    uses: moka::sync::Cache<Use, (bool, Asked)>,
    loader: Arc<Loader>,
}

/// Whether a config serves numbers of a tenant that begin so.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Use {
    config: ConfigId,
    tenant: TenantId,
    prefix: Option<NumberPrefix>,
}

impl Issuers {
    pub(super) fn new(loader: &Arc<Loader>) -> Self {
        Self {
            configs: Whole::new(List::Configs, loader),
            uses: moka::sync::Cache::builder()
                .max_capacity(MOST_USES)
                .time_to_live(loader.tuning.ttl)
                .build(),
            loader: Arc::clone(loader),
        }
    }

    async fn verify(
        &self,
        token: &str,
        permissions: Option<&Permissions>,
    ) -> Result<Verified, VerifyError> {
        let token = ReceivedToken::read(token)?;
        let unavailable = |reason| VerifyError::Unavailable { reason };
        let Some(store) = &self.loader.store else {
            return Err(unavailable(Reason::DatabaseNotConfigured));
        };
        let known = self.configs.known(|| by_key(Arc::clone(store))).await.map_err(unavailable)?;
        let mut refused = VerifyError::IssuerUnknown;
        for config in known.get(token.issuer()).into_iter().flatten().take(MOST_OF_A_KEY) {
            if let Some(permissions) = permissions
                && !self.serves(&**store, config.id, permissions).await.map_err(unavailable)?
            {
                continue;
            }
            match self.is_signed_by(&token, config) {
                Ok(true) => {
                    token.check_times(self.loader.clock.unix_seconds())?;
                    return Ok(Verified {
                        config_id: config.id,
                        config_name: config.name.clone(),
                        claims: token.into_claims(),
                    });
                }
                Ok(false) if refused == VerifyError::IssuerUnknown => {
                    refused = VerifyError::SignatureInvalid;
                }
                Ok(false) => {}
                Err(why) => refused = VerifyError::ConfigUnusable { reason: why.reason() },
            }
        }
        Err(refused)
    }

    fn is_signed_by(&self, token: &ReceivedToken, config: &Config) -> Result<bool, Unusable> {
        let running = self.loader.live.running();
        let (ring, hosts) = (running.ring.as_ref(), running.environment.hosts());
        let chosen = choose(config.id, Some(config.clone()), ring, hosts)?;
        let opened = chosen.config.open(&chosen.ring)?;
        Ok(token.is_signed_with(opened.secret.expose_secret()))
    }

    /// Whether a number that the client may ask for uses the config.
    async fn serves(
        &self,
        store: &dyn Store,
        config: ConfigId,
        permissions: &Permissions,
    ) -> Result<bool, Reason> {
        let Some(tenants) = &permissions.tenants else { return Ok(true) };
        let any = [None];
        let named: Vec<_> = permissions.numbers.iter().cloned().map(Some).collect();
        let prefixes = if named.is_empty() { &any[..] } else { &named };
        for &tenant in tenants {
            for prefix in prefixes {
                if self.uses(store, Use { config, tenant, prefix: prefix.clone() }).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The same for one tenant and one prefix, remembered until anything changes.
    async fn uses(&self, store: &dyn Store, one: Use) -> Result<bool, Reason> {
        let (fence, tuning) = (&self.loader.cache.fence, &self.loader.tuning);
        let question = self.loader.question_now();
        if let Some((serves, asked)) = self.uses.get(&one)
            && fence.generation() == asked.born
            && (fence.lease_is_live(question.at) || question.at < asked.at.after(tuning.lease))
        {
            return Ok(serves);
        }
        let prefix = one.prefix.as_ref().map_or("", NumberPrefix::digits);
        let asking = store.config_serves(one.config, one.tenant, prefix);
        let serves = tokio::time::timeout(tuning.resolve_deadline, asking).await;
        let serves = serves.map_err(|_| Reason::DatabaseTimeout)?;
        let serves = serves.map_err(|error| reason_of(&error))?;
        self.uses.insert(one, (serves, question));
        Ok(serves)
    }
}

async fn by_key(store: Arc<dyn Store>) -> Result<HashMap<String, Vec<Config>>, StoreError> {
    let mut by_key = HashMap::<_, Vec<_>>::new();
    for config in store.configs().await? {
        by_key.entry(config.api_key.clone()).or_default().push(config);
    }
    Ok(by_key)
}

/// How many configs with one API key are tried.
const MOST_OF_A_KEY: usize = 64;
const MOST_USES: u64 = 10_000;
