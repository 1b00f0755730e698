//! A fast way to read numbers and UUIDs in their usual form: whoever asks with texts waits for this
//! at every call. `None` means only that the slow way has to read it.
//!
//! Eight digits at once: D. Lemire, "Quickly parsing eight digits" (2018).

use uuid::Uuid;

/// The number that 8 to 15 digits make.
#[inline]
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    let more = text.len().checked_sub(8)?;
    let (scale, twice) = (SCALES.get(more)?, *READ_ONCE.get(more)?);
    let (first, last) = (values(*text.first_chunk()?)?, values(*text.last_chunk()?)?);
    // What stands in both chunks counts once.
    Some(joined(first) * scale + joined(last & twice))
}

/// The values of eight digits, a byte each, the first one lowest.
#[inline]
fn values(text: [u8; 8]) -> Option<u64> {
    let values = u64::from_le_bytes(text) ^ 0x3030_3030_3030_3030;
    let too_large = values.wrapping_add(0x7676_7676_7676_7676) | values;
    (too_large & 0x8080_8080_8080_8080 == 0).then_some(values)
}

/// Two digits become one of a hundred, two of those one of ten thousand, and two of those the whole.
#[inline]
fn joined(values: u64) -> u64 {
    let hundreds = (values.wrapping_mul(10) + (values >> 8)) & 0x00FF_00FF_00FF_00FF;
    let myriads = (hundreds.wrapping_mul(100) + (hundreds >> 16)) & 0x0000_FFFF_0000_FFFF;
    (myriads.wrapping_mul(10_000) + (myriads >> 32)) & 0xFFFF_FFFF
}

/// A UUID of 32 hex digits and four hyphens.
#[inline]
pub(super) fn uuid(text: &[u8]) -> Option<Uuid> {
    let text: &[u8; 36] = text.try_into().ok()?;
    let hyphens = [text[8], text[13], text[18], text[23]] == [b'-'; 4];
    let mut digits = [0; 32];
    for (to, from) in [(0, 0), (4, 4), (8, 9), (12, 14), (16, 19), (20, 24), (24, 28), (28, 32)] {
        digits[to..to + 4].copy_from_slice(&text[from..from + 4]);
    }
    let mut wrong = 0;
    for digit in &mut digits {
        let (decimal, letter) = (digit.wrapping_sub(b'0'), (*digit | 0x20).wrapping_sub(b'a'));
        wrong |= u8::from(decimal > 9) & u8::from(letter > 5);
        *digit = if decimal > 9 { letter.wrapping_add(10) } else { decimal };
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    (hyphens && wrong == 0).then(|| Uuid::from_bytes(bytes))
}

/// What the first eight digits count, by how many follow.
const SCALES: [u64; 8] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Which of the last eight digits were not among the first.
const READ_ONCE: [u64; 8] = [
    0,
    0xFF00_0000_0000_0000,
    0xFFFF_0000_0000_0000,
    0xFFFF_FF00_0000_0000,
    0xFFFF_FFFF_0000_0000,
    0xFFFF_FFFF_FF00_0000,
    0xFFFF_FFFF_FFFF_0000,
    0xFFFF_FFFF_FFFF_FF00,
];
