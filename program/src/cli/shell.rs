//! `trunkline completions` and `trunkline man`: made from the command line's own definition.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::failure::{Done, Exit, Failure};
use super::output::raw;

#[derive(Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

#[derive(Args)]
pub(crate) struct Man {
    /// Write a page for each subcommand into this folder
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Completions {
    pub(crate) fn run(&self) -> Done {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "trunkline", &mut text);
        raw(String::from_utf8_lossy(&text).trim_end())
    }
}

impl Man {
    pub(crate) fn run(&self) -> Done {
        let failed =
            |error: std::io::Error| Failure::new("output_failed", error.to_string(), Exit::Failed);
        match &self.dir {
            Some(folder) => clap_mangen::generate_to(Cli::command(), folder).map_err(failed),
            None => {
                let mut text = Vec::new();
                clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(failed)?;
                raw(String::from_utf8_lossy(&text).trim_end())
            }
        }
    }
}
