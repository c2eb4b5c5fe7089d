//! Every reason for `attention` that the program has is explained in the README, with its cure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

use std::{collections::BTreeMap, fs, path::Path};

const README: &str = include_str!("../README.md");

/// Words of a reason in the code, and what the README's table calls it.
const REASONS: [(&str, &str); 15] = [
    ("nobody has signed in yet", "nobody has signed in yet"),
    ("the service ended the authorization", "the service ended the authorization"),
    ("the answer to a token refresh was lost", "the answer to a token refresh was lost"),
    ("the application's client id or secret is refused", "the application's client id or secret is refused"),
    ("the authorization was not refreshed for", "the authorization was not refreshed for … days"),
    (
        "the account refuses a token that was just renewed",
        "the account refuses a token that was just renewed",
    ),
    ("the account forbids calls", "the account forbids calls"),
    ("the account has no list", "route …: the account has no list …"),
    ("the account refuses a list that it has", "route …: the account refuses a list that it has"),
    ("rows wait on route", "… rows wait on route …, which the configuration no longer has"),
    ("held for a person to decide", "… rows are held for a person to decide"),
    ("and not be moved to `failed`", "… cannot be moved"),
    ("the new configuration is not used", "the new configuration is not used"),
    ("there is no status page", "there is no status page"),
    ("is damaged", "outbox … is damaged"),
];

/// Where the program calls for a person, by file. A new place means a new row in the README's table and in [`REASONS`].
const PLACES: [(&str, usize); 8] = [
    ("daemon/mod.rs", 1),
    ("daemon/reload.rs", 1),
    ("daemon/report.rs", 1),
    ("drain/calls.rs", 1),
    ("drain/directory.rs", 2),
    ("drain/gate.rs", 4),
    ("inbox/mod.rs", 1),
    // The sign-in, the idle authorization, what the loops wrote down, held rows.
    ("status/health.rs", 4),
];

fn sources(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, root, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            found.insert(path.strip_prefix(root).unwrap().display().to_string(), production);
        }
    }
}

#[test]
fn every_reason_for_attention_is_in_the_readme_with_its_cure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    sources(&root, &root, &mut files);
    let calls = [
        "Obstacle::attention(",
        "set_trouble(SCOPE, Health::Attention",
        "level: Health::Attention",
        "(Health::Attention,",
    ];
    let count = |text: &String| calls.iter().map(|call| text.matches(call).count()).sum::<usize>();
    let places: Vec<(&str, usize)> = files
        .iter()
        // The word itself is made here.
        .filter(|(file, _)| *file != "outbox/teller.rs")
        .map(|(file, text)| (file.as_str(), count(text)))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(places, PLACES, "explain the new reason in the README, then name it here");
    let (_, chapter) = README.split_once("### When it asks for attention").expect("the chapter");
    let table = chapter.split("\n### ").next().unwrap();
    for (words, named) in REASONS {
        assert!(files.values().any(|text| text.contains(words)), "no code says `{words}` any more");
        let row = table.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{named}`")));
        let cure = row.and_then(|row| row.trim_matches('|').split(" | ").nth(1));
        assert!(cure.is_some_and(|cure| cure.trim().len() > 20), "`{named}` has no cure in the README");
    }
}
