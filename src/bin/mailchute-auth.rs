//! The companion for the one sign-in in a browser: arguments in, exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailchute::cli::auth::main()
}
