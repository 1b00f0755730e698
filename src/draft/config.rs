//! LiveKit configs as people enter and edit them.

use super::field::{FieldError, FieldErrors, FieldProblem, SHORT, text, word};
use crate::keyring::{ExposeSecret, KeyRing, PREFIX, Sealed, Secret};
use crate::server_url::{AllowedHosts, ServerUrl};
use crate::store::{ConfigEdit, NewConfig};

/// A LiveKit config that somebody enters. Every text is as it was typed.
///
/// ```
/// use trunkline::draft::ConfigDraft;
/// use trunkline::{AllowedHosts, KeyRing, Secret};
///
/// let ring = KeyRing::parse(&KeyRing::generate()?)?;
/// let mut draft = ConfigDraft {
///     name: "eu".into(),
///     url: "calls.example".into(),
///     api_key: "API 7".into(),
///     ..ConfigDraft::default()
/// };
/// draft.api_secret = Some(Secret::new(Box::new("s3cret".into())));
/// let errors = draft.check(&ring, &AllowedHosts::default(), 1_763_900_000).unwrap_err();
/// let wrong: Vec<_> = errors.iter().map(|error| (error.field, error.problem.code())).collect();
/// assert_eq!(wrong, [("url", "url_malformed"), ("api_key", "field_malformed")]);
/// # Ok::<(), trunkline::KeyError>(())
/// ```
#[derive(Debug, Default)]
pub struct ConfigDraft {
    /// A name that no other config has: 1 to 255 characters.
    pub name: String,
    /// What people should know about it: at most 10,000 characters.
    pub description: Option<String>,
    /// The URL of the server: `ws`, `wss`, `http` or `https`.
    pub url: String,
    /// The API key: 1 to 255 characters, without white space.
    pub api_key: String,
    /// The API secret, plain or sealed.
    pub api_secret: Option<Secret>,
    /// The outbound SIP trunk: 1 to 255 characters, without white space.
    pub trunk_id: Option<String>,
    /// The LiveKit agent that takes calls: 1 to 255 characters.
    pub agent: Option<String>,
}

/// Every field of a config but its secret, checked.
struct Fields {
    name: String,
    description: Option<String>,
    url: ServerUrl,
    api_key: String,
    trunk_id: Option<String>,
    agent: Option<String>,
}

impl ConfigDraft {
    /// Checks every field but the secret, for those who ask for that last, and returns the URL.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub fn check_all_but_secret(&self, hosts: &AllowedHosts) -> Result<ServerUrl, FieldErrors> {
        self.fields(hosts).map(|fields| fields.url)
    }

    /// What is to be stored. A plain secret is sealed with the first key of `ring`, at that Unix time
    /// in seconds; one that is sealed already must open.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub fn check(
        &self,
        ring: &KeyRing,
        hosts: &AllowedHosts,
        unix_seconds: u64,
    ) -> Result<NewConfig, FieldErrors> {
        let secret = match &self.api_secret {
            Some(entered) => secret(entered, ring, unix_seconds),
            None => Err(FieldError::new("api_secret", FieldProblem::Empty)),
        };
        let (Fields { name, description, url, api_key, trunk_id, agent }, api_secret) =
            FieldErrors::both(self.fields(hosts), secret)?;
        Ok(NewConfig { name, description, url, api_key, api_secret, trunk_id, agent })
    }

    fn fields(&self, hosts: &AllowedHosts) -> Result<Fields, FieldErrors> {
        let name = text("name", &self.name, SHORT);
        let described = optional(self.description.as_deref(), description);
        let url = url(&self.url, hosts);
        let api_key = word("api_key", &self.api_key);
        let trunk_id = optional(self.trunk_id.as_deref(), trunk);
        let agent = optional(self.agent.as_deref(), agent);
        FieldErrors::of([
            name.as_ref().err(),
            described.as_ref().err(),
            url.as_ref().err(),
            api_key.as_ref().err(),
            trunk_id.as_ref().err(),
            agent.as_ref().err(),
        ])?;
        Ok(Fields {
            name: name?,
            description: described?,
            url: url?,
            api_key: api_key?,
            trunk_id: trunk_id?,
            agent: agent?,
        })
    }
}

/// Fields of a LiveKit config that somebody changes. `None` leaves a field as it is, `Some(None)`
/// empties it.
#[derive(Debug, Default)]
pub struct ConfigEditDraft {
    /// As in [`ConfigDraft`], like all of these.
    pub name: Option<String>,
    /// The description.
    pub description: Option<Option<String>>,
    /// The URL.
    pub url: Option<String>,
    /// The API key.
    pub api_key: Option<String>,
    /// The API secret, plain or sealed.
    pub api_secret: Option<Secret>,
    /// The SIP trunk.
    pub trunk_id: Option<Option<String>>,
    /// The LiveKit agent.
    pub agent: Option<Option<String>>,
}

impl ConfigEditDraft {
    /// Checks every field but the secret, for those who ask for that last.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub fn check_all_but_secret(&self, hosts: &AllowedHosts) -> Result<ConfigEdit, FieldErrors> {
        let name = optional(self.name.as_deref(), |name| text("name", name, SHORT));
        let described = emptied(self.description.as_ref(), description);
        let url = optional(self.url.as_deref(), |text| url(text, hosts));
        let api_key = optional(self.api_key.as_deref(), |key| word("api_key", key));
        let trunk_id = emptied(self.trunk_id.as_ref(), trunk);
        let agent = emptied(self.agent.as_ref(), agent);
        FieldErrors::of([
            name.as_ref().err(),
            described.as_ref().err(),
            url.as_ref().err(),
            api_key.as_ref().err(),
            trunk_id.as_ref().err(),
            agent.as_ref().err(),
        ])?;
        Ok(ConfigEdit {
            name: name?,
            description: described?,
            url: url?,
            api_key: api_key?,
            api_secret: None,
            trunk_id: trunk_id?,
            agent: agent?,
            only_over: None,
        })
    }

    /// What is to be changed. A plain secret is sealed with the first key of `ring`, at that Unix time
    /// in seconds; one that is sealed already must open.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub fn check(
        &self,
        ring: &KeyRing,
        hosts: &AllowedHosts,
        unix_seconds: u64,
    ) -> Result<ConfigEdit, FieldErrors> {
        let secret =
            self.api_secret.as_ref().map(|entered| secret(entered, ring, unix_seconds)).transpose();
        let (edit, api_secret) = FieldErrors::both(self.check_all_but_secret(hosts), secret)?;
        Ok(ConfigEdit { api_secret, ..edit })
    }
}

fn optional<T>(
    entered: Option<&str>,
    check: impl Fn(&str) -> Result<T, FieldError>,
) -> Result<Option<T>, FieldError> {
    entered.map(check).transpose()
}

#[expect(clippy::option_option, reason = "to leave a field alone, and to empty it, are two things")]
fn emptied<T>(
    entered: Option<&Option<String>>,
    check: impl Fn(&str) -> Result<T, FieldError>,
) -> Result<Option<Option<T>>, FieldError> {
    entered.map(|entered| optional(entered.as_deref(), &check)).transpose()
}

fn description(entered: &str) -> Result<String, FieldError> {
    text("description", entered, 10_000)
}

fn trunk(entered: &str) -> Result<String, FieldError> {
    word("trunk_id", entered)
}

fn agent(entered: &str) -> Result<String, FieldError> {
    text("agent_name", entered, SHORT)
}

fn url(entered: &str, hosts: &AllowedHosts) -> Result<ServerUrl, FieldError> {
    let url: ServerUrl = entered.parse().map_err(|error| FieldError::new("url", error))?;
    if hosts.allow(&url) {
        Ok(url)
    } else {
        Err(FieldError::new("url", FieldProblem::HostNotAllowed))
    }
}

fn secret(entered: &Secret, ring: &KeyRing, unix_seconds: u64) -> Result<Sealed, FieldError> {
    let entered = entered.expose_secret();
    let refused = |error| FieldError::new("api_secret", error);
    if entered.starts_with(PREFIX) {
        let opened = ring.open(entered).map_err(refused)?;
        // Where the database says which key seals, no secret comes in under another one.
        if ring.rule().is_none() || ring.sealing_id() == Ok(opened.key) {
            return Sealed::parse(entered).map_err(refused);
        }
        return ring.seal_again(opened.secret.expose_secret(), unix_seconds).map_err(refused);
    }
    if entered.trim() != entered.as_str() && !entered.trim().is_empty() {
        return Err(FieldError::new("api_secret", FieldProblem::Padded));
    }
    ring.seal(entered, unix_seconds).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> KeyRing {
        KeyRing::parse(&KeyRing::generate().unwrap()).unwrap()
    }

    fn entered(secret: &str) -> Secret {
        Secret::new(Box::new(secret.to_owned()))
    }

    fn draft() -> ConfigDraft {
        ConfigDraft {
            name: "eu".into(),
            url: "wss://eu.example".into(),
            api_key: "APIeu".into(),
            api_secret: Some(entered("s3cret")),
            ..ConfigDraft::default()
        }
    }

    fn wrong(checked: Result<impl Sized, FieldErrors>) -> Vec<(&'static str, &'static str)> {
        let errors = checked.err();
        let errors = errors.iter().flat_map(FieldErrors::iter);
        errors.map(|error| (error.field, error.problem.code())).collect()
    }

    #[test]
    fn every_field_that_is_wrong_is_told_at_once() {
        let draft = ConfigDraft {
            name: " ".into(),
            description: Some("x".repeat(10_001)),
            url: "eu.example".into(),
            api_key: "API eu".into(),
            api_secret: Some(entered("s3cret\n")),
            trunk_id: Some(String::new()),
            agent: Some("a\u{200b}".into()),
        };
        let malformed = |field| (field, "field_malformed");
        let fields = [
            malformed("name"),
            malformed("description"),
            ("url", "url_malformed"),
            malformed("api_key"),
            malformed("trunk_id"),
            malformed("agent_name"),
        ];
        let hosts = AllowedHosts::default();
        assert_eq!(wrong(draft.check_all_but_secret(&hosts)), fields);
        let all = [&fields[..], &[("api_secret", "secret_malformed")]].concat();
        assert_eq!(wrong(draft.check(&ring(), &hosts, 0)), all);
        let edit = ConfigEditDraft {
            name: Some(draft.name),
            description: Some(draft.description),
            url: Some(draft.url),
            api_key: Some(draft.api_key),
            api_secret: draft.api_secret,
            trunk_id: Some(draft.trunk_id),
            agent: Some(draft.agent),
        };
        assert_eq!(wrong(edit.check(&ring(), &hosts, 0)), all);
    }

    #[test]
    fn what_is_right_is_stored_as_it_was_entered_and_its_secret_sealed() {
        let (ring, hosts) = (ring(), AllowedHosts::default());
        let new = draft().check(&ring, &hosts, 0).unwrap();
        assert_eq!((new.name.as_str(), new.url.as_str()), ("eu", "wss://eu.example"));
        let opened = ring.open(new.api_secret.as_str()).unwrap();
        assert_eq!(opened.secret.expose_secret(), "s3cret");
        let again = ConfigDraft { api_secret: Some(entered(new.api_secret.as_str())), ..draft() };
        let again = again.check(&ring, &hosts, 0).unwrap();
        assert_eq!(again.api_secret.as_str(), new.api_secret.as_str(), "it was sealed already");
    }

    #[test]
    fn a_secret_is_asked_for_and_one_of_another_ring_is_refused() {
        let hosts = AllowedHosts::default();
        let none = ConfigDraft { api_secret: None, ..draft() };
        assert_eq!(wrong(none.check(&ring(), &hosts, 0)), [("api_secret", "field_malformed")]);
        let foreign = ring().seal("s3cret", 0).unwrap().as_str().to_owned();
        let foreign = ConfigDraft { api_secret: Some(entered(&foreign)), ..draft() };
        assert_eq!(wrong(foreign.check(&ring(), &hosts, 0)), [("api_secret", "no_key_fits")]);
    }

    #[test]
    fn an_edit_leaves_alone_what_nobody_entered_and_empties_what_somebody_emptied() {
        let draft = ConfigEditDraft { agent: Some(None), ..ConfigEditDraft::default() };
        let edit = draft.check(&ring(), &AllowedHosts::default(), 0).unwrap();
        assert_eq!((edit.name, edit.trunk_id, edit.agent), (None, None, Some(None)));
        assert!(edit.url.is_none() && edit.api_secret.is_none());
    }

    #[test]
    fn a_host_that_is_not_allowed_is_refused() {
        let hosts: AllowedHosts = "*.livekit.cloud".parse().unwrap();
        assert_eq!(wrong(draft().check(&ring(), &hosts, 0)), [("url", "host_not_allowed")]);
    }

    #[test]
    fn no_error_and_no_debug_text_holds_the_secret() {
        let mut draft = draft();
        draft.api_secret = Some(entered("canary "));
        let errors = draft.check(&ring(), &AllowedHosts::default(), 0).unwrap_err();
        assert!(!format!("{draft:?} {errors:?} {errors}").contains("canary"));
    }
}
