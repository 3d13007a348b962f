//! `fleetprof-servers`: an S3 server and a catalog on loopback, for `make run-fleet` and for trying things.
//!
//! Writes where they are as shell assignments when they are ready, and ends them on SIGTERM or SIGINT.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::Context as _;
use clap::Parser;
use fleetprof_tests::servers::{Postgres, Seaweed};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

/// Runs SeaweedFS and PostgreSQL on loopback until it is told to end
#[derive(Debug, Parser)]
#[command(name = "fleetprof-servers", version)]
struct Args {
    /// Folder of the object store and its log; the catalog has a temporary one
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// File that gets the variables of a collector's environment when both are ready
    #[arg(long, value_name = "FILE")]
    environment: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let dir = &args.dir;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let dir = dir.canonicalize().with_context(|| format!("cannot use {}", dir.display()))?;
    // Both end with this thread.
    let store = Seaweed::start(&dir);
    let catalog = Postgres::start();
    let mut text = String::new();
    let own = [
        ("FLEETPROF_COLLECTOR_STORE", store.url("fleet")),
        ("FLEETPROF_COLLECTOR_CATALOG", catalog.url()),
    ];
    for (name, value) in store.environment().into_iter().chain(own) {
        writeln!(text, "export {name}='{value}'")?;
    }
    // Whole or not at all: whoever waits for it reads it at once.
    let part = args.environment.with_extension("part");
    let written = fs::write(&part, text).and_then(|()| fs::rename(&part, &args.environment));
    written.with_context(|| format!("cannot write {}", args.environment.display()))?;
    eprintln!("ready; S3 is {}, the catalog {}", store.endpoint(), catalog.url());

    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        anyhow::Ok(())
    })
}
