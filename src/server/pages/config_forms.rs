//! The forms that create and edit a LiveKit config. What was typed is kept, but for the secret, which is
//! in no page: who is asked again enters it again.

use askama::Template;

use super::audit::{entry_of, restored};
use super::configs::{Checked, expected, id_in, read};
use super::fields::{Field, Fields, Kind, errors};
use super::frame::Frame;
use super::page_of;
use super::visit::Visit;
use crate::access::Scope;
use crate::draft::{ConfigDraft, ConfigEditDraft};
use crate::keyring::Secret;
use crate::number::ConfigId;
use crate::server::api::configs::edits;
use crate::server::api::{Asking, Problem, Reply, version};
use crate::store::{Config, Edited};

#[derive(Template)]
#[template(path = "config-form.html")]
struct Form<'f> {
    frame: &'f Frame<'f>,
    /// The config that is edited; empty for a new one.
    id: String,
    name: String,
    version: String,
    fields: Vec<Field>,
    /// What is wrong, and with which field.
    errors: Vec<(String, String)>,
    checked: Option<Checked>,
    /// Each field that somebody else changed: label, theirs, yours.
    conflict: Vec<(&'static str, String, String)>,
    has_conflict: bool,
    /// The version of the audit that it is filled from.
    from: Option<String>,
    may_check: bool,
}

/// The fields of a config but its secret, as texts.
#[derive(Default, Clone, PartialEq)]
pub(super) struct Texts {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) api_key: String,
    pub(super) trunk_id: String,
    pub(super) agent_name: String,
    pub(super) description: String,
}

impl Texts {
    pub(super) fn of(config: &Config) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            name: config.name.clone(),
            url: config.url.clone(),
            api_key: config.api_key.clone(),
            trunk_id: text(&config.trunk_id),
            agent_name: text(&config.agent),
            description: text(&config.description),
        }
    }

    fn entered(form: Fields<'_>) -> Self {
        let line = |name| form.given(name).unwrap_or_default();
        Self {
            name: line("name"),
            url: line("url"),
            api_key: line("api_key"),
            trunk_id: line("trunk_id"),
            agent_name: line("agent_name"),
            description: form.given("description").unwrap_or_default().replace("\r\n", "\n"),
        }
    }

    fn named(&self) -> [(&'static str, &String); 6] {
        [
            ("Name", &self.name),
            ("URL", &self.url),
            ("API key", &self.api_key),
            ("SIP trunk", &self.trunk_id),
            ("Agent", &self.agent_name),
            ("Notes", &self.description),
        ]
    }

    /// As a form shows them.
    fn fields(&self, is_new: bool) -> Vec<Field> {
        let secret = if is_new {
            "Sealed before it is stored, and never shown again."
        } else {
            "Leave it empty to keep the one that is set. It is never shown."
        };
        let secret = Field::new("api_secret", "API secret", "", Kind::Secret).help(secret);
        vec![
            Field::line("name", "Name", &self.name)
                .required()
                .help("Your word for it, such as europe."),
            Field::line("url", "Server URL", &self.url)
                .required()
                .help("Such as wss://calls.example.livekit.cloud"),
            Field::line("api_key", "API key", &self.api_key).required(),
            if is_new { secret.required() } else { secret },
            Field::line("trunk_id", "Outbound SIP trunk", &self.trunk_id).help(
                "Such as ST_abc123. Empty: that of the number's rules, else OUTBOUND_TRUNK_ID.",
            ),
            Field::line("agent_name", "Agent", &self.agent_name)
                .help("The LiveKit agent that takes the calls. Empty: VOICE_AGENT_NAME."),
            Field::area("description", "Notes", &self.description)
                .help("For people. No secrets: whoever reads configs reads them."),
        ]
    }
}

/// What is shown beside the fields.
#[derive(Default)]
struct Beside {
    errors: Vec<(String, String)>,
    problem: Option<Problem>,
    checked: Option<Checked>,
    conflict: Option<Texts>,
    from: Option<String>,
}

fn form(
    visit: &Visit<'_>,
    texts: &Texts,
    edited: Option<(&Config, String)>,
    beside: Beside,
) -> Result<Reply, Problem> {
    let Beside { mut errors, problem, checked, conflict, from } = beside;
    let title = edited
        .as_ref()
        .map_or_else(|| "New config".into(), |(config, _)| format!("Edit {}", config.name));
    let frame = visit.frame(&title, "configs");
    let mut fields = texts.fields(edited.is_none());
    errors.extend(self::errors(&mut fields, problem.as_ref()));
    let status = match (&problem, &conflict) {
        (Some(problem), _) => problem.status.as_u16(),
        (None, Some(_)) => 409,
        (None, None) => 200,
    };
    let has_conflict = conflict.is_some();
    let differs = |theirs: Texts| -> Vec<_> {
        let pairs = theirs.named().into_iter().zip(texts.named());
        let differ = pairs.filter(|((_, theirs), (_, yours))| theirs != yours);
        differ.map(|((label, theirs), (_, yours))| (label, theirs.clone(), yours.clone())).collect()
    };
    let (id, name, version) = edited.map_or_else(Default::default, |(config, version)| {
        (config.id.to_string(), config.name.clone(), version)
    });
    let reply = page_of(&Form {
        id,
        name,
        version,
        fields,
        errors,
        checked,
        conflict: conflict.map(differs).unwrap_or_default(),
        has_conflict,
        from,
        may_check: cfg!(feature = "dispatch"),
        frame: &frame,
    })?;
    Ok(reply.code(status))
}

/// An empty form; or one that is filled from a config which was deleted, but for its secret.
pub(super) async fn blank(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::EditConfigs)?;
    let [of, from] = ["of", "from"].map(|name| visit.query.given(name));
    let (Some(of), Some(from)) = (of, from) else {
        return form(visit, &Texts::default(), None, Beside::default());
    };
    let entry = entry_of(&asking, ConfigId(of.parse().unwrap_or_default()), &from).await?;
    let texts = restored(&entry, &Texts::default());
    form(visit, &texts, None, Beside { from: Some(from), ..Beside::default() })
}

pub(super) async fn create(visit: &Visit<'_>) -> Result<Reply, Problem> {
    let asking = visit.asking_of_all(Scope::EditConfigs)?;
    let texts = Texts::entered(visit.form);
    let draft = || ConfigDraft {
        name: texts.name.clone(),
        description: some(&texts.description),
        url: texts.url.clone(),
        api_key: texts.api_key.clone(),
        api_secret: visit.form.secret("api_secret"),
        trunk_id: some(&texts.trunk_id),
        agent: some(&texts.agent_name),
    };
    let what = visit.form.get("do");
    if what != "save" {
        let hosts = asking.resolver.hosts();
        let now = asking.resolver.unix_time().as_secs();
        if let Err(errors) = draft().check(&*asking.sealing_ring().await?, &hosts, now) {
            let problem = Some(errors.into());
            return form(visit, &texts, None, Beside { problem, ..Beside::default() });
        }
        let secret = visit.form.secret("api_secret");
        let checked = match check(visit, &asking, &texts, None, secret).await {
            Ok(checked) => checked,
            Err(problem) => {
                let beside = Beside { problem: Some(problem), ..Beside::default() };
                return form(visit, &texts, None, beside);
            }
        };
        let is_good = checked.as_ref().is_none_or(|checked| checked.is_good);
        if what != "check-and-save" || !is_good {
            return form(visit, &texts, None, Beside { checked, ..Beside::default() });
        }
    }
    let problem = match edits::insert(&asking, &draft(), None).await {
        Ok((answer, Edited::Done(written))) => {
            let path = format!("configs/{}", id_in(&answer));
            return Ok(visit.done(&asking, &path, "created", written).await);
        }
        Ok((_, refused)) => refused.problem(),
        Err(problem) => problem,
    };
    form(visit, &texts, None, Beside { problem: Some(problem), ..Beside::default() })
}

/// The form of a config as it is, or as an earlier version of it was.
pub(super) async fn filled(visit: &Visit<'_>, id: ConfigId) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditConfigs)?;
    let config = read(&asking, id).await?;
    let version = version::of_config(&config, asking.resolver.ring().as_deref());
    let now = Texts::of(&config);
    let Some(from) = visit.query.given("from") else {
        return form(visit, &now, Some((&config, version)), Beside::default());
    };
    let entry = entry_of(&asking, id, &from).await?;
    let texts = restored(&entry, &now);
    let beside = Beside { from: Some(from), conflict: Some(now), ..Beside::default() };
    form(visit, &texts, Some((&config, version)), beside).map(|reply| reply.code(200))
}

pub(super) async fn save(visit: &Visit<'_>, id: ConfigId) -> Result<Reply, Problem> {
    let asking = visit.asking(Scope::EditConfigs)?;
    let config = read(&asking, id).await?;
    let now_version = || version::of_config(&config, asking.resolver.ring().as_deref());
    let texts = Texts::entered(visit.form);
    let sent = visit.form.get("version");
    let draft = draft_of(&texts, &config, visit.form);
    let what = visit.form.get("do");
    if what != "save" {
        let (hosts, now) = (asking.resolver.hosts(), asking.resolver.unix_time().as_secs());
        if let Err(errors) = draft.check(&*asking.sealing_ring().await?, &hosts, now) {
            let problem = Some(errors.into());
            return form(
                visit,
                &texts,
                Some((&config, sent)),
                Beside { problem, ..Beside::default() },
            );
        }
        let secret = visit.form.secret("api_secret");
        let checked = match check(visit, &asking, &texts, Some(&config), secret).await {
            Ok(checked) => checked,
            Err(problem) => {
                let beside = Beside { problem: Some(problem), ..Beside::default() };
                return form(visit, &texts, Some((&config, sent)), beside);
            }
        };
        let is_good = checked.as_ref().is_none_or(|checked| checked.is_good);
        if what != "check-and-save" || !is_good {
            return form(
                visit,
                &texts,
                Some((&config, sent)),
                Beside { checked, ..Beside::default() },
            );
        }
    }
    match edits::edit(&asking, id, &expected(visit.form), &draft).await {
        Ok((_, written)) => {
            Ok(visit.done(&asking, &format!("configs/{id}"), "saved", written).await)
        }
        // What is there now, beside what was to be saved.
        Err(problem) if problem.code == "version_mismatch" => {
            let conflict = Some(Texts::of(&config));
            form(
                visit,
                &texts,
                Some((&config, now_version())),
                Beside { conflict, ..Beside::default() },
            )
        }
        Err(problem) => {
            let problem = Some(problem);
            form(visit, &texts, Some((&config, sent)), Beside { problem, ..Beside::default() })
        }
    }
}

/// What differs from the row. A row that was changed in between has another version.
fn draft_of(texts: &Texts, config: &Config, entered: Fields<'_>) -> ConfigEditDraft {
    let now = Texts::of(config);
    let new = |now: &str, new: &str| (now != new).then(|| new.to_owned());
    let new_or_none = |now: &str, text: &str| new(now, text).map(|text| some(&text));
    ConfigEditDraft {
        name: new(&now.name, &texts.name),
        description: new_or_none(&now.description, &texts.description),
        url: new(&now.url, &texts.url),
        api_key: new(&now.api_key, &texts.api_key),
        api_secret: entered.secret("api_secret"),
        trunk_id: new_or_none(&now.trunk_id, &texts.trunk_id),
        agent: new_or_none(&now.agent_name, &texts.agent_name),
    }
}

/// Checks what was entered. A secret that is set already is sent nowhere but where it was meant for.
#[cfg(feature = "dispatch")]
async fn check(
    visit: &Visit<'_>,
    asking: &Asking<'_>,
    texts: &Texts,
    config: Option<&Config>,
    secret: Option<Secret>,
) -> Result<Option<Checked>, Problem> {
    use crate::server::api::checks;
    let trunk = Some(texts.trunk_id.as_str());
    let plan = match (secret, config) {
        (Some(secret), _) => {
            checks::plan(asking, texts.url.clone(), texts.api_key.clone(), secret, trunk, None)
        }
        (None, Some(config)) if (&config.url, &config.api_key) == (&texts.url, &texts.api_key) => {
            checks::plan_of(asking, config.id, None).await?
        }
        (None, _) => {
            let why = "must be entered again to be checked: it was set for another URL or key";
            return Err(Problem::field("field_malformed", "api_secret", why));
        }
    };
    let streams = &visit.place.shared.streams;
    let _open = streams.open(asking.client.id, "checks", checks::MOST_AT_ONCE)?;
    let findings = plan.make(&mut |_| {}).await;
    Ok(Some(Checked::of(findings)))
}

#[cfg(not(feature = "dispatch"))]
async fn check(
    _: &Visit<'_>,
    _: &Asking<'_>,
    _: &Texts,
    _: Option<&Config>,
    _: Option<Secret>,
) -> Result<Option<Checked>, Problem> {
    Ok(None)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
