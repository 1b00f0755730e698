//! Every variable the program reads, documented once: `.env.example`, the docs and
//! `trunkline settings` are made from [`VARIABLES`], and a test fails when they differ.
//!
//! Also the only file that reads the process environment.

use std::ffi::OsString;
use std::fmt::Write as _;

/// A variable as people need to know it.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The heading it stands under.
    pub section: &'static str,
    /// What holds when it is not set; empty when nothing does.
    pub default: &'static str,
    /// What it is for. Sentences.
    pub help: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether `NAME_FILE` may name a file that holds the value.
    pub file: bool,
    /// Whether a change takes effect without a restart.
    pub hot: bool,
}

macro_rules! variables {
    ($($section:literal: { $($name:ident = $default:literal $([$($mark:ident)+])? $help:literal)* })*) => {
        /// Every variable, in the order of `.env.example`.
        pub const VARIABLES: &[Variable] = &[$($(Variable {
            name: stringify!($name),
            section: $section,
            default: $default,
            help: $help,
            secret: variables!(@has secret $($($mark)+)?),
            file: variables!(@has file $($($mark)+)?),
            hot: variables!(@has hot $($($mark)+)?),
        },)*)*];
    };
    (@has $mark:ident) => { false };
    (@has secret secret $($rest:ident)*) => { true };
    (@has file file $($rest:ident)*) => { true };
    (@has hot hot $($rest:ident)*) => { true };
    (@has $mark:ident $other:ident $($rest:ident)*) => { variables!(@has $mark $($rest)*) };
}

variables! {
    "Who answers": {
        USE_SELFHOST_ROUTING_TABLE = "true" [hot]
            "Whose credentials place calls. On: those of the LiveKit config that the database has for the number. Off: those of the environment. The number's rules apply in both cases."
        DATABASE_OFF = "false" [hot]
            "Never asks the database; for when it does more harm than good. The environment answers, and NO RULES APPLY, so every country may be called."
        FALLBACK_DENY = "" [hot]
            "Reasons for which the environment must not answer, separated by commas: the call gets an error instead of another account's key. For example secret_unopenable,config_invalid. With rules_unknown, a number whose rules are unknown calls nobody."
        LIVEKIT_HOSTS = "" [hot]
            "Allowed hosts of LiveKit servers, separated by commas: hosts (calls.example), all hosts below one (*.livekit.cloud), and networks for URLs with an address (10.0.0.0/8). A config, or LIVEKIT_URL, with another host is refused: host_not_allowed. Not set: any host; but a URL that comes over the API must not lead into a private network."
    }
    "Calls": {
        ROUTING = "region" [hot]
            "How a destination without a country code is read. region: as people in the caller's country dial it, or in the only country that the rules allow. heuristic: by its length, as the service before this one did."
        ROUTING_COUNTRIES = "" [hot]
            "With ROUTING=region: foreign countries whose country code may be written without its plus, as ISO codes separated by commas, such as AE,IN. The same holds for the countries in the rules of a number."
        LIVEKIT_CONNECT_TIMEOUT = "3s"
            "How long to wait for a connection to a LiveKit server."
        LIVEKIT_TIMEOUT = "10s"
            "How long to wait for an answer of a LiveKit server, including the connection. For a call that waits until the phone is answered, the ringing time is added."
    }
    "Secrets at rest": {
        LIVEKIT_SECRET_ENCRYPTION_KEY = "" [secret file hot]
            "The Fernet key that API secrets are sealed with. Several, separated by commas, make a ring: the first seals, all open. Make one with `trunkline key generate`."
        KEY_ROTATION = "0s"
            "How long an encryption key that rests in the database seals before the next one does, such as 90d: whoever has the right to turn keys then makes it, one process at a time. It begins once `trunkline key stage --wrapped` has made the first one and it seals. Off, since other readers know only the keys of LIVEKIT_SECRET_ENCRYPTION_KEY: the Python service and versions before cannot read what such a key seals. 0s: never."
        BOUND_SECRETS_ONLY = "false" [hot]
            "Uses the secret of a config only if it is bound to its id, URL and API key, as `trunkline key bind` does. Others are refused as secret_not_bound."
    }
    "Credentials of the environment": {
        LIVEKIT_URL = "" [hot]
            "The LiveKit server that answers when the database does not. The three LIVEKIT values are one unit: all or none."
        LIVEKIT_API_KEY = "" [hot]
            "Its API key."
        LIVEKIT_API_SECRET = "" [secret file hot]
            "Its API secret."
        OUTBOUND_TRUNK_ID = "" [hot]
            "The SIP trunk, if neither the config nor the number's rules name one."
        VOICE_AGENT_NAME = "inbound-agent" [hot]
            "The LiveKit agent, if the config names none."
    }
    "Database": {
        DATABASE_URL = "" [secret file]
            "postgres://user:password@host/database?sslmode=verify-full, or sqlite:path/to/file.db. Without sslmode the connection is encrypted only if the server offers it. If only the password changes, the next connection uses it, without a restart. If DATABASE_URL is not set and PGHOST or PGDATABASE is, the PG variables of libpq are used."
        DB_SCHEMA = "public"
            "The Postgres schema that holds the tables."
        DATABASE_CONNECTIONS = "4"
            "How many statements may run at once, each on its own connection."
        STORE_DEADLINE = "2s"
            "How long one statement may take, including the wait for a connection."
    }
    "Nodes": {
        NODE_NAME = ""
            "The name by which people know this process among those that share the database: `trunkline nodes list` and the application_name of its sessions (trunkline/NAME) show it. Not set: the name of the machine. 53 characters of ASCII are kept."
    }
    "Relay": {
        RELAY_URL = "" [secret file]
            "A Redis through which the nodes of a large fleet tell each other of changes, so that all but three of them hold no connection to Postgres: redis://user:password@host/, rediss:// for TLS, or redis+sentinel://user:password@host,host/NAME. What goes through it is sealed. A fleet shares one. Not set: every node reads the change log itself."
    }
    "Files": {
        DATA_DIR = ""
            "A folder of this node alone, where it keeps what must outlast a restart: the stage of the rollout that it knew last, for a start without the database, and the batches that clients upload, with their journals. Not set: nothing is kept, such a start is as without a rollout, and the API takes no batches."
    }
    "Cache": {
        CACHE_CAPACITY = "1000000"
            "The greatest number of answers in memory."
        WARM = "none"
            "Which numbers are loaded when the process starts: none, recent (those that changed lately, by the change log) or all, up to CACHE_CAPACITY. It is not ready before they are loaded."
        CACHE_TTL = "5m"
            "How long an answer is used if no change ends it. The greatest age of an answer after an edit that fires no trigger."
        CACHE_TTL_JITTER = "10"
            "The greatest random reduction of a TTL, in per cent, so that answers loaded together do not end together."
        NEGATIVE_TTL = "30s"
            "How long it is remembered that the database has no answer: number unknown, no config, secret that does not open. A change ends it at once."
        ERROR_TTL = "1s"
            "After a failure of the database: how long it is not asked again, if there is another answer."
        MAX_STALE = "1h"
            "The greatest age of the last good answer, which serves while the database is away."
        RESOLVE_DEADLINE = "500ms"
            "How long a caller waits for a load. Then the last good answer or the environment serves; the load goes on."
    }
    "Hot reload": {
        LEASE = "1s"
            "How long a look at the database proves that no change was missed. Postgres is asked four times in this time. When the proof lapses, every lookup goes to the database."
        HEARTBEAT_INTERVAL = ""
            "Has no effect any more: the change log in Postgres is read four times in each LEASE, and no heartbeats are sent."
        LOG_POLL_INTERVAL = "100ms"
            "How often the change log in Postgres is read if NOTIFY does not arrive: through PgBouncer in transaction mode, on a replica. Must be less than half of LEASE."
        POLL_INTERVAL = "20ms"
            "How often an SQLite file is polled for commits of other processes."
        SELF_CHECK_INTERVAL = "1s"
            "How often one answer in memory is compared with the database, to find one that is older than allowed. 0s: never."
        CHANGE_LOG_KEEP = "30d"
            "How long rows stay in the change log. Every process that may delete from it prunes it; a reader that was away for longer loads everything again. 0s: for ever."
    }
    "Audit": {
        AUDIT_KEEP = "400d"
            "How long rows stay in the audit. Every process that may delete from it prunes it, from its sealed beginning, and leaves a checkpoint. 0s: for ever."
    }
    "Daemon": {
        HTTP_LISTEN = "127.0.0.1:9464"
            "Where `trunkline serve` answers /metrics, /livez, /readyz and /version. They hold no secret, and anybody who reaches the address can read them."
        HTTP_HOSTS = ""
            "Host names that it accepts on loopback, besides localhost and addresses, separated by commas: for a proxy on this machine."
    }
    "API": {
        API_LISTEN = ""
            "Where `trunkline serve` answers /v1/tokens and the rest of the API to clients with a token: an address of this machine alone, such as 127.0.0.1:9465, unless there is TLS. Make clients with `trunkline client add`. Not set: nowhere."
        HTTP_TLS_CERT = ""
            "The path of a certificate in PEM, with those that vouch for it: what is answered at API_LISTEN is then encrypted, by TLS 1.2 or 1.3. Read again when it changes."
        HTTP_TLS_KEY = ""
            "The path of its private key, in PEM."
        HTTP_BEHIND_PROXY = "false"
            "A proxy that you trust has the TLS, and passes on what comes to API_LISTEN. Who asks is then who the last address in X-Forwarded-For says, so nobody else may reach API_LISTEN."
        HTTP_USER_HEADER = ""
            "A header in which a proxy that signs people in says who asks, such as X-Forwarded-User: the name of a user of `trunkline user`, who then needs no password. Not set: no header says that."
        HTTP_USER_HEADER_FROM = ""
            "From which addresses or networks that proxy connects, such as 10.0.0.7,10.1.0.0/16. Needed with HTTP_USER_HEADER; a request from elsewhere that has the header is refused."
        HTTP_SOCKET = ""
            "The path of a Unix socket where it answers the same. Its mode is 0660."
        HTTP_SOCKET_USERS = ""
            "Which client a local user is, who then needs no token on the socket: user:client, separated by commas. A user is a name in /etc/passwd, or a number. Users who are not named, and send no token, are refused."
        API_RATE = "1000"
            "How many questions a second each client may ask; as many may come at once. More are refused with 429. Whoever is no client may ask as many from each address or local user, of which a failed login counts for 50. 0: no limit."
    }
    "Logs": {
        RUST_LOG = "info"
            "Which logs are written, in the syntax of tracing-subscriber's EnvFilter."
        LOG_FORMAT = "text"
            "text or json."
        OTEL_EXPORTER_OTLP_ENDPOINT = ""
            "With the feature otel: the base URL of a collector for traces, OTLP over HTTP, such as http://127.0.0.1:4318."
    }
}

/// `.env.example`, from [`VARIABLES`].
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# Every variable that trunkline reads. Made by `trunkline settings example`.\n\
         # A variable of the process environment wins over the same one here.\n\
         # Durations are written 250ms, 30s, 5m, 1h or 7d. (hot): takes effect without a restart.\n\
         #\n\
         # Put a value with a blank or a # into quotes. In single quotes everything is text. A $ is text\n\
         # everywhere: it is never replaced by a variable, and ${NAME} is refused. In double quotes\n\
         # \\\\, \\\", \\$ and \\n are read as \\, \", $ and a new line; outside of quotes \\\\, \\\" and \\$ are\n\
         # refused.\n",
    );
    let mut section = "";
    for variable in VARIABLES {
        if section != variable.section {
            section = variable.section;
            let _ = write!(text, "\n# --- {section} ---\n");
        }
        text.push('\n');
        let hot = if variable.hot { " (hot)" } else { "" };
        for line in wrap(&format!("{}{hot}", variable.help)) {
            let _ = writeln!(text, "# {line}");
        }
        let comment = if variable.default.is_empty() { "# " } else { "" };
        let _ = writeln!(text, "{comment}{}={}", variable.name, variable.default);
        if variable.file {
            let _ = writeln!(text, "# {}_FILE=", variable.name);
        }
    }
    text
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if last.len() + 1 + word.len() > 98 && !last.is_empty() {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(super) fn process() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}
