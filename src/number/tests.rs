//! What is a number, and what is refused with which words.

use proptest::prelude::*;

use super::*;

#[test]
fn json_is_read_as_it_was_written_and_what_is_wrong_is_not_repeated() {
    let number: E164 = "+971501234567".parse().unwrap();
    let tenant = TenantId(Uuid::from_u128(7));
    let json = serde_json::to_string(&(number, tenant, ConfigId(tenant.0))).unwrap();
    let read: (E164, TenantId, ConfigId) = serde_json::from_str(&json).unwrap();
    assert_eq!(read, (number, tenant, ConfigId(tenant.0)));
    for wrong in ["\"canary\"", "7", "null"] {
        for error in [
            serde_json::from_str::<E164>(wrong).unwrap_err(),
            serde_json::from_str::<TenantId>(wrong).unwrap_err(),
        ] {
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}

#[test]
fn a_malformed_number_is_told_what_is_wrong_with_it() {
    for (text, error) in [
        ("", NumberError::NoPlus),
        ("971501234567", NumberError::NoPlus),
        (" +971501234567", NumberError::NoPlus),
        ("+97150 1234567", NumberError::NotADigit { position: 7 }),
        ("+971501234567\n", NumberError::NotADigit { position: 14 }),
        ("+9715\u{0}1234567", NumberError::NotADigit { position: 6 }),
        ("+٩٧١٥٠١٢٣٤", NumberError::NotADigit { position: 2 }),
        ("+0971501234567", NumberError::LeadingZero),
        ("+", NumberError::Length { length: 0 }),
        ("+123456", NumberError::Length { length: 6 }),
        ("+1234567890123456", NumberError::Length { length: 16 }),
    ] {
        assert_eq!(text.parse::<E164>(), Err(error), "{text:?}");
    }
}

#[test]
fn the_country_code_is_split_off_and_no_zero_is_lost() {
    for (text, code, rest) in [
        ("+971501234567", "+971", 501_234_567),
        ("+14155550123", "+1", 4_155_550_123),
        ("+919876543210", "+91", 9_876_543_210),
        ("+79161234567", "+7", 9_161_234_567),
        ("+390612345678", "+390", 612_345_678),
        ("+9710000000", "+971000000", 0),
    ] {
        let number: E164 = text.parse().unwrap();
        assert_eq!(number.split(), (code.to_owned(), rest));
        assert_eq!(format!("{code}{rest}"), text);
    }
}

proptest! {
    #[test]
    fn every_number_survives_the_split_and_hides_behind_its_mask(
        digits in "[1-9][0-9]{6,14}",
    ) {
        let number = E164::from_digits(&digits).unwrap();
        let (code, rest) = number.split();
        prop_assert_eq!(format!("{code}{rest}"), format!("+{digits}"));
        let masked = number.masked().to_string();
        prop_assert_eq!(masked.len(), digits.len() + 1);
        prop_assert!(masked.contains('*'));
        prop_assert!(masked.ends_with(&digits[digits.len() - 2..]));
    }

    #[test]
    fn the_quick_way_reads_what_the_slow_one_does(
        digits in "[0-9]{5,17}", odd in "[0-9a+ ]{8,15}", id in any::<u128>(), flip in 0..36_usize,
    ) {
        for digits in [&digits, &odd] {
            prop_assert_eq!(E164::from_digits(digits), E164::checked(digits));
        }
        let id = Uuid::from_u128(id);
        let text = id.to_string();
        prop_assert_eq!(text::uuid(text.as_bytes()), Some(id));
        prop_assert_eq!(text::uuid(text.to_uppercase().as_bytes()), Some(id));
        for wrong in *b"gGxX-/:@`~ {" {
            let mut text = text.clone().into_bytes();
            text[flip] = wrong;
            let slow = Uuid::try_parse_ascii(&text).ok();
            prop_assert_eq!(text::uuid(&text), slow);
        }
    }

    #[test]
    fn no_text_panics_the_parser(text in any::<String>()) {
        let _ = text.parse::<E164>();
        let _ = text.parse::<TenantId>();
    }
}
