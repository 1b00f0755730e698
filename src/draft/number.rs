//! Caller numbers as people enter them.

use serde_json::{Value, json};

use super::field::{FieldError, FieldErrors, FieldProblem, is_hidden};
use crate::number::{Caller, ConfigId, E164, TenantId};
use crate::rules::{Rules, RulesError};
use crate::store::{NewNumber, NumberEdit};

/// A caller number that somebody enters.
///
/// ```
/// use trunkline::draft::NumberDraft;
///
/// let draft = NumberDraft {
///     tenant: "0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11".into(),
///     number: "971501234567".into(),
///     ..NumberDraft::default()
/// };
/// let errors = draft.check().unwrap_err();
/// assert_eq!(errors.first().field, "number");
/// ```
#[derive(Debug, Clone, Default)]
pub struct NumberDraft {
    /// Whose number: a UUID.
    pub tenant: String,
    /// The number, such as `+971501234567`.
    pub number: String,
    /// The carrier.
    pub provider: Option<String>,
    /// The rules, an object; none are an empty object.
    pub rules: Option<Value>,
    /// The LiveKit config that answers for it, in place of what the rules say.
    pub livekit_config: Option<ConfigId>,
}

impl NumberDraft {
    /// What is to be stored.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub fn check(&self) -> Result<NewNumber, FieldErrors> {
        let tenant = self.tenant.parse::<TenantId>();
        let tenant = tenant.map_err(|error| FieldError::new("tenant_id", error));
        let number = self.number.parse::<E164>();
        let number = number.map_err(|error| FieldError::new("number", error));
        let provider = provider(self.provider.as_deref());
        let rules = rules(self.rules.as_ref(), self.livekit_config);
        FieldErrors::of([
            tenant.as_ref().err(),
            number.as_ref().err(),
            provider.as_ref().err(),
            rules.as_ref().err(),
        ])?;
        let caller = Caller::new(tenant?, number?);
        Ok(NewNumber { caller, provider: provider?, rules: rules? })
    }
}

/// Fields of a caller number that somebody changes. `None` leaves a field as it is, `Some(None)`
/// empties it.
#[derive(Debug, Clone, Default)]
pub struct NumberEditDraft {
    /// The carrier.
    pub provider: Option<Option<String>>,
    /// Rules in place of those that are there: an object.
    pub rules: Option<Value>,
    /// The LiveKit config that answers for it, in place of what the rules say.
    pub livekit_config: Option<Option<ConfigId>>,
}

impl NumberEditDraft {
    /// What is to be changed.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub fn check(&self) -> Result<NumberEdit, FieldErrors> {
        let carrier = self.provider.as_ref().map(|entered| provider(entered.as_deref()));
        let carrier = carrier.transpose();
        let rules = self.rules.as_ref().map(|entered| rules(Some(entered), None)).transpose();
        FieldErrors::of([carrier.as_ref().err(), rules.as_ref().err()])?;
        Ok(NumberEdit { provider: carrier?, rules: rules?, config: self.livekit_config })
    }
}

fn provider(entered: Option<&str>) -> Result<Option<String>, FieldError> {
    match entered {
        Some(text) if text.contains(is_hidden) => {
            Err(FieldError::new("provider", FieldProblem::Hidden))
        }
        _ => Ok(entered.map(ToOwned::to_owned)),
    }
}

fn rules(entered: Option<&Value>, config: Option<ConfigId>) -> Result<Value, FieldError> {
    let mut rules = entered.cloned().unwrap_or_else(|| json!({}));
    if !rules.is_object() {
        return Err(FieldError::new("rules", RulesError::NoObject));
    }
    if rules.to_string().contains("\\u0000") {
        return Err(FieldError::new("rules", FieldProblem::Nul));
    }
    Rules::read(None, &rules).check().map_err(|error| FieldError::new("rules", error))?;
    if let Some(config) = config {
        rules["livekit_config"] = json!(config);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> NumberDraft {
        NumberDraft {
            tenant: "0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11".into(),
            number: "+971501234567".into(),
            ..NumberDraft::default()
        }
    }

    #[test]
    fn every_field_that_is_wrong_is_told_at_once() {
        let draft = NumberDraft {
            tenant: "acme".into(),
            number: "971501234567".into(),
            provider: Some("du\n".into()),
            rules: Some(json!({"outbound": "yes"})),
            livekit_config: None,
        };
        let errors = draft.check().unwrap_err();
        let wrong: Vec<_> =
            errors.iter().map(|error| (error.field, error.problem.code())).collect();
        let expected = [
            ("tenant_id", "tenant_malformed"),
            ("number", "number_malformed"),
            ("provider", "field_malformed"),
            ("rules", "rules_malformed"),
        ];
        assert_eq!(wrong, expected);
    }

    #[test]
    fn rules_are_an_object_without_nul_and_the_config_stands_in_them() {
        for rules in [json!([1]), json!("x"), Value::Null, json!({"a": "\0"}), json!({"\0": 1})] {
            let draft = NumberDraft { rules: Some(rules.clone()), ..draft() };
            let errors = draft.check().err().unwrap_or_else(|| panic!("{rules} passed"));
            assert_eq!(errors.first().problem.code(), "rules_malformed", "{rules}");
        }
        let config = ConfigId(uuid::Uuid::from_u128(7));
        for rules in [None, Some(json!({}))] {
            let draft = NumberDraft { rules, livekit_config: Some(config), ..draft() };
            assert_eq!(draft.check().unwrap().rules, json!({"livekit_config": config}));
        }
    }
}
