//! What the collector's binary does besides serving.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use fleetprof_store::{ExportLevel, Level};

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks the store: compares the catalog with the files that are there.
    ///
    /// Collectors may run meanwhile. Nothing is ever deleted. Ends with 0 when nothing is wrong, with 3
    /// when something is, with 1 when the store could not be checked.
    #[command(after_help = "Examples:
  fleetprof-collector fsck --data-dir /var/lib/fleetprof-collector
  fleetprof-collector fsck --store s3://profiles/prod --catalog postgres://fleetprof@db/fleetprof --fast -o json")]
    Fsck(FsckArgs),
    /// Copies profiles into a directory: for backups, other stores, and engines such as DuckDB.
    ///
    /// Collectors may run meanwhile. Ends with 0 when all is there, with 3 when damaged files are lacking,
    /// with 1 when there is no export.
    #[command(after_help = "Examples:
  fleetprof-collector export --from 2026-11-01T00:00Z --to 2026-12-01T00:00Z --output november
  fleetprof-collector export --from -24h --to now --service checkout --level best --output checkout
  duckdb -c \"SELECT sum(samples) FROM read_parquet('checkout/*/*.samples.parquet')\"")]
    Export(ExportArgs),
    /// Takes an export over into this store.
    ///
    /// Everything is checked before anything is written. A second import of the same export changes
    /// nothing. Collectors may run meanwhile.
    #[command(after_help = "Examples:
  fleetprof-collector import november --data-dir /var/lib/fleetprof-collector")]
    Import(ImportArgs),
}

/// Which store.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// Directory of the collector, unless --store and --catalog name other places.
    #[arg(
        long,
        env = "FLEETPROF_COLLECTOR_DATA_DIR",
        value_name = "DIR",
        default_value = "/var/lib/fleetprof-collector"
    )]
    pub data_dir: PathBuf,

    /// Object store of the profiles: s3://BUCKET/PREFIX, gs://…, az://…. Needs --catalog.
    #[arg(long, env = "FLEETPROF_COLLECTOR_STORE", value_name = "URL", requires = "catalog")]
    pub store: Option<String>,

    /// Catalog of what is in --store: postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(long, env = "FLEETPROF_COLLECTOR_CATALOG", value_name = "URL", requires = "store")]
    pub catalog: Option<String>,
}

/// How to write the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people.
    Table,
    /// One JSON object.
    Json,
}

/// How to write the answer.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// How to write the answer.
    #[arg(short = 'o', long = "format", value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// `fsck`.
#[derive(Clone, Debug, Args)]
pub struct FsckArgs {
    /// Which store.
    #[command(flatten)]
    pub place: StoreArgs,
    /// How to write the answer.
    #[command(flatten)]
    pub output: OutputArgs,

    /// Only see whether all files are there and have their sizes, without reading them.
    #[arg(long)]
    pub fast: bool,

    /// Quarantine damaged files, which queries then name and do not read; end the quarantine of whole ones; write
    /// values of labels that the catalog lacks.
    #[arg(long)]
    pub repair: bool,

    /// How old a file that nobody knows must be: a younger one may be about to be committed.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2h")]
    pub orphan_age: Duration,
}

/// `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Which store.
    #[command(flatten)]
    pub place: StoreArgs,
    /// How to write the answer.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Start of the range, widened to a whole hour: 2026-11-27T10:00Z, -7d, now.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: String,

    /// End of the range, widened to a whole hour. A day is exported as such when all of it is in the range.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: String,

    /// Only samples of this service; may be given several times.
    #[arg(long, value_name = "SERVICE")]
    pub service: Vec<String>,

    /// Which level. `best`: each sample once, as finely as it is still there. `all`: what `import` can take
    /// over as a whole; queries have to read one level of it.
    #[arg(long, value_enum, default_value_t = LevelName::All)]
    pub level: LevelName,

    /// Directory to make; it may exist if it is empty.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
}

/// `import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// Directory of an export.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Which store.
    #[command(flatten)]
    pub place: StoreArgs,
    /// How to write the answer.
    #[command(flatten)]
    pub output: OutputArgs,

    /// Import also what was imported once and is gone since, and services of which the store has other data
    /// of the same time.
    #[arg(long)]
    pub force: bool,
}

/// Names of levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LevelName {
    /// As they came.
    Fine,
    /// By the minute.
    Hourly,
    /// By the hour.
    Daily,
    /// Each sample once.
    Best,
    /// All three.
    All,
}

// === impl LevelName ===

impl LevelName {
    /// What it stands for.
    pub fn level(self) -> ExportLevel {
        match self {
            Self::Fine => ExportLevel::Only(Level::Fine),
            Self::Hourly => ExportLevel::Only(Level::Hourly),
            Self::Daily => ExportLevel::Only(Level::Daily),
            Self::Best => ExportLevel::Best,
            Self::All => ExportLevel::All,
        }
    }
}
