//! `fleetprof completions`: a script that completes the command line in a shell.

use clap::CommandFactory as _;

use crate::{
    args::{Cli, CompletionsArgs},
    error::CliError,
    screen::Screen,
};

pub(super) fn run(args: &CompletionsArgs, screen: Screen) -> Result<(), CliError> {
    // Into memory first: the generator panics where a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fleetprof", &mut script);
    screen.print_bytes(&script)
}
