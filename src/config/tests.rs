//! What a person reads when the configuration is wrong, as text.

use std::path::Path;

use super::*;

const GOOD: &str = r#"
spool = "spool"
state = "/var/lib/mailchute"

[application]
client_id = "0a1b"

[[route]]
folder = "."
lists = ["Newsletter"]
consent = "explicit"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/mailchute/mailchute.toml"), text)
}

fn complaint(text: &str) -> String {
    parse(text).expect_err("this configuration is wrong").to_string()
}

fn swapped(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the sample has `{from}`");
    complaint(&GOOD.replace(from, to))
}

#[test]
fn a_small_file_gets_the_defaults_and_relative_paths_start_at_the_file() {
    let config = parse(GOOD).expect("good");
    assert_eq!(config.spool, Path::new("/etc/mailchute/spool"));
    assert_eq!(config.state, Path::new("/var/lib/mailchute"));
    assert_eq!(config.inbox.settle, Duration::from_secs(2));
    assert_eq!(config.limits.per_second.get(), 4);
    assert_eq!(config.limits.per_day, 10_000);
    assert_eq!(config.route(".").map(|route| route.lists.clone()), Some(vec!["Newsletter".to_owned()]));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    insta::assert_snapshot!(swapped("spool =", "spol ="), @"/etc/mailchute/mailchute.toml:2: `spol`: there is no such key; did you mean `spool`?");
    insta::assert_snapshot!(swapped("client_id", "clientid"), @"/etc/mailchute/mailchute.toml:6: `application.clientid`: there is no such key; did you mean `client_id`?");
    insta::assert_snapshot!(swapped("lists =", "zzz ="), @"/etc/mailchute/mailchute.toml:10: `route.zzz`: there is no such key; known here: folder, lists, consent, columns");
}

#[test]
fn wrong_values_name_line_key_and_what_would_be_right() {
    insta::assert_snapshot!(complaint(&format!("{GOOD}\n[inbox]\nsettle = \"soon\"\n")), @r#"/etc/mailchute/mailchute.toml:14: `inbox.settle`: `soon` is not a span of time: write it as "2s", "5m", "3h" or "90d""#);
    insta::assert_snapshot!(complaint(&format!("{GOOD}\n[inbox]\nmax_file_size = \"big\"\n")), @r#"/etc/mailchute/mailchute.toml:14: `inbox.max_file_size`: `big` is not a size: write it as "500MB" or "1GiB""#);
    insta::assert_snapshot!(complaint(&format!("{GOOD}\n[api]\nbase_url = \"api.cc.email\"\n")), @r#"/etc/mailchute/mailchute.toml:14: `api.base_url`: `api.cc.email` is not an address: write it whole, as "https://api.example.org/v3""#);
    insta::assert_snapshot!(swapped("\"0a1b\"", "\"…\""), @"/etc/mailchute/mailchute.toml:6: `application.client_id`: is not filled in: copy the API key (client id) from the developer portal's application page");
    insta::assert_snapshot!(swapped("\".\"", "\"../etc\""), @r#"/etc/mailchute/mailchute.toml:9: `route.folder`: `../etc` is not a folder below the inbox: write "." or a name like "members""#);
}

#[test]
fn a_column_that_begins_like_a_pointer_must_be_one() {
    let with = |column: &str| format!("{GOOD}columns = {{ email = \"Mail\", first_name = \"{column}\" }}\n");
    let config = parse(&with("/name/given~1first")).expect("good");
    assert_eq!(config.route(".").unwrap().columns["first_name"], "/name/given~1first");
    insta::assert_snapshot!(complaint(&with("/name~given")), @"/etc/mailchute/mailchute.toml:12: `route.columns`: `/name~given` is no JSON pointer: in a key, `~` is written `~0` and `/` is written `~1`, as in `/person/e~1mail`");
}

#[test]
fn consent_has_no_default() {
    let said = swapped("consent = \"explicit\"\n", "");
    assert!(
        said.starts_with("/etc/mailchute/mailchute.toml:8: `route.consent`: is missing. Say \"explicit\""),
        "{said}"
    );
    assert!(swapped("\"explicit\"", "\"maybe\"").contains("unknown variant `maybe`"));
}

#[test]
fn a_folder_has_one_route() {
    let twice = format!("{GOOD}\n[[route]]\nfolder = \"./\"\nlists = [\"B\"]\nconsent = \"explicit\"\n");
    insta::assert_snapshot!(complaint(&twice), @"/etc/mailchute/mailchute.toml:14: `route.folder`: `.` has a route already: a folder has one");
}

#[test]
fn the_packaged_services_state_is_known_by_its_place_and_nobody_elses_is() {
    let name = |state| application::service(Path::new(state));
    assert_eq!(name("/var/lib/mailchute"), Some("mailchute"));
    assert_eq!(name("/var/lib/mailchute-second"), Some("mailchute-second"));
    for other in
        ["/var/lib", "/var/lib/mailchutes", "/var/lib/mailchute-a/b", "/home/jane/.local/share/mailchute"]
    {
        assert_eq!(name(other), None, "{other}");
    }
}
