//! Small parts of pages that are made in code: times, counts, tags. Each is HTML already, made of what
//! is no one's to enter, or escaped.

use std::fmt;

use askama::filters::HtmlSafe;
use chrono::{DateTime, Datelike, NaiveDateTime, Timelike, Utc};

/// A moment: how long ago it was, and exactly when in the title.
#[derive(Clone, Copy)]
pub(super) struct When {
    at: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl When {
    pub(super) fn new(at: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        Self { at, now }
    }

    /// A moment as a database writes it.
    pub(super) fn read(text: &str, now: DateTime<Utc>) -> Option<Self> {
        let zoned = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
        let plain = || text.trim_end_matches('Z').parse::<NaiveDateTime>().ok();
        let spaced = || text.replace(' ', "T").trim_end_matches('Z').parse::<NaiveDateTime>().ok();
        let at = zoned().or_else(|| plain().or_else(spaced).map(|at| at.and_utc()))?;
        Some(Self::new(at, now))
    }
}

impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (exact, ago) = (exact(self.at), ago((self.now - self.at).num_seconds()));
        let machine = format!("{}Z", exact.trim_end_matches(" UTC").replacen(' ', "T", 1));
        write!(
            out,
            "<time datetime=\"{machine}\" title=\"{exact}\" data-ago class=\"nowrap\">{ago}</time>"
        )
    }
}

/// Such as `2026-11-30 11:22:33 UTC`.
pub(super) fn exact(at: DateTime<Utc>) -> String {
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// As machines write it.
pub(super) fn machine(at: DateTime<Utc>) -> String {
    format!("{}Z", exact(at).trim_end_matches(" UTC").replacen(' ', "T", 1))
}

fn ago(seconds: i64) -> String {
    let units = [
        (31_536_000, "year"),
        (2_592_000, "month"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
    ];
    let many = seconds.abs();
    if many < 10 {
        return "just now".into();
    }
    let unit = units.iter().find(|(length, _)| many >= *length);
    let (length, name) = unit.copied().unwrap_or((1, "second"));
    let count = many / length;
    let plural = if count == 1 { "" } else { "s" };
    if seconds < 0 {
        format!("in {count} {name}{plural}")
    } else {
        format!("{count} {name}{plural} ago")
    }
}

/// A time that something took, in the unit that suits it.
pub(super) fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s if s >= 1e-6 => (s * 1e6, "µs"),
        s => (s * 1e9, "ns"),
    };
    if value >= 100.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// A count with its thousands apart, such as `12,345`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate or a size that is no whole number where it is small.
pub(super) fn rounded(value: f64) -> String {
    if value >= 100.0 || value == 0.0 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a rate")]
        grouped(value.round() as u64)
    } else if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_either_database_writes_it_and_told_as_people_say_it() {
        let now = DateTime::from_timestamp(1_763_900_000, 0).unwrap();
        for text in ["2025-11-23T12:11:20Z", "2025-11-23T12:11:20.000000Z", "2025-11-23 12:11:20"] {
            let told = When::read(text, now).unwrap().to_string();
            assert!(told.contains(">2 minutes ago<"), "{told}");
            assert!(told.contains("title=\"2025-11-23 12:11:20 UTC\""), "{told}");
        }
        assert!(When::read("yesterday", now).is_none());
        assert_eq!(ago(3), "just now");
        assert_eq!(ago(3600), "1 hour ago");
        assert_eq!(ago(-90), "in 1 minute");
    }

    #[test]
    fn figures_are_in_units_and_groups() {
        assert_eq!(duration(83e-9), "83.0 ns");
        assert_eq!(duration(0.0012), "1.2 ms");
        assert_eq!(duration(0.25), "250 ms");
        assert_eq!(
            [grouped(999), grouped(12_345), grouped(1_000_000)],
            ["999", "12,345", "1,000,000"]
        );
        assert_eq!(
            [rounded(0.0), rounded(1.26), rounded(48.3), rounded(1234.4)],
            ["0", "1.3", "48", "1,234"]
        );
    }
}
