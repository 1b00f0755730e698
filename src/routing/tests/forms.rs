//! However a valid number of any country is written, it is read as itself or refused.

use rlibphonenumber::interfaces::AsOriginal;
use rlibphonenumber::{
    PHONE_NUMBER_UTIL, PhoneNumberFormat, get_national_significant_number_owned,
};

use super::typos::{Chance, KINDS, decide, digits, number};
use super::*;

#[test]
fn a_number_is_read_as_itself_in_every_country_however_it_is_written() {
    let plan = PHONE_NUMBER_UTIL.as_original();
    let mut regions: Vec<_> = plan.get_supported_regions().collect();
    regions.sort_by_key(rlibphonenumber::Region::as_region_str);
    assert!(regions.len() > 200, "{}", regions.len());
    let mut chance = Chance(0x5eed);
    for region in regions {
        let prefix = plan.get_ndd_prefix_for_region(region, true).unwrap_or_default();
        for kind in KINDS {
            let Some(number) = number(region, kind, &mut chance) else { continue };
            let itself = E164::from_digits(&digits(&number)).unwrap();
            let (code, national) =
                (number.country_code, get_national_significant_number_owned(&number));
            let format = |format| PHONE_NUMBER_UTIL.format(&number, format).into_owned();
            let international = format(PhoneNumberFormat::International);
            let here = format(PhoneNumberFormat::National);
            for form in [itself.to_string(), international.clone()] {
                assert_eq!(decide(itself, &form), Some(itself), "{form} in {region:?}");
            }
            let zero = format!("+{code} (0) {national}");
            let read = decide(itself, &zero);
            // Where the number with the zero is one, too, nobody is called.
            assert!(read.is_none_or(|read| read == itself), "{zero} in {region:?}: {read:?}");
            for form in [
                international.replace('+', "00 "),
                here.clone(),
                format!("{prefix}{national}"),
                format!("+{code} {here}"),
                format!("00{code}{national}"),
                national.clone(),
                format!("{code}{national}"),
                format!("{code} {prefix}{national}"),
                format!("{here}/12"),
                format!("{here}.0"),
            ] {
                let read = decide(itself, &form);
                assert!(read.is_none_or(|read| read == itself), "{form} in {region:?}: {read:?}");
            }
        }
    }
}
