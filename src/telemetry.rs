//! Every metric's name, labels, buckets and help, once. The code, the documents, the dashboards and the
//! alerts are tested against [`METRICS`].
//!
//! The library only emits, through the `metrics` facade; the program chooses who listens. Metrics are
//! scraped, never pushed. With `metrics-exporter-prometheus`:
//!
//! ```text
//! let mut exporter = PrometheusBuilder::new();
//! for (name, buckets) in trunkline::telemetry::recommended_buckets() {
//!     exporter = exporter.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
//! }
//! exporter.install()?;
//! ```
//!
//! Do this before the resolver is built: its handles are made once, and record to the recorder that is
//! installed then. Leave the exporter's idle timeout off, which would lose what such handles record.
//! There are no summaries, because they cannot be added up over processes.
//!
//! **Invariants.** Every series is there from the start, at zero. No label carries a tenant, a
//! number, a config or a URL. A process has fewer than 400 series, and those of its routes if it answers
//! clients.

use metrics::{Counter, Unit, describe_counter, describe_gauge, describe_histogram};

/// A metric as people need to know it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, with its unit in it.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// The kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Sorts what it sees into buckets with these upper bounds, in the unit of its name.
    Histogram(&'static [f64]),
}

macro_rules! metrics {
    ($($constant:ident: $kind:expr, $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*

        /// Every metric, in the order in which they are documented.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: $kind,
            labels: &[$($label),*],
            help: $help,
        }),*];
    };
}

metrics! {
    RESOLUTIONS: Kind::Counter, "trunkline_resolutions_total" ["source" "from"]
        "Answers given, by source and by where the answer came from";
    FALLBACKS: Kind::Counter, "trunkline_fallbacks_total" ["reason"]
        "Answers given by the environment, by reason";
    REFUSALS: Kind::Counter, "trunkline_refusals_total" ["reason"]
        "Questions that nobody could answer, by reason";
    UNOPENABLE: Kind::Counter, "trunkline_secrets_unopenable_total" ["reason"]
        "Secrets of configs that did not open, by reason";
    URLS_CHANGED: Kind::Counter, "trunkline_config_urls_changed_total" []
        "Configs whose URL was changed while their key and secret stayed";
    WARM: Kind::Histogram(WARM_BUCKETS), "trunkline_resolve_warm_duration_seconds" []
        "Time of an answer from memory, of one in 64 of them";
    COLD: Kind::Histogram(COLD_BUCKETS), "trunkline_resolve_cold_duration_seconds" []
        "Time of an answer that was not in memory";
    QUERIES: Kind::Histogram(QUERY_BUCKETS), "trunkline_store_query_duration_seconds" ["statement"]
        "Time of a statement, the wait for a connection included";
    STORE_ERRORS: Kind::Counter, "trunkline_store_errors_total" ["kind"]
        "Statements that failed, by kind of failure";
    CONNECTIONS: Kind::Gauge, "trunkline_store_connections" ["state"]
        "Connections to the database: in use, idle, and the most there may be";
    ROLLOUT_STAGE: Kind::Gauge, "trunkline_rollout_stage" ["stage"]
        "The stage of the rollout that this node obeys";
    ROLLOUT_PERCENT: Kind::Gauge, "trunkline_rollout_percent" []
        "The share that the database answers by the rollout, in per cent";
    ROLLOUT_RUN: Kind::Gauge, "trunkline_rollout_run" ["state"]
        "How the open run of the rollout stands, as this node has seen it last";
    SHADOWED: Kind::Counter, "trunkline_rollout_shadow_total" ["outcome"]
        "Loads at the stage shadow, by what the database would have had: an answer, or a reason why not";
    SHADOW_FIELDS: Kind::Counter, "trunkline_rollout_shadow_fields_total" ["field" "found"]
        "Answers that the database would have had, by field, and whether the environment's was the same";
    ENTRIES: Kind::Gauge, "trunkline_cache_entries" []
        "Answers in memory";
    EVICTIONS: Kind::Counter, "trunkline_cache_evictions_total" ["cause"]
        "Answers that left memory for want of room, for their age, or because nobody used them";
    INVALIDATIONS: Kind::Counter, "trunkline_cache_invalidations_total" ["trigger"]
        "Times that answers were dropped, by what made it necessary";
    LOADS: Kind::Counter, "trunkline_loads_total" []
        "Loads of a number, begun";
    CONFIG_LOADS: Kind::Counter, "trunkline_config_loads_total" []
        "Loads of a config alone, after it changed: one, however many numbers point at it";
    LOADS_IN_FLIGHT: Kind::Gauge, "trunkline_loads_in_flight" []
        "Loads under way";
    LOADS_JOINED: Kind::Counter, "trunkline_loads_joined_total" []
        "Questions that waited for a load that was under way already";
    LISTENER_UP: Kind::Gauge, "trunkline_change_listener_up" []
        "1 while something tells of changes";
    LIVES_ENDED: Kind::Counter, "trunkline_change_listener_lives_ended_total" []
        "Connections of the listener for changes that ended; it reconnects each time";
    HEARING: Kind::Gauge, "trunkline_changes_heard" ["by"]
        "1 for the way in which changes are learned of at present";
    CHANGES: Kind::Counter, "trunkline_changes_applied_total" []
        "Changes that were learned of and applied";
    CHANGE_DELAY: Kind::Histogram(DELAY_BUCKETS), "trunkline_change_delay_seconds" []
        "From the writing of a change to its being applied here";
    CHANGE_SEQUENCE: Kind::Gauge, "trunkline_change_last_sequence" []
        "The highest sequence number of a change that was seen";
    RELAY_ROLE: Kind::Gauge, "trunkline_relay_role" ["role"]
        "1 for what this node does for the relay at present; only with `RELAY_URL`";
    RELAY_MESSAGES: Kind::Counter, "trunkline_relay_messages_total" ["what"]
        "Messages of the relay that were heard, or could not be read";
    RELAY_GAPS: Kind::Counter, "trunkline_relay_gaps_total" []
        "Messages of the relay before which something was missing; the change log was read";
    LEASE_LIVE: Kind::Gauge, "trunkline_lease_live" []
        "1 while it is proven that no change was missed";
    LEASE_AGE: Kind::Gauge, "trunkline_lease_age_seconds" []
        "How long ago that was last proven";
    CHECKS: Kind::Counter, "trunkline_self_checks_total" []
        "Answers in memory that were held against the database";
    STALE_FOUND: Kind::Counter, "trunkline_self_check_stale_total" []
        "Answers that the self-check found to be staler than they may be";
    STALENESS: Kind::Gauge, "trunkline_staleness_seconds_max" []
        "The longest time that an answer was seen to count after the database said otherwise";
    RESTARTS: Kind::Counter, "trunkline_task_restarts_total" []
        "Tasks beside the callers that panicked and were started again";
    SEALED: Kind::Gauge, "trunkline_sealed_secrets" ["key" "role"]
        "Configs by the key that opens their secret: the first key, which seals, an older one, or none";
    KEY_AGE: Kind::Gauge, "trunkline_key_state_age_seconds" ["key" "state"]
        "For how long a key has been in the state that the database knows of it; 0 where it is not in it";
    SEALING_KEY_MISSING: Kind::Gauge, "trunkline_sealing_key_missing" []
        "1 while the key that seals, by the database, is not in the ring";
    KEY_ROTATION_STEPS: Kind::Counter, "trunkline_key_rotation_steps_total" ["step"]
        "Steps that this node took to turn the encryption keys by schedule";
    KEY_ROTATION_BLOCKED: Kind::Gauge, "trunkline_key_rotation_blocked_seconds" []
        "For how long something keeps this node from turning the encryption keys that somebody should see to; 0 where nothing does";
    DATA_KEYS_UNOPENED: Kind::Gauge, "trunkline_data_keys_unopened" []
        "Keys that rest in the database and do not open on this node";
    OTHER_PAIR: Kind::Counter, "trunkline_livekit_other_pair_total" ["result"]
        "Requests that a LiveKit server refused with the current pair, by what it said to the other one";
    PAIRS: Kind::Gauge, "trunkline_pairs" ["state"]
        "LiveKit key pairs: current ones, and those that are pending or previous";
    PAIR_AGE: Kind::Gauge, "trunkline_pair_oldest_age_seconds" ["state"]
        "For how long the oldest LiveKit key pair of a state is in it; 0 where there is none";
    NODES: Kind::Gauge, "trunkline_nodes" ["state"]
        "Nodes of the database that count, as this one sees them";
    NODE_VARIANTS: Kind::Gauge, "trunkline_node_variants" ["of"]
        "How many different key rings, settings and versions the live nodes have: 1 where all agree";
    NODE_LISTED: Kind::Gauge, "trunkline_node_listed" []
        "1 while this node is listed among the nodes";
    AUDIT_UNSEALED: Kind::Gauge, "trunkline_audit_unsealed_rows" []
        "Rows of the audit that are not chained yet, as this node saw when it last looked";
    AUDIT_SEALED: Kind::Counter, "trunkline_audit_sealed_rows_total" []
        "Rows of the audit that this node chained";
    AUDIT_SEAL_FAILURES: Kind::Counter, "trunkline_audit_seal_failures_total" []
        "Attempts of this node to seal the audit that failed";
    CALLS: Kind::Counter, "trunkline_calls_total" ["outcome"]
        "Calls, by what became of them";
    CALL_TIME: Kind::Histogram(CALL_BUCKETS), "trunkline_call_duration_seconds" ["part"]
        "Time of placing a call in total, and the part of it that waited for LiveKit";
    BATCH: Kind::Gauge, "trunkline_batch_entries" ["state"]
        "Entries of the batches that run here";
    RELOADED: Kind::Gauge, "trunkline_settings_last_reload_successful" []
        "Whether the last reload of the settings succeeded";
    RELOADED_AT: Kind::Gauge, "trunkline_settings_last_reload_success_timestamp_seconds" []
        "When settings were last taken, in seconds since 1970";
    READY: Kind::Gauge, "trunkline_ready" []
        "1 while /readyz says yes";
    BUILD: Kind::Gauge, "trunkline_build_info" ["version" "database"]
        "1, for the version that runs and the kind of its database";
    REQUESTS: Kind::Counter, "trunkline_http_requests_total" ["route" "code"]
        "HTTP requests answered";
    API_TIME: Kind::Histogram(API_BUCKETS), "trunkline_api_request_duration_seconds" ["work"]
        "Time until a client had the head of its answer, by what kind of work it was";
    API_TOKENS: Kind::Counter, "trunkline_api_tokens_total" ["outcome"]
        "LiveKit access tokens that clients asked for, by whose credentials signed them, or that there were none";
    API_REFUSALS: Kind::Counter, "trunkline_api_refusals_total" ["reason"]
        "Requests of clients that were refused, by what was not allowed";
    SIGN_INS: Kind::Counter, "trunkline_sign_ins_total" ["outcome"]
        "Attempts of people to sign in or to give their password again, by what came of them";
    PASSWORD_TIME: Kind::Histogram(API_BUCKETS), "trunkline_password_duration_seconds" []
        "Time that comparing a password took, waiting for a turn included";
    WEBHOOKS: Kind::Counter, "trunkline_webhooks_total" ["outcome"]
        "Webhooks of LiveKit servers, by what came of them";
    CALLS_LEFT: Kind::Counter, "trunkline_calls_left_total" ["reason"]
        "Calls of clients whose phone left, as webhooks told, by LiveKit's reason";
}

/// Buckets for every histogram, for the recorder of an embedder. A recorder that is told of none
/// makes summaries, which cannot be added up over processes.
pub fn recommended_buckets() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    METRICS.iter().filter_map(|metric| match metric.kind {
        Kind::Histogram(buckets) => Some((metric.name, buckets)),
        Kind::Counter | Kind::Gauge => None,
    })
}

/// Tells the recorder what every metric is.
pub(crate) fn describe() {
    for &Metric { name, kind, help, .. } in METRICS {
        let unit = if name.contains("_seconds") { Unit::Seconds } else { Unit::Count };
        match kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram(_) => describe_histogram!(name, unit, help),
        }
    }
}

/// A counter that is there from now on, at zero.
pub(crate) fn at_zero(counter: Counter) -> Counter {
    counter.absolute(0);
    counter
}

const WARM_BUCKETS: &[f64] = &[1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 2.5e-5, 1e-4, 1e-3];
const COLD_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
const QUERY_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0];
const DELAY_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const API_BUCKETS: &[f64] = &[0.0001, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];
const CALL_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 90.0];
