//! The command line: text in, a [`Config`] out.

mod commands;
mod keep;
mod servers;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use fleetprof_store::{Ages, Retention};

use crate::config::Config;
pub use commands::{
    Command, ExportArgs, Format, FsckArgs, ImportArgs, LevelName, OutputArgs, StoreArgs,
};
use keep::KeepService;
use servers::Servers;

/// Collects CPU profiles from fleetprof agents, keeps them, and answers queries about them.
///
/// One port serves everything: agents and the `fleetprof` command line (gRPC), and plain HTTP.
/// `curl HOST:PORT/` lists what can be asked. One directory holds everything: batches are durable in
/// it before agents are told that they were received.
#[derive(Debug, Parser)]
#[command(
    name = "fleetprof-collector",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  fleetprof-collector --data-dir ./data
  fleetprof-agent run --collector http://127.0.0.1:7171      (as root, on every host)
  fleetprof services
  go tool pprof http://127.0.0.1:7171/pprof/SERVICE

Profiles are kept for 7 days as they came, 30 days by the minute, 13 months by the hour: see --keep-fine and
those after it. When the file system is full, agents buffer, /readyz says so, and ingest goes on as soon as
there is space again."
)]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Address and port to serve on. Beyond this host: 0.0.0.0:7171, in a network you trust.
    #[arg(long, env = "FLEETPROF_COLLECTOR_LISTEN", value_name = "HOST:PORT", default_value_t = Config::default().listen)]
    pub listen: String,

    /// Directory for everything that is kept, unless --store and --catalog name other places; made if it
    /// does not exist.
    #[arg(
        long,
        env = "FLEETPROF_COLLECTOR_DATA_DIR",
        value_name = "DIR",
        default_value = "/var/lib/fleetprof-collector"
    )]
    pub data_dir: PathBuf,

    /// Object store for the profiles, which any number of collectors may share: s3://BUCKET/PREFIX, gs://…,
    /// az://…. Credentials and endpoint come from the usual variables (AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP, …). Needs --catalog.
    #[arg(long, env = "FLEETPROF_COLLECTOR_STORE", value_name = "URL", requires = "catalog")]
    pub store: Option<String>,

    /// Catalog of what is in --store, for the same collectors: postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(long, env = "FLEETPROF_COLLECTOR_CATALOG", value_name = "URL", requires = "store")]
    pub catalog: Option<String>,

    /// Disk space below --data-dir for copies of files from --store.
    #[arg(long, env = "FLEETPROF_COLLECTOR_CACHE", value_name = "SIZE", value_parser = parse_size, default_value = "10GiB")]
    pub cache: u64,

    /// How long samples are kept as they came: by host, and by the seconds of the agents' windows.
    #[arg(long, env = "FLEETPROF_COLLECTOR_KEEP_FINE", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "7d")]
    pub keep_fine: Duration,

    /// How long samples are kept by the minute, without hosts.
    #[arg(long, env = "FLEETPROF_COLLECTOR_KEEP_HOURLY", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30d")]
    pub keep_hourly: Duration,

    /// How long samples are kept by the hour.
    #[arg(long, env = "FLEETPROF_COLLECTOR_KEEP_DAILY", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "396d")]
    pub keep_daily: Duration,

    /// Other times for one service, by the minute and by the hour: checkout=90d,1000d. May be given several
    /// times.
    #[arg(long, value_name = "SERVICE=HOURLY,DAILY", value_parser = KeepService::parse)]
    pub keep_service: Vec<KeepService>,

    /// Most space for profiles; past it the oldest are removed.
    #[arg(long, env = "FLEETPROF_COLLECTOR_MAX_STORE", value_name = "SIZE", value_parser = parse_size)]
    pub max_store: Option<u64>,

    /// How to write the log to stderr.
    #[arg(long, env = "FLEETPROF_COLLECTOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What to log: error, warn, info, debug, trace, also per module (info,fleetprof_store=debug).
    #[arg(long, env = "FLEETPROF_COLLECTOR_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// Most agents connected at a time.
    #[arg(long, env = "FLEETPROF_COLLECTOR_MAX_AGENTS", value_name = "N", default_value_t = Config::default().max_agents)]
    pub max_agents: usize,

    /// Largest batch accepted, compressed; further limits follow from it.
    #[arg(long, env = "FLEETPROF_COLLECTOR_MAX_BATCH", value_name = "SIZE", value_parser = parse_size, default_value = "16MiB")]
    pub max_batch: u64,

    /// Memory for batches that are received and not yet durable; past it agents wait. As much is allowed for those of which
    /// parts are still missing; past it agents have to send again.
    #[arg(long, env = "FLEETPROF_COLLECTOR_QUEUE_MEMORY", value_name = "SIZE", value_parser = parse_size, default_value = "64MiB")]
    pub queue_memory: u64,

    /// Longest time a batch waits for others to share a pair of files and a transaction with: a busy collector's
    /// wait four times as long as writing takes, an idle one's a quarter of this. Longer gives fewer and larger files; agents
    /// write to their spool what is not acknowledged after 2 s.
    #[arg(long, env = "FLEETPROF_COLLECTOR_COMMIT_DELAY", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1s")]
    pub commit_delay: Duration,

    /// Largest binary or symbol file accepted from agents.
    #[arg(long, env = "FLEETPROF_COLLECTOR_MAX_OBJECT", value_name = "SIZE", value_parser = parse_size, default_value = "2GiB")]
    pub max_object: u64,

    /// Most disk space for all binaries and symbol files together.
    #[arg(long, env = "FLEETPROF_COLLECTOR_OBJECT_QUOTA", value_name = "SIZE", value_parser = parse_size, default_value = "50GiB")]
    pub object_quota: u64,

    /// Most binaries and symbol files; each takes some hundred bytes of memory.
    #[arg(long, env = "FLEETPROF_COLLECTOR_MAX_OBJECTS", value_name = "N", default_value_t = Config::default().objects.max_objects)]
    pub max_objects: usize,

    /// Servers to ask for debug information, and for binaries that no agent sends: https://debuginfod.example.com.
    /// Separated by commas, or given several times; asked in this order. They learn which builds run here.
    #[arg(long, env = "DEBUGINFOD_URLS", value_name = "URL", value_parser = Servers::parse)]
    pub debuginfod: Vec<Servers>,

    /// Memory for symbol tables that are in use; most of it is mapped files, which the system may take back.
    #[arg(long, env = "FLEETPROF_COLLECTOR_SYMBOL_MEMORY", value_name = "SIZE", value_parser = parse_size, default_value = "1GiB")]
    pub symbol_memory: u64,

    /// Memory for making one symbol table, in a process of its own. Of a binary that needs more the
    /// functions are named, without lines and inlined calls.
    #[arg(long, env = "FLEETPROF_COLLECTOR_CONVERSION_MEMORY", value_name = "SIZE", value_parser = parse_size, default_value = "2GiB")]
    pub conversion_memory: u64,

    /// Memory of this process past which queries are refused, so that ingest lives on. A quarter of it, 384
    /// MiB at most, is for what files were found to say. Without it: half of the container's or the host's.
    #[arg(long, env = "FLEETPROF_COLLECTOR_MEMORY_LIMIT", value_name = "SIZE", value_parser = parse_size)]
    pub memory_limit: Option<u64>,

    /// Most queries answered at a time; further ones wait.
    #[arg(long, env = "FLEETPROF_COLLECTOR_MAX_QUERIES", value_name = "N", default_value_t = Config::default().max_queries)]
    pub max_queries: usize,

    /// Longest time one query may take.
    #[arg(long, env = "FLEETPROF_COLLECTOR_QUERY_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    pub query_timeout: Duration,
}

/// How to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people, in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

// === impl Args ===

impl Args {
    /// The configuration these arguments stand for.
    pub fn config(&self) -> Config {
        let mut config = Config {
            listen: self.listen.clone(),
            data_dir: self.data_dir.clone(),
            max_agents: self.max_agents,
            queue_bytes: usize::try_from(self.queue_memory).unwrap_or(usize::MAX),
            commit_delay: self.commit_delay,
            store: self.store.clone(),
            catalog: self.catalog.clone(),
            cache_bytes: self.cache,
            retention: self.retention(),
            max_queries: self.max_queries.max(1),
            query_timeout: self.query_timeout,
            // The other half is for reading and encoding.
            symbol_patience: self.query_timeout / 2,
            symbol_memory: self.symbol_memory,
            symbol_worker_memory: self.conversion_memory,
            ..Config::default()
        };
        config.limits.max_payload_bytes = usize::try_from(self.max_batch).unwrap_or(usize::MAX);
        if let Some(bytes) = self.memory_limit {
            config.memory_limit = bytes;
        }
        // Batches compress to an eighth and less.
        config.limits.max_raw_bytes = self.max_batch.saturating_mul(8);
        config.objects.max_object_bytes = self.max_object;
        config.objects.quota_bytes = self.object_quota;
        config.objects.max_objects = self.max_objects;
        config.debuginfod.servers = self.debuginfod.iter().flat_map(Servers::urls).collect();
        config
    }
}

impl Args {
    fn retention(&self) -> Retention {
        let ages = Ages { fine: self.keep_fine, hourly: self.keep_hourly, daily: self.keep_daily };
        let of = |keep: &KeepService| {
            let ages = Ages { hourly: keep.hourly, daily: keep.daily, ..ages };
            (keep.service.clone(), ages)
        };
        Retention {
            ages,
            services: self.keep_service.iter().map(of).collect(),
            max_bytes: self.max_store,
            ..Retention::default()
        }
    }
}

/// Reads `16MiB`, `2GiB`, `512KiB`, or a number of bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        _ => return Err("use bytes or KiB, MiB, GiB, TiB, for example 16MiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "not a size; for example 16MiB".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("must be more than 0".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("too large".to_owned()),
    }
}

#[cfg(test)]
mod tests;
