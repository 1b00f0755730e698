//! The rows of a CSV that says which config answers for which number.

use crate::number::E164;

/// A row as it was entered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entered {
    pub(super) tenant: String,
    pub(super) number: String,
    /// A name or an id. Empty, or `none`: none.
    pub(super) config: String,
}

impl Entered {
    pub(super) fn names_none(config: &str) -> bool {
        config.is_empty() || config.eq_ignore_ascii_case("none")
    }

    /// What stands there, for people.
    pub(super) fn shown(&self) -> String {
        let parts = [&*self.number, &*self.tenant, &*self.config];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn digits(&self) -> Option<String> {
        Some(self.number.parse::<E164>().ok()?.digits())
    }
}

/// A row, or what stands there and why it is none; with the line on which it begins, from 1.
pub(super) type Row = (usize, Result<Entered, (String, String)>);

/// The rows of a text. An error: it has other columns than it must have, none or too many rows.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    let separator = if first.contains(';') && !first.contains(',') { b';' } else { b',' };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let headings: Vec<_> = reader
        .headers()
        .map_err(|_| "It must be CSV, with the names of the columns in its first line.".to_owned())?
        .iter()
        .map(str::to_lowercase)
        .collect();
    let columns = Columns::of(&headings)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|_| "It must be CSV: a quote is not closed.".to_owned())?;
        let at = record.position().map_or(0, csv::Position::byte);
        rows.push((line_at(text, at), columns.row(&record, headings.len())));
        if rows.len() > MOST {
            return Err(format!("It must have at most {MOST} rows; import it in parts."));
        }
    }
    if rows.is_empty() { Err("It must have rows below its first line.".into()) } else { Ok(rows) }
}

/// Where each column stands.
struct Columns {
    number: usize,
    config: usize,
    tenant: Option<usize>,
}

impl Columns {
    fn of(headings: &[String]) -> Result<Self, String> {
        if let Some(unknown) = headings.iter().find(|name| !KNOWN.contains(&name.as_str())) {
            let unknown: String = unknown.chars().take(40).collect();
            return Err(format!(
                "The first line must name columns; “{unknown}” is none of {}.",
                KNOWN.join(", ")
            ));
        }
        let at = |name: &str| headings.iter().position(|heading| heading == name);
        let config = at("config").or_else(|| at("livekit"));
        match (at("number"), config) {
            (Some(number), Some(config)) => Ok(Self { number, config, tenant: at("tenant") }),
            _ => Err("The first line must name the columns number and config.".to_owned()),
        }
    }

    fn row(&self, record: &csv::StringRecord, many: usize) -> Result<Entered, (String, String)> {
        if record.len() != many {
            let entered: String = record.iter().collect::<Vec<_>>().join(", ");
            let why = format!("it has {} fields, and the first line has {many}", record.len());
            return Err((entered.chars().take(100).collect(), why));
        }
        // Spreadsheets are kept from reading a number as a formula by a quote before it.
        let text = |at: usize| record[at].trim_start_matches('\'').to_owned();
        Ok(Entered {
            number: text(self.number),
            config: text(self.config),
            tenant: self.tenant.map(text).unwrap_or_default(),
        })
    }
}

/// The line on which a record begins that the reader says begins here: it counts blank lines before it in.
fn line_at(text: &str, byte: u64) -> usize {
    let byte = usize::try_from(byte).unwrap_or(usize::MAX).min(text.len());
    let bytes = text.as_bytes();
    let blank = bytes[byte..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    1 + text[..byte + blank].matches('\n').count()
}

/// Every column that may be there; what the list exports beside those that count is passed over.
const KNOWN: [&str; 6] = ["number", "config", "livekit", "tenant", "carrier", "may_call"];
/// As many as are assigned at once.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: &str, tenant: &str, config: &str) -> Entered {
        Entered { number: number.into(), tenant: tenant.into(), config: config.into() }
    }

    #[test]
    fn rows_are_read_by_the_names_of_their_columns_with_the_line_of_each() {
        let comma = "\u{feff}Config,number\r\neu , +971501234567\r\n\r\nnone,'+971501234568\r\n";
        let read = rows(comma).unwrap();
        assert_eq!(
            read,
            [(2, Ok(row("+971501234567", "", "eu"))), (4, Ok(row("+971501234568", "", "none")))]
        );
        let semicolon = "number;tenant;livekit\n+971501234567;\"Acme; Dubai\";\n";
        assert_eq!(rows(semicolon).unwrap(), [(2, Ok(row("+971501234567", "Acme; Dubai", "")))]);
        assert!(Entered::names_none("") && Entered::names_none("None"));
    }

    #[test]
    fn what_is_no_such_table_is_refused_whole_and_a_row_that_does_not_fit_by_itself() {
        for text in ["", "number", "number,config", "a,b\n1,2", "+971501234567,eu\n1,2"] {
            assert!(rows(text).is_err(), "{text:?}");
        }
        let many = format!("number,config\n{}", "1,2\n".repeat(MOST + 1));
        assert!(rows(&many).unwrap_err().contains("at most 1000"));
        let read = rows("number,config\n1,2,3\n+971501234567,eu\n").unwrap();
        assert!(read[0].1.as_ref().unwrap_err().1.contains("3 fields"));
        assert!(read[1].1.is_ok());
    }
}
