//! `posthaste completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::{Ended, Exit};
use crate::output::Console;

/// For which shell.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(options: &Options, console: &Console) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "posthaste", &mut script);
    console.bytes(&script);
    Ok(Exit::Ok)
}
