//! `fleetprof-agent`: wiring of the command line to the commands.

use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use bytesize::ByteSize;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
use fleetprof_agent::{
    commands,
    config::{
        BatchLabels, RECORD_FREQUENCY_HZ, RUN_FREQUENCY_HZ, RecordConfig, RunConfig, parse_label,
    },
    sampler::BuildIds,
};
use fleetprof_symbolizer::{WorkerCommand, worker};
use tracing_subscriber::EnvFilter;

/// How this program starts itself to parse an object.
const WORKER: &str = "symbolize-worker";

/// Profiles every process of this host with eBPF.
///
/// `run` streams to a collector for as long as the host lives, `record` writes one pprof file and
/// needs no collector, `doctor` says whether this host supports both.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: error, warn, info, debug, trace, or a `tracing` filter [default: info for run,
    /// else warn]
    #[arg(long, global = true, env = "FLEETPROF_LOG")]
    log: Option<String>,
    /// How to log
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

const EXAMPLES: &str = "\
Examples:
  fleetprof-agent doctor
  fleetprof-agent record --duration 10s --output host.pb.gz && go tool pprof -top host.pb.gz
  fleetprof-agent run --collector http://collector:7171

Exit codes: 0 done, 1 failed (the message says why), 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Sample this host and stream to a collector until stopped
    Run(RunArgs),
    /// Sample this host for a while and write a symbolized pprof file
    Record(RecordArgs),
    /// Say what this host supports and what to do about what is missing
    Doctor(DoctorArgs),
    /// Parse objects for a `record`; no command for people
    #[command(name = WORKER, hide = true)]
    SymbolizeWorker,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// URL of the collector
    #[arg(long, env = "FLEETPROF_COLLECTOR", default_value = "http://127.0.0.1:7171")]
    collector: String,
    /// Samples per second and CPU
    #[arg(long, value_name = "HZ", default_value_t = RUN_FREQUENCY_HZ, value_parser = frequency())]
    frequency: u32,
    /// Span of one batch: how old the newest data in the collector can be
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = window)]
    window: Duration,
    /// Where build IDs of mapped files come from
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t = BuildIds::default())]
    build_ids: BuildIds,
    /// Value of the `host` label [default: the host name]
    #[arg(long, env = "FLEETPROF_HOST")]
    host: Option<String>,
    /// A label on every sample, e.g. zone=eu-1 (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Memory for batches the collector has not acknowledged
    #[arg(long, value_name = "SIZE", default_value = "16MiB")]
    buffer_bytes: ByteSize,
    /// Disk for batches the collector has not acknowledged; 0 keeps none on disk
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    spool_bytes: ByteSize,
    /// Directory of that disk buffer
    #[arg(long, value_name = "DIR", default_value = "/var/lib/fleetprof-agent/spool")]
    spool_dir: PathBuf,
    /// Upload rate for binaries and symbols the collector asks for, per second; 0 uploads none
    #[arg(long, value_name = "SIZE", default_value = "8MiB")]
    upload_rate: ByteSize,
    /// How often the hottest binaries are looked at again: their debug information may have come
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    look_again: Duration,
    /// Address of /metrics and /healthz
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7172")]
    metrics_listen: SocketAddr,
    /// Kernel memory for unwind tables; those unused for longest make way
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = unwind_memory)]
    unwind_memory: ByteSize,
    /// Directory where built unwind tables are kept (256 MiB at most); empty keeps none
    #[arg(long, value_name = "DIR", default_value = "/var/lib/fleetprof-agent/unwind")]
    unwind_cache_dir: PathBuf,
}

#[derive(Debug, Args)]
struct RecordArgs {
    /// How long to sample
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = record_duration)]
    duration: Duration,
    /// The pprof file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Samples per second and CPU
    #[arg(long, value_name = "HZ", default_value_t = RECORD_FREQUENCY_HZ, value_parser = frequency())]
    frequency: u32,
    /// Sample only this process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let default = if matches!(cli.command, Command::Run(_)) { "info" } else { "warn" };
    let log = cli.log.as_deref().unwrap_or(default);
    if let Err(error) = init_logs(log, cli.log_format) {
        eprintln!("error: --log {log:?}: {error}");
        return ExitCode::from(2);
    }
    let result = match cli.command {
        Command::Run(args) => {
            let config = args.config().unwrap_or_else(|wrong| wrong.exit());
            commands::run::run(config).map(|()| true)
        }
        Command::Record(args) => worker_command(log, cli.log_format)
            .and_then(|worker| commands::record::run(&args.into(), worker))
            .map(|()| true),
        Command::Doctor(args) => commands::doctor::run(args.json),
        Command::SymbolizeWorker => {
            worker::serve().map(|()| true).context("a symbolizer process lost its recording")
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Workers inherit the standard error, but no environment.
fn worker_command(log: &str, format: LogFormat) -> anyhow::Result<WorkerCommand> {
    let mut command =
        WorkerCommand::current_exe(WORKER).context("cannot find this program's file")?;
    command.args.extend(["--log", log].map(Into::into));
    if let Some(format) = format.to_possible_value() {
        command.args.extend(["--log-format", format.get_name()].map(Into::into));
    }
    Ok(command)
}

fn init_logs(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

// === impl arguments ===

impl RunArgs {
    /// Checks what no single option shows: wrong usage, as clap reports it.
    fn config(self) -> Result<RunConfig, clap::Error> {
        let host = self.host.unwrap_or_else(host_name);
        let labels = BatchLabels::new(&host, self.labels).map_err(|error| {
            Cli::command().error(ErrorKind::ArgumentConflict, format!("--label: {error}"))
        })?;
        Ok(RunConfig {
            collector: self.collector,
            frequency_hz: self.frequency,
            build_ids: self.build_ids,
            window: self.window,
            host,
            labels,
            buffer_bytes: self.buffer_bytes.as_u64(),
            spool_bytes: self.spool_bytes.as_u64(),
            spool_dir: self.spool_dir,
            upload_rate_bytes: self.upload_rate.as_u64(),
            look_again: self.look_again,
            metrics_listen: self.metrics_listen,
            unwind_memory_bytes: self.unwind_memory.as_u64(),
            unwind_cache_dir: self.unwind_cache_dir,
        })
    }
}

impl From<RecordArgs> for RecordConfig {
    fn from(args: RecordArgs) -> Self {
        Self {
            duration: args.duration,
            output: args.output,
            frequency_hz: args.frequency,
            pid: args.pid,
        }
    }
}

/// The kernel refuses more than its `perf_event_max_sample_rate`; 10 kHz is beyond any use here.
fn frequency() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=10_000)
}

fn window(text: &str) -> Result<Duration, String> {
    let window = duration(text)?;
    if window < Duration::from_secs(1) || window > Duration::from_mins(5) {
        return Err("must be between 1s and 5m".to_owned());
    }
    Ok(window)
}

/// The maps of fixed size take some MiB of it.
fn unwind_memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size < ByteSize::mib(8) || size > ByteSize::gib(1) {
        return Err("must be between 8MiB and 1GiB".to_owned());
    }
    Ok(size)
}

fn record_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() || duration > Duration::from_hours(24) {
        return Err("must be more than 0 and at most 24h".to_owned());
    }
    Ok(duration)
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 10s or 2m"))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_config(arguments: &[&str]) -> Result<RunConfig, clap::Error> {
        let line = ["fleetprof-agent", "run"].into_iter().chain(arguments.iter().copied());
        match Cli::try_parse_from(line)?.command {
            Command::Run(args) => args.config(),
            other => panic!("{other:?} is not what was asked for"),
        }
    }

    /// Check that labels with which a collector would refuse every batch are wrong usage.
    #[test]
    fn a_repeated_label_is_wrong_usage() {
        let good = run_config(&["--host", "h", "--label", "zone=a", "--label", "rack=b"]).unwrap();
        let labels: Vec<_> = good.labels.iter().collect();
        assert_eq!(labels, [("host", "h"), ("zone", "a"), ("rack", "b")]);
        let wrong = run_config(&["--label", "zone=a", "--label", "zone=b"]).unwrap_err();
        assert_eq!(wrong.exit_code(), 2);
        let text = wrong.to_string();
        assert!(text.contains("`zone`") && text.contains("--label"), "{text}");
    }

    /// Check the rate that an agent has when nobody asks for another.
    #[test]
    fn the_default_rate_is_19_hertz() {
        assert_eq!(run_config(&[]).unwrap().frequency_hz, 19);
    }

    /// Check that clap accepts the declaration and that the help names every command.
    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        for word in ["run", "record", "doctor", "Examples"] {
            assert!(help.contains(word), "{word} is missing in the help");
        }
    }

    /// Check the limits of values that would make an agent useless or harmful.
    #[test]
    fn values_out_of_range_are_refused() {
        for arguments in [
            ["run", "--frequency", "0"],
            ["run", "--frequency", "100000"],
            ["run", "--window", "1ms"],
            ["run", "--window", "ten"],
            ["run", "--label", "zone"],
            ["run", "--label", "1=x"],
            ["run", "--label", "host=x"],
            ["run", "--spool-bytes", "lots"],
            ["record", "--duration", "0s"],
            ["record", "--pid", "0"],
        ] {
            let arguments = ["fleetprof-agent"].into_iter().chain(arguments);
            assert!(Cli::try_parse_from(arguments.clone()).is_err(), "{arguments:?} was accepted");
        }
    }
}
