//! What a collector may do and use, as values. The defaults are those of the command line.

use std::{path::PathBuf, time::Duration};

use fleetprof_proto::batch::Limits;
use fleetprof_store::Retention;
use fleetprof_symbolizer::WorkerCommand;
use reqwest::Url;

use crate::{memory, objects::PartialLimits};

/// Configuration of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `HOST:PORT` to serve on; port 0 takes a free one.
    pub listen: String,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// How large a batch may be.
    pub limits: Limits,
    /// Most agents connected at a time.
    pub max_agents: usize,
    /// Memory for batches that are received and not yet durable, bytes: past it agents wait.
    pub queue_bytes: usize,
    /// How often agents whose batches wait are told that they are not forgotten; less than agents wait for an
    /// answer.
    pub busy_interval: Duration,
    /// How long the first batch of a group waits for others to share its files and transaction with, at most.
    pub commit_delay: Duration,
    /// Rows of batches at which a group is full.
    pub commit_rows: usize,
    /// URL of the object store for profiles; `None`: the data directory.
    pub store: Option<String>,
    /// URL of the catalog; `None`: a file in the data directory.
    pub catalog: Option<String>,
    /// Most disk space for copies of the object store's files, bytes.
    pub cache_bytes: u64,
    /// What is kept how long.
    pub retention: Retention,
    /// Objects.
    pub objects: ObjectsConfig,
    /// Files of objects that nobody delivered.
    pub debuginfod: DebuginfodConfig,
    /// Most queries answered at a time; further ones wait.
    pub max_queries: usize,
    /// Longest time one query may take.
    pub query_timeout: Duration,
    /// Memory of the process, mapped files not counted, past which queries are refused, bytes.
    pub memory_limit: u64,
    /// Most memory for open symbol tables, bytes; most of it is mapped files.
    pub symbol_memory: u64,
    /// How to start a process that converts an object. Without it they are converted in this process,
    /// which is for tests: a hostile object can take its memory and time.
    pub symbol_worker: Option<WorkerCommand>,
    /// Most such processes.
    pub symbol_workers: usize,
    /// Most heap of each, bytes.
    pub symbol_worker_memory: u64,
    /// How long a query waits for names before it answers without them.
    pub symbol_patience: Duration,
    /// How long open requests may take to end when the collector is told to stop.
    pub shutdown_timeout: Duration,
}

/// Which objects are accepted, and how agents are asked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectsConfig {
    /// Largest object, bytes.
    pub max_object_bytes: u64,
    /// Most bytes of all objects together.
    pub quota_bytes: u64,
    /// Most objects.
    pub max_objects: usize,
    /// Most uploads at a time.
    pub max_uploads: usize,
    /// How long a further one waits for its turn; less than agents wait for an answer.
    pub upload_wait: Duration,
    /// How long an agent that was asked for an object has before another one is asked.
    pub lease: Duration,
    /// How long a collector that died keeps others from asking for an object.
    pub claim: Duration,
    /// Longest pause within an upload.
    pub stall_timeout: Duration,
    /// How much of uploads that broke off is kept.
    pub partials: PartialLimits,
}

/// Whom to ask for files of objects that nobody delivered, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebuginfodConfig {
    /// Servers, asked in this order; none: nothing is asked.
    pub servers: Vec<Url>,
    /// Most requests at a time.
    pub max_requests: usize,
    /// How long agents and uploads have to deliver a file before servers are asked for it.
    pub patience: Duration,
    /// How often to look what is missing.
    pub poll: Duration,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest pause within an answer; servers unpack packages before they begin.
    pub stall_timeout: Duration,
    /// Longest time for one file.
    pub max_time: Duration,
    /// Until servers that do not have a file are asked for it again.
    pub absent_pause: Duration,
    /// How long a server that failed is left alone; twice as long after each further failure.
    pub failure_pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            listen: "127.0.0.1:7171".to_owned(),
            data_dir: PathBuf::from("/var/lib/fleetprof-collector"),
            limits: Limits::default(),
            max_agents: 4096,
            queue_bytes: 64 << 20,
            busy_interval: Duration::from_secs(15),
            commit_delay: Duration::from_secs(1),
            // Some 30 MB of batches, and not more than thrice as much of what they become.
            commit_rows: 2_000_000,
            store: None,
            catalog: None,
            cache_bytes: 10 << 30,
            retention: Retention::default(),
            objects: ObjectsConfig::default(),
            debuginfod: DebuginfodConfig::default(),
            max_queries: cpus.max(2),
            query_timeout: Duration::from_secs(60),
            memory_limit: memory::default_limit(),
            symbol_memory: 1 << 30,
            symbol_worker: None,
            symbol_workers: cpus.div_ceil(2).max(2),
            symbol_worker_memory: 2 << 30,
            symbol_patience: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for ObjectsConfig {
    fn default() -> Self {
        Self {
            max_object_bytes: 2 << 30,
            quota_bytes: 50 << 30,
            max_objects: 200_000,
            max_uploads: 16,
            upload_wait: Duration::from_secs(20),
            lease: Duration::from_secs(120),
            claim: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(60),
            partials: PartialLimits {
                files: 256,
                bytes: 5 << 30,
                age: Duration::from_secs(24 * 60 * 60),
            },
        }
    }
}

impl Default for DebuginfodConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            max_requests: 2,
            patience: Duration::from_secs(60),
            poll: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(90),
            max_time: Duration::from_secs(30 * 60),
            absent_pause: Duration::from_secs(60 * 60),
            failure_pause: Duration::from_secs(15),
        }
    }
}
