//! What a terminal must not obey: control characters, and those that nobody sees or that turn the
//! order of others around.
//!
//! Rows, files and servers may hold any of them. They are shown by number, and refused in names.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use trunkline::draft::is_hidden;

/// How a character is shown by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `\u{202e}`
    Words,
    /// `\u202e`, the same string to whoever reads the JSON.
    Json,
}

/// Text of others for a place within a line of ours: nothing hidden, no line break.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    escape(text, Form::Words, |_| false)
}

/// Text of ours, in lines, with whatever is in it.
pub(crate) fn lines(text: &str, form: Form) -> Cow<'_, str> {
    escape(text, form, |character| matches!(character, '\n' | '\t'))
}

fn escape(text: &str, form: Form, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let hidden = |character: char| is_hidden(character) && !keep(character);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if !hidden(character) {
            shown.push(character);
        } else if form == Form::Words {
            let _ = write!(shown, "{}", character.escape_unicode());
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(shown)
}

/// Writes whole lines to a log, with nothing hidden in them but its own colours.
pub(crate) struct Log<W> {
    pub(crate) to: W,
    pub(crate) form: Form,
    pub(crate) coloured: bool,
}

impl<W: io::Write> io::Write for Log<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let keep =
            |character| matches!(character, '\n' | '\t') || (self.coloured && character == '\x1b');
        self.to.write_all(escape(&text, self.form, keep).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const HIDDEN: &str = "a\u{1b}[2Jb\u{202e}c\u{9b}d\ne\u{200b}f\u{2028}g\u{e0001}h\u{7f}";

    #[test]
    fn what_a_terminal_would_obey_is_shown_by_number() {
        let shown = "a\\u{1b}[2Jb\\u{202e}c\\u{9b}d\\u{a}e\\u{200b}f\\u{2028}g\\u{e0001}h\\u{7f}";
        assert_eq!(plain(HIDDEN), shown);
        assert_eq!(lines("two\n\tlines\r", Form::Words), "two\n\tlines\\u{d}");
        for text in ["", "agent 7", "خدمة العملاء", "客服", "é ñ 📞", "{\"a\": 1}"]
        {
            assert!(matches!(plain(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn json_stays_the_same_to_whoever_reads_it() {
        let json = serde_json::json!({"name": HIDDEN}).to_string();
        let shown = lines(&json, Form::Json);
        assert!(!shown.contains(is_hidden), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["name"], HIDDEN);
    }

    #[test]
    fn a_log_keeps_its_colours_where_it_has_some() {
        for (coloured, expected) in [(true, "\x1b[1m\\u{202e}\n"), (false, "\\u{1b}[1m\\u{202e}\n")]
        {
            let mut log = Log { to: Vec::new(), form: Form::Words, coloured };
            log.write_all("\x1b[1m\u{202e}\n".as_bytes()).unwrap();
            assert_eq!(String::from_utf8(log.to).unwrap(), expected);
        }
    }
}
