//! Writes the manual pages and the shell completions: `cargo run --example pages -- FOLDER`.
//!
//! Owns how the pages are put together; their words come from where they are kept already: the commands from the help
//! texts, the configuration's keys from `contrib/mailchute.toml`, what can be dropped from the README. What only a manual
//! page says stands in `mailchute.1.md` and its neighbours.

mod keys;
mod roff;

use std::{env, fs, io, path::Path, process::ExitCode};

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use mailchute::cli;

const README: &str = include_str!("../../README.md");
const EXAMPLE: &str = include_str!("../../contrib/mailchute.toml");
const DAEMON: &str = include_str!("mailchute.1.md");
const COMPANION: &str = include_str!("mailchute-auth.1.md");
const CONFIGURATION: &str = include_str!("mailchute.toml.5.md");
const DROPPING: &str = include_str!("mailchute-drop.7.md");
/// The chapters of the README that are the page about drop files.
const CHAPTERS: [&str; 3] = ["What you can drop", "What comes back", "Whom you may sign up"];

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprint("usage: pages FOLDER");
        return ExitCode::from(2);
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint(&format!("pages: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn eprint(text: &str) {
    let _nobody_reads = io::Write::write_all(&mut io::stderr(), format!("{text}\n").as_bytes());
}

fn write(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    for (name, text) in pages()? {
        fs::write(man.join(name), text)?;
    }
    for mut command in [cli::command(), cli::auth::command()] {
        let name = command.get_name().to_owned();
        for shell in Shell::value_variants() {
            if matches!(shell, Shell::Bash | Shell::Zsh | Shell::Fish) {
                clap_complete::generate_to(*shell, &mut command, name.clone(), &completions)?;
            }
        }
    }
    Ok(())
}

/// Each page's file name and text.
fn pages() -> io::Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("mailchute.1", program(&cli::command(), DAEMON)?),
        ("mailchute-auth.1", program(&cli::auth::command(), COMPANION)?),
        (
            "mailchute.toml.5",
            roff::title("mailchute.toml", 5)
                + &roff::from_markdown(&CONFIGURATION.replace("@KEYS@", &keys::from_example(EXAMPLE))),
        ),
        (
            "mailchute-drop.7",
            roff::title("mailchute-drop", 7)
                + &roff::from_markdown(&DROPPING.replace("@README@", &chapters(README, &CHAPTERS))),
        ),
    ])
}

/// A program's page: what its help says, each command in a section of its own, then the rest.
fn program(command: &Command, rest: &str) -> io::Result<String> {
    let mut page = roff::title(command.get_name(), 1);
    page += &roff::section("NAME");
    page += &format!("{} \\- {}\n", roff::inline(command.get_name()), about(command));
    page += &help(command.clone(), "SH")?;
    if command.has_subcommands() {
        page += &roff::section("COMMANDS");
    }
    for sub in command.get_subcommands() {
        page += &format!(".SS {}\n{}\n", sub.get_name(), about(sub));
        let whole_name = format!("{} {}", command.get_name(), sub.get_name());
        page += &help(sub.clone().bin_name(&whole_name).display_name(whole_name), "PP")?;
    }
    Ok(page + &roff::from_markdown(rest))
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    roff::inline(about.trim_end_matches('.'))
}

/// Synopsis, options and examples of a command.
fn help(command: Command, heading: &str) -> io::Result<String> {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_options = command.get_arguments().next().is_some();
    let man = Man::new(command.disable_help_flag(true).disable_version_flag(true).after_help(""));
    let mut sections = Vec::new();
    man.render_synopsis_section(&mut sections)?;
    if has_options {
        man.render_options_section(&mut sections)?;
    }
    let mut text = String::from_utf8_lossy(&sections).into_owned();
    if let Some(example) = examples.strip_prefix("Example:\n") {
        text += &format!(".SH EXAMPLE\n.nf\n{}\n.fi\n", roff::inline(example.trim_end()));
    }
    // The apostrophe settings at the head of each part are said once, by the title.
    let lines = text.lines().filter(|line| !line.starts_with(".ie ") && !line.starts_with(".el "));
    Ok(lines
        .map(|line| match line.strip_prefix(".SH ") {
            Some(title) if heading == "PP" => format!(".PP\n\\fI{title}\\fR\n.br\n"),
            _ => format!("{line}\n"),
        })
        .collect())
}

/// The named chapters of a text, each with its heading.
fn chapters(text: &str, names: &[&str]) -> String {
    let parts = text.split("\n## ").filter(|part| names.iter().any(|name| part.starts_with(name)));
    parts.map(|part| format!("## {part}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str) -> String {
        pages().unwrap().into_iter().find(|(page, _)| *page == name).unwrap().1
    }

    #[test]
    fn every_command_and_every_option_is_in_the_manual() {
        for (name, command) in [("mailchute.1", cli::command()), ("mailchute-auth.1", cli::auth::command())] {
            let page = page(name).replace("\\-", "-");
            let commands: Vec<&Command> =
                std::iter::once(&command).chain(command.get_subcommands()).collect();
            let options = commands.iter().flat_map(|command| command.get_arguments());
            for option in options.filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{option}")), "{name} lacks --{option}");
            }
            for sub in command.get_subcommands() {
                assert!(
                    page.contains(&format!(".SS {}\n", sub.get_name())),
                    "{name} lacks {}",
                    sub.get_name()
                );
            }
        }
    }

    #[test]
    fn every_exit_status_of_the_program_is_in_the_manual() {
        use mailchute::cli::Exit;
        let page = page("mailchute.1");
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Refused,
            Exit::Unreachable,
            Exit::Waiting,
            Exit::LoginNeeded,
            Exit::Config,
        ] {
            assert!(page.contains(&format!(".TP\n\\fB{}\\fR\n", exit as u8)), "{exit:?}");
        }
    }

    #[test]
    fn every_key_of_the_configuration_is_in_the_manual() {
        let page = page("mailchute.toml.5");
        let raw = include_str!("../../src/config/raw.rs");
        let keys = raw.lines().filter_map(|line| line.strip_prefix("    pub(super) ")?.split(':').next());
        let tables = ["application", "api", "inbox", "delivery", "metrics", "route"];
        // Keys that the contract has and this version does not act on are not to be found in a manual either.
        let config = include_str!("../../src/config/mod.rs");
        let later = |key: &str| config.contains(&format!(".{key}\", "));
        let missing: Vec<&str> = keys
            .filter(|key| !tables.contains(key) && !later(key) && !page.contains(&format!("\\fB{key} ")))
            .collect();
        assert_eq!(missing, Vec::<&str>::new(), "say them in contrib/mailchute.toml");
    }

    #[test]
    fn the_readme_still_has_the_chapters_about_drop_files() {
        for chapter in CHAPTERS {
            assert!(chapters(README, &[chapter]).len() > chapter.len() + "## ".len(), "{chapter}");
        }
    }
}
