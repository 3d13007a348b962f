//! The command line: words in, validated questions out. Knows clap; asks nobody.

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::styling::{AnsiColor, Styles},
};
use fleetprof_proto::time_range::TimeRange;

use crate::{client::CollectorUrl, error::CliError, help, target::Target};

/// Where a collector listens when nobody says otherwise.
const DEFAULT_COLLECTOR: &str = "http://127.0.0.1:7171";

/// Rows of a table when nobody says otherwise: about a screen.
const DEFAULT_ROWS: u32 = 20;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Where does the CPU of the fleet go? Ask a fleetprof collector.
#[derive(Debug, Parser)]
#[command(
    name = "fleetprof",
    version,
    after_help = help::MAIN,
    max_term_width = 100,
    styles = STYLES,
    args_override_self = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the collector is and how long to wait for it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Address of the collector
    #[arg(
        long,
        global = true,
        env = "FLEETPROF_COLLECTOR",
        value_name = "URL",
        default_value = DEFAULT_COLLECTOR
    )]
    pub(crate) collector: CollectorUrl,
    /// Longest wait for the connection
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = wait)]
    pub(crate) connect_timeout: Duration,
    /// Longest wait for an answer; for `pprof`, for each piece of it
    #[arg(long, global = true, value_name = "TIME", default_value = "60s", value_parser = wait)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List services, most CPU first
    #[command(after_help = help::SERVICES)]
    Services(ServicesArgs),
    /// List the names of labels, or the values of one
    #[command(after_help = help::LABELS)]
    Labels(LabelsArgs),
    /// Download a merged, symbolized profile for `go tool pprof`
    #[command(after_help = help::PPROF)]
    Pprof(PprofArgs),
    /// List the functions with the most CPU
    #[command(after_help = help::TOP)]
    Top(TopArgs),
    /// Show CPU over time
    #[command(after_help = help::SERIES)]
    Series(SeriesArgs),
    /// Show the state of the collector and its agents, and what was lost
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// List binaries and symbol files, and what became of them, or upload some
    #[command(after_help = help::OBJECTS, args_conflicts_with_subcommands = true)]
    Objects(ObjectsArgs),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions(CompletionsArgs),
}

/// Which samples.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// A service's name; or a SELECTOR, known by its `{`
    #[arg(value_name = "SERVICE")]
    first: Option<String>,
    /// Prometheus matchers: '{version="v2", host=~"web-.*"}'
    #[arg(value_name = "SELECTOR")]
    second: Option<String>,
}

/// When.
#[derive(Debug, Args)]
pub(crate) struct RangeArgs {
    /// Start: -15m, -1h30m, -7d, now-1h, 2026-11-22T10:00:00Z or Unix seconds
    #[arg(long, value_name = "TIME", default_value = "-15m", allow_hyphen_values = true)]
    from: String,
    /// End, exclusive; written like the start
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    to: String,
}

/// How to print.
#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// A table for people or JSON for scripts
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Longest line of a table [default: the terminal's width; in a pipe, none]
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) width: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ServicesArgs {
    /// Prometheus matchers: '{zone="eu-1a"}'
    #[arg(value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Print so many services at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct LabelsArgs {
    /// A label whose values to list; without it, the names of labels
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Prometheus matchers: '{service="checkout"}'
    #[arg(value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PprofArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// File to write, replaced only when the profile is complete; - for standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Leave samples no labels: a smaller file, and sooner, where `-tagfocus` and the like are not needed
    #[arg(long)]
    pub(crate) no_labels: bool,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Print so many functions at most, 0 for all [default: 20 for a table, all for JSON]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Order by CPU in the function itself, or including what it calls
    #[arg(long, value_name = "COLUMN", default_value = "self")]
    pub(crate) sort: Sort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    #[value(name = "self")]
    Own,
    Total,
}

#[derive(Debug, Args)]
pub(crate) struct SeriesArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Labels to split by, one series per combination of their values
    #[arg(long, value_name = "LABEL,…", value_delimiter = ',')]
    pub(crate) by: Vec<String>,
    /// Only CPU time in this function and in what it calls, named as `top` names it
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) function: Option<String>,
    /// Width of a step, such as 30s or 5m [default: the collector chooses]
    #[arg(long, value_name = "TIME", value_parser = step)]
    pub(crate) step: Option<i64>,
    /// Print so many series at most, most CPU first; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// How much of the code of each service has names instead, in a range of time
    #[arg(long)]
    pub(crate) symbols: bool,
    /// With --symbols, Prometheus matchers: '{service="checkout"}'
    #[arg(value_name = "SELECTOR", requires = "symbols")]
    pub(crate) selector: Option<String>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ObjectsArgs {
    #[command(subcommand)]
    pub(crate) action: Option<ObjectsAction>,
    /// Only these
    #[arg(long, value_name = "STATE,…", value_delimiter = ',')]
    pub(crate) state: Vec<ObjectState>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Print so many objects at most, 0 for all [default: 20 for a table, all for JSON]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectsAction {
    /// Send binaries or their debug files, so that their code has names
    #[command(after_help = help::OBJECTS_UPLOAD)]
    Upload(UploadArgs),
}

#[derive(Debug, Args)]
pub(crate) struct UploadArgs {
    /// ELF files: programs, libraries, debug files that were split off, what dwz moved out of them, or
    /// split units (.dwp), which are also found beside their binary
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectState {
    Wanted,
    Waiting,
    Ready,
    Failed,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to print for
    pub(crate) shell: clap_complete::Shell,
}

// === impl RangeArgs ===

impl RangeArgs {
    /// Both ends as instants; `now` is the instant that `now` means in both.
    pub(crate) fn resolve(&self, now_unix_nanos: i64) -> Result<TimeRange, CliError> {
        Ok(TimeRange::parse(&self.from, &self.to, now_unix_nanos)?)
    }
}

// === impl TargetArgs ===

impl TargetArgs {
    pub(crate) fn resolve(&self) -> Result<Target, CliError> {
        Target::from_words(self.first.as_deref(), self.second.as_deref())
    }
}

// === impl TopArgs ===

impl TopArgs {
    /// Rows to print; 0 for all.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.unwrap_or(self.format.rows())
    }
}

// === impl ObjectsArgs ===

impl ObjectsArgs {
    /// Rows to print; 0 for all.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.unwrap_or(self.format.rows())
    }
}

// === impl FormatArgs ===

impl FormatArgs {
    /// Rows when nobody says otherwise; 0 for all. Scripts get everything unless they ask for less: a
    /// list that was cut unseen would be a wrong answer.
    fn rows(&self) -> u32 {
        match self.format {
            Format::Table => DEFAULT_ROWS,
            Format::Json => 0,
        }
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write for example 5s or 2m"))?;
    if wait.is_zero() { Err("a wait of zero cannot succeed".to_owned()) } else { Ok(wait) }
}

fn step(text: &str) -> Result<i64, String> {
    let nanos = i64::try_from(wait(text)?.as_nanos());
    nanos.map_err(|_| "a step of more than 292 years is too long".to_owned())
}

#[cfg(test)]
mod tests;
