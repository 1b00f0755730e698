//! Clients as people enter them.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::field::{FieldError, FieldErrors, FieldProblem, SHORT, text};
use crate::access::{NumberPrefix, Permissions, RoomPattern, Scope, TokenLimits, USER_PREFIX};
use crate::number::TenantId;
use crate::settings::parse_duration;
use crate::store::NewClient;

/// A client that somebody enters. Every text is as it was typed.
///
/// ```
/// use trunkline::draft::ClientDraft;
///
/// let draft = ClientDraft {
///     name: "dialler".into(),
///     may: vec!["tokens".into(), "secret".into()],
///     ..ClientDraft::default()
/// };
/// let errors = draft.check(1_763_900_000).unwrap_err();
/// let wrong: Vec<_> = errors.iter().map(|error| error.field).collect();
/// assert_eq!(wrong, ["tenants", "may"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct ClientDraft {
    /// A name that no other client has: 1 to 255 characters.
    pub name: String,
    /// For which tenants: UUIDs.
    pub tenants: Vec<String>,
    /// For all tenants, in place of naming them.
    pub all_tenants: bool,
    /// What caller numbers must begin with, such as `+97150`; nothing is any number.
    pub numbers: Vec<String>,
    /// What it may ask: names of [scopes](Scope).
    pub may: Vec<String>,
    /// Which rooms its tokens may name: a name, or a beginning with `*`.
    pub room: Option<String>,
    /// Whether its tokens may place SIP calls.
    pub sip_call: bool,
    /// Whether its tokens may send agents into those rooms.
    pub agent: bool,
    /// Whether its tokens may create, delete and list rooms.
    pub admin: bool,
    /// The longest life of its tokens, such as `10m`; an hour if nothing is said.
    pub longest: Option<String>,
    /// After what time it ends by itself, such as `90d`; never if nothing is said.
    pub expires: Option<String>,
}

impl ClientDraft {
    /// What is to be stored, at that Unix time in seconds.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub fn check(&self, unix_seconds: u64) -> Result<NewClient, FieldErrors> {
        let name = text("name", &self.name, SHORT).and_then(|name| {
            let is_person = name.starts_with(USER_PREFIX);
            let wrong = || FieldError::new("name", FieldProblem::ClientName);
            if is_person { Err(wrong()) } else { Ok(name) }
        });
        let tenants = self.tenants();
        let numbers = each::<NumberPrefix>("numbers", &self.numbers);
        let scopes = self.scopes();
        let room = self.room();
        let longest = time("longest", self.longest.as_deref().unwrap_or("1h"), "1s", "1d");
        let expires = self.expires.as_deref().map(|text| time("expires", text, "1m", "3650d"));
        let expires = expires.transpose();
        FieldErrors::of([
            name.as_ref().err(),
            tenants.as_ref().err(),
            numbers.as_ref().err(),
            scopes.as_ref().err(),
            room.as_ref().err(),
            longest.as_ref().err(),
            expires.as_ref().err(),
        ])?;
        let (sip_call, agent, admin) = (self.sip_call, self.agent, self.admin);
        let tokens = TokenLimits { room: room?, sip_call, agent, admin, longest: longest? };
        Ok(NewClient {
            name: name?,
            permissions: Permissions {
                scopes: scopes?,
                tenants: tenants?,
                numbers: numbers?,
                tokens,
            },
            expires_at: expires?.and_then(|after| moment(unix_seconds, after)),
        })
    }

    fn tenants(&self) -> Result<Option<Vec<TenantId>>, FieldError> {
        if self.all_tenants != self.tenants.is_empty() {
            return Err(FieldError::new("tenants", FieldProblem::WhichTenants));
        }
        let named = each::<TenantId>("tenants", &self.tenants)?;
        Ok((!self.all_tenants).then_some(named))
    }

    fn scopes(&self) -> Result<Vec<Scope>, FieldError> {
        let mut scopes = each::<Scope>("may", &self.may)?;
        scopes.sort_unstable_by_key(|scope| *scope as u8);
        scopes.dedup();
        if scopes.is_empty() {
            return Err(FieldError::new("may", FieldProblem::Empty));
        }
        let lacking = scopes.iter().find_map(|&scope| {
            let needed = scope.needs().filter(|needed| !scopes.contains(needed))?;
            Some(FieldProblem::ScopeAlone { scope, needed })
        });
        if let Some(lacking) = lacking {
            return Err(FieldError::new("may", lacking));
        }
        let is_limited = !self.all_tenants || !self.numbers.is_empty();
        if is_limited && scopes.contains(&Scope::Users) {
            return Err(FieldError::new("may", FieldProblem::ScopeOfAll { scope: Scope::Users }));
        }
        Ok(scopes)
    }

    fn room(&self) -> Result<Option<RoomPattern>, FieldError> {
        let room = self.room.as_deref().map(str::parse).transpose();
        let room = room.map_err(|error| FieldError::new("room", FieldProblem::Room(error)))?;
        if self.agent && room.is_none() {
            return Err(FieldError::new("agent", FieldProblem::RoomMissing));
        }
        Ok(room)
    }
}

fn each<T: std::str::FromStr>(field: &'static str, entered: &[String]) -> Result<Vec<T>, FieldError>
where
    FieldProblem: From<T::Err>,
{
    let read =
        |text: &String| text.trim().parse().map_err(|error: T::Err| FieldError::new(field, error));
    entered.iter().map(read).collect()
}

fn time(
    field: &'static str,
    entered: &str,
    least: &'static str,
    most: &'static str,
) -> Result<Duration, FieldError> {
    let bound = |text| parse_duration(text).unwrap_or_default();
    let time = parse_duration(entered);
    let time = time.filter(|time| (bound(least)..=bound(most)).contains(time));
    time.ok_or_else(|| FieldError::new(field, FieldProblem::Time { least, most }))
}

fn moment(unix_seconds: u64, after: Duration) -> Option<DateTime<Utc>> {
    let seconds = unix_seconds.checked_add(after.as_secs())?;
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11";

    fn draft() -> ClientDraft {
        ClientDraft {
            name: "dialler".into(),
            tenants: vec![TENANT.into()],
            may: vec!["tokens".into()],
            ..ClientDraft::default()
        }
    }

    fn wrong(draft: &ClientDraft) -> Vec<(&'static str, String)> {
        let errors = draft.check(0).unwrap_err();
        errors.iter().map(|error| (error.field, error.problem.to_string())).collect()
    }

    #[test]
    fn every_field_that_is_wrong_is_told_at_once() {
        let draft = ClientDraft {
            name: "a\nb".into(),
            tenants: vec!["acme".into()],
            numbers: vec!["97150".into()],
            may: vec!["fly".into()],
            room: Some("a*b".into()),
            longest: Some("2d".into()),
            expires: Some("soon".into()),
            ..ClientDraft::default()
        };
        let fields: Vec<_> = wrong(&draft).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["name", "tenants", "numbers", "may", "room", "longest", "expires"]);
    }

    #[test]
    fn tenants_are_named_or_all_of_them_and_never_by_default() {
        let none = ClientDraft { tenants: Vec::new(), ..draft() };
        let both = ClientDraft { all_tenants: true, ..draft() };
        for draft in [&none, &both] {
            assert_eq!(wrong(draft)[0].0, "tenants");
        }
        let all = ClientDraft { all_tenants: true, ..none };
        assert_eq!(all.check(0).unwrap().permissions.tenants, None);
        let one = draft().check(0).unwrap().permissions.tenants.unwrap();
        assert_eq!(one, [TENANT.parse().unwrap()]);
    }

    #[test]
    fn nothing_is_allowed_that_nobody_named() {
        let new = draft().check(0).unwrap();
        let tokens = &new.permissions.tokens;
        assert!(!new.permissions.may(Scope::Secret) && !new.permissions.may(Scope::Resolve));
        assert!(tokens.room.is_none() && !tokens.sip_call && !tokens.agent && !tokens.admin);
        assert_eq!((tokens.longest, new.expires_at), (Duration::from_secs(3600), None));
    }

    #[test]
    fn a_secret_comes_with_what_is_resolved_and_an_agent_goes_into_a_room() {
        let secret = ClientDraft { may: vec!["secret".into()], ..draft() };
        assert_eq!(wrong(&secret)[0].0, "may");
        for (alone, beside) in [("edit_configs", "configs"), ("edit_numbers", "numbers")] {
            let lacking = ClientDraft { may: vec![alone.into()], ..draft() };
            assert_eq!(wrong(&lacking)[0].1, format!("must have {beside} beside {alone}"));
            let both = ClientDraft { may: vec![alone.into(), beside.into()], ..draft() };
            assert!(both.check(0).is_ok());
        }
        let agent = ClientDraft { agent: true, ..draft() };
        assert_eq!(wrong(&agent)[0].0, "agent");
        let agent = ClientDraft { room: Some("call-*".into()), ..agent };
        assert!(agent.check(0).unwrap().permissions.tokens.agent);
    }

    #[test]
    fn who_manages_users_is_limited_to_nothing_and_is_no_user() {
        let limited = ClientDraft { may: vec!["users".into()], ..draft() };
        assert_eq!(wrong(&limited)[0].0, "may");
        let all = ClientDraft { tenants: Vec::new(), all_tenants: true, ..limited };
        assert!(all.check(0).is_ok());
        let narrow = ClientDraft { numbers: vec!["+971".into()], ..all };
        assert_eq!(wrong(&narrow)[0].0, "may");
        let named = ClientDraft { name: "user:alice".into(), ..draft() };
        assert_eq!(wrong(&named)[0].0, "name");
    }

    #[test]
    fn it_ends_that_long_after_now() {
        let draft = ClientDraft { expires: Some("1d".into()), ..draft() };
        let ends = draft.check(1_763_900_000).unwrap().expires_at.unwrap();
        assert_eq!(ends.timestamp(), 1_763_986_400);
    }
}
