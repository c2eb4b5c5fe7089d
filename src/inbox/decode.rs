//! Bytes to UTF-8: by the byte order mark, else as they are, else line by line in the configured encoding.
//!
//! Pure over any input. Promises that a file that is UTF-8 passes untouched and uncopied, and that what cannot be decoded
//! reaches the reader as it is, so that the reader can name its line.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use encoding_rs_io::DecodeReaderBytesBuilder;

/// Where lines are looked at one by one, a line is at most so long at a time: it bounds memory, not lines.
const PIECE: u64 = 1 << 20;

/// What is looked at to know the encoding: a header line and some rows.
const START_LOOKED_AT: u64 = 16 << 10;

/// The text of an input. `fallback` is what lines that are not UTF-8 are written in, if that is configured.
pub fn text<'a>(
    mut input: Box<dyn BufRead + 'a>,
    fallback: Option<&'static Encoding>,
) -> io::Result<Box<dyn BufRead + 'a>> {
    // Not what the first call happens to deliver: a packed file or a slow disk may give the mark's first byte alone.
    let mut start = Vec::new();
    input.by_ref().take(START_LOOKED_AT).read_to_end(&mut start)?;
    let mark = Encoding::for_bom(&start);
    let is_wide = start.contains(&0);
    let mut input: Box<dyn BufRead + 'a> = Box::new(Cursor::new(start).chain(input));
    if let Some((marked, length)) = mark {
        input.consume(length);
        if marked != UTF_8 {
            return Ok(whole(input, marked));
        }
    } else if let Some(wide) = fallback.filter(|wide| [UTF_16LE, UTF_16BE].contains(wide)) {
        // Without its mark, UTF-16 is known by the zeros in it: every text that a person keeps has some ASCII.
        return Ok(if is_wide { whole(input, wide) } else { input });
    }
    Ok(match fallback.filter(|encoding| *encoding != UTF_8) {
        Some(encoding) => Box::new(BufReader::new(ByLine::new(input, encoding))),
        None => input,
    })
}

fn whole<'a>(input: Box<dyn BufRead + 'a>, encoding: &'static Encoding) -> Box<dyn BufRead + 'a> {
    let decoded = DecodeReaderBytesBuilder::new().encoding(Some(encoding)).bom_sniffing(false).build(input);
    Box::new(BufReader::new(decoded))
}

/// Decodes the lines that are not UTF-8.
struct ByLine<R> {
    input: R,
    encoding: &'static Encoding,
    /// Bytes of the input; after a piece that ends within a character, the beginning of that character.
    raw: Vec<u8>,
    text: Vec<u8>,
    delivered: usize,
}

impl<R: BufRead> ByLine<R> {
    fn new(input: R, encoding: &'static Encoding) -> Self {
        Self { input, encoding, raw: Vec::new(), text: Vec::new(), delivered: 0 }
    }

    fn next_piece(&mut self) -> io::Result<()> {
        self.delivered = 0;
        self.text.clear();
        let got = (&mut self.input).take(PIECE).read_until(b'\n', &mut self.raw)?;
        match std::str::from_utf8(&self.raw) {
            Ok(_) => std::mem::swap(&mut self.text, &mut self.raw),
            // Cut off, not wrong: the rest comes with the next piece.
            Err(error) if error.error_len().is_none() && u64::try_from(got).is_ok_and(|got| got == PIECE) => {
                let rest = self.raw.split_off(error.valid_up_to());
                self.text = std::mem::replace(&mut self.raw, rest);
            }
            Err(_) => {
                let (decoded, _) = self.encoding.decode_without_bom_handling(&self.raw);
                self.text = decoded.into_owned().into_bytes();
                self.raw.clear();
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ByLine<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.delivered == self.text.len() {
            self.next_piece()?;
        }
        let left = &self.text[self.delivered..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.delivered += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{SHIFT_JIS, WINDOWS_1252};
    use proptest::prelude::*;

    use super::*;

    fn decoded(bytes: &[u8], fallback: Option<&'static Encoding>) -> Vec<u8> {
        let mut out = Vec::new();
        text(Box::new(bytes), fallback).unwrap().read_to_end(&mut out).unwrap();
        out
    }

    fn wide(text: &str, big: bool) -> Vec<u8> {
        let order = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn a_mark_says_what_the_text_is_written_in() {
        assert_eq!(decoded(b"\xef\xbb\xbfJos\xc3\xa9", None), "José".as_bytes());
        for big in [false, true] {
            assert_eq!(decoded(&wide("\u{feff}José", big), None), "José".as_bytes());
            let configured = if big { UTF_16BE } else { UTF_16LE };
            assert_eq!(decoded(&wide("José", big), Some(configured)), "José".as_bytes());
        }
    }

    #[test]
    fn a_mark_that_comes_in_pieces_is_seen() {
        for big in [false, true] {
            let bytes = wide("\u{feff}José", big);
            let mut out = Vec::new();
            let drip = BufReader::with_capacity(1, &bytes[..]);
            text(Box::new(drip), None).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, "José".as_bytes());
        }
    }

    #[test]
    fn only_lines_that_are_not_utf_8_are_in_the_configured_encoding() {
        let mixed = b"Jos\xe9\nJos\xc3\xa9\n";
        assert_eq!(decoded(mixed, Some(WINDOWS_1252)), "José\nJosé\n".as_bytes());
        assert_eq!(decoded(mixed, None), mixed, "left to the reader, which names the line");
        assert_eq!(decoded(b"\x83\x65\x83\x58\x83\x67", Some(SHIFT_JIS)), "テスト".as_bytes());
    }

    #[test]
    fn a_character_across_two_pieces_is_whole() {
        let mut long = vec![b'x'; usize::try_from(PIECE).unwrap() - 1];
        long.extend("é".as_bytes());
        assert_eq!(decoded(&long, Some(WINDOWS_1252)), long);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for fallback in [None, Some(WINDOWS_1252), Some(SHIFT_JIS), Some(UTF_16LE)] {
                let text = decoded(&bytes, fallback);
                prop_assert!(fallback.is_none() || std::str::from_utf8(&text).is_ok() || fallback == Some(UTF_16LE));
            }
        }

        #[test]
        fn utf_8_passes_untouched(text in "\\PC{0,40}") {
            prop_assume!(!text.starts_with('\u{feff}'));
            prop_assert_eq!(decoded(text.as_bytes(), Some(WINDOWS_1252)), text.as_bytes());
        }
    }
}
