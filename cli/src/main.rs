//! `fleetprof`: the command an engineer types. Wiring only: the command line in ([`args`]), a
//! question to the collector ([`client`], [`commands`]), text and an exit status out ([`output`],
//! [`screen`], [`error`]). What the numbers mean is the collector's business.
#![forbid(unsafe_code)]

mod args;
mod client;
mod commands;
mod error;
mod help;
mod output;
mod screen;
mod target;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{args::Cli, error::CliError, screen::Screen};

fn main() -> ExitCode {
    let screen = Screen::detect();
    let result = match Cli::try_parse() {
        Ok(cli) => run(cli, screen),
        Err(error) => {
            // Help goes to standard output, mistakes to standard error; a reader that left is fine.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                screen.error(&error.to_string());
            }
            error.exit_code()
        }
    }
}

fn run(cli: Cli, screen: Screen) -> Result<(), CliError> {
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Start)?;
    let result = runtime.block_on(async {
        // Dropping the command on a signal, instead of dying of it, removes a half-written file and
        // the spinner.
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Start)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Start)?;
        tokio::select! {
            result = commands::run(cli, screen) => result,
            _ = interrupt.recv() => Err(CliError::Interrupted { signal: 2 }),
            _ = terminate.recv() => Err(CliError::Interrupted { signal: 15 }),
        }
    });
    // A name look-up that is still under way runs on a thread of its own; nobody waits for it.
    runtime.shutdown_background();
    result
}
