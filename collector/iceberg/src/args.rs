//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// Publishes the profiles of a store as Apache Iceberg tables, for Spark, Trino, DuckDB, ClickHouse and others.
///
/// The tables are fine_samples, fine_stacks, hourly_samples, hourly_stacks, daily_samples and daily_stacks, in
/// the folder iceberg/ of the store. They name the store's own files: nothing is copied, and the only writes
/// are small files that say which. Levels hold the same samples more or less finely: query one of them.
///
/// Any number of committers may run; a lease in the catalog lets one work at a time. It may be killed at
/// any moment.
#[derive(Debug, Parser)]
#[command(
    name = "fleetprof-iceberg",
    version,
    after_help = "Examples:
  fleetprof-iceberg --data-dir /var/lib/fleetprof-collector --once
  fleetprof-iceberg --store s3://profiles/fleet --catalog postgres://fleetprof@db/fleetprof

Then, in DuckDB:
  INSTALL iceberg; LOAD iceberg;
  SELECT service, sum(cpu_nanos) / 1e9 AS seconds
  FROM iceberg_scan('s3://profiles/fleet/iceberg/hourly_samples')
  GROUP BY service ORDER BY seconds DESC;

A collector removes files 15 minutes after they were merged or expired. The tables must have
forgotten them by then, which takes two rounds: let it run all the time, or every 5 minutes."
)]
pub struct Args {
    /// Directory of the collector, unless --store and --catalog name other places.
    #[arg(
        long,
        env = "FLEETPROF_COLLECTOR_DATA_DIR",
        value_name = "DIR",
        default_value = "/var/lib/fleetprof-collector"
    )]
    pub data_dir: PathBuf,

    /// Object store of the profiles: s3://BUCKET/PREFIX, gs://…, az://…. Credentials and endpoint come from the
    /// usual variables (AWS_ACCESS_KEY_ID, …), as for the collector. Needs --catalog.
    #[arg(long, env = "FLEETPROF_COLLECTOR_STORE", value_name = "URL", requires = "catalog")]
    pub store: Option<String>,

    /// Catalog of what is in --store: postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(long, env = "FLEETPROF_COLLECTOR_CATALOG", value_name = "URL", requires = "store")]
    pub catalog: Option<String>,

    /// What the engines call the store, where that is another name than the collectors': s3a://BUCKET/PREFIX,
    /// abfss://…. All names in the tables begin with it.
    #[arg(long, env = "FLEETPROF_ICEBERG_LOCATION", value_name = "URL")]
    pub location: Option<String>,

    /// Publish once and end.
    #[arg(long, conflicts_with = "every")]
    pub once: bool,

    /// Time between the starts of two rounds.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    pub every: Duration,

    /// Address of /metrics and /healthz, such as 127.0.0.1:7173; without it nothing listens.
    #[arg(
        long,
        env = "FLEETPROF_ICEBERG_METRICS_LISTEN",
        value_name = "ADDRESS",
        conflicts_with = "once"
    )]
    pub metrics_listen: Option<SocketAddr>,

    /// How to write the log to stderr.
    #[arg(long, env = "FLEETPROF_ICEBERG_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What to log: error, warn, info, debug, trace, also per module (info,fleetprof_iceberg=debug).
    #[arg(long, env = "FLEETPROF_ICEBERG_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// How to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people, in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}
