//! Files that nobody delivered, from debuginfod servers.
//!
//! In: what the catalog and the wanted objects lack. Out: verified files in the catalog, and their
//! conversion. One task looks from time to time what is missing and keeps a few requests running; it
//! shares neither threads nor memory with ingest and queries. A file comes in like an upload: to a
//! temporary one, within the quota, checked against its build ID, then renamed. Without servers nothing
//! of this runs.

mod client;
mod plan;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use fleetprof_proto::ids::{BuildIdKind, ObjectId, ObjectKind};
use fleetprof_symbolizer::identity::SymbolLevel;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    client::{Client, Found, Server, ServerFault, What},
    plan::{Outcome, Pauses, Plan, Target},
};
use super::{
    Conversions, Wants,
    catalog::{Catalog, Format, Lack, Replace, Reservation},
    pool::{Turn, Work},
    receive::{Incoming, Unacceptable},
};
use crate::{
    config::{DebuginfodConfig, ObjectsConfig},
    cpu_pool::CpuPool,
    log_limit::LogLimit,
    metrics::{Metrics, ResultLabel},
};

pub use client::ClientError;

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// What the lookups need.
#[derive(Debug)]
pub struct LookupParts {
    /// Where files go.
    pub catalog: Catalog,
    /// Makes tables of them.
    pub conversions: Conversions,
    /// Which binaries are missing.
    pub wants: Wants,
    /// Limits on files.
    pub objects: ObjectsConfig,
    /// Whom to ask.
    pub config: DebuginfodConfig,
    /// Where files are written at first.
    pub scratch: PathBuf,
    /// What is counted.
    pub metrics: Metrics,
}

/// What servers are asked for, for people. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    /// `None`: there is no server.
    plan: Option<Arc<Mutex<Plan>>>,
}

/// What a task works with.
#[derive(Debug)]
struct Lookup {
    parts: LookupParts,
    client: Client,
    plan: Arc<Mutex<Plan>>,
    pool: CpuPool,
    log: LogLimit,
}

/// Why a server's answer was not kept.
#[derive(Debug)]
enum Trouble {
    /// The server does not have it.
    Absent,
    /// The server is at fault.
    Server(ServerFault),
    /// The file is.
    File(&'static str, String),
    /// This collector has no place for it.
    Here(&'static str, String),
}

// === impl Lookups ===

impl Lookups {
    /// Starts to ask, in a task that ends soon after `stop` fires.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn start(
        parts: LookupParts,
        stop: CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), ClientError> {
        let config = &parts.config;
        if config.servers.is_empty() {
            return Ok((Self::default(), tokio::spawn(async {})));
        }
        let pauses = Pauses {
            patience: config.patience,
            absent: config.absent_pause,
            failure: config.failure_pause,
        };
        let plan = Arc::new(Mutex::new(Plan::new(pauses)));
        let (client, pool) = (Client::new(config)?, CpuPool::new(config.max_requests));
        let lookup = Lookup { client, plan: plan.clone(), pool, log: LogLimit::default(), parts };
        let task = tokio::spawn(async move {
            // The requests that run are dropped with it, and their temporary files.
            stop.run_until_cancelled(Arc::new(lookup).run()).await;
        });
        Ok((Self { plan: Some(plan) }, task))
    }

    /// How it stands with what an object lacks.
    pub(super) fn says(&self, id: &ObjectId, catalog: &Catalog) -> Option<String> {
        let plan = self.plan.as_ref()?;
        if let Some(said) = lock(plan).says(id) {
            return Some(said.to_owned());
        }
        let shared = catalog.shared_by(id)?;
        lock(plan).says(&shared).map(|said| format!("shared file: {said}"))
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Lookup ===

impl Lookup {
    async fn run(self: Arc<Self>) {
        let mut running = JoinSet::new();
        loop {
            let looking = self.clone();
            // One that panicked has said so, and the next one may not.
            let _ = self.pool.run(move || looking.look()).await;
            while running.len() < self.parts.config.max_requests
                && self.client.can_ask(Instant::now())
                && let Some(target) = lock(&self.plan).next(Instant::now())
            {
                let lookup = self.clone();
                running.spawn(async move {
                    let outcome = lookup.find(&target).await;
                    lock(&lookup.plan).done(&target, &outcome, Instant::now());
                });
            }
            tokio::select! {
                Some(_) = running.join_next() => {}
                () = sleep(self.parts.config.poll) => {}
            }
        }
    }

    /// Finds out what is missing. Blocks: files of objects that nobody has looked at are read.
    fn look(&self) {
        let LookupParts { catalog, wants, .. } = &self.parts;
        let wanted = wants.all().into_iter().filter(|wanted| !wanted.is_uploading);
        let executables = wanted.map(|wanted| (wanted.id, What::Executable));
        let lacks = catalog.lacks().into_iter().filter_map(|lack| match lack {
            Lack::Shared(id) => Some(id),
            Lack::DebugInfo(id) => Some(id).filter(|id| catalog.level(id) < SymbolLevel::DebugInfo),
        });
        let missing: HashSet<Target> = lacks
            .map(|id| (id, What::DebugInfo))
            .chain(executables)
            // Servers know no other build IDs.
            .filter(|(id, _)| id.kind == ObjectKind::File && id.build_id.kind() == BuildIdKind::Gnu)
            .filter(|(id, what)| self.is_ours(id, *what))
            .map(|(id, what)| Target { id, what })
            .collect();
        lock(&self.plan).update(missing, Instant::now());
    }

    /// Whether no other collector has what is missing, or is looking for it.
    fn is_ours(&self, id: &ObjectId, what: What) -> bool {
        let pool = self.parts.wants.pool();
        let (offered, is_there) = match what {
            What::Executable => (None, pool.has(id)),
            What::DebugInfo => {
                let most = Some(SymbolLevel::DebugInfo);
                (most, pool.level(id) == most)
            }
        };
        !is_there && pool.turn(Work::Lookup, id, offered) == Turn::Ours
    }

    /// Asks the servers in order until one has the file.
    async fn find(&self, target: &Target) -> Outcome {
        let mut outcome = Outcome::Absent;
        for server in self.client.servers() {
            if server.is_away(Instant::now()) {
                outcome = Outcome::Failed(format!("{} is away", server.name()));
                continue;
            }
            let done = self.fetch(server, target).await;
            let fault = match &done {
                Err(Trouble::Server(fault)) => Some(fault),
                _ => None,
            };
            self.client.note(server, fault, Instant::now());
            self.count(done.as_ref().err());
            let trouble = match done {
                Ok(()) => return Outcome::Got,
                Err(trouble) => trouble,
            };
            self.complain(server, target, &trouble);
            match trouble {
                Trouble::Absent => {}
                // That another one does not have it says nothing of this one.
                Trouble::Server(why) => {
                    outcome = Outcome::Failed(format!("{}: {why}", server.name()));
                }
                Trouble::File(_, why) => {
                    if outcome == Outcome::Absent {
                        outcome = Outcome::Useless(format!("{}: {why}", server.name()));
                    }
                }
                Trouble::Here(_, why) => return Outcome::Failed(why),
            }
        }
        outcome
    }

    async fn fetch(&self, server: &Server, target: &Target) -> Result<(), Trouble> {
        let asked = self.client.ask(server, &target.id.build_id, target.what).await;
        let mut found = asked.map_err(Trouble::Server)?.ok_or(Trouble::Absent)?;
        let limit = self.parts.objects.max_object_bytes;
        let size = found.size.unwrap_or(limit);
        if size == 0 || size > limit {
            let text = format!("{size} bytes: expected 1 to {limit} (--max-object)");
            return Err(Trouble::File("too_large", text));
        }
        let space = self.room(size).await?;
        let incoming = self.receive(&mut found, size, space).await?;
        let is_new = self.keep(incoming, target).await?;
        if self.parts.catalog.contains(&target.id) {
            self.parts.wants.stored(&target.id);
        }
        if is_new {
            self.parts.conversions.add(&target.id);
            self.parts.metrics.objects_received.inc();
            let (object, what) = (&target.id, target.what.as_str());
            info!(%object, what, server = server.name(), "object fetched");
        }
        Ok(())
    }

    /// Reserves space for a file.
    async fn room(&self, size: u64) -> Result<Reservation, Trouble> {
        let full = |text: &str| Trouble::Here("no_room", text.to_owned());
        let catalog = self.parts.catalog.clone();
        if catalog.count() >= self.parts.objects.max_objects {
            return Err(full("there are as many objects as may be (--max-objects)"));
        }
        let reservation = loop {
            match catalog.reserve(size) {
                Some(reservation) => break reservation,
                None if self.parts.wants.pool().make_room() => {}
                None => return Err(full("the quota for objects is used up (--object-quota)")),
            }
        };
        match self.blocking(move || catalog.has_room(size)).await? {
            Ok(true) => Ok(reservation),
            Ok(false) => Err(full("the disk has too little space for objects")),
            Err(error) => Err(full(&error.to_string())),
        }
    }

    /// Writes what comes to a temporary file.
    async fn receive(
        &self,
        found: &mut Found,
        size: u64,
        space: Reservation,
    ) -> Result<Incoming, Trouble> {
        let scratch = self.parts.scratch.clone();
        let created = self.blocking(move || Incoming::create(&scratch, size, space)).await?;
        let mut incoming = created.map_err(|error| Trouble::of_file(&error.into()))?;
        let mut ended = false;
        while !ended {
            let mut bytes = Vec::with_capacity(WRITE_BYTES);
            while bytes.len() < WRITE_BYTES && !ended {
                match found.next().await.map_err(Trouble::Server)? {
                    Some(chunk) => bytes.extend_from_slice(&chunk),
                    None => ended = true,
                }
            }
            let write = move || incoming.write(&bytes).map(|()| incoming);
            incoming = self.blocking(write).await?.map_err(|error| Trouble::of_file(&error))?;
        }
        if found.size.is_none() {
            incoming.ends_here();
        }
        Ok(incoming)
    }

    /// Checks a file and puts it in its place. Answers `false` when what is there is as good.
    async fn keep(&self, mut incoming: Incoming, target: &Target) -> Result<bool, Trouble> {
        let (catalog, id) = (self.parts.catalog.clone(), target.id.clone());
        let format = match target.what {
            What::DebugInfo => Format::Debug,
            What::Executable => Format::Elf,
        };
        let keep = move || -> Result<bool, Unacceptable> {
            let bytes = incoming.finish(&id, format)?;
            incoming.space().shrink_to(bytes);
            let contents = incoming.identify()?.contents;
            if format == Format::Elf && !contents.code {
                return Err(Unacceptable::NoCode);
            }
            // Meanwhile somebody may have delivered one.
            let replace = Replace::Worse(contents.level());
            Ok(catalog.adopt(&id, format, incoming.path(), incoming.reserved(), replace)?)
        };
        self.blocking(keep).await?.map_err(|error| Trouble::of_file(&error))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Trouble> {
        let done = self.pool.run(job).await;
        done.map_err(|error| Trouble::Here("no_room", error.to_string()))
    }

    fn count(&self, trouble: Option<&Trouble>) {
        let result = trouble.map_or("fetched", Trouble::result);
        self.parts.metrics.debuginfod_requests.get_or_create(&ResultLabel { result }).inc();
    }

    fn complain(&self, server: &Server, target: &Target, trouble: &Trouble) {
        let (object, what, server) = (&target.id, target.what.as_str(), server.name());
        let (Trouble::File(_, why) | Trouble::Here(_, why)) = trouble else {
            if let Trouble::Server(why) = trouble {
                if let Some(silent) = self.log.allow() {
                    warn!(%object, what, server, %why, silent, "debuginfod server fails");
                }
            } else {
                debug!(%object, what, server, "debuginfod server does not have it");
            }
            return;
        };
        if let Some(silent) = self.log.allow() {
            warn!(%object, what, server, why, silent, "file of a debuginfod server not kept");
        }
    }
}

// === impl Trouble ===

impl Trouble {
    fn of_file(error: &Unacceptable) -> Self {
        let text = error.to_string();
        match error {
            Unacceptable::Io(_) => Self::Here("no_room", text),
            _ => Self::File("wrong", text),
        }
    }

    /// A word for counters.
    fn result(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Server(_) => "failed",
            Self::File(result, _) | Self::Here(result, _) => result,
        }
    }
}
