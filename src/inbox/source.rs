//! The bytes of a drop file on their way to a reader: opened safely, hashed, unpacked, bounded.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use encoding_rs::Encoding;
use flate2::read::MultiGzDecoder;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

use super::decode;
use super::names::{Format, Meaning, meaning};

/// Large enough that system calls do not matter, small enough that thousands of files do not either.
const BUFFER: usize = 64 << 10;

/// Opens a file that somebody else may be replacing: never through a link, never waiting for a pipe's other end.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// The text for a reader, unpacked if the name says that it is packed, and decoded.
pub fn reader<'a>(
    name: &str,
    bytes: impl Read + 'a,
    most: u64,
    encoding: Option<&'static Encoding>,
) -> io::Result<Box<dyn BufRead + 'a>> {
    let bytes: Box<dyn BufRead + 'a> = match meaning(name) {
        Meaning::Drop(_, true) => {
            let unpacked = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, bytes));
            Box::new(BufReader::with_capacity(BUFFER, Bounded { bytes: unpacked, left: most, most }))
        }
        _ => Box::new(BufReader::with_capacity(BUFFER, Bounded { bytes, left: most, most })),
    };
    decode::text(bytes, encoding)
}

/// The format that a name promises; other names are read as delimited text, which says what is wrong with them.
pub fn format(name: &str) -> Format {
    match meaning(name) {
        Meaning::Drop(format, _) => format,
        _ => Format::Delimited,
    }
}

/// Refuses to deliver more than a file may unpack to.
struct Bounded<R> {
    bytes: R,
    left: u64,
    most: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.bytes.read(buffer)?;
        match self.left.checked_sub(u64::try_from(got).unwrap_or(u64::MAX)) {
            Some(left) => self.left = left,
            None => {
                return Err(io::Error::other(format!(
                    "the file is larger than max_file_size ({} bytes)",
                    self.most
                )));
            }
        }
        Ok(got)
    }
}

/// Hashes what passes.
pub struct Hashed<R> {
    bytes: R,
    digest: Sha256,
    failure: Option<io::Error>,
}

impl<R: Read> Hashed<R> {
    /// Nothing has passed yet.
    pub fn new(bytes: R) -> Self {
        Self { bytes, digest: Sha256::new(), failure: None }
    }

    /// What the disk said when it failed, if it did: a reader only sees that its input ended badly.
    pub fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Reads what no reader wanted and gives the digest of all, in hexadecimal.
    pub fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(buffer) {
            Ok(got) => {
                self.digest.update(&buffer[..got]);
                Ok(got)
            }
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failure = Some(error);
                Err(told)
            }
        }
    }
}

/// The digest of a whole file.
pub fn sha256(path: &Path) -> io::Result<String> {
    Hashed::new(BufReader::with_capacity(BUFFER, open(path)?)).finish()
}
