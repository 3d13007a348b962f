//! What the collector's binary does besides serving: one module per command. Answers go to standard
//! output, everything about them to standard error.

mod export;
mod fsck;
mod import;
mod place;
mod screen;

use std::process::ExitCode;

use crate::args::Command;

pub use place::PlaceError;

/// Something is wrong with the store.
const FINDINGS: u8 = 3;

/// Runs a command; answers the code to end with.
///
/// # Errors
/// When it could not be done.
pub async fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Fsck(args) => fsck::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Import(args) => import::run(args).await,
    }
}
