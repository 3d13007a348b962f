//! A whole collector: opens the data directory, wires the parts, serves everything on one port, and
//! ends in order.

mod health;
mod http;
mod listen;
mod profile_of_service;
mod self_profile;
mod sharing;
mod symbol_quality;
mod upkeep;

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use fleetprof_proto::v1::{
    FILE_DESCRIPTOR_SET, ingest_service_server::IngestServiceServer,
    object_service_server::ObjectServiceServer, query_service_server::QueryServiceServer,
};
use fleetprof_store::{
    BlobError, Blobs, CatalogError as ProfileCatalogError, ProfileStore, StoreError,
};
use fleetprof_symbolizer::Converter;
use thiserror::Error;
use tokio::{net::TcpListener, runtime::Handle, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tracing::{info, warn};

use crate::{
    clock,
    config::Config,
    cpu_pool::CpuPool,
    data_dir::{DataDir, DataDirError},
    ingest::{Agents, Bounded, Committer, GroupLimits, Ingest, IngestParts},
    metrics::Metrics,
    objects::{
        Catalog, CatalogError, ClientError, ConversionParts, Conversions, LookupParts, Lookups,
        Objects, Pool, Wants,
    },
    query::{Known, Queries, QueryApi, QueryParts},
    symbols::{SymbolLimits, Symbols},
    upgrade::{self, UpgradeError},
};

/// Connections beyond those of agents: queries, scrapes, probes.
const OTHER_CONNECTIONS: usize = 1024;
/// How often is looked for parts of uploads that are too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// A collector that listens and does not serve yet.
pub struct Collector {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    router: axum::Router,
    stop: CancellationToken,
    sessions: TaskTracker,
    committer: JoinHandle<()>,
    /// End soon after `stop` fires.
    background: [JoinHandle<()>; 6],
    store: ProfileStore,
    /// Held until the end.
    _data_dir: DataDir,
}

/// A collector that cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", listen_hint(.source))]
    Listen {
        /// As configured.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The object store of profiles cannot be used.
    #[error(transparent)]
    Store(#[from] BlobError),
    /// The catalog of profiles cannot be used.
    #[error(transparent)]
    Profiles(#[from] ProfileCatalogError),
    /// What an earlier version kept cannot be taken over.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// The cache cannot be used.
    #[error("cannot use {path} as a cache of the store's files: {source}", path = .path.display())]
    Cache {
        /// Where it is.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nor can copies of symbol tables.
    #[error("cannot keep other collectors' symbol tables in {path}: {source}", path = .path.display())]
    Copies {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// They do not belong together, or fail.
    #[error(transparent)]
    Profile(#[from] StoreError),
    /// The objects in it cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// What is left of uploads cannot be looked at.
    #[error("cannot use what is left of uploads in scratch/: {0}")]
    Uploads(#[source] io::Error),
    /// A defect of this build.
    #[error("cannot describe the gRPC services: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// No debuginfod server can be asked.
    #[error("--debuginfod: {0}")]
    Debuginfod(#[from] ClientError),
    /// The system has no threads left.
    #[error("cannot start a thread: {0}")]
    Threads(#[source] io::Error),
    /// A task of its own failed.
    #[error("an internal job failed while starting; the log says where")]
    Panicked,
}

fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (another process, perhaps another collector, has this port; choose another with --listen)"
        }
        io::ErrorKind::PermissionDenied => " (ports below 1024 need privileges; choose another)",
        io::ErrorKind::AddrNotAvailable => " (this host has no such address)",
        _ => " (expected HOST:PORT, for example 127.0.0.1:7171)",
    }
}

// === impl Collector ===

impl Collector {
    /// Binds the port, locks and reads the data directory, starts the background tasks.
    ///
    /// # Errors
    /// When the port or the data directory cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listen_error = |source| StartError::Listen { address: config.listen.clone(), source };
        let listener = TcpListener::bind(&config.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (data_dir, catalog, store) = open(&config).await?;
        let (stop, sessions) = (CancellationToken::new(), TaskTracker::new());
        let metrics = Metrics::default();
        let pool = sharing::open(&config, &data_dir, &catalog, &store, &metrics)?;
        let (wants, sharing) = sharing::start(&config, &catalog, pool, stop.clone()).await;
        let agents = Agents::default();
        let limits = GroupLimits::of(&config);
        let (committer, committing) = Committer::start(store.clone(), limits, metrics.clone());
        let parts = IngestParts {
            committer,
            pool: CpuPool::new(cpus()),
            limits: config.limits,
            agents: agents.clone(),
            wants: wants.clone(),
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        let ingest = Ingest::new(&config, parts, sessions.clone());
        let conversions = conversions(&config, &data_dir, &catalog, wants.pool(), &metrics)?;
        let objects = Objects::new(
            catalog.clone(),
            conversions.clone(),
            wants.clone(),
            config.objects.clone(),
            data_dir.scratch(),
            CpuPool::new(config.objects.max_uploads),
            metrics.clone(),
        )
        .map_err(StartError::Uploads)?;
        let lookups = lookup_parts(&config, &data_dir, &catalog, &conversions, &wants, &metrics);
        let (lookups, looking) = Lookups::start(lookups, stop.clone())?;
        let objects = objects.with_lookups(lookups);
        let limits =
            SymbolLimits { memory_bytes: config.symbol_memory, patience: config.symbol_patience };
        let pool = wants.pool().clone();
        let symbols = Symbols::new(catalog.clone(), conversions, pool, limits, metrics.clone());
        let symbols = Arc::new(symbols);
        let (retention, stopping) = (config.retention.clone(), stop.clone());
        let upkeep = tokio::spawn(upkeep::run(store.clone(), symbols.clone(), retention, stopping));
        let queries = Queries::new(QueryParts {
            store: store.clone(),
            runtime: Handle::current(),
            symbols,
            catalog: catalog.clone(),
            wants: wants.clone(),
            agents,
            known: Arc::new(Known::new(config.memory_limit)),
            pool: CpuPool::new(config.max_queries),
            timeout: config.query_timeout,
            memory_limit: config.memory_limit,
            metrics: metrics.clone(),
            start_unix_nanos: clock::unix_nanos(),
        });
        let sweep = tokio::spawn(sweep(objects.clone(), stop.clone()));
        let (reporter, health_service) = tonic_health::server::health_reporter();
        let grpc = Routes::new(health_service);
        let router = add_services(grpc, ingest, objects, &queries)?.into_axum_router();
        let quality = symbol_quality::watch(queries.clone(), metrics.frames.clone(), stop.clone());
        let quality = tokio::spawn(quality);
        let web = http::Web::new(queries, store.clone(), catalog, wants, metrics);
        let router = router.merge(http::routes(web)).fallback(http::fallback);
        health::begin(&reporter).await;
        let health = tokio::spawn(health::watch(store.clone(), reporter, stop.clone()));
        Ok(Self {
            config,
            listener,
            address,
            router,
            stop,
            sessions,
            committer: committing,
            background: [health, quality, looking, sharing, sweep, upkeep],
            store,
            _data_dir: data_dir,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves. Then agents' streams end after what they sent is durable
    /// and acknowledged, open requests finish, and the data directory is unlocked.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { config, listener, router, stop, sessions, committer, background, store, .. } =
            self;
        let held = store.status().await.unwrap_or_default();
        info!(
            address = %self.address,
            data_dir = %config.data_dir.display(),
            batches = held.batches,
            samples = held.samples,
            damaged = held.damaged,
            "collector is serving"
        );
        drop(store);
        let ends = listen::Ends { stop: stop.clone(), patience: config.shutdown_timeout };
        let connections = config.max_agents.saturating_add(OTHER_CONNECTIONS);
        let serving = tokio::spawn(listen::serve(listener, router, connections, ends));
        shutdown.await;
        info!("shutting down: finishing what is on its way");
        stop.cancel();
        sessions.close();
        // Sessions first: when they are over, so is everything that connections wait for.
        let patience = config.shutdown_timeout;
        if timeout(patience, sessions.wait()).await.is_err() {
            warn!("some agents did not take their answers in time; they will send again");
        }
        if serving.await.is_err() {
            warn!("the server failed while shutting down");
        }
        for task in background {
            if timeout(patience, task).await.is_err() {
                warn!("a background task did not end in time");
            }
        }
        // Ends when the last sender, in the router, is gone; a connection that is stuck may hold it. It
        // has nothing left to do: sessions wait for their commits.
        if timeout(Duration::from_secs(1), committer).await.is_err() {
            warn!("a connection did not end in time");
        }
        info!("collector has stopped");
    }
}

/// Everything that is kept; what an earlier version kept is taken over.
async fn open(config: &Config) -> Result<(DataDir, Catalog, ProfileStore), StartError> {
    let opening = config.clone();
    let opened = tokio::task::spawn_blocking(move || open_data(&opening)).await;
    let (data_dir, catalog) = opened.map_err(|_| StartError::Panicked)??;
    let store = open_store(config, &data_dir).await?;
    upgrade::import(data_dir.root(), &store).await?;
    Ok((data_dir, catalog, store))
}

fn open_data(config: &Config) -> Result<(DataDir, Catalog), StartError> {
    let data_dir = DataDir::open(&config.data_dir)?;
    let catalog = Catalog::open(&data_dir.objects(), config.objects.quota_bytes)?;
    Ok((data_dir, catalog))
}

async fn open_store(config: &Config, data_dir: &DataDir) -> Result<ProfileStore, StartError> {
    let blobs = match &config.store {
        Some(url) => {
            let cache = data_dir.cache();
            let cached = Blobs::url(url)?.with_cache(&cache, config.cache_bytes);
            cached.map_err(|source| StartError::Cache { path: cache, source })?
        }
        None => Blobs::directory(&data_dir.profiles())?,
    };
    let catalog = match &config.catalog {
        Some(url) => url.clone(),
        None => format!("sqlite:{}", data_dir.catalog().display()),
    };
    let catalog = fleetprof_store::Catalog::open(&catalog).await?;
    Ok(ProfileStore::open(blobs, catalog).await?)
}

fn conversions(
    config: &Config,
    data_dir: &DataDir,
    catalog: &Catalog,
    pool: &Pool,
    metrics: &Metrics,
) -> Result<Conversions, StartError> {
    let memory = config.symbol_worker_memory;
    let converter = match &config.symbol_worker {
        Some(command) => Converter::isolated(command.clone(), memory),
        None => Converter::in_process(),
    };
    let parts = ConversionParts {
        catalog: catalog.clone(),
        converter,
        scratch: data_dir.scratch(),
        threads: config.symbol_workers,
        max_unpacked_bytes: config.objects.max_object_bytes.saturating_mul(2),
        pool: pool.clone(),
        metrics: metrics.clone(),
    };
    Conversions::start(parts).map_err(StartError::Threads)
}

fn lookup_parts(
    config: &Config,
    data_dir: &DataDir,
    catalog: &Catalog,
    conversions: &Conversions,
    wants: &Wants,
    metrics: &Metrics,
) -> LookupParts {
    LookupParts {
        catalog: catalog.clone(),
        conversions: conversions.clone(),
        wants: wants.clone(),
        objects: config.objects.clone(),
        config: config.debuginfod.clone(),
        scratch: data_dir.scratch(),
        metrics: metrics.clone(),
    }
}

fn add_services(
    grpc: Routes,
    ingest: Ingest,
    objects: Objects,
    queries: &Queries,
) -> Result<Routes, StartError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (receiving, chunk) = (ingest.receive_limits(), objects.max_message_bytes());
    let ingest = IngestServiceServer::new(ingest);
    Ok(grpc
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(Bounded::new(ingest, receiving))
        .add_service(ObjectServiceServer::new(objects).max_decoding_message_size(chunk))
        .add_service(QueryServiceServer::new(QueryApi::new(queries.clone()))))
}

/// Removes what is left of uploads, when it is old.
async fn sweep(uploads: Objects, stop: CancellationToken) {
    while timeout(SWEEP_INTERVAL, stop.cancelled()).await.is_err() {
        uploads.sweep();
    }
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
