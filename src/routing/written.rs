//! From what a person, a program or a spreadsheet wrote to digits, with how they were grouped.
//! Whose digits they are is not known here.

use std::ops::Range;

use rlibphonenumber::PHONE_NUMBER_UTIL;

use super::{NotANumber, Refusal};

/// A destination as it was written.
pub(super) struct Written {
    pub(super) plus: bool,
    pub(super) digits: String,
    /// Bit n: something a reader can see separates the first n digits from the rest.
    breaks: u32,
    /// How many digits stand before each slash and each line break.
    slashes: Vec<usize>,
}

impl Written {
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        let text = bare(text);
        if is_decimal(text) {
            return Err(NotANumber::Decimal.into());
        }
        if is_negative(text) {
            return Err(NotANumber::Calculated.into());
        }
        let nothing = || Refusal::from(NotANumber::Unreadable);
        let mut written =
            Self { plus: false, digits: String::with_capacity(24), breaks: 0, slashes: Vec::new() };
        for character in text.chars() {
            match character {
                '+' | '＋' if written.digits.is_empty() && !written.plus => written.plus = true,
                _ if is_invisible(character) => {}
                _ if is_separator(character) => {
                    written.breaks |= 1 << written.digits.len();
                    if is_slash(character) {
                        written.slashes.push(written.digits.len());
                    }
                }
                _ => written.digits.push(digit(character).ok_or_else(nothing)?),
            }
            if written.digits.len() > LONGEST {
                return Err(nothing());
            }
        }
        if written.digits.is_empty() { Err(nothing()) } else { Ok(written) }
    }

    /// Whether the digit behind so many stands apart from those on both sides, as in `(0)`.
    pub(super) fn sets_apart(&self, at: usize) -> bool {
        [at, at + 1].iter().all(|length| self.breaks & (1 << length) != 0)
    }

    /// What stands before each slash with something on both sides.
    pub(super) fn before_slashes(&self) -> impl Iterator<Item = Self> + '_ {
        let between = |length: &&usize| (1..self.digits.len()).contains(*length);
        self.slashes.iter().filter(between).map(|&length| Self {
            plus: self.plus,
            digits: self.digits[..length].to_owned(),
            breaks: self.breaks & ((1 << length) - 1),
            slashes: Vec::new(),
        })
    }

    /// Into how many groups the first digits fall, if they are set apart from the rest.
    pub(super) fn groups_before(&self, length: usize) -> Option<u32> {
        let apart = self.breaks & (1 << length) != 0;
        let inner = self.breaks & ((1 << length) - 1) & !1;
        apart.then(|| inner.count_ones() + 1)
    }

    /// Whether something separates digits that belong together, such as those of a country code: the
    /// writer meant another one. A zero behind it stands for both, as in `+88 0171…` for 880 and 0171.
    pub(super) fn splits(&self, together: Range<usize>) -> bool {
        let within = together.start + 1..together.end;
        let zero = |at: usize| self.digits.as_bytes().get(at) == Some(&b'0');
        within.into_iter().any(|at| self.breaks & (1 << at) != 0 && !zero(at))
    }
}

/// The text without what spreadsheets and links put around a number.
fn bare(text: &str) -> &str {
    let trim =
        |text| str::trim_matches(text, |mark: char| mark.is_whitespace() || is_invisible(mark));
    let text = trim(text);
    let text = text.strip_prefix('\'').unwrap_or(text);
    let text = text.strip_prefix("=\"").and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let text = trim(text);
    match text.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &text[4..],
        _ => text,
    }
}

/// Whether a spreadsheet took it for a number to count with: a single dot with nothing but zeros
/// behind it, or an exponent. No country writes a single digit behind a dot either.
fn is_decimal(text: &str) -> bool {
    let all_digits = |text: &str| text.chars().all(|character| digit(character).is_some());
    if let Some((number, power)) = text.split_once(['e', 'E']) {
        let number: String = number.split(DOTS).collect();
        return !number.is_empty()
            && all_digits(&number)
            && all_digits(power.trim_start_matches(SIGNS));
    }
    let Some((before, behind)) = text.rsplit_once(DOTS) else { return false };
    let behind = behind.trim_end();
    let zeros = behind.chars().all(|character| digit(character) == Some('0'));
    let number = before.chars().any(|character| digit(character).is_some());
    number && (behind.chars().count() < 2 || zeros && !before.contains(DOTS))
}

/// Whether a spreadsheet took it for a sum: of `+91-9876543210` it makes `-9876543119`.
fn is_negative(text: &str) -> bool {
    let number = text.strip_prefix(['-', '−', '－']);
    number.and_then(|number| number.chars().next()).is_some_and(|first| digit(first).is_some())
}

/// What stands between two numbers, or between the parts of one.
fn is_slash(character: char) -> bool {
    let breaks_a_line = character.is_whitespace() && character.is_control();
    breaks_a_line || matches!(character, '/' | '／' | '\u{2028}' | '\u{2029}')
}

fn is_separator(character: char) -> bool {
    character.is_whitespace() || "-‐‑‒–—―−－ー﹣.．·()（）[]［］/／".contains(character)
}

/// Marks that come along when numbers are pasted: of no width, or of writing direction.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

/// The ASCII form of a decimal digit of any script.
fn digit(character: char) -> Option<char> {
    if character.is_ascii() {
        return character.is_ascii_digit().then_some(character);
    }
    let text = PHONE_NUMBER_UTIL.normalize_digits_only(character.to_string());
    text.chars().next().filter(char::is_ascii_digit)
}

/// What stands before the decimals of a number.
const DOTS: [char; 3] = ['.', '．', ','];
const SIGNS: [char; 2] = ['+', '-'];
/// The longest exit code and 15 digits, and some to spare for a zero in brackets.
const LONGEST: usize = 24;
