#![no_main]
//! Any bytes in any encoding: read without harm, and UTF-8 never changed by a configured encoding.

use std::collections::BTreeMap;

use common::{Drip, read};
use encoding_rs::{Encoding, GB18030, ISO_2022_JP, SHIFT_JIS, UTF_16BE, UTF_16LE, WINDOWS_1252};
use libfuzzer_sys::fuzz_target;

const ENCODINGS: [&Encoding; 6] = [WINDOWS_1252, SHIFT_JIS, GB18030, ISO_2022_JP, UTF_16LE, UTF_16BE];

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    let columns = BTreeMap::new();
    let encoding = ENCODINGS[usize::from(*which) % ENCODINGS.len()];
    let name = if which & 0x80 == 0 { "a.csv" } else { "a.jsonl.gz" };
    let found = read(name, bytes, Some(encoding), &columns);
    assert_eq!(found, read(name, Drip(bytes), Some(encoding), &columns));
    let is_wide = [UTF_16LE, UTF_16BE].contains(&encoding);
    if name == "a.csv" && !is_wide && std::str::from_utf8(bytes).is_ok() {
        assert_eq!(found, read(name, bytes, None, &columns), "UTF-8 is UTF-8");
    }
});
