//! Values that statements of several kinds are asked with.

use serde_json::json;
use uuid::Uuid;

use crate::store::statement::Value;

/// The value of `{listed_…}`.
pub(super) fn list(ids: &[Uuid]) -> Value<'static> {
    json!(ids.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>()).to_string().into()
}

/// What is found by a part of it. `\` stands before what `like` would read otherwise.
pub(super) fn pattern(part: &str) -> String {
    let mut pattern = String::from("%");
    for character in part.to_lowercase().chars() {
        if ['%', '_', '\\'].contains(&character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "%"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_like_would_read_otherwise_is_escaped() {
        assert_eq!(pattern("50%_\\A"), "%50\\%\\_\\\\a%");
    }
}
