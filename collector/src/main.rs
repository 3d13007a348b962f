//! The collector's binary: reads the command line, starts a [`Collector`], waits for a signal. Started
//! by itself in a second way, it is a process that parses objects.
#![forbid(unsafe_code)]

use std::{env, ffi::OsString, io::IsTerminal as _, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Parser as _, ValueEnum as _};
use fleetprof_collector::{
    args::{Args, Command, LogFormat},
    commands, memory,
    server::Collector,
};
use fleetprof_symbolizer::{WorkerCommand, worker};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing::warn;
use tracing_subscriber::EnvFilter;

/// First argument of the processes that parse objects; the log's filter and format follow.
const WORKER: &str = "symbolize-worker";

fn main() -> ExitCode {
    // Before the command line is read: this is no command for people.
    let mut arguments = env::args_os().skip(1);
    let result = if arguments.next().is_some_and(|argument| argument == WORKER) {
        serve_as_worker(arguments).map(|()| ExitCode::SUCCESS)
    } else {
        let args = Args::parse();
        match &args.command {
            Some(command) => run_command(command),
            None => run(&args).map(|()| ExitCode::SUCCESS),
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    start_log(&args.log, args.log_format)?;
    // Before there are threads. Commands and processes that parse objects are short, and stay as they are.
    if let Some(error) = memory::restart_with_few_heaps() {
        warn!(%error, "cannot start again with MALLOC_ARENA_MAX=2: this takes more memory; set it yourself");
    }
    let mut config = args.config();
    config.symbol_worker = Some(worker_command(args).context("cannot find this program's file")?);
    runtime()?.block_on(async {
        // Before anything is opened, so that a signal during the start ends it in order, too.
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
        let collector = Collector::start(config).await?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        collector.serve(shutdown).await;
        Ok(())
    })
}

/// What is no service: it answers and ends. A signal ends it at once, which leaves nothing half done.
fn run_command(command: &Command) -> anyhow::Result<ExitCode> {
    start_log("warn", LogFormat::Text)?;
    runtime()?.block_on(commands::run(command))
}

fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the async runtime")
}

/// How this process starts those that parse objects. They inherit its standard error, but no
/// environment.
fn worker_command(args: &Args) -> std::io::Result<WorkerCommand> {
    let mut command = WorkerCommand::current_exe(WORKER)?;
    let format = args.log_format.to_possible_value();
    command.args.push(args.log.clone().into());
    command.args.extend(format.map(|format| format.get_name().into()));
    Ok(command)
}

fn serve_as_worker(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let mut next = || arguments.next().and_then(|argument| argument.into_string().ok());
    let (Some(filter), Some(format)) = (next(), next()) else {
        bail!("{WORKER} is how fleetprof-collector starts itself, no command");
    };
    let format = LogFormat::from_str(&format, false).map_err(anyhow::Error::msg)?;
    start_log(&filter, format)?;
    worker::serve().context("a symbolizer process lost its collector")
}

fn start_log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("--log {filter:?} is not a filter such as info or debug"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}
