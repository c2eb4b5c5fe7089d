#![no_main]
//! Any header with any configuration of columns: the first line is the header, the second names fields and columns.

use std::collections::BTreeMap;

use common::read;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (header, configured) = text.split_once('\n').unwrap_or((text, ""));
    let mut names = configured.split(';');
    let mut columns = BTreeMap::new();
    while let (Some(field), Some(column)) = (names.next(), names.next()) {
        columns.insert(field.to_owned(), column.to_owned());
    }
    let cells = vec!["jane@example.org"; header.split(',').count()].join(",");
    let _ = read("a.csv", format!("{header}\n{cells}\n").as_bytes(), None, &columns);
    let keys: Vec<String> = header.split(',').map(|key| format!("{}:{{\"a\":[1]}}", serde_json::json!(key))).collect();
    let _ = read("a.json", format!("{{{}}}", keys.join(",")).as_bytes(), None, &columns);
});
