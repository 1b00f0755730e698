//! One slip of a finger in a number of the caller's own country never calls another one: whatever is
//! dialled has the caller's calling code.

use rlibphonenumber::interfaces::AsOriginal;
use rlibphonenumber::{
    PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region,
    get_national_significant_number_owned,
};

use super::*;

const COUNTRIES: [Region; 12] = [
    Region::AE,
    Region::AU,
    Region::BR,
    Region::DE,
    Region::GB,
    Region::HK,
    Region::IN,
    Region::JP,
    Region::MX,
    Region::NG,
    Region::RU,
    Region::US,
];
pub(super) const KINDS: [PhoneNumberType; 2] =
    [PhoneNumberType::Mobile, PhoneNumberType::FixedLine];
const NUMBERS: usize = 400;

#[test]
fn a_typing_error_never_calls_another_country() {
    let mut dialled = 0;
    for region in COUNTRIES {
        let mut chance = Chance(0x5eed);
        let plan = PHONE_NUMBER_UTIL.as_original();
        let prefix = plan.get_ndd_prefix_for_region(region, true).unwrap_or_default();
        for (at, number) in numbers(region, &mut chance).into_iter().enumerate() {
            let from = E164::from_digits(&digits(&number)).unwrap();
            let form = match at % 4 {
                0 | 1 => {
                    PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::National).into_owned()
                }
                _ => format!("{prefix}{}", get_national_significant_number_owned(&number)),
            };
            assert_eq!(decide(from, &form), Some(from), "{form} in {region:?} is itself");
            for (slip, text) in slips(&form, &mut chance) {
                if makes_an_exit_code(&text, region) {
                    continue;
                }
                let Some(to) = decide(from, &text) else { continue };
                dialled += 1;
                let code = PHONE_NUMBER_UTIL.parse(to.to_string(), None).unwrap().country_code;
                assert_eq!(code, number.country_code, "{form} {slip} is {text}: calls {to}");
            }
        }
    }
    assert!(dialled > 1000, "the slips that are valid at home are dialled: {dialled}");
}

pub(super) fn decide(from: E164, to: &str) -> Option<E164> {
    let rules = Rules::read(None, &json!({"allow_premium": true}));
    let routing =
        CallRouting::decide(from, to, Some(&rules), RulesStatus::Rules, &Reading::default());
    routing.verdict.ok().map(|dialled| dialled.e164)
}

/// Valid numbers of a country, by turns of mobile and fixed phones.
fn numbers(region: Region, chance: &mut Chance) -> Vec<PhoneNumber> {
    let kinds = KINDS.into_iter().cycle();
    kinds.take(NUMBERS).map(|kind| number(region, kind, chance).unwrap()).collect()
}

/// The metadata's example, with other digits behind its first ones.
pub(super) fn number(
    region: Region,
    kind: PhoneNumberType,
    chance: &mut Chance,
) -> Option<PhoneNumber> {
    let plan = PHONE_NUMBER_UTIL.as_original();
    let example = plan.get_example_number_for_type_and_region(region, kind).ok()?;
    let digits = digits(&example);
    let code = example.country_code.to_string().len();
    loop {
        let kept = code + 1 + chance.below(4);
        let rest = (kept..digits.len()).map(|_| chance.digit());
        let text: String = digits.chars().take(kept).chain(rest).collect();
        if let Ok(number) = PHONE_NUMBER_UTIL.parse(format!("+{text}"), None)
            && PHONE_NUMBER_UTIL.is_valid_number_for_region(&number, region)
        {
            return Some(number);
        }
    }
}

/// One slip of each kind, at a place by chance.
fn slips(form: &str, chance: &mut Chance) -> [(&'static str, String); 5] {
    let places: Vec<_> =
        form.char_indices().filter(|(_, digit)| digit.is_ascii_digit()).map(|(at, _)| at).collect();
    let mut place = || places[chance.below(places.len())];
    let (removed, doubled, replaced) = (place(), place(), place());
    let second = 1 + chance.below(places.len() - 1);
    let cut = |from: usize, to: usize, between: &str| {
        format!("{}{between}{}", &form[..from], &form[to..])
    };
    let (left, right) = (places[second - 1], places[second]);
    let swapped = [&form[..left], &form[right..=right], &form[left + 1..right], &form[left..=left]];
    [
        ("with a digit more", format!("{form}{}", chance.digit())),
        ("with a digit less", cut(removed, removed + 1, "")),
        ("with a digit twice", cut(doubled, doubled, &form[doubled..=doubled])),
        ("with two digits swapped", swapped.concat() + &form[right + 1..]),
        ("with another digit", cut(replaced, replaced + 1, &chance.digit().to_string())),
    ]
}

/// Whether the exit code of the country, or 00, stands in front.
fn makes_an_exit_code(text: &str, region: Region) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let plan = PHONE_NUMBER_UTIL.as_original().get_metadata_for_region(region).unwrap();
    let exit = plan.international_prefix().anchor_start().unwrap().unwrap();
    digits.starts_with("00") || exit.is_match(&digits)
}

pub(super) fn digits(number: &PhoneNumber) -> String {
    format!("{}{}", number.country_code, get_national_significant_number_owned(number))
}

/// Chance that is the same in each run: xorshift.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }

    pub(super) fn digit(&mut self) -> char {
        char::from(b'0' + u8::try_from(self.below(10)).unwrap())
    }
}
