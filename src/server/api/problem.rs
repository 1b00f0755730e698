//! What is answered when something is not: problem details (RFC 9457), with the codes and hints of the
//! command line.

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::request_id::RequestId;
use crate::answer::ResolveError;
use crate::credentials::CredentialError;
use crate::draft::{FieldErrors, FieldProblem};
use crate::keyring::KeyError;
use crate::reason::Reason;
use crate::store::{StoreError, Taken};

/// Why a request is not answered. Holds nothing that was sent, but for the names of fields.
#[derive(Debug)]
pub(in crate::server) struct Problem {
    pub(in crate::server) status: StatusCode,
    /// A stable `snake_case` name, for programs.
    pub(in crate::server) code: &'static str,
    message: Box<str>,
    hint: Option<&'static str>,
    /// Which field is wrong, such as `grants.room`.
    field: Option<String>,
    more: Option<More>,
    /// A member of its own: the steps that led to it, or every field that is wrong.
    besides: Option<Box<(&'static str, Value)>>,
}

/// What a header says besides.
#[derive(Debug, Clone)]
enum More {
    /// How to say who asks.
    Bearer,
    /// Which methods the path takes.
    Allowed(Box<str>),
    /// That it may go well a moment later, in so many seconds.
    After(u64),
}

impl More {
    fn header(self) -> (HeaderName, HeaderValue) {
        match self {
            Self::Bearer => (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            Self::Allowed(methods) => {
                let methods = HeaderValue::from_str(&methods);
                (ALLOW, methods.expect("names of methods are a header"))
            }
            Self::After(seconds) => (RETRY_AFTER, HeaderValue::from(seconds)),
        }
    }
}

impl Problem {
    pub(in crate::server) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let (hint, field, more, besides) = (None, None, None, None);
        Self { status, code, message: message.into().into(), hint, field, more, besides }
    }

    /// A field of the body is wrong.
    pub(in crate::server) fn field(
        code: &'static str,
        field: impl Into<String>,
        why: &str,
    ) -> Self {
        let field = field.into();
        let problem = Self::new(StatusCode::BAD_REQUEST, code, format!("{field}: {why}"));
        Self { field: Some(field), ..problem }
    }

    /// A field is in order, and what it names is not there.
    pub(in crate::server) fn unprocessable_field(
        code: &'static str,
        field: impl Into<String>,
        why: &str,
    ) -> Self {
        let field = field.into();
        let message = format!("{field}: {why}");
        Self { field: Some(field), ..Self::unprocessable(code, message) }
    }

    /// The client may not.
    pub(in crate::server) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// The client may not what this field asks for.
    pub(in crate::server) fn forbidden_field(code: &'static str, field: &str, why: &str) -> Self {
        let problem = Self::forbidden(code, format!("{field}: {why}"));
        Self { field: Some(field.to_owned()), ..problem }
    }

    /// Nobody says who asks, or what says it does not hold.
    pub(in crate::server) fn unauthorized(code: &'static str, message: &'static str) -> Self {
        let problem = Self::new(StatusCode::UNAUTHORIZED, code, message);
        Self { more: Some(More::Bearer), ..problem }
    }

    /// It is understood and cannot be given, and asking again does not help.
    pub(in crate::server) fn unprocessable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// More is asked than may be, and in so many seconds it may be asked again.
    pub(in crate::server) fn too_many(seconds: u64) -> Self {
        let message = "more is asked than API_RATE lets one client or address ask";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        Self { more: Some(More::After(seconds)), ..problem }
    }

    /// The client has so many answers of this kind that go on.
    pub(in crate::server) fn too_many_at_once(kind: &str, most: u32) -> Self {
        let message = format!("a client may have {most} {kind} at once");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        Self { more: Some(More::After(1)), ..problem }.hint("end one, or wait until one has ended")
    }

    /// The daemon has no database.
    pub(in crate::server) fn no_database() -> Self {
        let message = "this daemon has no database";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_not_configured", message)
    }

    /// It may go well a moment later.
    pub(in crate::server) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        Self { more: Some(More::After(1)), ..problem }
    }

    /// The clients are not known at present.
    pub(in crate::server) fn clients_unknown(reason: Reason) -> Self {
        let message = format!("it is not known at present what clients may ask: {reason}");
        Self::unavailable("clients_unknown", message).hint("`trunkline doctor` says what is wrong")
    }

    pub(in crate::server) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
            .hint("GET /v1/openapi.json tells what there is")
    }

    /// `allowed`: the methods that the path takes.
    pub(in crate::server) fn wrong_method(allowed: &str) -> Self {
        let message = format!("this path takes {allowed}");
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        Self { more: Some(More::Allowed(allowed.into())), ..problem }
    }

    pub(in crate::server) fn forwarded() -> Self {
        let message = "a proxy passed this request on; clients ask without one";
        Self::new(StatusCode::BAD_REQUEST, "forwarded", message)
    }

    pub(in crate::server) fn other_host() -> Self {
        let message = "the Host of the request is not a name of this server";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "other_host", message)
            .hint("ask for 127.0.0.1 or localhost; HTTP_HOSTS adds names")
    }

    /// It may go well in so many seconds.
    pub(in crate::server) fn after(self, seconds: u64) -> Self {
        Self { more: Some(More::After(seconds)), ..self }
    }

    pub(in crate::server) fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    pub(in crate::server) fn steps(self, steps: Value) -> Self {
        Self { besides: Some(Box::new(("steps", steps))), ..self }
    }

    /// Every part that is wrong, each with its place and why.
    pub(in crate::server) fn errors(self, wrong: &[(String, String)]) -> Self {
        let code = self.code;
        let told =
            wrong.iter().map(|(place, why)| json!({"field": place, "code": code, "detail": why}));
        Self { besides: Some(Box::new(("errors", told.collect()))), ..self }
    }

    /// Nothing of this id is there, or it is not for the client to see.
    pub(in crate::server) fn missing(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// What is there does not go with what is asked.
    pub(in crate::server) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// Says in the log who was turned away; what else failed only where somebody looks for it.
    pub(in crate::server) fn log(&self, id: &RequestId) {
        let Self { status, code, .. } = self;
        if matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            tracing::info!(request_id = %id, status = status.as_u16(), code, "refused a request");
        } else {
            tracing::debug!(request_id = %id, status = status.as_u16(), code, "did not answer");
        }
    }

    pub(in crate::server) fn message(&self) -> &str {
        &self.message
    }

    pub(in crate::server) fn hint_text(&self) -> Option<&'static str> {
        self.hint
    }

    /// Each field that is wrong, and why: its own line where there are several, else all that is known.
    pub(in crate::server) fn of_fields(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match (self.besides.as_deref(), &self.field) {
            (Some(("errors", Value::Array(all))), _) => {
                let told = |one: &Value| {
                    let why = [&one["detail"], &one["hint"]].map(text);
                    (text(&one["field"]), why.join(". ").trim_end_matches(". ").to_owned())
                };
                all.iter().map(told).collect()
            }
            (_, Some(field)) => {
                let why = self.message.strip_prefix(&format!("{field}: ")).unwrap_or(&self.message);
                vec![(field.clone(), why.to_owned())]
            }
            _ => vec![(String::new(), self.message.to_string())],
        }
    }

    pub(in crate::server) fn response(self, id: &RequestId) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.message,
            "hint": self.hint,
            "field": self.field,
            "request_id": id.as_str(),
        });
        if let Some(besides) = self.besides {
            let (name, value) = *besides;
            body[name] = value;
        }
        let mut response = Response::new(body.to_string().into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.more.map(|more| {
            let (name, value) = more.header();
            (Some(name), value)
        }));
        response
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        let (code, hint) = (error.code(), error.hint());
        match error {
            ResolveError::TenantNeeded => Self::field(code, "tenant", &error.to_string()),
            error if error.is_temporary() => Self::unavailable(code, error.to_string()).hint(hint),
            error => Self::unprocessable(code, error.to_string()).hint(hint),
        }
    }
}

impl From<CredentialError> for Problem {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Key(key) => key.into(),
            wiped => Self::unavailable("credentials_wiped", wiped.to_string()),
        }
    }
}

/// Each field that is wrong, with the code that the command line has for it.
impl From<FieldErrors> for Problem {
    fn from(errors: FieldErrors) -> Self {
        let hint = |problem: &FieldProblem| match problem {
            FieldProblem::HostNotAllowed => Some("LIVEKIT_HOSTS of the daemon must name it first"),
            FieldProblem::AddressPrivate => {
                Some("LIVEKIT_HOSTS of the daemon must name the host, or its network")
            }
            FieldProblem::Key(error) => error.hint(),
            _ => None,
        };
        let told = errors.iter().map(|error| {
            json!({
                "field": error.field,
                "code": error.problem.code(),
                "detail": error.problem.to_string(),
                "hint": hint(&error.problem),
            })
        });
        let besides = Some(Box::new(("errors", told.collect())));
        let first = errors.first();
        let problem = Self::new(StatusCode::BAD_REQUEST, first.problem.code(), errors.to_string());
        Self { hint: hint(&first.problem), field: Some(first.field.to_owned()), besides, ..problem }
    }
}

/// What is wrong with the ring of the daemon.
impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let status = match error {
            KeyError::KeyMissing | KeyError::NoRandomness | KeyError::SealingKeyMissing { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { hint: error.hint(), ..Self::new(status, error.code(), error.to_string()) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        let unavailable = |code, message| Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        match error {
            StoreError::Conflict { taken } => {
                let field = match taken {
                    Taken::Number => "number",
                    Taken::Label => "label",
                    _ => "name",
                };
                Self { field: Some(field.into()), ..Self::conflict(code, message) }
            }
            StoreError::KeysMoved => Self::conflict(code, message).hint("ask the same again"),
            StoreError::Unreachable { .. } | StoreError::Timeout { .. } => {
                Self::unavailable(code, message)
            }
            StoreError::MayBeSaved => Self::new(StatusCode::GATEWAY_TIMEOUT, code, message)
                .hint("look whether it is there; with an Idempotency-Key, ask the same again"),
            StoreError::NotMigrated { .. } => {
                unavailable(code, message).hint("run `trunkline db migrate`")
            }
            StoreError::Refused { ref code, .. } if code == "42501" => {
                let message = "the database role of this daemon may not do this".to_owned();
                unavailable("database_role_may_not", message).hint(
                    "`trunkline db grants --edit --calls --people --keys` prints what it must be granted",
                )
            }
            ref error if error.is_read_only() => {
                let message = "this daemon's database can only be read".to_owned();
                unavailable("database_read_only", message)
                    .hint("ask a daemon that is connected to the primary, and may write the file")
            }
            _ => unavailable(code, message).hint("`trunkline doctor` says what is wrong"),
        }
    }
}
