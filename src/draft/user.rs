//! Users as people enter them.

use super::field::{FieldError, FieldErrors, FieldProblem, text};
use crate::access::{LONGEST_PASSWORD, Role, SHORTEST_PASSWORD};

/// A user that somebody enters. Every text is as it was typed.
///
/// ```
/// use trunkline::draft::UserDraft;
///
/// let draft = UserDraft { name: "Alice@Example.com".into(), role: "admin".into() };
/// assert_eq!(draft.check()?.0, "alice@example.com");
/// let errors = UserDraft { name: "a b".into(), role: "root".into() }.check().unwrap_err();
/// let wrong: Vec<_> = errors.iter().map(|error| error.field).collect();
/// assert_eq!(wrong, ["name", "role"]);
/// # Ok::<(), trunkline::draft::FieldErrors>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct UserDraft {
    /// A name that no other user has: 1 to 100 letters, digits and `.`, `_`, `-`, `+`, `@`. Capital and
    /// small letters are the same.
    pub name: String,
    /// What he may do: the name of a [role](Role).
    pub role: String,
}

impl UserDraft {
    /// Name, in small letters, and role.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub fn check(&self) -> Result<(String, Role), FieldErrors> {
        let name = name(&self.name);
        let role = self.role.trim().parse::<Role>();
        let role = role.map_err(|error| FieldError::new("role", error));
        FieldErrors::of([name.as_ref().err(), role.as_ref().err()])?;
        Ok((name?, role?))
    }
}

fn name(entered: &str) -> Result<String, FieldError> {
    let name = text("name", entered.trim(), LONGEST_NAME)?.to_ascii_lowercase();
    let is_plain = |character: char| {
        character.is_ascii_alphanumeric() || ['.', '_', '-', '+', '@'].contains(&character)
    };
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if begins_well && name.chars().all(is_plain) {
        return Ok(name);
    }
    Err(FieldError::new("name", FieldProblem::UserName))
}

/// Whether a text may be a password: long enough, and not so long that comparing it takes long.
///
/// # Errors
///
/// The field with this name is wrong.
pub fn check_password(field: &'static str, password: &str) -> Result<(), FieldErrors> {
    let is_right = password.chars().count() >= SHORTEST_PASSWORD
        && password.len() <= LONGEST_PASSWORD
        && !password.chars().any(char::is_control);
    if is_right { Ok(()) } else { Err(FieldError::new(field, FieldProblem::Password).into()) }
}

const LONGEST_NAME: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_of_plain_letters_in_small_ones() {
        for (entered, is) in
            [("alice", "alice"), (" Bob.7 ", "bob.7"), ("a+b@c.example", "a+b@c.example")]
        {
            assert_eq!(name(entered).as_deref(), Ok(is));
        }
        for entered in ["", " ", "-a", "a b", "user:a", "ä", "a\nb", &"a".repeat(101)] {
            assert!(name(entered).is_err(), "{entered}");
        }
    }

    #[test]
    fn a_password_is_long_enough_and_not_too_long() {
        for password in ["twelve chars", "päßwörter äö", &"x".repeat(256)] {
            assert!(check_password("password", password).is_ok(), "{password}");
        }
        for password in ["", "eleven char", "twelve\tchars", &"x".repeat(257), &"ä".repeat(129)] {
            assert!(check_password("password", password).is_err(), "{password}");
        }
    }
}
