//! Labels of tenants as people enter them.

use super::field::{FieldError, FieldErrors, FieldProblem, text};
use crate::number::TenantId;

/// The label that somebody enters for a tenant, without white space around it: 1 to 100 characters that
/// can be seen, and no UUID.
///
/// ```
/// use trunkline::draft::check_label;
///
/// assert_eq!(check_label(" Acme, Dubai ")?, "Acme, Dubai");
/// assert!(check_label("0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11").is_err());
/// # Ok::<(), trunkline::draft::FieldErrors>(())
/// ```
///
/// # Errors
///
/// The field `label` is wrong.
pub fn check_label(entered: &str) -> Result<String, FieldErrors> {
    let label = text("label", entered.trim(), LONGEST)?;
    if label.parse::<TenantId>().is_ok() {
        return Err(FieldError::new("label", FieldProblem::LabelIsId).into());
    }
    Ok(label)
}

const LONGEST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_what_people_can_read_and_no_id() {
        assert_eq!(check_label(" Über & Söhne ").as_deref(), Ok("Über & Söhne"));
        assert!(check_label(&"ä".repeat(100)).is_ok());
        let id = "0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11";
        let simple = id.replace('-', "");
        for entered in ["", " ", "a\nb", "a\u{200b}b", &"a".repeat(101), id, &simple] {
            assert!(check_label(entered).is_err(), "{entered:?}");
        }
    }
}
