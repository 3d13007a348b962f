//! The command line, and what it means.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Parser, ValueEnum, value_parser};
use fleetprof_proto::time_range::parse_instant;
use fleetprof_tests::sim::{Config, Pace, PlanConfig};

/// Simulates a fleet: agents that replay captured profiles to collectors
///
/// Every host runs some of the services; each service is the code of a captured program with a name, versions
/// and build IDs of its own. What a host does in a window is drawn from the captured distribution. The same
/// seed and size give the same fleet.
#[derive(Debug, Parser)]
#[command(name = "fleetprof-sim", version)]
pub(crate) struct Args {
    /// A pprof file that `fleetprof-agent record` wrote (repeatable)
    #[arg(long = "capture", value_name = "FILE", required_unless_present = "record")]
    pub(crate) captures: Vec<PathBuf>,
    /// Record this host's C++ compiler for so long instead (as root)
    #[arg(long, value_name = "DURATION", conflicts_with = "captures", value_parser = humantime::parse_duration)]
    pub(crate) record: Option<Duration>,
    /// URLs of collectors; an agent whose stream breaks goes to another one
    #[arg(
        long,
        value_name = "URL,URL…",
        value_delimiter = ',',
        required_unless_present = "statistics"
    )]
    collectors: Vec<String>,
    /// Hosts, one agent each
    #[arg(long, default_value_t = 100, value_parser = count)]
    hosts: usize,
    /// Services in all
    #[arg(long, default_value_t = 40, value_parser = count)]
    services: usize,
    /// Services of one host
    #[arg(long, default_value_t = 5, value_parser = count)]
    services_per_host: usize,
    /// Different sets of services, with --reuse; 0: each host has its own
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    roles: usize,
    /// Draw once for so many batches of hosts of the same role: as many times cheaper
    #[arg(long, value_name = "COUNT", default_value_t = 1, requires = "roles", value_parser = value_parser!(u32).range(1..))]
    reuse: u32,
    /// Versions of each service
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    versions: u32,
    /// Simulated time from one version of a service to the next
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = humantime::parse_duration)]
    deploy_every: Duration,
    /// Availability zones
    #[arg(long, default_value_t = 3, value_parser = count)]
    zones: usize,
    /// CPUs of a host
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..))]
    cores: u32,
    /// Samples per second and CPU
    #[arg(long, default_value_t = 19, value_parser = value_parser!(u32).range(1..))]
    hz: u32,
    /// Span of one batch
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = span)]
    pub(crate) window: Duration,
    /// Simulated time; without it, until a signal
    #[arg(long, value_name = "DURATION", value_parser = span)]
    duration: Option<Duration>,
    /// The same as a number of windows
    #[arg(long, value_name = "COUNT", conflicts_with = "duration", value_parser = value_parser!(u32).range(1..))]
    windows: Option<u32>,
    /// Simulated seconds per second
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    time_scale: f64,
    /// As fast as the collectors take it; ends now where no duration is given
    #[arg(long, conflicts_with = "time_scale", requires = "from")]
    backfill: bool,
    /// Where the simulated time begins, for example -30d or an RFC 3339 time [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Agents that share a connection
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = count)]
    hosts_per_connection: usize,
    /// Let frames carry the names of the capture instead of addresses: answers are readable
    #[arg(long)]
    pub(crate) names: bool,
    /// Kill a random agent so often; its successor delivers what it left
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub(crate) kill_every: Option<Duration>,
    /// A killed agent loses what it has not delivered (the report has it as unknown)
    #[arg(long, requires = "kill_every")]
    pub(crate) kill_loses: bool,
    /// Longest time at the end for what is not yet acknowledged
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = span)]
    pub(crate) drain: Duration,
    /// What hosts, services and samples follow from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Connect to nobody: make so many windows of every host and print how realistic they are, and how fast
    #[arg(long, value_name = "WINDOWS", conflicts_with = "collectors")]
    pub(crate) statistics: Option<usize>,
    /// How the report is printed
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Also write the report to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Forms of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

// === impl Args ===

impl Args {
    /// The fleet.
    pub(crate) fn plan(&self) -> PlanConfig {
        PlanConfig {
            hosts: self.hosts,
            services: self.services,
            services_per_host: self.services_per_host,
            roles: self.roles,
            versions: self.versions,
            deploy_every: self.deploy_every.as_secs_f64().max(1.0),
            zones: self.zones,
            cores: self.cores,
            frequency: f64::from(self.hz),
            busy: None,
            seed: self.seed,
        }
    }

    /// How it delivers.
    pub(crate) fn config(&self, now_unix_nanos: i64) -> anyhow::Result<Config> {
        let from = match &self.from {
            Some(text) => parse_instant(text, now_unix_nanos).context("--from")?,
            None => now_unix_nanos,
        };
        let length = self.duration.or_else(|| Some(self.window * self.windows?));
        let length = length.map(|length| i64::try_from(length.as_nanos())).transpose();
        let length = length.context("--duration is too long: a few centuries are the most")?;
        let until = match length {
            Some(length) => Some(from.saturating_add(length)),
            None => self.backfill.then_some(now_unix_nanos),
        };
        let scale = (!self.backfill).then_some(self.time_scale);
        let pace = Pace { from_unix_nanos: from, until_unix_nanos: until, scale };
        Ok(Config {
            window: self.window,
            reuse: self.reuse,
            hosts_per_connection: self.hosts_per_connection,
            ..Config::new(self.collectors.clone(), pace)
        })
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span < Duration::from_millis(1) { Err("at least 1ms".to_owned()) } else { Ok(span) }
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(factor),
        Ok(_) => Err("a number greater than 0".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
