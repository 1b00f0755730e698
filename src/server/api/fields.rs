//! The fields of what is asked and answered, once: what is wrong with a body is found by them, and the
//! OpenAPI document is made of them.

use serde_json::{Map, Value, json};

use super::problem::Problem;

/// A member of a JSON object.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
    /// What it is. A sentence.
    pub(super) help: &'static str,
}

/// What a field holds.
pub(super) enum Kind {
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    Flag,
    /// A whole number of seconds, from 1.
    Seconds,
    /// A whole number from 0 to 4,294,967,295.
    Count,
    /// A whole number from this one to that one.
    Whole(u64, u64),
    /// A UUID.
    Id,
    /// UUIDs, from one to as many as [`MOST_IDS`].
    Ids,
    /// A moment, as RFC 3339 writes it; in answers alone.
    Time,
    /// A number, whole or not.
    Number,
    /// Whole numbers; in answers alone.
    Numbers,
    /// Texts, as many as [`MOST_IDS`] at the most.
    TextList,
    Object(&'static [Field]),
    /// So many objects with these fields at the most, of what is asked.
    Some(usize, &'static [Field]),
    /// An object whose members are texts, of any names.
    Texts,
    /// An object that is not described here.
    Anything,
    /// Objects with these fields.
    List(&'static [Field]),
}

/// A field that must be there.
pub(super) const fn required(name: &'static str, kind: Kind, help: &'static str) -> Field {
    Field { name, kind, required: true, help }
}

/// A field that may be left out, and null.
pub(super) const fn optional(name: &'static str, kind: Kind, help: &'static str) -> Field {
    Field { name, kind, required: false, help }
}

/// The first thing that is wrong with a body.
pub(super) fn wrong(body: &Value, fields: &[Field]) -> Option<Problem> {
    let Value::Object(members) = body else {
        return Some(malformed("the body must be a JSON object"));
    };
    wrong_member(members, fields, Place { within: "", whole: "the body" })
}

/// The first thing that is wrong with the parameters of a query.
pub(super) fn wrong_parameter(given: &Map<String, Value>, fields: &[Field]) -> Option<Problem> {
    wrong_member(given, fields, Place { within: "", whole: "the query" })
}

/// Where members stand.
#[derive(Clone, Copy)]
struct Place<'p> {
    /// The path to them; empty for the outermost ones.
    within: &'p str,
    /// What the outermost ones are of.
    whole: &'p str,
}

pub(super) fn malformed(why: impl Into<String>) -> Problem {
    Problem::new(axum::http::StatusCode::BAD_REQUEST, "body_malformed", why)
}

fn wrong_member(members: &Map<String, Value>, fields: &[Field], at: Place<'_>) -> Option<Problem> {
    let Place { within, whole } = at;
    let place =
        |name: &str| if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") };
    if let Some(unknown) =
        members.keys().find(|name| fields.iter().all(|field| field.name != **name))
    {
        let place = if within.is_empty() { whole } else { within };
        return Some(unknown_field(unknown, fields, place));
    }
    fields.iter().find_map(|field| {
        let place = place(field.name);
        match members.get(field.name) {
            None | Some(Value::Null) if field.required => {
                Some(Problem::field("field_missing", place, "must be there"))
            }
            None | Some(Value::Null) => None,
            Some(value) => field.kind.refuses(value, &place),
        }
    })
}

/// Its name is not repeated: it is what was sent.
fn unknown_field(unknown: &str, fields: &[Field], place: &str) -> Problem {
    let slips = |field: &&Field| strsim::osa_distance(&unknown.to_ascii_lowercase(), field.name);
    let nearest = fields.iter().min_by_key(slips).filter(|field| slips(field) <= MOST_SLIPS);
    let known: Vec<_> = fields.iter().map(|field| field.name).collect();
    let why = match nearest {
        Some(nearest) => format!("has a field that is not known; did you mean {}?", nearest.name),
        None if known.is_empty() => "has a field, and takes none".to_owned(),
        None => format!("has a field that is not known; there are {}", known.join(", ")),
    };
    Problem::field("field_unknown", place, &why)
}

fn malformed_field(place: &str, what: &str) -> Problem {
    Problem::field("field_malformed", place, what)
}

/// Renames members that are spelled in camelCase, as those who read protobuf's JSON may spell them.
pub(super) fn respell(members: &mut Map<String, Value>, fields: &[Field]) -> Result<(), Problem> {
    for field in fields {
        if let Some(value) = members.remove(&camel_case(field.name)) {
            if members.contains_key(field.name) {
                return Err(malformed_field(field.name, "must be there once, in one spelling"));
            }
            members.insert(field.name.to_owned(), value);
        }
        match (&field.kind, members.get_mut(field.name)) {
            (Kind::Object(fields), Some(Value::Object(inner))) => respell(inner, fields)?,
            (Kind::Some(_, fields), Some(Value::Array(inner))) => {
                let inner = inner.iter_mut().filter_map(Value::as_object_mut);
                inner.into_iter().try_for_each(|inner| respell(inner, fields))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// `room_name` as `roomName`. Nothing for a name of one word, which is spelled alike in both.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default();
    let rest: String = words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();
    if rest.is_empty() { String::new() } else { format!("{first}{rest}") }
}

impl Kind {
    fn refuses(&self, value: &Value, place: &str) -> Option<Problem> {
        let what = match (self, value) {
            (Self::TextList, Value::Array(texts))
                if texts.len() <= MOST_IDS && texts.iter().all(Value::is_string) =>
            {
                return None;
            }
            (Self::Text, Value::String(_))
            | (Self::Flag, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::Anything, Value::Object(_)) => return None,
            (Self::Word(words), Value::String(word)) if words.contains(&word.as_str()) => {
                return None;
            }
            (Self::Seconds, Value::Number(number)) if number.as_u64().is_some_and(|n| n > 0) => {
                return None;
            }
            (Self::Object(fields), Value::Object(members)) => {
                return wrong_member(members, fields, Place { within: place, whole: place });
            }
            (Self::Count, Value::Number(n))
                if n.as_u64().is_some_and(|n| u32::try_from(n).is_ok()) =>
            {
                return None;
            }
            (Self::Texts, Value::Object(members)) => {
                let other = members.values().any(|member| !member.is_string());
                return other.then(|| malformed_field(place, "must hold texts"));
            }
            (Self::Some(most, fields), Value::Array(values)) if values.len() <= *most => {
                return values.iter().enumerate().find_map(|(at, value)| match value {
                    Value::Object(members) => wrong_member(
                        members,
                        fields,
                        Place { within: &format!("{place}.{at}"), whole: place },
                    ),
                    _ => Some(malformed_field(&format!("{place}.{at}"), "must be an object")),
                });
            }
            (Self::Some(most, _), _) => {
                let what = format!("must be a list of {most} at the most");
                return Some(malformed_field(place, &what));
            }
            (Self::Id, Value::String(id)) if is_id(id) => return None,
            (Self::Ids, Value::Array(ids)) if (1..=MOST_IDS).contains(&ids.len()) => {
                let is_one = |id: &Value| id.as_str().is_some_and(is_id);
                let wrong = ids.iter().position(|id| !is_one(id))?;
                let place = format!("{place}[{wrong}]");
                return Some(Problem::field("field_malformed", place, "must be a UUID"));
            }
            (&Self::Whole(least, most), Value::Number(number))
                if number.as_u64().is_some_and(|number| (least..=most).contains(&number)) =>
            {
                return None;
            }
            (&Self::Whole(least, most), _) => {
                let why = format!("must be a whole number from {least} to {most}");
                return Some(Problem::field("field_malformed", place, &why));
            }
            (Self::Id, _) => "must be a UUID",
            (Self::Ids, _) => "must be a list of 1 to 1000 UUIDs",
            (Self::Number, _) => "must be a number",
            (Self::Numbers, _) => "must be a list of numbers",
            (Self::TextList, _) => "must be a list of texts",
            (Self::Time, _) => "must be a moment, as RFC 3339 writes it",
            (Self::Text, _) => "must be a text",
            (Self::Word(_), _) => "must be one of its words",
            (Self::Flag, _) => "must be true or false",
            (Self::Seconds, _) => "must be a whole number of seconds, from 1",
            (Self::Count, _) => "must be a whole number from 0 to 4294967295",
            (Self::Object(_) | Self::Anything | Self::Texts, _) => "must be an object",
            (Self::List(_), _) => "must be a list",
        };
        Some(malformed_field(place, what))
    }

    pub(super) fn schema(&self, side: Side) -> Value {
        match self {
            Self::Whole(least, most) => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Self::Id => json!({"type": "string", "format": "uuid"}),
            Self::Ids => json!({
                "type": "array",
                "items": {"type": "string", "format": "uuid"},
                "minItems": 1,
                "maxItems": MOST_IDS,
            }),
            Self::Time => json!({"type": "string", "format": "date-time"}),
            Self::Number => json!({"type": "number"}),
            Self::Numbers => json!({"type": "array", "items": {"type": "integer"}}),
            Self::TextList => json!({"type": "array", "items": {"type": "string"}}),
            Self::Text => json!({"type": "string"}),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Seconds => json!({"type": "integer", "minimum": 1}),
            Self::Count => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            Self::Object(fields) => schema(fields, side),
            Self::Some(most, fields) => {
                json!({"type": "array", "maxItems": most, "items": schema(fields, Side::Asked)})
            }
            Self::Texts => {
                json!({"type": "object", "additionalProperties": {"type": "string"}})
            }
            Self::Anything => json!({"type": "object", "additionalProperties": true}),
            Self::List(fields) => json!({"type": "array", "items": schema(fields, side)}),
        }
    }
}

/// Whose fields they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Of what is asked: no other ones are taken.
    Asked,
    /// Of what is answered: more may come with a later version.
    Answered,
}

/// The JSON schema of an object with these fields.
pub(super) fn schema(fields: &[Field], side: Side) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut property = field.kind.schema(side);
        property["description"] = json!(field.help);
        if !field.required {
            property["type"] = json!([property["type"], "null"]);
            if let Some(words) = property.get_mut("enum").and_then(Value::as_array_mut) {
                words.push(Value::Null);
            }
        }
        properties.insert(field.name.to_owned(), property);
    }
    let names: Vec<_> =
        fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({"type": "object", "properties": properties, "required": names});
    if side == Side::Asked {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

/// Whether it is a UUID as everybody writes it.
fn is_id(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// How many ids a list may have.
pub(super) const MOST_IDS: usize = 1000;
/// How many slips of the finger a name may be away.
const MOST_SLIPS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTS: &[Field] =
        &[optional("room", Kind::Text, "R."), optional("join", Kind::Flag, "J.")];
    const FIELDS: &[Field] = &[
        required("from", Kind::Text, "F."),
        optional("grants", Kind::Object(GRANTS), "G."),
        optional("ttl", Kind::Seconds, "T."),
    ];

    fn code_and_text(body: &Value) -> (&'static str, String) {
        let problem = wrong(body, FIELDS).unwrap();
        (problem.code, format!("{problem:?}"))
    }

    #[test]
    fn what_is_wrong_is_told_by_its_path() {
        for (body, code, told) in [
            (json!([]), "body_malformed", "JSON object"),
            (json!({}), "field_missing", "from: must be there"),
            (json!({"from": null}), "field_missing", "from: must be there"),
            (json!({"from": 7}), "field_malformed", "from: must be a text"),
            (json!({"form": "x"}), "field_unknown", "did you mean from?"),
            (json!({"from": "x", "elsewhere": 1}), "field_unknown", "there are from, grants, ttl"),
            (json!({"from": "x", "ttl": 0}), "field_malformed", "ttl: must be a whole number"),
            (json!({"from": "x", "ttl": "60"}), "field_malformed", "ttl: must be a whole number"),
            (json!({"from": "x", "grants": {"room": 1}}), "field_malformed", "grants.room: must"),
            (json!({"from": "x", "grants": {"rom": "a"}}), "field_unknown", "did you mean room?"),
        ] {
            let (found, text) = code_and_text(&body);
            assert_eq!(found, code, "{body}");
            assert!(text.contains(told), "{body}: {text}");
        }
        let good = json!({"from": "x", "grants": {"room": "r", "join": true}, "ttl": 60});
        assert!(wrong(&good, FIELDS).is_none());
    }

    #[test]
    fn nothing_that_was_sent_is_repeated() {
        let (_, text) = code_and_text(&json!({"from": "x", "canary": "canary"}));
        assert!(!text.contains("canary"), "{text}");
    }
}
