//! `fleetprof-sim`: a fleet of simulated agents that replay captured profiles to real collectors.
//!
//! Prints a report at the end: what was acknowledged, by service, to be compared with what
//! `fleetprof services` answers.

mod args;

use std::{fs, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use args::{Args, Output};
use clap::Parser as _;
use fleetprof_tests::sim::{
    Fleet, Frames, Kill, Library, Plan, Report, Statistics, read_captures, record_compiler,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(10);
/// Smallest stack of the threads that do the work: they only draw and compress.
const MIB: usize = 1 << 20;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(complete) if complete => ExitCode::SUCCESS,
        Ok(_) => {
            eprintln!(
                "error: not every batch was acknowledged; see the report, and the collectors' logs"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was made is acknowledged.
fn run(args: &Args) -> anyhow::Result<bool> {
    let captures = match args.record {
        Some(span) => {
            let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
            let file = dir.path().join("capture.pb.gz");
            eprintln!("recording this host's C++ compiler for {span:?}");
            record_compiler(span, &file);
            read_captures(&[file])?
        }
        None => read_captures(&args.captures)?,
    };
    let frames = if args.names { Frames::Names } else { Frames::Addresses };
    let library = Arc::new(Library::new(&captures, frames));
    drop(captures);
    for (program, stacks) in library.programs() {
        eprintln!("captured: {program}, {stacks} distinct stacks");
    }
    let plan = Arc::new(Plan::new(args.plan(), &library));
    if let Some(windows) = args.statistics {
        let window = i64::try_from(args.window.as_nanos())?;
        let statistics = Statistics::measure(&library, &plan, Fleet::unix_nanos(), window, windows);
        println!("{}", serde_json::to_string_pretty(&statistics)?);
        return Ok(true);
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(2 * MIB)
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(deliver(args, library, plan))?;
    if let Some(path) = &args.report {
        fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    match args.output {
        Output::Table => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    // Of agents that lose what they have, some of it is.
    Ok((report.unknown_batches == 0 || args.kill_loses) && report.rejected_batches == 0)
}

/// Until the simulated time is over or somebody asks to end.
async fn deliver(args: &Args, library: Arc<Library>, plan: Arc<Plan>) -> anyhow::Result<Report> {
    let mut fleet = Fleet::start(args.config(Fleet::unix_nanos())?, library, plan)?;
    eprintln!("agents started: {}", fleet.hosts());
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut progress = interval(PROGRESS);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    progress.tick().await;
    let mut kills = interval(args.kill_every.unwrap_or(Duration::MAX / 4));
    kills.tick().await;
    let mut random = fastrand::Rng::with_seed(args.seed);
    loop {
        tokio::select! {
            () = fleet.finished() => break,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = progress.tick() => show(&fleet.report()),
            _ = kills.tick(), if args.kill_every.is_some() => {
                let kill = if args.kill_loses { Kill::LoseAll } else { Kill::KeepSpool };
                fleet.kill(random.usize(..fleet.hosts()), kill);
            }
        }
    }
    Ok(fleet.drain(args.drain).await)
}

fn show(report: &Report) {
    eprintln!(
        "{:>6.0} s: {} batches acknowledged of {}, {:.1} M samples; {} of {} agents connected, {} \
         resends, {} faults{}",
        report.wall_seconds,
        report.acknowledged_batches,
        report.batches,
        report.acknowledged().samples as f64 / 1e6,
        report.connected,
        report.hosts,
        report.resends,
        report.faults,
        report.last_fault.as_ref().map(|fault| format!(" (last: {fault})")).unwrap_or_default()
    );
}
