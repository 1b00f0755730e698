//! Reads a destination. Every way of reading it is tried; if two lead to different phones, nobody
//! is called.
//!
//! A number with a plus is believed if its length is possible. Any other must be valid by the
//! numbering plans of the world (`rlibphonenumber`, with the metadata of Google's libphonenumber),
//! because where it is read is a guess. `ROUTING=heuristic` guesses countries by the number of
//! digits, as the service before this one did.

use rlibphonenumber::interfaces::AsOriginal;
use rlibphonenumber::{
    CountryCodeSource, NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumber,
    PhoneNumberType, Region,
};

use super::written::Written;
use super::{NotANumber, Reading, Refusal};
use crate::number::E164;
use crate::rules::{Country, Destinations};

/// A destination, read.
#[derive(Clone)]
pub(super) struct ParsedNumber {
    pub(super) e164: E164,
    /// Where it is. `None`: in no country, as satellite phones are.
    pub(super) country: Option<Country>,
    pub(super) country_code: i32,
    /// The national number, without the zero that some countries dial before it.
    pub(super) national: String,
    pub(super) premium: bool,
    valid: bool,
}

/// One way to read it.
struct Candidate {
    number: ParsedNumber,
    kind: ReadAs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadAs {
    /// Behind an exit code, which falls into so many groups if the writer set it apart.
    Exit(Option<u32>),
    National,
    OwnCode,
    NamedCode,
}

/// Where a number without its plus may be read.
struct Regions<'a> {
    /// Where the caller is.
    caller: Option<Region>,
    /// The only country that may be called, else the caller's.
    home: Option<Country>,
    /// Countries that the rules name.
    allowed: &'a [Country],
    reading: &'a Reading,
}

impl ParsedNumber {
    /// Reads a destination for a caller, given where that one may call.
    pub(super) fn read(
        text: &str,
        from: E164,
        allowed: &Destinations,
        reading: &Reading,
    ) -> Result<Self, Refusal> {
        let written = Written::read(text)?;
        let caller = parse(&from.digits()).ok().and_then(|parsed| country_of(&parsed));
        let places = Regions {
            caller: caller.and_then(region),
            home: allowed.only().or(caller),
            allowed: match allowed {
                Destinations::Global => &[],
                Destinations::Countries(countries) => countries,
            },
            reading,
        };
        for before in written.before_slashes() {
            match places.read(&before) {
                Ok(number) if number.valid => return Err(NotANumber::TwoNumbers.into()),
                Err(Refusal::Ambiguous { .. }) => return Err(NotANumber::TwoNumbers.into()),
                _ => {}
            }
        }
        places.read(&written)
    }

    /// A number with its country code, and without a plus. A zero behind the code that is no part of
    /// the number is left out, as `(0)` asks for.
    fn international(digits: &str) -> Result<Self, Refusal> {
        let number = parse(digits).map(|parsed| (Self::of(&parsed), parsed));
        let (number, parsed) = match number {
            Ok((Some(number), parsed)) => (number, parsed),
            Ok((None, _)) => return Err(NotANumber::Unreadable.into()),
            Err(refusal) => return Err(refusal),
        };
        let code = number.country_code.to_string();
        let written = digits.strip_prefix(&code).unwrap_or_default();
        let as_written = number.valid && number.national == written;
        if !as_written && written.starts_with(&code) && Self::valid(written).is_some() {
            return Err(NotANumber::CodeTwice.into());
        }
        if !number.valid
            && let Some(rest) = written.strip_prefix('0')
            && let Some(without) = Self::valid(&format!("{code}{rest}"))
        {
            return Ok(without);
        }
        // Not one that lacks its area code, which is possible as well.
        let possible = PHONE_NUMBER_UTIL.is_possible_number_with_reason(&parsed);
        if matches!(possible, Ok(NumberLengthType::IsPossible)) {
            return Ok(number);
        }
        if code == "52"
            && let Some(number) = mexican(written, &["1", "01", "044", "045"])
        {
            return Ok(number);
        }
        Err(NotANumber::Unreadable.into())
    }

    /// What is known of a number in E.164.
    pub(super) fn known(number: E164) -> Option<Self> {
        Self::of(&parse(&number.digits()).ok()?)
    }

    /// What people of its country dial before it.
    pub(super) fn trunk_prefix(&self) -> Option<String> {
        trunk_prefix(region(self.country?)?)
    }

    fn valid(digits: &str) -> Option<Self> {
        Self::of(&parse(digits).ok()?).filter(|number| number.valid)
    }

    /// Whether its country code, which begins behind so many digits, is written in two parts.
    fn splits_code(&self, written: &Written, at: usize) -> bool {
        written.splits(at..at + self.country_code.to_string().len())
    }

    /// The number without a zero that stands apart behind the country code, as in `(0)`, where that is
    /// another one.
    fn without_zero_apart(&self, written: &Written) -> Option<Self> {
        let code = self.country_code.to_string();
        let rest = written.digits.strip_prefix(&code)?.strip_prefix('0')?;
        let apart = written.sets_apart(code.len());
        let other = apart.then(|| Self::valid(&format!("{code}{rest}"))).flatten()?;
        (other.e164 != self.e164).then_some(other)
    }

    fn of(parsed: &PhoneNumber) -> Option<Self> {
        let national = rlibphonenumber::get_national_significant_number_owned(parsed);
        let e164 = E164::from_digits(&format!("{}{national}", parsed.country_code)).ok()?;
        let fits = parsed.country_code == 1 && fits_north_america(national.as_bytes());
        Some(Self {
            e164,
            country: country_of(parsed),
            country_code: parsed.country_code,
            premium: PHONE_NUMBER_UTIL.get_number_type(parsed) == PhoneNumberType::PremiumRate,
            // Area codes of North America are newer than the plans.
            valid: fits || PHONE_NUMBER_UTIL.is_valid_number(parsed),
            national,
        })
    }
}

impl Regions<'_> {
    fn read(&self, written: &Written) -> Result<ParsedNumber, Refusal> {
        if written.plus {
            return match ParsedNumber::international(&written.digits) {
                Ok(number) if number.splits_code(written, 0) => Err(NotANumber::CodeSplit.into()),
                Ok(number) => match number.without_zero_apart(written) {
                    Some(other) => {
                        Err(Refusal::Ambiguous { numbers: [number.e164, other.e164].into() })
                    }
                    None => Ok(number),
                },
                refused => refused,
            };
        }
        let by_heuristic = *self.reading == Reading::Heuristic;
        if by_heuristic
            && !written.digits.starts_with("00")
            && let Some((code, national)) = by_length(&written.digits)
        {
            return ParsedNumber::international(&format!("{code}{national}"));
        }
        let (mut ways, mut twice) = (Vec::new(), false);
        self.exits(written, &mut ways, &mut twice);
        if let Reading::Region { named } = self.reading {
            self.national(&written.digits, &mut ways);
            self.codes(&written.digits, named, &mut ways, &mut twice);
        }
        match self.settled(ways, &written.digits)? {
            Some(number) => Ok(number),
            None if twice => Err(NotANumber::CodeTwice.into()),
            None if by_heuristic || self.home.is_none() => Err(Refusal::CountryUnknown),
            None => Err(NotANumber::Nowhere { region: self.home }.into()),
        }
    }

    /// Behind an exit code of the caller's region, or behind 00.
    fn exits(&self, written: &Written, ways: &mut Vec<Candidate>, twice: &mut bool) {
        let plan =
            self.caller.and_then(|at| PHONE_NUMBER_UTIL.as_original().get_metadata_for_region(at));
        let exit = plan.and_then(|plan| plan.international_prefix().anchor_full().ok().flatten());
        for length in 1..written.digits.len() {
            let (code, rest) = written.digits.split_at(length);
            if code == "00" || exit.is_some_and(|exit| exit.is_match(code)) {
                let kind = ReadAs::Exit(written.groups_before(length));
                let number = ParsedNumber::international(rest);
                if !number.as_ref().is_ok_and(|number| number.splits_code(written, length)) {
                    add(number, kind, ways, twice);
                }
            }
        }
    }

    /// As people dial it within the country.
    fn national(&self, digits: &str, ways: &mut Vec<Candidate>) {
        let Some(at) = self.home.and_then(region) else { return };
        let Some(code) = PHONE_NUMBER_UTIL.get_country_code_for_region(at) else { return };
        let here = PHONE_NUMBER_UTIL.parse_and_keep_raw_input(digits, Some(at)).ok();
        let here = here
            .filter(|parsed| parsed.country_code_source() == CountryCodeSource::FromDefaultCountry);
        let parsed = here.or_else(|| parse(&format!("{code}{digits}")).ok());
        let number = parsed.as_ref().and_then(ParsedNumber::of).filter(|number| number.valid);
        let old = || (code == 52).then(|| mexican(digits, &["01", "044", "045"])).flatten();
        let own = |number: &ParsedNumber| number.country_code == code;
        ways.extend(
            number
                .or_else(old)
                .filter(own)
                .map(|number| Candidate { number, kind: ReadAs::National }),
        );
    }

    /// With the country code of home, or of a country that somebody named, and without its plus.
    fn codes(&self, digits: &str, named: &[Country], ways: &mut Vec<Candidate>, twice: &mut bool) {
        let code = |country| PHONE_NUMBER_UTIL.get_country_code_for_region(region(country)?);
        let own = self.home.and_then(code);
        if own.is_some_and(|own| digits.starts_with(&own.to_string())) {
            add(ParsedNumber::international(digits), ReadAs::OwnCode, ways, twice);
        }
        for &country in self.allowed.iter().chain(named) {
            let Some(code) = code(country).filter(|&code| Some(code) != own) else { continue };
            if digits.starts_with(&code.to_string()) {
                let number = ParsedNumber::international(digits);
                let number = number.and_then(|number| match number.country {
                    Some(at) if at == country => Ok(number),
                    _ => Err(Refusal::CountryUnknown),
                });
                add(number, ReadAs::NamedCode, ways, twice);
            }
        }
    }

    /// The one number that it is, none, or a refusal that shows those that it may be.
    fn settled(&self, ways: Vec<Candidate>, digits: &str) -> Result<Option<ParsedNumber>, Refusal> {
        let mut numbers: Vec<E164> = ways.iter().map(|way| way.number.e164).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.len() <= 1 {
            return Ok(ways.into_iter().next().map(|way| way.number));
        }
        let apart = |way: &&Candidate| matches!(way.kind, ReadAs::Exit(Some(_)));
        let groups =
            |way: &&Candidate| if let ReadAs::Exit(groups) = way.kind { groups } else { None };
        if let Some(way) = ways.iter().filter(apart).min_by_key(groups) {
            return Ok(Some(way.number.clone()));
        }
        let own = ways.iter().find(|way| way.kind == ReadAs::OwnCode);
        if let (Some(own), Some(trunk)) = (own, self.home.and_then(region).and_then(trunk_prefix))
            && !digits.starts_with(&trunk)
        {
            return Ok(Some(own.number.clone()));
        }
        Err(Refusal::Ambiguous { numbers: numbers.into() })
    }
}

fn add(
    number: Result<ParsedNumber, Refusal>,
    kind: ReadAs,
    ways: &mut Vec<Candidate>,
    twice: &mut bool,
) {
    match number {
        Ok(number) if number.valid => ways.push(Candidate { number, kind }),
        Err(Refusal::NotANumber(NotANumber::CodeTwice)) => *twice = true,
        _ => {}
    }
}

/// A number of Mexico behind one of the prefixes that went out of use in 2019.
fn mexican(digits: &str, prefixes: &[&str]) -> Option<ParsedNumber> {
    let national = prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix));
    let national = national.filter(|national| national.len() == 10)?;
    ParsedNumber::valid(&format!("52{national}"))
}

fn trunk_prefix(at: Region) -> Option<String> {
    let prefix = PHONE_NUMBER_UTIL.as_original().get_ndd_prefix_for_region(at, true)?;
    Some(prefix).filter(|prefix| !prefix.is_empty())
}

/// `[2-9]xx [2-9]xx xxxx`. No area code ends with 11: 911 is for emergencies.
fn fits_north_america(national: &[u8]) -> bool {
    national.len() == 10
        && [0, 3].iter().all(|&at| national[at] >= b'2')
        && &national[1..3] != b"11"
}

fn region(country: Country) -> Option<Region> {
    country.code().parse().ok()
}

fn parse(digits: &str) -> Result<PhoneNumber, Refusal> {
    PHONE_NUMBER_UTIL.parse(format!("+{digits}"), None).map_err(|error| match error {
        ParseError::InvalidCountryCode => Refusal::CountryUnknown,
        _ => NotANumber::Unreadable.into(),
    })
}

/// The country of a number; where several share a code and the number belongs to none of them, the
/// one that the code is named after.
fn country_of(parsed: &PhoneNumber) -> Option<Country> {
    let exact = PHONE_NUMBER_UTIL.get_region_for_number(parsed);
    let region =
        exact.or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(parsed.country_code))?;
    region.as_region_str().parse().ok()
}

/// Where a number in E.164 is, without its plus. `None`: in no country, or it is no number.
pub(crate) fn country_of_digits(digits: &str) -> Option<Country> {
    country_of(&parse(digits).ok()?)
}

/// Code and national number of bare digits, by their number alone.
fn by_length(digits: &str) -> Option<(&'static str, &str)> {
    match (digits.len(), digits.strip_prefix('0')) {
        (11, Some(national)) => Some(("91", national)),
        (10, Some(national)) => Some(("971", national)),
        (9, _) => Some(("971", digits)),
        (10, None) if digits.starts_with(['6', '7', '8', '9']) => Some(("91", digits)),
        (10, None) => Some(("1", digits)),
        (12, None) if digits.starts_with("971") || digits.starts_with("91") => Some(("", digits)),
        _ => None,
    }
}
