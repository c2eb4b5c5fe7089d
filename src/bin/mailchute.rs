//! The daemon and everything an operator does with it: arguments in, exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailchute::cli::main()
}
