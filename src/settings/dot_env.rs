//! The text of a `.env` file becomes names and values, each with the line that it began on.
//!
//! Owns the syntax, which `.env.example` explains in four lines. It knows nothing of files, of other
//! variables or of the meaning of a value.
//!
//! **Invariant:** a value is taken whole, or its line is reported. No message repeats a value.

use zeroize::Zeroizing;

/// What stands in a file.
#[derive(Default)]
pub(super) struct DotEnv {
    /// In the order of the file.
    pub(super) pairs: Vec<Pair>,
    /// Lines that could not be read.
    pub(super) broken: Vec<Remark>,
    /// Lines that were read, and may not mean what their writer thinks.
    pub(super) doubtful: Vec<Remark>,
}

/// One `NAME=value`.
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) value: Zeroizing<String>,
    /// From 1.
    pub(super) line: usize,
    /// Names that follow a `$` in it, where another program would put their values.
    pub(super) dollars: Vec<String>,
}

/// Something to say about a line.
pub(super) struct Remark {
    /// From 1.
    pub(super) line: usize,
    /// Whose line it is, as far as that can be told.
    pub(super) name: Option<String>,
    pub(super) message: &'static str,
}

impl DotEnv {
    pub(super) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut line = 1;
        while !rest.is_empty() {
            let read = found.assignment(rest, line);
            line += rest[..read].matches('\n').count();
            rest = &rest[read..];
        }
        found
    }

    /// Reads what begins on this line and says how many bytes that took: at least the line.
    fn assignment(&mut self, text: &str, line: usize) -> usize {
        let end = text.find('\n').map_or(text.len(), |at| at + 1);
        let start = text[..end].trim_start();
        if start.is_empty() || start.starts_with('#') {
            return end;
        }
        let (name, after) = name(start);
        let remark =
            |message| Remark { line, name: (!name.is_empty()).then(|| name.to_owned()), message };
        let Some(value) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
            self.broken.push(remark("is not NAME=value"));
            return end;
        };
        let begins = end - value.len();
        let mut scanner = Scanner::new(&text[begins..]);
        match scanner.scan() {
            Err(message) => {
                self.broken.push(remark(message));
                end
            }
            Ok(read) => {
                self.doubtful.extend(scanner.doubts.iter().map(|&message| remark(message)));
                let Scanner { value, dollars, .. } = scanner;
                self.pairs.push(Pair { name: name.to_owned(), value, line, dollars });
                begins + read
            }
        }
    }
}

/// The name that a line begins with, after `export` if that stands there, and what follows it.
fn name(line: &str) -> (&str, &str) {
    let split = |text: &str| {
        let first = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if first { text.find(|c| !of_name(c)).unwrap_or(text.len()) } else { 0 }
    };
    let (name, after) = line.split_at(split(line));
    let next = after.trim_start();
    if name == "export" && !next.starts_with('=') {
        return next.split_at(split(next));
    }
    (name, after)
}

/// Reads one value, as a shell would, but for `$`, which is text.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    value: Zeroizing<String>,
    dollars: Vec<String>,
    doubts: Vec<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Single,
    Double,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        // Room for all of it, so that growing leaves no copy of a secret behind.
        let room = text.find('\n').unwrap_or(text.len());
        Self {
            text,
            at: 0,
            value: Zeroizing::new(String::with_capacity(room)),
            dollars: Vec::new(),
            doubts: Vec::new(),
        }
    }

    /// Reads to the end of the value and of its line, and says how many bytes that took.
    fn scan(&mut self) -> Result<usize, &'static str> {
        self.skip_blanks();
        if self.rest().starts_with('#') {
            return Ok(self.end_of_line());
        }
        let mut within = Within::Nothing;
        while within != Within::Nothing || !self.rest_of_line().trim().is_empty() {
            let Some(next) = self.next() else { return Err(UNCLOSED) };
            match (within, next) {
                (Within::Single, '\'') | (Within::Double, '"') => within = Within::Nothing,
                (Within::Single, _) => self.push(next),
                (Within::Nothing, '\'') => within = Within::Single,
                (Within::Nothing, '"') => within = Within::Double,
                (Within::Nothing, ' ' | '\t') => return self.only_a_comment(),
                (Within::Nothing, '\\') => self.bare_escape()?,
                (Within::Double, '\\') => self.quoted_escape()?,
                (_, '$') => self.dollar()?,
                (..) => self.push(next),
            }
        }
        Ok(self.end_of_line())
    }

    /// After a blank, a value has ended.
    fn only_a_comment(&mut self) -> Result<usize, &'static str> {
        self.skip_blanks();
        if self.rest().starts_with('#') {
            Ok(self.end_of_line())
        } else {
            Err("a value with a blank in it must stand in quotes")
        }
    }

    /// What a backslash means outside of quotes.
    fn bare_escape(&mut self) -> Result<(), &'static str> {
        if self.rest_of_line().trim().is_empty() {
            self.doubts.push(LOST);
            return Ok(());
        }
        match self.rest().chars().next() {
            Some('$' | '\\' | '"') => return Err(ESCAPED),
            Some('n') => self.push('\n'),
            Some(plain @ ('\'' | ' ')) => self.push(plain),
            _ => {
                self.push('\\');
                return Ok(());
            }
        }
        self.next();
        self.doubts.push(TAKEN);
        Ok(())
    }

    /// What a backslash means in double quotes.
    fn quoted_escape(&mut self) -> Result<(), &'static str> {
        match self.next() {
            Some('n') => self.push('\n'),
            Some(plain @ ('\\' | '\'' | '"' | '$' | ' ')) => self.push(plain),
            _ => return Err(UNKNOWN_ESCAPE),
        }
        Ok(())
    }

    /// `$` is text. What looks like the name of a variable is noted.
    fn dollar(&mut self) -> Result<(), &'static str> {
        if self.rest().starts_with('{') {
            return Err(BRACES);
        }
        let after = self.rest();
        let end = after.find(|c: char| !c.is_alphanumeric()).unwrap_or(after.len());
        if end > 0 {
            self.dollars.push(after[..end].to_owned());
        }
        self.push('$');
        Ok(())
    }

    /// Keeps a character. The buffer is replaced before it has to grow, and wiped.
    fn push(&mut self, next: char) {
        if self.value.capacity() < self.value.len() + next.len_utf8() {
            let mut roomier = Zeroizing::new(String::with_capacity(2 * self.value.len() + 64));
            roomier.push_str(&self.value);
            self.value = roomier;
        }
        self.value.push(next);
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest_of_line();
        self.at += blanks.len() - blanks.trim_start().len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn rest_of_line(&self) -> &'a str {
        self.rest().split('\n').next().unwrap_or_default()
    }

    fn end_of_line(&self) -> usize {
        self.rest().find('\n').map_or(self.text.len(), |at| self.at + at + 1)
    }
}

const UNCLOSED: &str = "a quote is opened and not closed";
const ESCAPED: &str =
    "a backslash before $, \\ or \" must stand in quotes: in single quotes all is text";
const UNKNOWN_ESCAPE: &str = "in double quotes a backslash must be followed by \\, \", ', $ or n: in single quotes all is text";
const BRACES: &str =
    "${…} is not replaced here: write the value itself, or in single quotes if it is meant as text";
const TAKEN: &str = "a backslash outside of quotes is taken away, which the next major version will refuse: put the value in single quotes if it is part of it";
const LOST: &str = "the backslash at the end is taken away, which the next major version will refuse: put the value in single quotes if it is part of it";

#[cfg(test)]
mod tests {
    use super::*;

    /// The one value of a text, or what is said about it.
    fn value(text: &str) -> Result<String, &'static str> {
        let found = DotEnv::parse(text);
        match (found.pairs.first(), found.broken.first()) {
            (Some(pair), None) => Ok(pair.value.to_string()),
            (_, Some(broken)) => Err(broken.message),
            (None, None) => panic!("nothing was read of {text:?}"),
        }
    }

    #[test]
    fn values_are_read_as_they_were_before() {
        for (text, expected) in [
            ("K=v", "v"),
            ("K=", ""),
            ("K=   # nothing", ""),
            ("  K  =  v  ", "v"),
            ("K=v # comment with a ' in it", "v"),
            ("K=v#text", "v#text"),
            ("K='two words'", "two words"),
            ("K=\"two words\" # comment", "two words"),
            ("K=a'b c'd", "ab cd"),
            ("K=\"a\\\"b\\\\c\\$d\\ne\"", "a\"b\\c$d\ne"),
            ("K='a\\nb'", "a\\nb"),
            ("K=\"over\ntwo lines\"", "over\ntwo lines"),
            ("K=s\\ ix", "s ix"),
            ("K=a=b==", "a=b=="),
            ("export K=v", "v"),
            ("export=v", "v"),
            ("K=v\r\n", "v"),
            ("\u{feff}K=v", "v"),
        ] {
            assert_eq!(value(text).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_dollar_is_text_and_a_lone_backslash_too() {
        for text in ["a$b", "$", "a$$b", "$HOME", "a\\b", "a$'", "$5.00"] {
            let quoted =
                if text.ends_with('\'') { "K=\"a$'\"".into() } else { format!("K={text}") };
            assert_eq!(value(&quoted).as_deref(), Ok(text));
            let twice = format!("K=\"{}\"", text.replace('\\', "\\\\"));
            assert_eq!(value(&twice).as_deref(), Ok(text));
        }
        assert_eq!(DotEnv::parse("K=$HOME-$x").pairs[0].dollars, ["HOME", "x"]);
        assert!(DotEnv::parse("K='$HOME'").pairs[0].dollars.is_empty());
    }

    #[test]
    fn what_meant_something_else_is_refused_and_what_still_does_is_doubted() {
        for text in ["K=a\\$b", "K=a\\\\b", "K=a\\\"b"] {
            assert_eq!(value(text), Err(ESCAPED), "{text}");
        }
        for text in ["K=${HOME}", "K=\"a${HOME}b\"", "K=${", "K=a${b"] {
            assert_eq!(value(text), Err(BRACES), "{text}");
        }
        assert_eq!(value("K='${HOME}'").as_deref(), Ok("${HOME}"));
        assert_eq!(value("K=\"a\\b\""), Err(UNKNOWN_ESCAPE));
        for (text, expected) in [("K=a\\nb", "a\nb"), ("K=it\\'s", "it's"), ("K=a\\\nL=b", "a")] {
            let found = DotEnv::parse(text);
            assert_eq!((&**found.pairs[0].value, found.doubtful.len()), (expected, 1), "{text}");
        }
    }

    #[test]
    fn a_broken_line_is_named_and_spoils_no_other_one() {
        for broken in ["B=two words", "B='open", "B \"", "B=\"a\\b\"", "B='a' b"] {
            let found = DotEnv::parse(&format!("A=1\n\n{broken}\n# c\nC=3"));
            let read: Vec<_> =
                found.pairs.iter().map(|pair| (pair.name.as_str(), pair.line)).collect();
            assert_eq!(read, [("A", 1), ("C", 5)], "{broken}");
            let named = found.broken.iter().map(|broken| (broken.line, broken.name.as_deref()));
            assert_eq!(named.collect::<Vec<_>>(), [(3, Some("B"))], "{broken}");
        }
    }

    #[test]
    fn lines_are_counted_through_values_of_several() {
        let found = DotEnv::parse("A='1\n2\n3'\nB=2\r\n\r\n=\nC=3");
        let lines: Vec<_> = found.pairs.iter().map(|pair| pair.line).collect();
        assert_eq!((lines, found.broken[0].line), (vec![1, 4, 7], 6));
    }
}
