//! The program: reads its arguments, runs one subcommand, prints what went wrong.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
