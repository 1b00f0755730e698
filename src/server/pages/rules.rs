//! Rules and reasons in words.

use super::parts::grouped;
use crate::reason::Reason;
use crate::rules::{CallRules, CallerCheck, Destinations, Piece, Rules};

/// What the rules of a number let it do, a sentence each.
pub(super) fn in_words(rules: &Rules) -> Vec<String> {
    let mut words = Vec::new();
    match &rules.calls {
        Ok(calls) => words.extend(calls_in_words(calls)),
        Err(error) => words.push(format!("No call goes out: {error}.")),
    }
    if let Some(trunk) = &rules.trunk {
        words.push(format!("Uses trunk {trunk} where its config names none."));
    }
    if let Some(error) = &rules.credentials_wrong {
        words.push(format!("The environment answers: {error}."));
    }
    words
}

/// The same in a few words, for a list.
pub(super) fn in_short(rules: &Rules) -> String {
    match &rules.calls {
        Err(_) => "cannot be followed".into(),
        Ok(calls) if !calls.outbound => "no calls out".into(),
        Ok(calls) => match &calls.destinations {
            Destinations::Global => "every country".into(),
            Destinations::Countries(all) if all.len() > 3 => format!("{} countries", all.len()),
            Destinations::Countries(all) => {
                all.iter().map(|country| country.code().to_owned()).collect::<Vec<_>>().join(", ")
            }
        },
    }
}

fn calls_in_words(calls: &CallRules) -> Vec<String> {
    if !calls.outbound {
        return vec!["Does not call out.".into()];
    }
    let mut words = vec![match &calls.destinations {
        Destinations::Global => "May call every country.".to_owned(),
        Destinations::Countries(all) => {
            let codes: Vec<_> = all.iter().map(|country| country.code().to_owned()).collect();
            format!("May call {} only.", codes.join(", "))
        }
    }];
    if calls.premium {
        words.push("May call premium-rate numbers, which cost extra.".into());
    }
    if let Some(format) = written(&calls.format) {
        words.push(format!("A destination is dialled as {format}."));
    }
    if let Some(format) = written(&calls.caller_format) {
        words.push(format!("The caller is shown as {format}."));
    }
    if calls.caller_check == CallerCheck::Warn {
        words.push("Calls even if its trunk lists other numbers, and the log says so.".into());
    }
    words
}

/// How a number is written. `None`: as everywhere.
fn written(pieces: &[Piece]) -> Option<String> {
    if *pieces == *CallRules::default().format {
        return None;
    }
    let piece = |piece: &Piece| match piece {
        Piece::CountryCode => "+ country code".to_owned(),
        Piece::CountryCodeDigits => "country code".to_owned(),
        Piece::BaseNumber => "national number".to_owned(),
        Piece::Digits(digits) => digits.to_string(),
    };
    Some(pieces.iter().map(piece).collect::<Vec<_>>().join(", then "))
}

/// What to do where the database gave no answer.
pub(super) fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::FlagOff => "To use configs of the database, set USE_SELFHOST_ROUTING_TABLE=true.",
        Reason::DatabaseOff => "To ask the database again, take DATABASE_OFF out of the settings.",
        Reason::DatabaseNotConfigured => "To use a database, set DATABASE_URL.",
        Reason::NumberUnknown => {
            "Add the number for this tenant, or ask for the tenant that has it."
        }
        Reason::ConfigUnassigned => "Assign a config to the number.",
        Reason::RulesMalformed => "Correct the rules of the number: they must be an object.",
        Reason::ConfigMissing => {
            "Assign a config that exists: the one that the rules name was removed."
        }
        Reason::ConfigDisabled => "Enable the config, or assign another one.",
        Reason::ConfigInvalid => "Correct the URL or the API key of the config.",
        Reason::HostNotAllowed => {
            "Name the host in LIVEKIT_HOSTS, or correct the URL of the config."
        }
        Reason::SecretUnopenable => {
            "Enter the secret of the config again, or bring back the key that sealed it."
        }
        Reason::SecretBoundElsewhere => {
            "Find out who changed the config without the key, then enter its secret again."
        }
        Reason::SecretNotBound => "Bind the secret: `trunkline key bind`, or enter it again.",
        Reason::DatabaseUnreachable | Reason::DatabaseTimeout => {
            "Look whether the database runs and can be reached from here."
        }
        Reason::DatabaseError => {
            "Run `trunkline doctor`, and `trunkline db migrate` if it says so."
        }
        _ => "Read the log of the daemon: it has what failed.",
    }
}

/// So many numbers, in words.
pub(super) fn numbers(count: usize, is_cut: bool) -> String {
    let more = if is_cut { "more than " } else { "" };
    format!("{more}{}", counted(count as u64, "number"))
}

/// So many of something, in words.
pub(super) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_told_in_words() {
        let read = |rules| Rules::read(None, &rules);
        let global = read(json!({}));
        assert_eq!(in_words(&global), ["May call every country."]);
        let narrow = read(
            json!({"allowed_outbound": "IN, AE", "required_lead_format": ["0", "base_number"],
            "outbound_trunk_id": "ST_1"}),
        );
        assert_eq!(in_short(&narrow), "IN, AE");
        assert_eq!(
            in_words(&narrow),
            [
                "May call IN, AE only.",
                "A destination is dialled as 0, then national number.",
                "Uses trunk ST_1 where its config names none.",
            ]
        );
        assert_eq!(in_short(&read(json!({"outbound": false}))), "no calls out");
        assert!(in_words(&read(json!([1])))[0].starts_with("No call goes out: rules must be"));
    }

    #[test]
    fn every_reason_has_advice() {
        for reason in Reason::ALL {
            assert!(advice(*reason).ends_with('.'), "{reason}");
        }
    }
}
