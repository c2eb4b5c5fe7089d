//! The keys of the configuration, read off the commented example: one place says what a key does.

/// A table of the keys in Markdown, with a heading for each table of the file.
pub fn from_example(example: &str) -> String {
    let mut out = String::from("## Folders\n\n");
    let mut notes: Vec<&str> = Vec::new();
    for line in example.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if let Some(table) = table(bare) {
            out += &format!("\n## Table {table}\n\n");
            notes.clear();
        } else if let Some((key, value, note)) = key(bare) {
            let said = if note.is_empty() { notes.join(" ") } else { note.to_owned() };
            out += &format!("| `{key} = {value}` | {said} |\n");
            notes.clear();
        } else if line.starts_with('#') {
            let note = bare.trim_start_matches('#').trim();
            // A line below a key goes on with that key's note.
            match out.strip_suffix(" |\n") {
                Some(row) if line.starts_with("#  ") => out = format!("{row} {note} |\n"),
                _ => notes.push(note),
            }
        } else {
            notes.clear();
        }
    }
    out
}

fn table(line: &str) -> Option<&str> {
    let name = line.split('#').next().unwrap_or_default().trim();
    (name.starts_with('[') && name.ends_with(']')).then_some(name)
}

/// `key = value   # note`, where the key is a bare word.
fn key(line: &str) -> Option<(&str, &str, &str)> {
    let (key, rest) = line.split_once(" = ")?;
    if !key.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_') {
        return None;
    }
    let (value, note) = rest.split_once(" # ").unwrap_or((rest, ""));
    Some((key, value.trim(), note.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_notes_beside_above_or_below_them() {
        let example = "# What it is.\n\n# spool = \"/x\"   # beside\n\n[application]\n# above it:\nclient_id = \"y\"\n\n# [inbox]\n# settle = \"2s\"  # first\n#                 second\n";
        let table = "## Folders\n\n| `spool = \"/x\"` | beside |\n\n## Table [application]\n\n| `client_id = \"y\"` | above it: |\n\n## Table [inbox]\n\n| `settle = \"2s\"` | first second |\n";
        assert_eq!(from_example(example), table);
    }
}
