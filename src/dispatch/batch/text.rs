//! The bytes of a file become UTF-8, whatever its mark says they are in.

use std::io::{self, BufRead, BufReader, Read};

use super::no_batch::NoBatch;

/// A file, to be read as bytes of UTF-8. Whether they are some is for the reader of its rows to see.
pub(super) struct Text {
    pub(super) from: Box<dyn BufRead + Send>,
    pub(super) encoding: Encoding,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-8 with a byte order mark, which spreadsheets write and want.
    Utf8WithMark,
    /// UTF-16, by its mark.
    Utf16,
}

impl Encoding {
    /// What it is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 | Self::Utf8WithMark => "UTF-8",
            Self::Utf16 => "UTF-16",
        }
    }
}

impl Text {
    /// Looks at the first bytes.
    pub(super) fn open(mut from: Box<dyn BufRead + Send>) -> Result<Self, NoBatch> {
        // As many as the longest mark has, or the whole of a shorter file.
        let mut first = Vec::with_capacity(LONGEST_MARK);
        from.by_ref().take(LONGEST_MARK as u64).read_to_end(&mut first)?;
        if let Some((_, what)) = NO_TEXT.iter().find(|(mark, _)| first.starts_with(mark)) {
            return Err(NoBatch::NotText(what));
        }
        let (encoding, mark, big) = match *first.as_slice() {
            [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8WithMark, 3, false),
            [0xff, 0xfe, ..] => (Encoding::Utf16, 2, false),
            [0xfe, 0xff, ..] => (Encoding::Utf16, 2, true),
            _ => (Encoding::Utf8, 0, false),
        };
        let from = io::Cursor::new(first.split_off(mark)).chain(from);
        let from: Box<dyn BufRead + Send> = match encoding {
            Encoding::Utf16 => {
                Box::new(BufReader::new(Utf16 { from, big, half: None, ready: Vec::new() }))
            }
            Encoding::Utf8 | Encoding::Utf8WithMark => Box::new(from),
        };
        Ok(Self { from, encoding })
    }
}

/// UTF-16, read as UTF-8. What is none ends it with [`io::ErrorKind::InvalidData`].
struct Utf16<R> {
    from: R,
    big: bool,
    /// The first half of a character that takes two units.
    half: Option<u16>,
    /// What was made of it and not read yet.
    ready: Vec<u8>,
}

impl<R: BufRead> Utf16<R> {
    /// The next unit; none at the end.
    fn unit(&mut self) -> io::Result<Option<u16>> {
        let mut unit = Vec::with_capacity(2);
        self.from.by_ref().take(2).read_to_end(&mut unit)?;
        match *unit.as_slice() {
            [] => Ok(None),
            [first, second] if self.big => Ok(Some(u16::from_be_bytes([first, second]))),
            [first, second] => Ok(Some(u16::from_le_bytes([first, second]))),
            _ => Err(not_utf16()),
        }
    }

    /// Makes some text ready; none at the end.
    fn more(&mut self) -> io::Result<()> {
        while self.ready.len() < AT_ONCE {
            let Some(unit) = self.unit()? else {
                return if self.half.is_some() { Err(not_utf16()) } else { Ok(()) };
            };
            let half = self.half.take();
            match char::decode_utf16(half.into_iter().chain([unit])).collect::<Result<Vec<_>, _>>()
            {
                Ok(chars) => {
                    for read in chars {
                        self.ready.extend_from_slice(read.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
                Err(_) if half.is_none() && unit < 0xdc00 => self.half = Some(unit),
                Err(_) => return Err(not_utf16()),
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            self.more()?;
        }
        let many = self.ready.len().min(into.len());
        into[..many].copy_from_slice(&self.ready[..many]);
        self.ready.drain(..many);
        Ok(many)
    }
}

fn not_utf16() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, NoBatch::NotUtf16)
}

impl NoBatch {
    /// What an error in reading says of the file.
    pub(super) fn of(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Unreadable)
    }
}

/// How the files begin that people take for lists.
const NO_TEXT: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "an Excel workbook or another archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "compressed"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
];
const LONGEST_MARK: usize = 4;
const AT_ONCE: usize = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: Vec<u8>) -> Result<(String, Encoding), NoBatch> {
        let mut text = Text::open(Box::new(io::Cursor::new(bytes)))?;
        let mut read = String::new();
        text.from.read_to_string(&mut read).map_err(NoBatch::of)?;
        Ok((read, text.encoding))
    }

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    proptest::proptest! {
        #[test]
        fn a_text_reads_the_same_in_each_encoding(text in "\\PC{0,300}") {
            let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
            for (bytes, encoding) in [
                (utf16(&text, false), Encoding::Utf16),
                (utf16(&text, true), Encoding::Utf16),
                (marked, Encoding::Utf8WithMark),
            ] {
                // UTF-32 begins like UTF-16 and a NUL; no text here holds one.
                proptest::prop_assert_eq!(read(bytes).unwrap(), (text.clone(), encoding));
            }
        }
    }

    #[test]
    fn utf_16_that_is_torn_is_no_text() {
        let whole = utf16("to\n😀", false);
        for bytes in [
            whole[..whole.len() - 1].to_vec(),
            whole[..whole.len() - 2].to_vec(),
            [&whole[..2], &[0x00, 0xdc]].concat(),
            [&whole[..2], &[0x00, 0xd8, 0x41, 0x00]].concat(),
            [&whole[..2], &[0x00, 0xd8, 0x00, 0xd8]].concat(),
        ] {
            let error = read(bytes.clone()).unwrap_err();
            assert!(matches!(error, NoBatch::NotUtf16), "{bytes:x?}: {error}");
        }
    }

    #[test]
    fn what_is_no_text_is_called_by_its_name() {
        for (bytes, words) in [
            (&b"PK\x03\x04rest"[..], "Excel workbook"),
            (b"\xff\xfe\x00\x00t\x00\x00\x00", "UTF-32"),
            (b"\x1f\x8b\x08", "compressed"),
        ] {
            let error = read(bytes.to_vec()).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("UTF-8"), "{error}");
        }
        assert_eq!(read(b"to".to_vec()).unwrap(), ("to".to_owned(), Encoding::Utf8));
    }
}
